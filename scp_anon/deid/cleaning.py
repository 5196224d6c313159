"""Clean Descriptors (PS3.15 E.3.5): text values in their character set, cleaned by `descriptors`.

The instance's own identity is whatever its identifying attributes say, at any depth: names, IDs, dates, institutions,
addresses and phone numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from scp_anon.deid import text
from scp_anon.deid.actions import Action, FoundRule, Unfit
from scp_anon.deid.character_sets import STANDARD, CharacterSets, Terms
from scp_anon.deid.descriptors import OwnIdentity, clean, own_identity
from scp_anon.deid.instance import Scope
from scp_anon.deid.reading import condensed, other_readings, readable
from scp_anon.deid.vocabulary import Vocabulary
from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.finding import Buffer

_CACHED: Final = 1 << 14
_LONGEST_IDENTITY: Final = 1 << 10

NAMES: Final = frozenset(tag for tag, vrs in dictionary().items() if vrs[0] == "PN")
IDS: Final = frozenset(
    (
        *(0x00080050, 0x00100020, 0x00101000, 0x00101090, 0x00120040, 0x00120042, 0x00181000, 0x00200010),
        *(0x00380010, 0x00380060, 0x00400009, 0x00401001, 0x00402016, 0x00402017),
    )
)
DATES: Final = frozenset((0x00100030, 0x00380020, 0x00380030))
PLACES: Final = frozenset(
    (
        *(0x00080080, 0x00080081, 0x00081010, 0x00081040, 0x00101040, 0x00101080, 0x00102150, 0x00102152),
        *(0x00080092, 0x00380300, 0x00380400, 0x00400243, 0x00400242, 0x00321033, 0x00400010, 0x00400011),
    )
)
PHONES: Final = frozenset((0x00102154, 0x00080094, 0x00102155))
IDENTITY: Final = NAMES | IDS | DATES | PLACES | PHONES

# Their backslash is a character, not a separator of values (PS3.5 6.2).
_SINGLE: Final = frozenset(("LT", "ST", "UT"))

Named = tuple[tuple[int, str], ...]


def named(found: list[FoundRule], buffer: Buffer, terms: Terms, sets: CharacterSets = STANDARD) -> Named:
    """What the identifying attributes of a data set, and of the items that were looked into, say.

    `terms`: the character sets of the data set. `sets` reads those of items. Raises Undecodable for unknown ones.
    """
    result: set[tuple[int, str]] = set()
    _gather(found, buffer, terms, sets, result)
    return tuple(sorted(result))


def _gather(
    found: list[FoundRule], buffer: Buffer, terms: Terms, sets: CharacterSets, result: set[tuple[int, str]]
) -> None:
    for _, tag, _, start, stop, sequence in found:
        if tag == 0x00080005:
            terms = sets.terms(bytes(buffer[start:stop]))
        elif tag in IDENTITY and stop > start:
            value = bytes(buffer[start : min(stop, start + _LONGEST_IDENTITY)])
            declared = text.decode(value, terms)
            result.add((tag, declared))
            if not declared.isascii():
                result.update((tag, reading) for reading in other_readings(value))
        if sequence is not None:
            for item in sequence.items:
                _gather(item.found, buffer, terms, sets, result)


class TextCleaner:
    """Cleans text values by one vocabulary. Safe to share between threads; keeps no state but caches."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # A series has the same descriptors in every instance, and the same patient.
        self.own = lru_cache(256)(_own)
        self._cleaned = lru_cache(_CACHED)(self._clean)

    def action(self, vr: str) -> Action:
        """The action for attributes of this VR: unfit where nothing is left."""
        separate = vr not in _SINGLE

        def act(scope: Scope, value: bytes) -> bytes:
            decoded = readable(value, scope.character_sets)
            cleaned = self._cleaned(decoded, scope.instance.own, separate)
            if cleaned == decoded:
                return value
            if not cleaned.strip("\\"):
                raise Unfit
            try:
                return text.encode(cleaned, scope.character_sets)
            except UnicodeError:
                raise Unfit from None

        return act

    def _clean(self, decoded: str, own: OwnIdentity, separate: bool) -> str:
        decoded = condensed(decoded)
        if separate and "\\" in decoded:
            return "\\".join(clean(part, own, self._vocabulary) for part in decoded.split("\\"))
        return clean(decoded, own, self._vocabulary)


def _own(said: Named) -> OwnIdentity:
    return own_identity(
        names=[value for tag, value in said if tag in NAMES],
        ids=[value for tag, value in said if tag in IDS],
        dates=[value for tag, value in said if tag in DATES],
        places=[value for tag, value in said if tag in PLACES],
        phones=[value for tag, value in said if tag in PHONES],
    )
