"""The terms of Specific Character Set (0008,0005): those of PS3.3 C.12.1.1.2, and what senders write instead.

A misspelt term is read by a fixed table, never by likeness: its letters and digits alone (`ISO-IR 100` is ISOIR100)
must be one of the entries. A profile adds its own terms, and says which set holds where none is declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from pydicom.charset import python_encoding

from scp_anon.errors import Reason, Undecodable

Terms: TypeAlias = tuple[str, ...]

# Not yet in pydicom: Latin alphabet No. 9, whose escape sequence is ESC - b.
LATIN_9: Final = {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
CODECS: Final[Mapping[str, str]] = {**python_encoding, **LATIN_9}
"""Term → Python codec."""
STAND_ALONE: Final = frozenset(("ISO_IR 192", "GB18030", "GBK", "ISO 2022 GBK"))
"""Sets that no escape sequence can be combined with."""

# Parts of ISO/IEC 8859 → registration number.
_PARTS: Final = {1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203}
_LATIN: Final = {1: 100, 2: 101, 3: 109, 4: 110, 5: 148, 9: 203}
_LOWEST_ALONE: Final = 99  # ISO 6 and ISO 13 are other standards, not sets
_SINGLE_BYTE: Final = (6, 13, *_PARTS.values())
_MULTI_BYTE: Final = (58, 87, 149, 159)
_NAMES: Final = {
    "ISO_IR 6": "ASCII USASCII ISO646 ISO646US ANSIX341968 ANSIX341986",
    "ISO_IR 13": "JISX0201",
    "ISO_IR 126": "GREEK ECMA118 ELOT928",
    "ISO_IR 127": "ARABIC ECMA114 ASMO708",
    "ISO_IR 138": "HEBREW",
    "ISO_IR 144": "CYRILLIC",
    "ISO_IR 166": "TIS620",
    "ISO_IR 192": "UTF8 UTF8BOM CSUTF8 CP65001 ISO10646UTF8 UNICODEUTF8 UNICODE11UTF8 ISOUTF8",
    "GB18030": "GB180302000 GB180302005 GB180302022 CP54936 ISOGB18030 ISO2022GB18030 ISOIRGB18030",
    "GBK": "CP936 MS936 WINDOWS936 GB2312 GB231280 EUCCN ISO2022GBK ISOIRGBK ISOGBK",
    "ISO 2022 IR 58": "ISO202258",
    "ISO 2022 IR 87": "JISX0208",
    "ISO 2022 IR 149": "KSX1001 KSC5601 KSC56011987",
    "ISO 2022 IR 159": "JISX0212",
}


def _squeezed(term: str) -> str:
    """The letters and digits of a term, in upper case."""
    return "".join(character for character in term.upper() if character.isascii() and character.isalnum())


def _misspellings() -> Iterator[tuple[str, str]]:
    for number in (*_SINGLE_BYTE, 192):
        yield from ((f"{lead}{number}", f"ISO_IR {number}") for lead in ("ISOIR", "IR", "IRISO", "ISOIRISO"))
        if number > _LOWEST_ALONE:
            yield f"ISO{number}", f"ISO_IR {number}"
    for number in _MULTI_BYTE:
        yield f"ISOIR{number}", f"ISO 2022 IR {number}"
    for number in (*_SINGLE_BYTE, *_MULTI_BYTE, 192):
        term = "ISO_IR 192" if number == 192 else f"ISO 2022 IR {number}"
        yield from ((f"{lead}{number}", term) for lead in ("ISO2022IR", "ISOIR2022IR", "ISO2022ISOIR", "2022IR"))
    for part, number in _PARTS.items():
        for name in (f"ISO8859{part}", f"ISOIEC8859{part}", f"IEC8859{part}", f"8859{part}", f"ISOIR8859{part}"):
            yield name, f"ISO_IR {number}"
    for alphabet, number in _LATIN.items():
        yield from ((f"{lead}{alphabet}", f"ISO_IR {number}") for lead in ("LATIN", "ISOLATIN", "LATINALPHABETNO"))
    for term, names in _NAMES.items():
        yield _squeezed(term), term
        yield from ((name, term) for name in names.split())


MEANT: Final[Mapping[str, str]] = dict(_misspellings())
"""Letters and digits of a term as senders write it → the defined term."""
_DEFINED: Final = CODECS.keys() - {"ISO 2022 GBK", "ISO 2022 58"}  # the last two are pydicom's own


class CharacterSets:
    """Reads Specific Character Set as a profile says: `absent` and `map` of its `character_sets`."""

    def __init__(self, absent: str | None = None, own: Mapping[str, str] | None = None) -> None:
        r"""`absent`: the set of a data set that declares none, None for the default repertoire.

        `own`: a sender's term, or all of its value with `\` between the terms → what it means.
        """
        self.absent = absent.encode("ascii") if absent is not None else None
        self._own = {_key(term): meaning for term, meaning in (own or {}).items()}
        self.terms = lru_cache(1024)(self._terms)
        self.proper = lru_cache(1024)(self._proper)

    def _terms(self, value: bytes) -> Terms:
        """The defined terms that a value means. Raises Undecodable for a term that is neither defined nor known."""
        parts = _parts(value)
        meaning = self._own.get(_key("\\".join(parts)))
        if meaning is not None:
            return tuple(meaning.split("\\"))
        terms: list[str] = []
        for part in parts:
            term = self._own.get(_key(part)) or (part if part in _DEFINED else _meant(part))
            if term is None:
                raise Undecodable(Reason.UNKNOWN_CHARACTER_SET, "(0008,0005)")
            terms.extend(term.split("\\"))
        return _extended(terms) if len(terms) > 1 else tuple(terms)

    def _proper(self, value: bytes) -> bytes | None:
        """The value in defined terms; None where it has no others. Raises Undecodable as `terms`."""
        terms = self.terms(value)
        return "\\".join(terms).encode("ascii") if list(terms) != _parts(value) else None


def _parts(value: bytes) -> list[str]:
    return [term.strip(" \0") for term in value.decode("latin-1").split("\\")]


def _key(term: str) -> str:
    """What a term of a profile's own is found by: case and punctuation say nothing, the number of terms does."""
    return "\\".join(_squeezed(part) or part.strip() for part in term.split("\\"))


def _meant(part: str) -> str | None:
    # What is not printable is no misspelling: two names with a NUL between them would be one.
    return MEANT.get(_squeezed(part)) if part.isascii() and part.isprintable() else None


def _extended(terms: list[str]) -> Terms:
    """Several terms are those with code extensions: ISO_IR 100 beside others means ISO 2022 IR 100."""
    extended = (term.replace("ISO_IR", "ISO 2022 IR") if term.startswith("ISO_IR") else term for term in terms)
    return tuple(one if one in CODECS else term for one, term in zip(extended, terms, strict=True))


STANDARD: Final = CharacterSets()
"""Without a profile's own terms."""


def fault(term: str) -> str:
    """Why a profile cannot name this set, as the meaning of a term or for what is absent; "" if it can."""
    parts = term.split("\\")
    if not set(parts) <= _DEFINED:
        near = _meant(parts[0]) if len(parts) == 1 else None
        return f"{term!r} is no defined term of PS3.3 C.12.1.1.2{f'; did you mean {near}?' if near else ''}"
    if len(parts) > 1 and not STAND_ALONE.isdisjoint(parts):
        return f"{term!r}: {', '.join(sorted(STAND_ALONE.intersection(parts)))} stands alone"
    proper = "\\".join(_extended(parts)) if len(parts) > 1 else term
    return f"{term!r}: of several terms each has code extensions: {proper}" if proper != term else ""
