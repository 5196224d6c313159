"""The good instance that hostile ones are made of, and how to encode what no library would."""

from __future__ import annotations

import struct
from functools import cache
from typing import Final, Self

from tests import rawpeer, samples, wire

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
JPEG: Final = "1.2.840.10008.1.2.4.50"

UNDEFINED: Final = 0xFFFFFFFF
SOP_INSTANCE_UID: Final = 0x00080018
PATIENT_NAME: Final = 0x00100010
PIXEL_DATA: Final = 0x7FE00010
# Of what the Basic Profile keeps: a sequence, and something behind all that identifies.
SHARED_GROUPS: Final = 0x52009229
END_OF_ITEM: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
END_OF_SEQUENCE: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(tag: int, vr: str | bytes, value: bytes, length: int | None = None) -> bytes:
    """An explicit VR little endian element, with another length than its value's if one is given."""
    code = vr if isinstance(vr, bytes) else vr.encode("ascii")
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, code)
    return head + struct.pack(*("<HI", 0, length) if code.decode("latin-1") in wire.LONG else ("<H", length)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """An implicit VR little endian element."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    """An item of a defined length, its own unless another is given."""
    return implicit(0xFFFEE000, content, length)


def open_item(content: bytes = b"") -> bytes:
    """An item of undefined length."""
    return item(content, UNDEFINED) + END_OF_ITEM


def sequence(tag: int, *items: bytes) -> bytes:
    """A sequence of a defined length."""
    return element(tag, "SQ", b"".join(items))


def open_sequence(tag: int, *items: bytes) -> bytes:
    """A sequence of undefined length."""
    return element(tag, "SQ", b"".join(items) + END_OF_SEQUENCE, UNDEFINED)


class Source:
    """A small CT image full of canaries, as encoded elements by tag; the name tells its SOP Instance UID."""

    def __init__(self, name: str, syntax: str = EXPLICIT) -> None:
        self.name = name
        self.uid = samples.uid(f"hostile {name}")
        self.syntax = syntax
        self.elements = dict(_elements(syntax))
        uid = self.uid.encode() + b"\0" * (len(self.uid) % 2)
        make = implicit(SOP_INSTANCE_UID, uid) if syntax == IMPLICIT else element(SOP_INSTANCE_UID, "UI", uid)
        self.elements[SOP_INSTANCE_UID] = make

    def in_implicit_vr(self) -> Source:
        """The same instance in implicit VR little endian."""
        return Source(self.name, IMPLICIT)

    def put(self, *elements: bytes) -> Self:
        """Put elements in their places, each instead of the one that is there."""
        for encoded in elements:
            group, number = struct.unpack_from("<HH", encoded)
            self.elements[group << 16 | number] = encoded
        return self

    def drop(self, *tags: int) -> Self:
        """Take elements out."""
        for tag in tags:
            del self.elements[tag]
        return self

    def data_set(self, last: int = 0xFFFFFFFF) -> bytes:
        """The data set, up to the element `last`."""
        return b"".join(self.elements[tag] for tag in sorted(self.elements) if tag <= last)

    def file(self, behind: bytes = b"") -> bytes:
        """The DICOM file, with `behind` at its end."""
        return self.with_data_set(self.data_set() + behind)

    def with_data_set(self, data_set: bytes, syntax: str = "") -> bytes:
        """The head of the DICOM file, which is full of canaries too, with another data set."""
        return head(self.uid, syntax or self.syntax) + data_set


def head(uid: str, syntax: str = EXPLICIT, more: bytes = b"", sop_class: str = rawpeer.CT) -> bytes:
    """A preamble and File Meta Information; `more` are elements at the end of it."""
    values = ((0x00020002, sop_class), (0x00020003, uid), (0x00020010, syntax), (0x00020012, "1.2.3.4"))
    meta = element(0x00020001, "OB", b"\0\1")
    for tag, value in values:
        meta += element(tag, "UI", value.encode() + b"\0" * (len(value) % 2))
    meta += element(0x00020016, "AE", b"CANARY^PATIENT") + more
    preamble = b"CANARY^PATIENT in the preamble".ljust(128, b"\0")
    return preamble + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta


@cache
def _elements(syntax: str) -> dict[int, bytes]:
    file = samples.encoded(samples.image(), syntax)
    found = wire.decode(file[samples.data_set_start(file) :], syntax != IMPLICIT)
    return {one.tag: wire.encode((one,)) for one in found}
