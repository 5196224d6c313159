"""A DICOM file of anybody as pydicom's data set, after our own pass has read it and found every byte accounted for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread

from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Irregular, Rules
from scp_anon.dicom.normalise import inflate, normalise
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import TransferSyntax, transfer_syntaxes
from scp_anon.dicom.values import read_values
from scp_anon.errors import Reason, Undecodable
from scp_anon.filesystem import opened

# Longer values stay in the file until somebody asks for them.
_DEFERRED: Final = 1 << 20


class _Descend:
    """The one rule of the pass here: sequences are looked into."""

    descends = True


@cache
def _nothing() -> Rules[_Descend]:
    return Rules({}, dictionary().keys(), None, _Descend())


def read_whole(path: Path) -> Dataset:
    """The data set of a file, with File Meta Information; what it holds may still be no value of its VR.

    pydicom alone would inflate without a bound, and leave out in silence what it cannot read. Raises Undecodable,
    OSError.
    """
    with opened(path) as (buffer, _):
        deflated = _check(buffer)
    try:
        return dcmread(path, force=True, defer_size=None if deflated else _DEFERRED)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # pydicom raises whatever its parts do, with values in the text: only the type is told.
        raise Undecodable(Reason.MALFORMED, type(error).__name__) from None


def read_head(path: Path, tags: frozenset[int]) -> dict[int, bytes]:
    """The raw values of some attributes of the top level of a file, read as far as the last of them, if it can be.

    Raises Undecodable, OSError.
    """
    with opened(path) as (buffer, _):
        start, syntax = _start(buffer)
        if syntax.deflated:
            buffer, start = inflate(memoryview(buffer)[start:]), 0
        try:
            if syntax.little_endian:
                return read_values(buffer, start, len(buffer), syntax, tags)
        except Irregular:
            pass  # it takes the longer way
        buffer, syntax = normalise(memoryview(buffer)[start:], syntax)
        try:
            return read_values(buffer, 0, len(buffer), syntax, tags)
        except Irregular as irregular:
            raise irregular.as_undecodable() from None


def _start(buffer: Buffer) -> tuple[int, TransferSyntax]:
    meta, start = read_file_meta(buffer)
    try:
        return start, transfer_syntaxes()[meta.transfer_syntax_uid]
    except KeyError:
        raise Undecodable(Reason.UNKNOWN_TRANSFER_SYNTAX) from None


def _check(buffer: Buffer) -> bool:
    """Read a file by the strict pass, or normalised; returns whether its data set is deflated. Raises Undecodable."""
    start, syntax = _start(buffer)
    if syntax.deflated:
        buffer, start = inflate(memoryview(buffer)[start:]), 0
    try:
        if not syntax.little_endian or (len(buffer) - start) % 2:
            raise Irregular(Reason.MALFORMED)
        scan(buffer, start, len(buffer), syntax, _nothing())
    except Irregular:
        normalise(memoryview(buffer)[start:], syntax)
    return syntax.deflated
