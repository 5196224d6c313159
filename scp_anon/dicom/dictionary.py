"""The data dictionary (PS3.6) and the value representations (PS3.5 6.2), in the form that the encoding needs.

A tag is an int, group << 16 | element. A VR in encoded form is the int of its two bytes read little endian, so that
one `struct` call reads an element's header; `vr_code` and `vr_name` convert.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom._dicom_dict import DicomDictionary

# Explicit VR: these have a 32-bit length after two reserved bytes, all others a 16-bit length (PS3.5 7.1.2).
LONG_VRS: Final = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS: Final = frozenset("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

# Their values are decoded by Specific Character Set (0008,0005), all others by the default repertoire (PS3.5 6.1.2.3).
CHARACTER_SET_VRS: Final = frozenset("LO LT PN SH ST UC UT".split())

# Writers mix up VRs of one kind (SH for LO, UL for US); between kinds it is something else that was written.
_KINDS: Final = (
    frozenset("AE AS CS DA DS DT IS LO LT SH ST TM UC UI UR UT".split()),
    frozenset("AT FD FL OB OD OF OL OV OW SL SS SV UL US UV".split()),
    frozenset(["PN"]),
    frozenset(["SQ"]),
)

# In Table E.1-1 of 2026d, but newer than the dictionary at hand.
_NEWER: Final = {0x3004007F: "LO"}


def vr_code(vr: str) -> int:
    """The two letters of a VR as the int that an encoded header holds."""
    return int.from_bytes(vr.encode("ascii"), "little")


def vr_name(code: int) -> str:
    """The letters of an encoded VR, or "??" where the two bytes are not letters."""
    raw = code.to_bytes(2, "little")
    return raw.decode("ascii") if raw.isalpha() and raw.isupper() else "??"


def tag_text(tag: int) -> str:
    """A tag as the standard prints it: (gggg,eeee).

    Only one of the dictionary: in a damaged data set any other may be four letters of a name.
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})" if tag in DicomDictionary else "unknown tag"


@cache
def dictionary() -> dict[int, tuple[str, ...]]:
    """Every standard attribute with a fixed tag → the VRs it may have, the preferred one first.

    Repeating groups are not in it, nor are the item and delimitation tags, which have no VR.
    """
    known = {int(tag): tuple(entry[0].split(" or ")) for tag, entry in DicomDictionary.items()}
    known.update({tag: (vr,) for tag, vr in _NEWER.items()})
    return {tag: vrs for tag, vrs in known.items() if vrs != ("NONE",)}


def vr_of(tag: int) -> str | None:
    """The dictionary's VR of a tag (the preferred one of several), or None for an unknown tag."""
    vrs = dictionary().get(tag)
    return vrs[0] if vrs else None


@cache
def is_plausible(tag: int, vr: int) -> bool:
    """Whether an element of the dictionary may have been written with this (encoded) VR: one of its own kind, or UN."""
    name = vr_name(vr)
    return name == "UN" or any(name in kind and not kind.isdisjoint(dictionary()[tag]) for kind in _KINDS)
