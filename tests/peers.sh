#!/bin/sh
# Install the peers that the tests run against, as root; otherwise name what is missing, whose tests are then skipped.
set -eu
missing=""
for pair in storescu:dcmtk dciodvfy:dicom3tools Orthanc:orthanc; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "not installed, so that the tests that need them are skipped:$missing" >&2
fi
