"""One strict pass over an encoded data set (PS3.5 chapter 7): the only DICOM parser that we own.

`scan` reads each element's header once and reports only the elements that somebody has a rule for; everything else
is skipped without being touched, whatever its size. It reads explicit and implicit VR little endian, sequences and
items of defined and undefined length at any depth, encapsulated pixel data, and UN of undefined length (which is
implicit VR little endian, PS3.5 6.2.2).

It is strict: tags must rise, every length must fit, every byte must belong to an element, and what is kept must be of
the kind that the dictionary says, as nobody rules on a name where a number should be. What it refuses raises
`Irregular`, and may be tried again after `normalise`; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from struct import Struct
from struct import error as StructError
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from scp_anon.dicom.dictionary import (
    LONG_VRS,
    SHORT_VRS,
    attributes,
    is_plausible,
    tag_text,
    vr_code,
    vr_of,
)
from scp_anon.dicom.uids import TransferSyntax
from scp_anon.errors import Reason, Undecodable

Buffer: TypeAlias = "bytes | bytearray | memoryview"

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
NO_TAG: Final = 1 << 32  # above every tag

# Deeper than any IOD goes, and far from Python's own recursion limit.
MAXIMUM_DEPTH: Final = 64
# Bounds the memory and time of one pass: elements found, and data sets (items). Each costs some hundred bytes, until
# the pieces are written; sequences of empty items are the cheapest way to make a small deflated file a long one.
MAXIMUM_FOUND: Final = 1_000_000

_explicit_header = Struct("<HHHH").unpack_from
_implicit_header = Struct("<HHI").unpack_from
_long_length = Struct("<I").unpack_from

_LONG: Final = frozenset(map(vr_code, LONG_VRS))
_SHORT: Final = frozenset(map(vr_code, SHORT_VRS))
_SQ: Final = vr_code("SQ")
_UN: Final = vr_code("UN")
_FRAGMENTED: Final = frozenset(map(vr_code, ("OB", "OW")))
_NO_VR: Final = 0
_LONGEST_CREATOR: Final = 64  # of VR LO
_MAY_BE_SEQUENCE: Final = frozenset((_SQ, _UN, _NO_VR))


class Irregular(Exception):
    """The strict pass refuses this encoding: `reason` says how, `tag` where."""

    def __init__(self, reason: Reason, tag: int = NO_TAG) -> None:
        super().__init__(reason, tag)
        self.reason = reason
        self.tag = tag

    def as_undecodable(self) -> Undecodable:
        """The same as an error that ends this input."""
        return Undecodable(self.reason, tag_text(self.tag) if self.tag < NO_TAG else "")


class Rule(Protocol):
    """What `scan` has to know of a rule: whether it looks into the items of a sequence."""

    @property
    def descends(self) -> bool:
        """Whether a kept sequence is looked into."""


R = TypeVar("R", bound=Rule)
R_co = TypeVar("R_co", bound=Rule, covariant=True)


class Item(Generic[R]):
    """One item and what was found in it: header at `start`, data set from `content` up to `stop`."""

    __slots__ = ("content", "found", "start", "stop", "undefined")

    def __init__(self, start: int, content: int, stop: int, undefined: bool, found: list[Found[R]]) -> None:
        self.start, self.content, self.stop, self.undefined, self.found = start, content, stop, undefined, found


class Sequence(Generic[R]):
    """A sequence: the items in which something was found (or all, if it has a rule of its own), and its encoding.

    `explicit` is the encoding of its items, which differs from the enclosing one for a sequence of VR UN;
    `end` is where its last item ends, before the delimitation if it has one.
    """

    __slots__ = ("end", "explicit", "items", "undefined")

    def __init__(self, items: list[Item[R]], end: int, explicit: bool, undefined: bool) -> None:
        self.items, self.end, self.explicit, self.undefined = items, end, explicit, undefined


class Private(Protocol[R_co]):
    """Rules for private elements, by the private creator that reserved their block (PS3.5 7.8.1)."""

    @property
    def creator(self) -> R_co:
        """The rule for a private creator in whose block something has a rule."""

    def knows(self, creator: bytes) -> bool:
        """Whether anything in blocks of this creator has a rule."""

    def rule(self, creator: bytes, group: int, offset: int, vr: int, length: int) -> R_co | None:
        """The rule for the element of this offset in a block of `creator`, of this encoded VR (0: not told), if any."""


# rule, tag, start of the header, start of the value, end, the sequence if it is one and the rule descends.
# A plain tuple, as one is made for each element found and is unpacked with these names where it is used.
Found: TypeAlias = tuple[R, int, int, int, int, Sequence[R] | None]


class Rules(Generic[R]):
    """What a pass looks for, compiled for one look-up an element.

    `rules`: tag → rule. `kept`: the tags that pass without a rule. `other`: the rule for all other tags (None: they
    pass too). `sequences`: the rule under which a kept sequence is reported when something was found in its items
    (None: kept sequences are not looked into). `private`: what is ruled on by private creator; without it private
    elements are as all other tags.
    """

    def __init__(
        self,
        rules: Mapping[int, R],
        kept: Collection[int],
        other: R | None,
        sequences: R | None,
        private: Private[R] | None = None,
    ) -> None:
        known = attributes()
        self.rules: dict[int, R | None] = {**dict.fromkeys(kept, sequences), **rules}
        self.other = other
        self.sequences = sequences
        self.private = private
        # For the fast path: kept tags that are no sequences, and their VR where explicit VR gives it a short length.
        self.plain = frozenset(tag for tag in kept if known[tag][0] != "SQ")
        self.short = {tag: vr_code(known[tag][0]) for tag in self.plain if known[tag][0] in SHORT_VRS}

    def with_private(self, private: Private[R]) -> Rules[R]:
        """The same rules, with others for private elements."""
        other = copy(self)
        other.private = private
        return other


def scan(
    buffer: Buffer,
    start: int,
    stop: int,
    syntax: TransferSyntax,
    rules: Rules[R],
    required: Collection[int] = (),
    last_tag: int = NO_TAG - 1,
) -> list[Found[R]]:
    """Find the elements of the data set at `buffer[start:stop]` that `rules` has something to say of.

    `required`, in rising order, are tags with a rule that are reported at the top level even where they are absent:
    then start, value and stop are all the place where the element belongs. Nothing behind `last_tag` is read.

    Raises `Irregular` for an encoding that the strict pass refuses, and `Undecodable` for one that goes beyond the
    bounds of depth and number, which no normalising can mend.
    """
    try:
        return _Scan(buffer, rules).data_set(start, stop, not syntax.implicit_vr, False, required, last_tag)[0]
    except StructError:
        raise Irregular(Reason.TRUNCATED) from None


class _Scan(Generic[R]):
    """The state of one pass: the buffer, the rules, the depth it is at and the number of elements found."""

    def __init__(self, buffer: Buffer, rules: Rules[R]) -> None:
        self._buffer = buffer
        self._rules = rules
        self._depth = 0
        self._count = 0

    def data_set(  # noqa: C901 - the one hot loop: a call for each element would double its time
        self,
        pos: int,
        end: int,
        explicit: bool,
        delimited: bool,
        required: Collection[int] = (),
        last_tag: int = NO_TAG - 1,
    ) -> tuple[list[Found[R]], int]:
        """Scan one data set; returns what was found and where it ends (before its delimitation, if `delimited`)."""
        buffer, rules, other, kept = self._buffer, self._rules.rules, self._rules.other, self._rules.sequences
        plain, short, private = self._rules.plain, self._rules.short, self._rules.private
        creators: dict[int, tuple[bytes, int]] = {}  # group and block → private creator, and its place in `found`
        awaited = iter((*required, last_tag + 1))
        watch = next(awaited)
        found: list[Found[R]] = []
        last = run = -1
        run_start = (0, 0, 0)
        while pos < end:
            # Most elements are kept, in order and of the VR that they should be: one header, one look-up, next.
            if explicit:
                group, element, vr, length = _explicit_header(buffer, pos)
                tag = group << 16 | element
                if last < tag < watch:
                    if short.get(tag) == vr:
                        last = tag
                        pos += 8 + length
                        continue
                    if (
                        run == pos
                        and vr in _SHORT
                        and other is not None
                        and rules.get(tag, other) is other
                        and (
                            private is None
                            or not group & 1
                            or (element > 0xFF and (group << 8 | element >> 8) not in creators)
                        )
                    ):
                        # Neighbours that share the rule are one range: a hundred private elements cost one entry.
                        last = tag
                        run = pos = pos + 8 + length
                        found[-1] = (other, run_start[0], run_start[1], run_start[2], run, None)
                        continue
                value = pos + 8
                if vr in _LONG:
                    if length:
                        raise Irregular(Reason.MALFORMED, tag)  # two reserved bytes, which say nothing
                    (length,) = _long_length(buffer, value)
                    value += 4
                elif vr not in _SHORT and group != 0xFFFE:
                    raise Irregular(Reason.MALFORMED, tag)
            else:
                group, element, length = _implicit_header(buffer, pos)
                tag = group << 16 | element
                if last < tag < watch and tag in plain and length != UNDEFINED_LENGTH:
                    last = tag
                    pos += 8 + length
                    continue
                vr = _NO_VR
                value = pos + 8

            if tag == ITEM_DELIMITATION and delimited and not (vr or length):
                self._bound(found)
                return found, pos
            if tag <= last or group == 0xFFFE:
                raise Irregular(Reason.MALFORMED, tag)
            last = tag
            while tag >= watch:
                if watch > last_tag:
                    return found, pos
                if tag > watch:
                    found.append((self._required(watch), watch, pos, pos, pos, None))
                    run = -1
                watch = next(awaited)

            rule = rules.get(tag, other)
            if private is not None and group & 1:
                if 0x10 <= element <= 0xFF and length <= _LONGEST_CREATOR:
                    creator = bytes(buffer[value : value + length]).strip(b" \0")
                    if private.knows(creator):
                        creators[group << 8 | element] = creator, len(found)
                        run = -1
                elif (block := creators.get(group << 8 | element >> 8)) is not None:
                    known = private.rule(block[0], group, element & 0xFF, vr, length)
                    if known is not None:
                        rule = known
                        found[block[1]] = (private.creator, *found[block[1]][1:])
            if explicit and rule is not None and rule.descends and not is_plausible(tag, vr):
                raise Irregular(Reason.MALFORMED, tag)
            sequence = None
            if length == UNDEFINED_LENGTH or (rule is not None and rule.descends and vr in _MAY_BE_SEQUENCE):
                stop, sequence = self._value(tag, vr, value, length, end, explicit, rule)
            else:
                stop = value + length
            if rule is not other:
                if rule is not None and (rule is not kept or (sequence is not None and sequence.items)):
                    found.append((rule, tag, pos, value, stop, sequence))
            elif other is not None:
                if run == pos:
                    found[-1] = (other, *run_start, stop, None)
                else:
                    run_start = (tag, pos, value)
                    found.append((other, *run_start, stop, None))
                # A private creator that is known is no part of a range: it may turn out to be needed.
                run = -1 if element <= 0xFF and (group << 8 | element) in creators else stop
            pos = stop
        if pos != end or delimited:
            raise Irregular(Reason.TRUNCATED, max(last, 0))
        found.extend((self._required(tag), tag, pos, pos, pos, None) for tag in (watch, *awaited) if tag <= last_tag)
        self._bound(found)
        return found, pos

    def _value(
        self, tag: int, vr: int, value: int, length: int, end: int, explicit: bool, rule: R | None
    ) -> tuple[int, Sequence[R] | None]:
        """Where a value of undefined length, or one that `rule` looks into, ends; and the sequence that it holds."""
        descends = rule is not None and rule.descends
        if length == UNDEFINED_LENGTH:
            if vr in _FRAGMENTED:
                return self._fragments(value, end), None
            if vr not in _MAY_BE_SEQUENCE:
                raise Irregular(Reason.MALFORMED, tag)
            sequence, stop = self._sequence(value, end, explicit and vr != _UN, True, rule)
            return stop, sequence if descends else None
        stop = value + length
        if stop > end:
            raise Irregular(Reason.TRUNCATED, tag)
        if not descends or (vr != _SQ and vr_of(tag) != "SQ"):
            return stop, None
        return stop, self._sequence(value, stop, explicit and vr != _UN, False, rule)[0]

    def _sequence(self, pos: int, end: int, explicit: bool, undefined: bool, rule: R | None) -> tuple[Sequence[R], int]:
        """Scan the items of a sequence; returns it and where the element ends (PS3.5 7.5)."""
        every = rule is not None and rule.descends and rule is not self._rules.sequences
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise Undecodable(Reason.NESTED_TOO_DEEPLY)
        items: list[Item[R]] = []
        while pos < end:
            group, element, length = _implicit_header(self._buffer, pos)
            tag = group << 16 | element
            if undefined and tag == SEQUENCE_DELIMITATION and not length:
                break
            if tag != ITEM:
                raise Irregular(Reason.MALFORMED, tag)
            content = pos + 8
            if length == UNDEFINED_LENGTH:
                found, stop = self.data_set(content, end, explicit, True)
                following = stop + 8
            else:
                following = stop = content + length
                if stop > end:
                    raise Irregular(Reason.TRUNCATED, tag)
                found, _ = self.data_set(content, stop, explicit, False)
            if found or every:
                items.append(Item(pos, content, stop, length == UNDEFINED_LENGTH, found))
            pos = following
        if pos >= end if undefined else pos != end:
            raise Irregular(Reason.TRUNCATED, SEQUENCE_DELIMITATION)
        self._depth -= 1
        return Sequence(items, pos, explicit, undefined), pos + 8 if undefined else pos

    def _fragments(self, pos: int, end: int) -> int:
        """Walk the fragments of encapsulated pixel data (PS3.5 A.4); returns where the element ends."""
        while pos < end:
            group, element, length = _implicit_header(self._buffer, pos)
            tag = group << 16 | element
            pos += 8
            if tag == SEQUENCE_DELIMITATION and not length:
                return pos
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise Irregular(Reason.MALFORMED, tag)
            pos += length
        raise Irregular(Reason.TRUNCATED, SEQUENCE_DELIMITATION)

    def _required(self, tag: int) -> R:
        rule = self._rules.rules[tag]
        assert rule is not None  # what is required has a rule
        return rule

    def _bound(self, found: list[Found[R]]) -> None:
        """Count a data set and what was found in it; raises Undecodable beyond the bound."""
        self._count += len(found) + 1
        if self._count > MAXIMUM_FOUND:
            raise Undecodable(Reason.TOO_MANY_ELEMENTS)
