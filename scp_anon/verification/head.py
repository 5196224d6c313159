"""What is before the data set of a result: preamble and File Meta Information, of which we write little.

A preamble may be anything, and File Meta Information may name those that have sent and received the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.part10 import read_group_two

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
# What every file has, and the name of the implementation that has written it.
_WANTED: Final = frozenset((0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13))
_SAME: Final = {0x02: SOP_CLASS_UID, 0x03: SOP_INSTANCE_UID}
_PREAMBLE: Final = 128
_GROUP_LENGTH: Final = 12  # bytes of the element


def faults(buffer: Buffer, uids: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """What is there that we do not write, and what is not what the data set says: kind, and where.

    `uids`: those of the data set, by tag. Raises Undecodable.
    """
    values, start, end = read_group_two(buffer)
    if not start:
        yield "inconsistent", "no preamble and prefix"
    elif bytes(buffer[:_PREAMBLE]).strip(b"\0"):
        yield "present", "preamble"
    yield from (("present", f"(0002,{element:04X})") for element in values if element not in _WANTED)
    length = values.get(0)
    if length is not None and int.from_bytes(length, "little") != end - start - _GROUP_LENGTH:
        yield "inconsistent", "(0002,0000)"
    for element, tag in _SAME.items():
        if values.get(element, b"").strip(b" \0").decode("latin-1") != uids.get(tag, ""):
            yield "inconsistent", f"(0002,{element:04X})"
