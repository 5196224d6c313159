"""Hypothesis strategies for encoded instances, as trees of `tests/wire.py`: what is valid, and what is merely readable.

Attributes with a rule hold canaries, attributes without one hold anything else; known sequences and values also come
as UN, lengths are of either form, private blocks hold sequences, and there is junk that no data set should have.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from scp_anon.dicom.dictionary import dictionary
from tests.oracle import (
    METHOD,
    METHOD_CODES,
    PATIENT_ID,
    PATIENT_NAME,
    PRIVATE_DECLARATIONS,
    SPECIFIC_CHARACTER_SET,
    basic_profile,
)
from tests.samples import CANARY
from tests.wire import IMPLICIT, Element, Elements, Item

UID_CANARY: Final = b"2.999."
SOP_CLASS: Final = b"1.2.840.10008.5.1.4.1.1.2\0"

# Group 0002 right behind File Meta Information is part of it for whoever does not rely on its length.
RULED: Final = sorted(tag for tag in basic_profile() if tag >> 16 != 2)
_HANDLED: Final = {SPECIFIC_CHARACTER_SET, 0x00080001, 0x00080016, 0x7FE00010}
KEPT: Final = sorted(
    tag
    for tag in dictionary()
    if tag >> 16 >= 8 and tag not in basic_profile() and tag not in _HANDLED and tag != PRIVATE_DECLARATIONS
)
_KEPT_SEQUENCES: Final = [tag for tag in KEPT if dictionary()[tag][0] == "SQ"]
_OFTEN: Final = [PATIENT_ID, PATIENT_NAME, 0x00120062, METHOD, METHOD_CODES, 0x00280303]
_JUNK: Final = [
    *(0x00000900, 0x00001000, 0x00041500, 0x00060001),  # groups of commands, directories, real-time streams
    *(0x00080000, 0x00080001, 0x00100000, 0x00180000, 0x7FE00000),  # group lengths, length to end
    *(0x00080002, 0x00104444, 0x77700010, 0x7FE00099, 0xFFFA0001),  # in no dictionary
    *(0x50000010, 0x50003000, 0x50123000, 0x60000010, 0x60003000, 0x60004000, 0x601E0022),  # curves, overlays
    *(group | number for group in (0x90000, 0x290000, 0x410000) for number in (0x10, 0x11, 0x1001, 0x10FF, 0x1110)),
]
_WORD: Final = {
    **dict.fromkeys(("OB", "UN"), 1),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("OW", "SS", "US"), 2),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_UIDS: Final = [
    b"2.999.1",
    b"2.999.1.22",
    b"2.999.6 ",
    b"2.999.333\\2.999.4444",
    b"2.999.5\\",
    b"1.2.840.10008.1.2",
    b"1.2.840.10008.1.1\\2.999.7",
    b"\\\\",
    b"",
]
_TEXTS: Final = [text.encode() for text in (CANARY, f"{CANARY}^ONE", f"{CANARY}\\{CANARY} 2", "")]


def padded(vr: str, value: bytes) -> bytes:
    """A value of even length."""
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)


@st.composite
def values(draw: st.DrawFn, vr: str, canary: bool) -> bytes:
    """Values of a VR, with a canary or surely without."""
    if vr == "UI":
        return padded(vr, draw(st.sampled_from(_UIDS)) if canary else b"1.2.3")
    if vr in _WORD:
        size = _WORD[vr] * draw(st.integers(0, 3))
        value = draw(st.binary(min_size=size, max_size=size)).replace(UID_CANARY[:5], b"-----")
        return padded(vr, CANARY.encode() + value if canary and vr in ("OB", "UN") else value)
    if canary:
        return padded(vr, draw(st.sampled_from(_TEXTS)))
    text = draw(st.text(st.characters(codec="latin-1"), max_size=20)).encode("latin-1")
    return padded(vr, text.replace(CANARY.encode(), b"").replace(UID_CANARY, b""))


@st.composite
def standard(draw: st.DrawFn, tag: int, explicit: bool, depth: int) -> Element:
    """An element of the dictionary, now and then as UN, which is implicit VR inside (PS3.5 6.2.2)."""
    vr = dictionary().get(tag, ("LO",))[0]  # some rows are newer than the dictionary
    un = explicit and draw(st.integers(0, 7)) == 0
    written = ("UN" if un else vr) if explicit else IMPLICIT
    if vr == "SQ":
        inside = draw(items(explicit and not un, depth)) if depth else ()
        return Element(tag, written, inside, draw(st.booleans()))
    # Methods of an earlier de-identification are kept, so that it is they who must hold no canary.
    return Element(tag, written, draw(values(vr, tag in basic_profile() and tag != METHOD)))


@st.composite
def junk(draw: st.DrawFn, explicit: bool, depth: int) -> Element:
    """An element that must not be in the result, whatever its VR: private, retired, unknown, out of place."""
    tag = draw(st.sampled_from(_JUNK))
    vr = draw(st.sampled_from(["LO", "UN", "OB", "UT", "DS", "US", "SQ", "SQ"]))
    if vr == "SQ" and depth:
        un = explicit and draw(st.booleans())
        undefined = un or not explicit or draw(st.booleans())  # in no dictionary: else these are just bytes
        written = ("UN" if un else "SQ") if explicit else IMPLICIT
        return Element(tag, written, draw(items(explicit and not un, depth)), undefined)
    return Element(tag, ("LO" if vr == "SQ" else vr) if explicit else IMPLICIT, padded(vr, CANARY.encode() + b" junk"))


@st.composite
def items(draw: st.DrawFn, explicit: bool, depth: int) -> tuple[Item, ...]:
    """The items of a sequence."""
    return tuple(Item(draw(elements(explicit, depth - 1)), draw(st.booleans())) for _ in range(draw(st.integers(0, 2))))


def elements(explicit: bool, depth: int) -> st.SearchStrategy[Elements]:
    """Data sets, with sequences nested up to `depth` deep."""
    tags = st.one_of([st.sampled_from(pool) for pool in (RULED, KEPT, _OFTEN, _KEPT_SEQUENCES if depth else KEPT)])
    one = st.one_of(tags.flatmap(lambda tag: standard(tag, explicit, depth)), junk(explicit, depth))
    return st.lists(one, max_size=7).map(in_order)


def in_order(found: list[Element]) -> Elements:
    """The elements in the order of their tags, the last one of each."""
    by_tag = {element.tag: element for element in found}
    return tuple(by_tag[tag] for tag in sorted(by_tag))


@st.composite
def instances(draw: st.DrawFn, explicit: bool) -> Elements:
    """Instances: data sets with the UIDs that everything hangs on."""
    vr = "UI" if explicit else IMPLICIT
    uids = [Element(0x00080016, vr, SOP_CLASS), Element(0x00080018, vr, UID_CANARY + b"1\0")]
    return in_order([*draw(elements(explicit, 3)), *uids])
