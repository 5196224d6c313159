"""The data dictionary (PS3.6) and the value representations (PS3.5 6.2), in the form that the encoding needs.

A tag is an int, group << 16 | element. A VR in encoded form is the int of its two bytes read little endian, so that
one `struct` call reads an element's header; `vr_code` and `vr_name` convert.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import add_dict_entries

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

# In Table E.1-1 of 2026d, but newer than the dictionary at hand: tag → VR and keyword.
_NEWER: Final = {
    0x00081301: ("SQ", "PrincipalDiagnosisCodeSequence"),
    0x00081302: ("SQ", "PrimaryDiagnosisCodeSequence"),
    0x00081303: ("SQ", "SecondaryDiagnosesCodeSequence"),
    0x00081304: ("SQ", "HistologicalDiagnosesCodeSequence"),
    0x00100011: ("SQ", "PersonNamesToUseSequence"),
    0x00100012: ("LT", "NameToUse"),
    0x00100013: ("UT", "NameToUseComment"),
    0x00100014: ("SQ", "ThirdPersonPronounsSequence"),
    0x00100015: ("SQ", "PronounCodeSequence"),
    0x00100016: ("UT", "PronounComment"),
    0x00100041: ("SQ", "GenderIdentitySequence"),
    0x00100042: ("UT", "SexParametersForClinicalUseCategoryComment"),
    0x00100043: ("SQ", "SexParametersForClinicalUseCategorySequence"),
    0x00100044: ("SQ", "GenderIdentityCodeSequence"),
    0x00100045: ("UT", "GenderIdentityComment"),
    0x00100046: ("SQ", "SexParametersForClinicalUseCategoryCodeSequence"),
    0x00100047: ("UR", "SexParametersForClinicalUseCategoryReference"),
    0x00102162: ("UC", "EthnicGroups"),
    0x0040A034: ("DT", "EffectiveStartDateTime"),
    0x0040A035: ("DT", "EffectiveStopDateTime"),
    0x0040B034: ("DT", "AnnotationDateTime"),
    0x0040B036: ("DT", "SegmentDefinitionDateTime"),
    0x0040B03B: ("LT", "MontageName"),
    0x0040B03F: ("LO", "MontageChannelLabel"),
    0x0040E012: ("UR", "DisplayURI"),
    0x3004007F: ("LO", "DoseCalculationModelName"),
}
# pydicom reads them as well, where it has to normalise: in implicit VR it would not know a sequence for one.
add_dict_entries(
    {tag: (vr, "1", keyword, "", keyword) for tag, (vr, keyword) in _NEWER.items() if tag not in DicomDictionary}
)


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
    return {tag: vrs for tag, vrs in known.items() if vrs != ("NONE",)}


@cache
def repeating() -> dict[int, tuple[str, ...]]:
    """Every attribute of curves (groups 5000 to 501E) and overlays (6000 to 601E) → the VRs it may have (PS3.5 7.6)."""
    return {
        int(mask.replace("xx", f"{number:02X}"), 16): tuple(entry[0].split(" or "))
        for mask, entry in RepeatersDictionary.items()
        if mask.startswith(("50xx", "60xx"))
        for number in range(0, 0x20, 2)
    }


@cache
def attributes() -> dict[int, tuple[str, ...]]:
    """Every attribute that PS3.6 names, those of repeating groups among them → the VRs it may have."""
    return {**dictionary(), **repeating()}


@cache
def keywords() -> dict[str, frozenset[int]]:
    """Keyword → its tags: one, or all of them in repeating groups."""
    known = {entry[4]: frozenset((int(tag),)) for tag, entry in DicomDictionary.items() if entry[4]}
    for mask, entry in RepeatersDictionary.items():
        if mask.startswith(("50xx", "60xx")):
            numbers = (f"{number:02X}" for number in range(0, 0x20, 2))
            known[entry[4]] = frozenset(int(mask.replace("xx", number), 16) for number in numbers)
    return {keyword: tags for keyword, tags in known.items() if tags <= attributes().keys()}


def keyword_of(tag: int) -> str:
    """The keyword of a tag, or the tag as it is printed where it has none."""
    if tag in DicomDictionary:
        return DicomDictionary[tag][4] or tag_text(tag)
    entry = RepeatersDictionary.get(f"{tag >> 24:02X}xx{tag & 0xFFFF:04X}")
    return entry[4] if entry else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def vr_of(tag: int) -> str | None:
    """The dictionary's VR of a tag (the preferred one of several), or None for an unknown tag."""
    vrs = attributes().get(tag)
    return vrs[0] if vrs else None


@cache
def is_plausible(tag: int, vr: int) -> bool:
    """Whether an element of the dictionary may have been written with this (encoded) VR: one of its own kind, or UN.

    Of others, private ones, the dictionary says nothing.
    """
    name, vrs = vr_name(vr), attributes().get(tag)
    return name == "UN" or vrs is None or any(name in kind and not kind.isdisjoint(vrs) for kind in _KINDS)
