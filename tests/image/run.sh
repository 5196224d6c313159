#!/usr/bin/env bash
# Build the Dockerfile for real, without a container engine, and run the node in the image as its own user.
#
# The base image is made by debootstrap, from the mirror and with the package index that this machine is set up for;
# neither is written into the image. Needs root, buildah and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/scp-anon"
work=$(mktemp -d)
base=localhost/scp-anon-base
image=localhost/scp-anon-test
options=(--storage-driver vfs)
container=""
node=""

finish() {
    [ -z "$node" ] || kill "$node" 2>/dev/null || true
    [ -z "$container" ] || buildah "${options[@]}" rm "$container" >/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

need() {
    if ! command -v "$1" >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
    fi
}

make_base() {
    local mirror root="$cache/bookworm"
    mirror=$(apt-cache policy | awk '$2 ~ /^https?:/ && $3 ~ /^bookworm\/main/ { print $2; exit }')
    if [ ! -e "$root/.done" ]; then
        rm -rf "$root"
        mkdir -p "$cache"
        debootstrap --variant=minbase \
            --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" "$mirror" >"$work/debootstrap.log"
        touch "$root/.done"
    fi
    local scratch
    scratch=$(buildah "${options[@]}" from scratch)
    buildah "${options[@]}" add --quiet "$scratch" "$root" / >/dev/null
    buildah "${options[@]}" commit --quiet "$scratch" "$base" >/dev/null
    buildah "${options[@]}" rm "$scratch" >/dev/null
}

# pip as it is set up here, mounted for the time of the build only, with the local folders that it names.
pip_volumes() {
    python3 - "$work/pip.conf" <<'PYTHON'
import re, subprocess, sys
from pathlib import Path

listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
settings = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.M))
Path(sys.argv[1]).write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
print("--volume", f"{sys.argv[1]}:/etc/pip.conf:ro")
for value in settings.values():
    for place in value.split():
        path = Path(place.removeprefix("file://"))
        if path.name == "simple":  # an index of files that lie beside it
            path = path.parent
        if path.is_absolute() and path.exists():
            print("--volume", f"{path}:{path}:ro")
PYTHON
}

need buildah
need debootstrap
buildah "${options[@]}" inspect --type image "$base" >/dev/null 2>&1 || make_base

# shellcheck disable=SC2046 # each word is an argument
buildah "${options[@]}" bud --quiet --isolation chroot --network host $(pip_volumes) \
    --build-arg BASE_IMAGE="$base" --tag "$image" . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }

container=$(buildah "${options[@]}" from "$image")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed -e "s/0\.0\.0\.0, port: 11112/127.0.0.1, port: $port/" -e 's/\[research, disk\]/[disk]/' \
    config/node.yaml >"$work/node.yaml"
run=(buildah "${options[@]}" run --isolation chroot --network host
    --volume "$work/node.yaml:/etc/scp-anon/node.yaml:ro" --volume "$PWD/docs:/docs:ro" "$container" --)

"${run[@]}" scp-anon serve -c /etc/scp-anon/node.yaml >"$work/node.log" 2>&1 &
node=$!
for _ in $(seq 100); do
    "${run[@]}" scp-anon echo 127.0.0.1 "$port" >/dev/null 2>&1 && break
    sleep 0.2
done
"${run[@]}" scp-anon echo 127.0.0.1 "$port"
"${run[@]}" scp-anon send 127.0.0.1 "$port" /docs/example.dcm

for _ in $(seq 50); do
    found=$("${run[@]}" find /var/lib/scp-anon/deidentified -name '*.dcm')
    [ -z "$found" ] || break
    sleep 0.2
done
user=$("${run[@]}" id -u)
pid=$(pgrep -f -n "scp-anon serve -c /etc/scp-anon/node.yaml" || true)
owner=$(stat -c %u "/proc/$pid")
[ -n "$found" ] || { echo "FAIL: no de-identified file"; cat "$work/node.log"; exit 1; }
[ "$user" = 10001 ] && [ "$owner" = 10001 ] || { echo "FAIL: runs as $user/$owner"; exit 1; }
if "${run[@]}" grep -rql PHANTOM /var/lib/scp-anon/deidentified 2>/dev/null; then echo "FAIL: a name is in the output"; exit 1; fi
if "${run[@]}" touch /opt/scp-anon/x 2>/dev/null; then echo "FAIL: the node may write to its program"; exit 1; fi
echo "PASS: built, runs as 10001, de-identified $found"
