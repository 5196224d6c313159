"""Other forms that a value may have in a text or binary value: encoded, compressed, or a date as people write it."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode
from binascii import unhexlify
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{7,}")
_HEXADECIMAL: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}){6,}")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
# How what is compressed begins (RFC 1952, RFC 1950 with a window of 32 KiB).
_COMPRESSED: Final = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_TRIES: Final = 256
_LONGEST: Final = 4 << 20
_ANY_HEADER: Final = 47  # for zlib: that of gzip or its own

_WRITTEN: Final = re.compile(rb"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})")
_ENGLISH: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# With those of German and of Scandinavian languages, where they are others.
_MONTHS: Final = {
    **{name: number for number, name in enumerate(_ENGLISH, 1)},
    "mrz": 3,
    "mai": 5,
    "maj": 5,
    "okt": 10,
    "des": 12,
    "dez": 12,
}
_BEFORE: Final = 5  # bytes of a date before the name of its month, and those that may be behind
_BEHIND: Final = 12
_NAMES: Final = b"|".join(name.encode("ascii") for name in _MONTHS)
_NEAR: Final = re.compile(rb"(?:" + _NAMES + rb")[a-z]{0,6}[ .,-]{0,2}[0-9]")
_SPELT: Final = re.compile(
    rb"(?<![a-z0-9])(?:(\d{1,2})[ .,-]{0,2}(" + _NAMES + rb")[a-z]{0,6}|(" + _NAMES + rb")[a-z]{0,6}[ .]{1,2}(\d{1,2}))"
    rb"[ .,-]{0,2}(\d{4})(?![0-9])"
)


def decoded(content: bytes) -> Iterator[bytes]:
    """What runs of letters and digits say if they are base64 or hexadecimal; of most of them that is nothing."""
    for run in set(_BASE64.findall(content)):
        yield from (unhexlify(digits) for digits in _HEXADECIMAL.findall(run))
        # Base64 has letters of both cases, but by a rare chance.
        if not (run.islower() or run.isupper() or run.isdigit()):
            whole = run[:-1] if len(run) % 4 == 1 else run
            yield b64decode(whole.translate(_URL_SAFE) + b"=" * (-len(whole) % 4))


def inflated(content: bytes) -> Iterator[bytes]:
    """What is in the content by gzip or zlib, up to some megabytes of all."""
    left = _LONGEST
    for begin in islice(_COMPRESSED.finditer(content), _TRIES):
        with suppress(zlib.error):  # it only looks so
            found = zlib.decompressobj(_ANY_HEADER).decompress(memoryview(content)[begin.start() :], left)
            yield found
            left -= len(found)
        if left <= 0:
            return


def joined(token: bytes) -> tuple[bytes, ...]:
    """A number that is written in groups, without what is between them; with points it may be anything."""
    return () if b"." in token or token.isdigit() else (re.sub(rb"[/-]", b"", token),)


def written_dates(token: bytes) -> Iterator[bytes]:
    """The dates, as DICOM has them, that a token of numbers with points, dashes or slashes may be."""
    match = _WRITTEN.fullmatch(token.strip(b"./-"))
    if match is None:
        return
    first, second, third = match.groups()
    if len(first) == 4:
        yield _date(first, second, third)
    elif len(third) == 4:
        yield _date(third, second, first)
        yield _date(third, first, second)
    elif len(first) == len(second) == len(third) == 2:
        for century in (b"19", b"20"):
            yield _date(century + third, second, first)
            yield _date(century + third, first, second)
            yield _date(century + first, second, third)


def spelt_dates(lower: bytes) -> Iterator[bytes]:
    """The dates whose month is a word, in a text in lower case: 17 Apr 1953, April 17, 1953, 17-APR-1953."""
    for near in _NEAR.finditer(lower):
        window = lower[max(near.start() - _BEFORE, 0) : near.end() + _BEHIND]
        for day, month, other_month, other_day, year in _SPELT.findall(window):
            number = _MONTHS[(month or other_month).decode("ascii")]
            yield _date(year, b"%d" % number, day or other_day)


def _date(year: bytes, month: bytes, day: bytes) -> bytes:
    return year + month.zfill(2) + day.zfill(2)
