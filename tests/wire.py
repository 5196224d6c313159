"""Encoded data sets as trees of elements, written and read by the letter of PS3.5 chapter 7 and nothing else.

A second, independent codec for the tests: slow, strict and to the byte. It can write what pydicom would not (any VR
under any tag, any length form at any depth), and what it reads it accounts for byte by byte, so that "only this
changed" can be said of VRs, padding and the form of lengths too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from scp_anon.dicom.dictionary import vr_of

LONG: Final = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT: Final = frozenset("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_WORD: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
UNDEFINED: Final = 0xFFFFFFFF
IMPLICIT: Final = ""


@dataclass(frozen=True)
class Item:
    """One item of a sequence; `undefined` is the form of its length."""

    elements: Elements
    undefined: bool = False


@dataclass(frozen=True)
class Element:
    """One element. `vr` is empty in implicit VR; a value is raw bytes, padding included, or the items of a sequence.

    An OB or OW of undefined length is encapsulated: its value is the items as they are, without the delimitation.
    """

    tag: int
    vr: str
    value: bytes | tuple[Item, ...]
    undefined: bool = False


Elements: TypeAlias = tuple[Element, ...]


def encode(elements: Elements) -> bytes:
    """The data set of these elements, little endian, each as its own `vr` says."""
    return b"".join(map(_encode_element, elements))


def _encode_element(element: Element) -> bytes:
    value = element.value
    content = value if isinstance(value, bytes) else b"".join(map(_encode_item, value))
    length = UNDEFINED if element.undefined else len(content)
    if element.undefined:
        content += _header(0xFFFEE0DD, 0)
    if element.vr == IMPLICIT:
        return _header(element.tag, length) + content
    head = struct.pack("<HH2s", element.tag >> 16, element.tag & 0xFFFF, element.vr.encode("ascii"))
    return head + struct.pack(*(("<HI", 0, length) if element.vr in LONG else ("<H", length))) + content


def _encode_item(item: Item) -> bytes:
    content = encode(item.elements)
    if item.undefined:
        return _header(0xFFFEE000, UNDEFINED) + content + _header(0xFFFEE00D, 0)
    return _header(0xFFFEE000, len(content)) + content


def _header(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def decode(data: bytes, explicit: bool, order: str = "<") -> Elements:
    """The elements of an encoded data set. Raises ValueError for every byte that is not as the standard has it.

    `order` is struct's sign for the byte order; values come little endian whatever it is.
    """
    elements, end = _Reader(data, order).data_set(0, len(data), explicit, delimited=False)
    if end != len(data):
        raise ValueError("bytes behind the data set")
    return elements


class _Reader:
    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order

    def _take(self, form: str, pos: int, end: int) -> tuple[int, ...]:
        form = self._order + form
        if pos + struct.calcsize(form) > end:
            raise ValueError(f"header cut off at {pos}")
        return struct.unpack_from(form, self._data, pos)

    def data_set(self, pos: int, end: int, explicit: bool, delimited: bool) -> tuple[Elements, int]:
        elements: list[Element] = []
        while pos < end:
            group, number, length = self._take("HHI", pos, end)
            tag = group << 16 | number
            if delimited and tag == 0xFFFEE00D:
                if length:
                    raise ValueError("item delimitation with a length")
                return tuple(elements), pos + 8
            if elements and tag <= elements[-1].tag:
                raise ValueError(f"{tag:08X} is out of order")
            element, pos = self._element(tag, pos, end, explicit)
            elements.append(element)
        if delimited:
            raise ValueError("item without delimitation")
        return tuple(elements), pos

    def _element(self, tag: int, pos: int, end: int, explicit: bool) -> tuple[Element, int]:
        vr = IMPLICIT
        if explicit:
            vr = self._data[pos + 4 : pos + 6].decode("ascii")
            if vr not in LONG | SHORT:
                raise ValueError(f"{tag:08X} has no VR")
        if vr in LONG:
            reserved, length = self._take("HI", pos + 6, end)
            pos += 12
            if reserved:
                raise ValueError(f"{tag:08X}: reserved bytes")
        else:
            (length,) = self._take("H" if explicit else "I", pos + (6 if explicit else 4), end)
            pos += 8
        undefined = length == UNDEFINED and (vr in LONG or vr == IMPLICIT)
        if not undefined and pos + length > end:
            raise ValueError(f"{tag:08X} is cut off")
        if undefined and vr in ("OB", "OW"):
            stop = self._fragments(pos, end)
            return Element(tag, vr, self._data[pos : stop - 8], True), stop
        opaque = vr in (IMPLICIT, "UN")
        if vr != "SQ" and not (opaque and (undefined or vr_of(tag) == "SQ")):
            return Element(tag, vr, self._little(vr, self._data[pos : pos + length])), pos + length
        items, stop = self._items(pos, end if undefined else pos + length, vr == "SQ", undefined)
        return Element(tag, vr, items, undefined), stop

    def _little(self, vr: str, value: bytes) -> bytes:
        """A value with the bytes of its words in little endian order (PS3.5 7.3)."""
        size = _WORD.get(vr, 1)
        if self._order == "<" or size == 1:
            return value
        return b"".join(value[i : i + size][::-1] for i in range(0, len(value), size))

    def _items(self, pos: int, end: int, explicit: bool, undefined: bool) -> tuple[tuple[Item, ...], int]:
        items: list[Item] = []
        while pos < end:
            group, number, length = self._take("HHI", pos, end)
            tag = group << 16 | number
            pos += 8
            if undefined and tag == 0xFFFEE0DD and not length:
                return tuple(items), pos
            if tag != 0xFFFEE000:
                raise ValueError(f"{tag:08X} in place of an item")
            open_end = length == UNDEFINED
            stop = end if open_end else pos + length
            if stop > end:
                raise ValueError("item is cut off")
            elements, pos = self.data_set(pos, stop, explicit, delimited=open_end)
            if not open_end and pos != stop:
                raise ValueError("item of another length")
            items.append(Item(elements, open_end))
        if undefined or pos != end:
            raise ValueError("sequence of another length")
        return tuple(items), pos

    def _fragments(self, pos: int, end: int) -> int:
        while True:
            group, number, length = self._take("HHI", pos, end)
            pos += 8
            if (group, number, length) == (0xFFFE, 0xE0DD, 0):
                return pos
            if (group, number) != (0xFFFE, 0xE000) or pos + length > end:
                raise ValueError("fragment is cut off")
            pos += length
