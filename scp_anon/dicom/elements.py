"""Encoding single elements, little endian, explicit or implicit VR (PS3.5 7.1): what we put into data sets."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

from scp_anon.dicom.dictionary import LONG_VRS
from scp_anon.errors import Reason, Undecodable

# An item is a data set: (tag, VR, value) in the order of the tags. A value is encoded bytes, or a sequence's items.
DataSet: TypeAlias = "tuple[tuple[int, str, Value], ...]"
Items: TypeAlias = "tuple[DataSet, ...]"
Value: TypeAlias = "bytes | Items"

_short_header = Struct("<HH2sH").pack
_long_header = Struct("<HH2sHI").pack
_implicit_header = Struct("<HHI").pack
_item_header = Struct("<HHI").pack
_NUL_PADDED: Final = frozenset(("UI", "OB", "UN"))
_SHORT_LIMIT: Final = 0x10000


def encode_element(tag: int, vr: str, value: Value, explicit: bool) -> bytes:
    """Encode one element: bytes are padded to an even length as the VR has it, items become a sequence (PS3.5 7).

    Raises Undecodable for a value that is too long for a VR with a 16-bit length.
    """
    if isinstance(value, tuple):
        value = _encode_items(value, explicit)
    elif len(value) % 2:
        value += padding(vr)
    return encode_header(tag, vr, len(value), explicit) + value


def encode_header(tag: int, vr: str, length: int, explicit: bool) -> bytes:
    """Encode the header of an element whose value has this length. Raises as `encode_element`."""
    group, element = tag >> 16, tag & 0xFFFF
    if not explicit:
        return _implicit_header(group, element, length)
    if vr in LONG_VRS:
        return _long_header(group, element, vr.encode("ascii"), 0, length)
    if length >= _SHORT_LIMIT:
        raise Undecodable(Reason.MALFORMED, "value too long for its VR")
    return _short_header(group, element, vr.encode("ascii"), length)


def padding(vr: str) -> bytes:
    """What makes the length of a value even (PS3.5 6.2)."""
    return b"\0" if vr in _NUL_PADDED else b" "


@lru_cache(1024)
def _encode_items(items: Items, explicit: bool) -> bytes:
    # Those that we write are few, and the same for most instances.
    return b"".join(encode_item(item, explicit) for item in items)


def encode_item(item: DataSet, explicit: bool) -> bytes:
    """Encode one item of defined length."""
    content = b"".join(encode_element(tag, vr, value, explicit) for tag, vr, value in item)
    return _item_header(0xFFFE, 0xE000, len(content)) + content
