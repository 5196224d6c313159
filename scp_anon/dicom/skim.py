"""Where the long values of pixel data are in a DICOM file that is not in memory, by its headers alone.

What a file of any size costs to be de-identified is its headers; this tells which parts of it need not be fetched. It
is no second parser: what it does not see through it says nothing of, and that is then fetched as well. It must not see
what the strict pass sees as something else, as that pass would then rule on a value that it has not got: so it gives up
where the encoding changes (UN of undefined length, whose items are implicit VR), and at every VR that there is not.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import error as StructError
from typing import Final, TypeAlias

from scp_anon.dicom.dictionary import LONG_VRS, SHORT_VRS
from scp_anon.dicom.encoding import ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION, UNDEFINED_LENGTH
from scp_anon.dicom.part10 import META_LIMIT, read_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from scp_anon.errors import Undecodable

# Bytes from one position of a file to another.
Read: TypeAlias = Callable[[int, int], bytes]

# Float and Double Float Pixel Data, and Pixel Data (PS3.5 8.1.2).
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
# Shorter ones are not worth it, and are not copied by the kernel either.
LONG_VALUE: Final = 1 << 20
# Of a long value in fragments: shorter ones have a page of memory or two in common with their headers.
LONG_FRAGMENT: Final = 1 << 13
_LONG: Final = frozenset(vr.encode("ascii") for vr in LONG_VRS)
_SHORT: Final = frozenset(vr.encode("ascii") for vr in SHORT_VRS)
_DEPTH: Final = 64


def long_values(read: Read, size: int) -> list[tuple[int, int]]:
    """The ranges of a DICOM file of this size that hold nothing but pixels, in rising order."""
    try:
        meta, start = read_file_meta(read(0, META_LIMIT))
        syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
        if syntax.deflated or not syntax.little_endian:
            return []
        skim = _Skim(read, size, not syntax.implicit_vr)
        skim.data_set(start, size, 0)
    except (Undecodable, KeyError, StructError, _NotSeenThrough):
        return []
    return skim.found


class _NotSeenThrough(Exception):
    """The file is not quite as the standard has it."""


class _Skim:
    def __init__(self, read: Read, size: int, explicit: bool) -> None:
        self._read, self._size, self._explicit = read, size, explicit
        self.found: list[tuple[int, int]] = []

    def data_set(self, pos: int, stop: int, depth: int) -> int:
        """Go through the elements of a data set; returns where it ends."""
        if depth > _DEPTH:
            raise _NotSeenThrough
        while pos < stop:
            tag, value, length = self._header(pos)
            if tag == ITEM_DELIMITATION:
                return value
            if length == UNDEFINED_LENGTH:
                pos = self._items(value, tag in _PIXELS, depth)
            else:
                if tag in _PIXELS and length >= LONG_VALUE:
                    self.found.append((value, value + length))
                pos = value + length
            if pos > self._size:
                raise _NotSeenThrough
        return pos

    def _items(self, pos: int, are_fragments: bool, depth: int) -> int:
        """Go through items or fragments up to the delimitation; returns where that ends."""
        begin = pos
        fragments: list[tuple[int, int]] = []
        while True:
            head = self._read(pos, pos + 8)
            tag, length = _tag(head), int.from_bytes(head[4:8], "little")
            pos += 8
            if tag == SEQUENCE_DELIMITATION:
                if pos - begin >= LONG_VALUE:
                    self.found += fragments
                return pos
            if tag != ITEM or pos > self._size:
                raise _NotSeenThrough
            if length == UNDEFINED_LENGTH:
                if are_fragments:
                    raise _NotSeenThrough
                pos = self.data_set(pos, self._size, depth + 1)
                continue
            if are_fragments and length >= LONG_FRAGMENT:
                fragments.append((pos, pos + length))
            pos += length

    def _header(self, pos: int) -> tuple[int, int, int]:
        """Tag, where its value begins, and its length."""
        head = self._read(pos, pos + 12)
        if len(head) < 8:
            raise _NotSeenThrough
        tag = _tag(head)
        if not self._explicit or tag >> 16 == 0xFFFE:
            return tag, pos + 8, int.from_bytes(head[4:8], "little")
        if head[4:6] in _LONG:
            length = int.from_bytes(head[8:12], "little")
            if head[4:6] == b"UN" and length == UNDEFINED_LENGTH:
                raise _NotSeenThrough
            return tag, pos + 12, length
        if head[4:6] not in _SHORT:
            raise _NotSeenThrough
        return tag, pos + 8, int.from_bytes(head[6:8], "little")


def _tag(head: bytes) -> int:
    return int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")
