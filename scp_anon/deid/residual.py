"""Values of an original that its result still holds: known by what the profile takes out, looked for in all bytes.

An original is known by the values that de-identification has removed, emptied or replaced, wherever they were
(`needles`). They are looked for in the bytes of the result, not in its attributes, so that it does not matter where
they are: in a kept text, in the value of a private attribute, in a document, or behind the pixels.

What stays by right is no residual: what the profile itself writes, what it keeps on purpose (a rule or an option that
says `keep` or K), a number that a kept date, time or number is as well, a word of a name that the equipment or a code
has too, and a word of a free text that stands in any other kept text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from scp_anon.deid.disguises import decoded, inflated, joined, spelt_dates, written_dates
from scp_anon.deid.needles import NOT_OF_INSTANCES, SHORTEST_FREE, Needle, needles, unpadded_number
from scp_anon.deid.splice import Piece
from scp_anon.dicom.dictionary import tag_text
from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.part10 import FileMeta
from scp_anon.dicom.uids import TransferSyntax, well_known_uids
from scp_anon.dicom.walk import PIXELS, Leaf, elements, leaves
from scp_anon.errors import Reason, Undecodable

if TYPE_CHECKING:
    from scp_anon.deid.profile import Profile

Place: TypeAlias = tuple[int, ...]
Content: TypeAlias = Literal["text", "binary", "pixels"]

# From this size on, pixels are not looked into where a delivery waits; an attribute's binary value is looked into
# with less trust, as chance makes any four letters of so many bytes.
LONG: Final = 1 << 16
_SHORTEST_IN_BULK: Final = 6
_CHUNK: Final = 1 << 20
_OVERLAP: Final = 1 << 8
_LONGEST_LEAF: Final = 1 << 16
_DATE_LENGTH: Final = 8
_SHORTEST_DATE_TIME: Final = 12
_MOST: Final = 100_000  # needles of one study

# The attributes whose words a name may share: of the equipment, of codes (PS3.3 8.8), and of classes.
_SHARED: Final = NOT_OF_INSTANCES | {0x00080070, 0x00081090, 0x00181020, 0x00080104}
_WELL_KNOWN: Final = well_known_uids()
_KEPT: Final = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT UN".split())
# What these hold is a code, a number or a date: no name, and no identifier but by chance.
_SAYS_NOTHING: Final = frozenset("AS CS DA DS DT IS TM".split())
# What our own words are written in: the claims, and the patient.
_CLAIMS: Final = (0x00100010, 0x00100020, 0x00120063, 0x00120064)
_WORDS: Final = re.compile(rb"[A-Za-z0-9]{4,}")
# What is said of a de-identification, an earlier one included: what is there stays, with ours behind it.
_SAID: Final = frozenset((0x00120062, 0x00120063, 0x00120064, 0x00280303))


class Spliced(NamedTuple):
    """An encoded data set and what it becomes: `pieces` are new bytes, and ranges of `buffer`.

    `made`: tag → new element, of those that are new at the top level.
    """

    meta: FileMeta
    buffer: Buffer
    start: int
    syntax: TransferSyntax
    pieces: list[Piece]
    made: Mapping[int, bytes]

    def parts(self) -> Iterator[Buffer]:
        """The new data set, in order; ranges of the original are views of it, not copies."""
        original = memoryview(self.buffer)
        for piece in self.pieces:
            yield piece if isinstance(piece, bytes) else original[piece[0] : piece[1]]

    def leaves(self) -> list[Leaf]:
        """The values of the original. Raises Irregular or Undecodable where it cannot be read."""
        explicit = not self.syntax.implicit_vr
        return list(leaves(elements(self.buffer, self.start, len(self.buffer), explicit), self.buffer, explicit))


class Kept(NamedTuple):
    """What a profile leaves in a result on purpose: `words` that its own rules write, and `tags` that it keeps."""

    words: frozenset[bytes]
    tags: frozenset[int]

    @classmethod
    def of(cls, profile: Profile) -> Kept:
        """Of a compiled profile."""
        values = [section.value or "" for section in profile.settings.rules]
        values += [profile.identity.project, *profile.settings.variables.values(), "deidentified"]
        tags = {tag for tag, decided in profile.standard.items() if decided.action == "K"}
        tags.update(*(own.tags for own in profile.own if own.section.action == "keep"))
        return cls(frozenset(_words(" ".join(values).encode())), frozenset(tags))


@dataclass
class Known:
    """What originals are known by: each needle with the place of the attribute that it was found in first."""

    by: dict[Needle, Place] = field(default_factory=dict)
    strong: set[bytes] = field(default_factory=set)
    """What stays by right, whatever else it may be."""
    weak: set[bytes] = field(default_factory=set)
    """What stays, and so is no sign if it comes from a free text."""

    def add(self, spliced: Spliced, profile: Kept) -> list[Leaf]:
        """Add what an original is known by; returns its values. Raises Irregular or Undecodable if it is unreadable."""
        all_ = spliced.leaves()
        ranges = [piece for piece in spliced.pieces if not isinstance(piece, bytes)]
        starts = [start for start, _ in ranges]
        self.strong.update(
            profile.words, *(_words(spliced.made.get(tag, b"")) for tag in _CLAIMS), _dates_made(spliced)
        )
        self.weak.update(*(_words(piece) for piece in spliced.pieces if isinstance(piece, bytes)))
        for leaf in all_:
            if leaf.stop == leaf.start:
                continue
            index = bisect_right(starts, leaf.start) - 1
            if index >= 0 and leaf.stop <= ranges[index][1]:
                self._keep(leaf, spliced.buffer, leaf.tag in profile.tags)
            elif not (_is_creator(leaf.tag) or _SAID.intersection(leaf.place)) and len(self.by) < _MOST:
                value = bytes(spliced.buffer[leaf.start : min(leaf.stop, leaf.start + _LONGEST_LEAF)])
                for needle in needles(leaf.tag, leaf.vr, value, leaf.terms):
                    self.by.setdefault(needle, leaf.place)
        return all_

    def _keep(self, leaf: Leaf, buffer: Buffer, on_purpose: bool) -> None:
        """Note what stays, and so is no sign of the original."""
        if leaf.stop - leaf.start > _LONGEST_LEAF or leaf.tag >> 16 & 1 or leaf.vr not in _KEPT:
            return
        value = bytes(buffer[leaf.start : leaf.stop])
        known = {needle.content for needle in needles(leaf.tag, leaf.vr, value, leaf.terms)} | _words(value)
        known.add(value.strip(b"\0 "))
        if on_purpose or leaf.vr in _SAYS_NOTHING or leaf.tag in _SHARED:
            self.strong |= known
        self.weak |= known

    def sought(self) -> Sought:
        """What is looked for, once all is known that stays."""
        return Sought(needle for needle in self.by if not self._stays(needle))

    def _stays(self, needle: Needle) -> bool:
        content = needle.content
        is_weak = needle.kind in ("free", "digits")
        return content in self.strong or (is_weak and content in self.weak) or content in _WELL_KNOWN


class Sought:
    """Finds needles in bytes: in time that hardly depends on how many there are."""

    def __init__(self, wanted: Iterable[Needle]) -> None:
        self._numbers: dict[bytes, Needle] = {}
        self._dates: dict[bytes, Needle] = {}
        self._words: list[tuple[bytes, Needle]] = []
        self._patterns: dict[bytes, Needle] = {}
        for needle in wanted:
            match needle.kind:
                case "number" | "digits":
                    self._numbers[needle.content] = needle
                case "date":
                    self._dates[needle.content] = needle
                case "bytes":
                    self._patterns.setdefault(needle.content.lower(), needle)
                case _:
                    self._words.append((needle.content, needle))
        letters = set().union(*self._patterns)
        self._letters = bytes(ord("a" if byte in letters else " ") for byte in range(256))

    def found(self, content: Buffer, kind: Content = "text") -> set[Needle]:
        """The needles that the bytes hold: `pixels` mean something else than text, and `binary` values mostly do."""
        size = len(content)
        if size <= _CHUNK + _OVERLAP:
            return self._found(bytes(content), kind)
        hits: set[Needle] = set()
        for start in range(0, size, _CHUNK):
            hits |= self._found(bytes(content[start : start + _CHUNK + _OVERLAP]), kind)
        return hits

    def _found(self, content: bytes, kind: Content) -> set[Needle]:
        texts = b"\n".join(dict.fromkeys(_TEXTS.findall(content))) if kind == "binary" else b""
        if kind == "text" or len(texts) * _MOSTLY > len(content):
            return self._searched(content, False) | self._wrapped(content, content)
        hits = self._searched(content, True)
        return hits | self._searched(texts, False) | self._wrapped(texts, content) if kind == "binary" else hits

    def _wrapped(self, texts: bytes, content: bytes) -> set[Needle]:
        """What is found once texts are decoded, and what is compressed in the content is inflated."""
        unwrapped = b"\n".join((*decoded(texts), *inflated(content)))
        return self._searched(unwrapped, False) if unwrapped else set()

    def _searched(self, content: bytes, is_bulk: bool) -> set[Needle]:
        shortest = _SHORTEST_IN_BULK if is_bulk else 0
        lower = content.lower()
        classes = content.translate(_CLASSES)
        hits = self._in_text(_runs(_PLAIN, classes, lower), shortest)
        hits |= self._in_text(_runs(_WIDE, classes, lower).replace(b"\0", b""), shortest)
        if self._patterns:
            # Of all that may be part of one of them, which of an image is little as well.
            runs = _LETTERS_IN_BULK if is_bulk else _LETTERS
            condensed = _runs(runs, lower.translate(self._letters), lower)
            patterns = self._patterns.items()
            hits.update(needle for pattern, needle in patterns if len(pattern) >= shortest and pattern in condensed)
        return hits if is_bulk else hits | self._spelt(lower)

    def _in_text(self, condensed: bytes, shortest: int) -> set[Needle]:
        if not condensed:
            return set()
        hits = {
            needle
            for word, needle in self._words
            if len(word) >= shortest and word in condensed and _is_there(word, needle.kind, condensed)
        }
        if self._numbers or self._dates:
            for token in set(_NUMBERS.findall(condensed)):
                hits.update(self._number(token, is_bulk=bool(shortest)))
        return hits

    def _spelt(self, lower: bytes) -> set[Needle]:
        """The dates whose month is a word."""
        return {self._dates[date] for date in spelt_dates(lower) if date in self._dates} if self._dates else set()

    def _number(self, token: bytes, is_bulk: bool) -> Iterator[Needle]:
        """What a token of digits, dots and the like is."""
        parts = {token.strip(b"./-"), *_DIGITS.findall(token), *re.split(rb"[/-]", token), *joined(token)}
        for part in parts if not is_bulk else (part for part in parts if len(part) >= _DATE_LENGTH):
            if (number := unpadded_number(part)) in self._numbers:
                yield self._numbers[number]
            if part in self._dates:
                yield self._dates[part]
            if len(part) >= _SHORTEST_DATE_TIME and part[:_DATE_LENGTH] in self._dates and part.isdigit():
                yield self._dates[part[:_DATE_LENGTH]]
        for date in written_dates(token):
            if date in self._dates:
                yield self._dates[date]


# Bytes as what they may be part of: text, the other half of a letter in UTF-16, or neither.
_CLASSES: Final = bytes(
    ord("a") if byte < 0x80 and (chr(byte).isalnum() or chr(byte) in "-./^") else ord(" ") if byte else ord("0")
    for byte in range(256)
)
_PLAIN: Final = re.compile(rb"aaaa+")
_WIDE: Final = re.compile(rb"a0a0a0a(?:0a)*")
_LETTERS: Final = re.compile(rb"aaaa+")
_LETTERS_IN_BULK: Final = re.compile(rb"aaaaaa+")
_NUMBERS: Final = re.compile(rb"[0-9][0-9./-]{5,}")
# Of a binary value, what may be text: what is beside it may be zeros.
_MOSTLY: Final = 2  # a half
_TEXTS: Final = re.compile(rb"[\0\t\n\r\x20-\x7e]{12,}")
_DIGITS: Final = re.compile(rb"[0-9]{6,}")


def _runs(kind: re.Pattern[bytes], classes: bytes, content: bytes) -> bytes:
    """The parts of `content` that may be text as their classes are, each once. Most of an image is no text."""
    return b"\n".join({content[run.start() : run.end()] for run in kind.finditer(classes)})


def _is_there(word: bytes, kind: str, condensed: bytes) -> bool:
    """Whether a short word, or one of a free text, is there as a word of its own, not as part of another."""
    if kind == "word" and len(word) >= SHORTEST_FREE:
        return True
    return re.search(rb"(?<![a-z0-9])" + re.escape(word) + rb"(?![a-z0-9])", condensed) is not None


class Gate:
    """Lets no result pass that still holds a value of its own original."""

    def __init__(self, profile: Profile) -> None:
        self._kept = Kept.of(profile)

    def check(self, spliced: Spliced) -> None:
        """Raises Undecodable, with the attribute of the original, never its value. Long pixels are not looked into."""
        known = Known()
        try:
            values = known.add(spliced, self._kept)
        except Irregular as irregular:
            raise irregular.as_undecodable() from None
        pixels = [(leaf.start, leaf.stop) for leaf in values if leaf.tag in PIXELS and leaf.stop - leaf.start > LONG]
        hits: set[Needle] = set()
        sought = known.sought()
        short: list[Buffer] = []
        for part in _without(spliced, pixels):
            if len(part) > LONG:
                hits |= sought.found(part, "binary")
            else:
                short.append(part)
        hits |= sought.found(b"\n".join(short))
        if hits:
            raise Undecodable(Reason.RESIDUAL_VALUE, place_text(min(known.by[hit] for hit in hits)))


def place_text(place: Place) -> str:
    """A place as tags, short enough for the name of an entry: the first and the last of many."""
    texts = [tag_text(tag) for tag in place]
    return ">".join(texts if len(texts) <= 2 else (texts[0], "..", texts[-1]))


def _without(spliced: Spliced, skipped: list[tuple[int, int]]) -> Iterator[Buffer]:
    """The parts of the result but for what they share with the ranges, which rise."""
    original = memoryview(spliced.buffer)
    for piece in spliced.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        begin, stop = piece
        for first, last in skipped:
            if begin < last and first < stop:
                if first > begin:
                    yield original[begin:first]
                begin = last
        if begin < stop:
            yield original[begin:stop]


def _dates_made(spliced: Spliced) -> Iterator[bytes]:
    """The dates that have come in the place of others, which may by chance be dates of the original."""
    for piece in spliced.pieces:
        if isinstance(piece, bytes):
            for date in re.findall(rb"(?<![0-9.])[0-9]{8}", piece):
                yield from (needle.content for needle in needles(0, "DA", date, b""))


def _words(value: bytes) -> set[bytes]:
    """The words and numbers of a value, in lower case, and the dates that its numbers begin with."""
    words = {word.lower() for word in _WORDS.findall(value)}
    words |= {unpadded_number(word) for word in words}
    return words | {word[:_DATE_LENGTH] for word in words if len(word) >= _SHORTEST_DATE_TIME and word.isdigit()}


def _is_creator(tag: int) -> bool:
    """Whether it is a private creator, which names a vendor (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF
