"""The DICOM file format: preamble, prefix and File Meta Information (PS3.10 chapter 7)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from scp_anon.dicom.dictionary import LONG_VRS
from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from scp_anon.errors import Reason, Undecodable

# Ours, from a UUID as PS3.5 B.2 allows; the name has at most 16 characters.
IMPLEMENTATION_CLASS_UID: Final = "2.25.286104310951727394713285104732915104871"
IMPLEMENTATION_VERSION_NAME: Final = "SCP-ANON_0_1"

# Enough of a file to hold any sane File Meta Information.
META_LIMIT: Final = 65536

_HEAD: Final = b"\x00" * 128 + b"DICM"
_short_header = Struct("<HH2sH").pack
_group_length = Struct("<HH2sHI").pack
_header = Struct("<HH2sH").unpack_from
_long_length = Struct("<I").unpack_from
_LONG: Final = frozenset(vr.encode("ascii") for vr in LONG_VRS)


class FileMeta(NamedTuple):
    """What File Meta Information says that matters: all else of it is written anew, never passed on."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def encode_file_meta(meta: FileMeta) -> bytes:
    """A zero preamble, the prefix and our own File Meta Information, up to where the data set begins."""
    before, after = _around_instance(meta.sop_class_uid, meta.transfer_syntax_uid)
    instance = _ui(3, meta.sop_instance_uid)
    length = len(before) + len(instance) + len(after)
    return _HEAD + _group_length(2, 0, b"UL", 4, length) + before + instance + after


@lru_cache(1024)
def _around_instance(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """The elements before SOP Instance UID, and those behind it: the same for all of a series."""
    name = IMPLEMENTATION_VERSION_NAME.encode("ascii")
    before = Struct("<HH2sHIH").pack(2, 1, b"OB", 0, 2, 0x0100) + _ui(2, sop_class_uid)
    after = _ui(0x10, transfer_syntax_uid) + _ui(0x12, IMPLEMENTATION_CLASS_UID)
    return before, after + _short_header(2, 0x13, b"SH", len(name)) + name


def _ui(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _short_header(2, element, b"UI", len(value)) + value


def read_file_meta(buffer: Buffer) -> tuple[FileMeta, int]:
    """Read the File Meta Information at the head of a file; returns it and where the data set begins.

    A file without preamble and prefix is read if it starts with File Meta Information or with a data set. A transfer
    syntax that is not given is told from the data set's first element; other UIDs that are missing are empty.

    Raises `Undecodable`: EMPTY, NOT_DICOM, or TRUNCATED.
    """
    if not len(buffer):
        raise Undecodable(Reason.EMPTY)
    values, _, end = read_group_two(buffer)
    uids = (values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace") for element in (2, 3, 0x10))
    meta = FileMeta(*uids)
    if not meta.transfer_syntax_uid:
        meta = meta._replace(transfer_syntax_uid=_guessed_transfer_syntax(buffer, end))
    return meta, end


def read_group_two(buffer: Buffer) -> tuple[dict[int, bytes], int, int]:
    """The elements of File Meta Information by their element numbers, where they begin (0: no prefix), and end.

    Raises `Undecodable`: NOT_DICOM, or TRUNCATED.
    """
    start = 132 if bytes(buffer[128:132]) == b"DICM" else 0
    try:
        values, end = _group_two(buffer, start)
    except StructError:
        raise Undecodable(Reason.TRUNCATED if start else Reason.NOT_DICOM, "file meta information") from None
    return values, start, end


def _group_two(buffer: Buffer, pos: int) -> tuple[dict[int, bytes], int]:
    """The elements of group 0002 from `pos` on, and where they end; its group length is not relied on."""
    values: dict[int, bytes] = {}
    while pos < min(len(buffer), META_LIMIT):
        group, element, vr, length = _header(buffer, pos)
        if group != 2:
            break
        pos += 8
        if vr in _LONG:
            (length,) = _long_length(buffer, pos)
            pos += 4
        if pos + length > len(buffer):
            raise StructError
        values[element] = bytes(buffer[pos : pos + length])
        pos += length
    return values, pos


def _guessed_transfer_syntax(buffer: Buffer, pos: int) -> str:
    """The transfer syntax of a data set that File Meta Information says nothing of, by its first element's header."""
    try:
        group, element, vr, _ = _header(buffer, pos)
        (length,) = _long_length(buffer, pos + 4)
    except StructError:
        raise Undecodable(Reason.NOT_DICOM) from None
    if group == 8 and element < 0x100:
        if vr.isalpha() and vr.isupper():
            return EXPLICIT_VR_LITTLE_ENDIAN
        if length <= len(buffer) - pos:
            return IMPLICIT_VR_LITTLE_ENDIAN
    raise Undecodable(Reason.NOT_DICOM)
