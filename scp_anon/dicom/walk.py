"""Every element of an encoded data set, whatever it is: by the same pass as all else, with a rule for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from scp_anon.dicom.dictionary import vr_name, vr_of
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Found, Irregular, Rules
from scp_anon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntaxes

SPECIFIC_CHARACTER_SET: Final = 0x00080005
# Float and Double Float Pixel Data, and Pixel Data (PS3.5 8.1.2).
PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


class Wanted:
    """The rule for every element: it is wanted."""

    def __init__(self, descends: bool) -> None:
        self.descends = descends


_FLAT: Final = Wanted(False)
_DEEP: Final = Wanted(True)

FoundElement: TypeAlias = Found[Wanted]


class Leaf(NamedTuple):
    """An element that holds a value, not items: `buffer[start:stop]`.

    `path`: the tags of the sequences that it is in, the outermost first. `vr`: as it is written, or the dictionary's.
    `terms`: the Specific Character Set that holds there, as it is encoded.
    """

    path: tuple[int, ...]
    tag: int
    vr: str
    start: int
    stop: int
    terms: bytes

    @property
    def place(self) -> tuple[int, ...]:
        """The tags that lead to it, its own the last."""
        return (*self.path, self.tag)


class _Every(dict[int, "Wanted | None"]):
    """A rule for every tag: sequences of the dictionary are looked into, and private ones."""

    def get(self, tag: int, default: Any = None, /) -> Any:
        return _DEEP if tag >> 16 & 1 or vr_of(tag) in ("SQ", None) else _FLAT


class _EveryFlat(dict[int, "Wanted | None"]):
    """A rule for every tag of a data set itself."""

    def get(self, tag: int, default: Any = None, /) -> Any:
        return _FLAT


def _rules(every: dict[int, Wanted | None]) -> Rules[Wanted]:
    rules: Rules[Wanted] = Rules({}, (), None, None)
    rules.rules = every
    return rules


_RULES: Final = _rules(_Every())
_FLAT_RULES: Final = _rules(_EveryFlat())


def elements(buffer: Buffer, start: int, stop: int, explicit: bool) -> list[FoundElement]:
    """All elements of the data set at `buffer[start:stop]`, and of the items in it.

    Where items cannot be read, sequences are values like others. Raises Irregular where not even that can be, and
    Undecodable as `scan` does.
    """
    syntax = transfer_syntaxes()[EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN]
    try:
        return scan(buffer, start, stop, syntax, _RULES)
    except Irregular:
        return scan(buffer, start, stop, syntax, _FLAT_RULES)


def leaves(
    found: list[FoundElement], buffer: Buffer, explicit: bool, terms: bytes = b"", path: tuple[int, ...] = ()
) -> Iterator[Leaf]:
    """The elements that hold values, in their order, those of items among them."""
    for _, tag, begin, value, end, sequence in found:
        if sequence is not None:
            for item in sequence.items:
                yield from leaves(item.found, buffer, sequence.explicit, terms, (*path, tag))
            continue
        if tag == SPECIFIC_CHARACTER_SET:
            terms = bytes(buffer[value:end])
        yield Leaf(path, tag, written_vr(buffer, tag, begin, explicit), value, end, terms)


def written_vr(buffer: Buffer, tag: int, begin: int, explicit: bool) -> str:
    """The VR of the element whose header is at `begin`: what is written there, or the dictionary's."""
    vr = vr_name(int.from_bytes(buffer[begin + 4 : begin + 6], "little")) if explicit else "UN"
    return (vr_of(tag) or "UN") if vr in ("UN", "??") else vr
