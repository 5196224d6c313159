"""What a value of an original is known by: the words, numbers and bytes to look for in a result.

What everybody has is looked for nowhere: short values, codes, measures, words of the vocabulary. A date is also looked
for as people write it, a name also without its accents. Words are compared without case, and as they are in every
character set that has them as ASCII; a word of other letters is a pattern of bytes for each character set of the
standard, and for UTF-16.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from scp_anon.deid import text
from scp_anon.deid.cleaning import IDS, PHONES
from scp_anon.deid.vocabulary import spellings, vocabulary
from scp_anon.errors import Undecodable

Kind: TypeAlias = Literal["number", "digits", "date", "word", "free", "bytes"]


class Needle(NamedTuple):
    """One thing to look for.

    `number`: a UID, or the digits of an identifier. `date`: eight digits, or as people write it; or a precise time.
    `word`: of a name or an identifier, in lower case. `bytes`: as they are. `free` and `digits`: a word and a number of
    a free text, which say less: they are no sign where anything that stays has them.
    """

    kind: Kind
    content: bytes


_TO_ASCII: Final = b"\x1b(B"  # the escape sequence that designates ASCII again
_SINGLE: Final = frozenset("LT ST UT UR".split())  # a backslash is a character there (PS3.5 6.2)
_FREE: Final = frozenset("AE LO LT SH ST UC UR UT".split())
# Values of a vendor's, and of those whose VR nobody has written, may be texts.
_MAYBE_TEXT: Final = frozenset("UN OB".split())
_TEXT: Final = re.compile(rb"[\x09\x0a\x0d\x20-\x7e]+\0?")

SHORTEST_WORD: Final = 4
SHORTEST_FREE: Final = 6
_SHORTEST_NUMBER: Final = 6
_SHORTEST_UID: Final = 10
_SHORTEST_TIME: Final = 10
_SHORTEST_PATTERN: Final = 4
_LONGEST_VALUE: Final = 1 << 16
_DATE: Final = re.compile(r"(\d{4})(\d\d)(\d\d)")
_FEWEST_DIGITS: Final = 3  # of an identifier of several parts: else they may be words
_FEW: Final = 2  # letters that a word is made of: XXXX is no name
# What names a class, a code or a coding scheme is the same for all.
NOT_OF_INSTANCES: Final = frozenset(
    (0x00080016, 0x0008001A, 0x0008001B, 0x00081150, 0x00080100, 0x00080102, 0x00080103, 0x0008010C, 0x00080118)
)
_NO_DATES: Final = ("19000101", "00000000", "00010101")
_IN_DIGITS: Final = re.compile(r"[0-9]{6,}")
_IN_WORDS: Final = re.compile(r"[^\W_]+")
_IN_NAMES: Final = re.compile("[\\s,.;_'\N{RIGHT SINGLE QUOTATION MARK}\\-]+")

# The character sets of PS3.3 C.12.1.1.2 and UTF-16, as Python calls them.
_ENCODINGS: Final = (
    *("utf-8", "utf-16-le", "utf-16-be", "latin-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6"),
    *("iso8859-7", "iso8859-8", "iso8859-9", "iso8859-15", "tis-620", "shift_jis", "iso2022_jp_2", "euc_kr", "gb18030"),
    *("cp1251", "cp1252"),  # what Windows writes under the name of another
)


@lru_cache(8192)
def needles(tag: int, vr: str, value: bytes, terms: bytes) -> tuple[Needle, ...]:
    """What the value of an attribute is known by; nothing where it is not worth it. `terms`: its character set."""
    value = value[:_LONGEST_VALUE]
    if tag in NOT_OF_INSTANCES:
        return ()
    if vr in _MAYBE_TEXT:
        if not _TEXT.fullmatch(value):
            return ()
        vr = "UT"
    try:
        decoded = text.decode(value, text.character_sets(terms))
    except Undecodable:
        decoded = value.decode("latin-1")
    parts = [decoded] if vr in _SINGLE else decoded.split("\\")
    found = dict.fromkeys(needle for part in parts for needle in _of(tag, vr, part.strip(" \0")))
    return tuple(found)


def _of(tag: int, vr: str, value: str) -> Iterable[Needle]:
    match vr:
        case "PN":
            return _name(value)
        case "UI":
            return [Needle("number", value.encode("ascii", "ignore"))] if len(value) >= _SHORTEST_UID else []
        case "DA" | "DT":
            return _date(value)
        case "TM":
            precise = len(value) >= _SHORTEST_TIME and value.split(".")[-1].strip("0")
            return [Needle("date", value.encode("ascii", "ignore"))] if precise else []
    if tag in IDS or tag in PHONES:
        return _identifier(value)
    return _free(value) if vr in _FREE else []


def _name(value: str) -> Iterator[Needle]:
    for group in value.split("="):
        components = [component.strip() for component in group.split("^")]
        for word in (word for component in components for word in _IN_NAMES.split(component)):
            yield from _word(word)
        whole = "^".join(components).rstrip("^")
        if whole.isascii() and len(whole) > SHORTEST_FREE and "^" in whole and len(set(whole)) > SHORTEST_WORD:
            yield Needle("word", whole.lower().encode("ascii"))
        yield from _short_name([component.lower() for component in components[:2]])


def _short_name(parts: list[str]) -> Iterator[Needle]:
    """A name of which one part is too short to be looked for by itself: both, one beside the other."""
    if len(parts) < 2 or min(map(len, parts)) >= SHORTEST_WORD or not all(part.isascii() and part for part in parts):
        return
    if sum(map(len, parts)) < SHORTEST_FREE or all(map(_is_common, parts)):
        return
    for one, two in (parts, reversed(parts)):
        yield from (Needle("bytes", f"{one}{mark}{two}".encode("ascii")) for mark in (" ", ", ", "_"))


def _word(word: str) -> Iterator[Needle]:
    """A word of a name: as it is, and without its accents."""
    if word.isascii():
        if len(word) >= SHORTEST_WORD and not _is_common(word) and not word.isdigit():
            yield Needle("word", word.lower().encode("ascii"))
        elif word.isdigit():
            yield from _digits(word)
        return
    yield from (Needle("bytes", pattern) for pattern in _patterns(word))
    for plain in spellings(word):
        if plain.isascii() and len(plain) >= SHORTEST_WORD and not _is_common(plain):
            yield Needle("word", plain.encode("ascii"))


def _identifier(value: str) -> Iterator[Needle]:
    folded = value.lower()
    if folded.isascii():
        joined = folded.encode("ascii")
        if len(folded) >= SHORTEST_WORD and not folded.isdigit() and not _is_common(folded) and " " not in folded:
            yield Needle("word", joined)
        yield from _parted(folded)
    else:
        yield from (Needle("bytes", pattern) for pattern in _patterns(value))
    yield from _digits(value)
    yield from _digits(re.sub(r"[\s()/+.-]", "", value))


def _parted(folded: str) -> Iterator[Needle]:
    """An identifier of several parts: as it is, where there are blanks in it, and without what is between them."""
    parts = _IN_WORDS.findall(folded)
    numbers = sum(len(part) for part in parts if part.isdigit())
    joined = "".join(parts)
    if len(parts) < 2 or len(joined) < SHORTEST_FREE or numbers < _FEWEST_DIGITS or joined.isdigit():
        return
    yield Needle("word", joined.encode("ascii"))
    if " " in folded:
        yield Needle("bytes", folded.encode("ascii"))


def _digits(value: str, kind: Kind = "number") -> Iterator[Needle]:
    for digits in _IN_DIGITS.findall(value):
        if digits.strip("0"):
            yield Needle(kind, unpadded_number(digits.encode("ascii")))


def unpadded_number(value: bytes) -> bytes:
    """A number without the zeros before it, if enough is left of it to be one."""
    short = value.lstrip(b"0")
    return short if len(short) >= _SHORTEST_NUMBER and value.isdigit() else value


def _free(value: str) -> Iterator[Needle]:
    for word in _IN_WORDS.findall(value):
        if not word.isascii():
            if len(word) >= SHORTEST_FREE:
                yield from (Needle("bytes", pattern) for pattern in _patterns(word))
        elif word.isdigit():
            yield from _digits(word, "digits")
        elif len(word) >= SHORTEST_FREE and not _is_common(word):
            yield Needle("free", word.lower().encode("ascii"))


def _date(value: str) -> Iterator[Needle]:
    match = _DATE.match(value)
    if match is None or match[0] in _NO_DATES:
        return
    yield Needle("date", match[0].encode("ascii"))


@lru_cache(8192)
def _is_common(word: str) -> bool:
    """Whether it says nothing of anybody: a word of the vocabulary, or a technical term."""
    return vocabulary().accepts(word) or len(set(word.lower())) <= _FEW


def _patterns(word: str) -> Iterator[bytes]:
    """The bytes of a word of other letters than ASCII's, in every character set that has them, and as web pages do."""
    forms = dict.fromkeys((word, word.upper(), word.lower(), word.title()))
    for form in forms:
        yield from (quote(form).encode("ascii"), quote(form).replace("%", "=").encode("ascii"))
        yield from (json.dumps(form)[1:-1].encode("ascii"), form.encode("ascii", "xmlcharrefreplace"))
    for form in (form for each in forms for form in (each, unicodedata.normalize("NFD", each))):
        for encoding in _ENCODINGS:
            try:
                encoded = form.encode(encoding)
            except UnicodeError:
                continue
            if encoding.startswith("iso2022") and _TO_ASCII in encoded:
                encoded = encoded[: encoded.rfind(_TO_ASCII)]
            if len(encoded) >= _SHORTEST_PATTERN:
                yield encoded
    raw = word.encode("utf-8", "surrogateescape")
    if len(raw) >= _SHORTEST_PATTERN and not raw.isascii():
        yield raw
