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

from collections.abc import Collection
from struct import Struct
from struct import error as StructError
from typing import Final, Generic

from scp_anon.dicom.dictionary import LONG_VRS, SHORT_VRS, is_plausible, vr_code, vr_of
from scp_anon.dicom.finding import NO_TAG, Buffer, Found, Irregular, Item, R, Rules, Sequence, Stretch
from scp_anon.dicom.uids import TransferSyntax
from scp_anon.errors import Reason, Undecodable

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD

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
# Bytes of a stretch. A value that changes from instance to instance spoils only one of them.
_SHORTEST_STRETCH: Final = 48
_STRETCH: Final = 256
_LONGEST_STRETCH: Final = 1024
_LONGEST_CREATOR: Final = 64  # of VR LO
_MAY_BE_SEQUENCE: Final = frozenset((_SQ, _UN, _NO_VR))


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
        last = run = first = -1
        run_start = (0, 0, 0)
        passed, removed = self._rules.passed, self._rules.removed if private is None else None
        fresh = again = begin = pos
        while pos < end:
            # Most elements are kept, in order and of the VR that they should be: one header, one look-up, next.
            if explicit:
                group, element, vr, length = _explicit_header(buffer, pos)
                tag = group << 16 | element
                if last < tag < watch:
                    if short.get(tag) == vr:
                        if pos == fresh:
                            known = passed.get(tag)
                            if (
                                known is not None
                                and known.last < watch
                                and pos + known.size <= end
                                and bytes(buffer[pos : pos + known.size]) == known.content
                            ):
                                last = known.last
                                pos += known.size
                                fresh = pos
                                continue
                            first, begin = tag, pos
                        last = tag
                        pos += 8 + length
                        if pos - begin > _STRETCH:
                            self._note(passed, first, begin, pos, last)
                            fresh = pos
                        continue
                    if begin == fresh != pos:  # a stretch ends here
                        self._note(passed, first, begin, pos, last)
                        fresh = -1
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
                        if removed is not None and pos == again:
                            known = removed.get(tag)
                            if (
                                known is not None
                                and known.last < watch
                                and pos + known.size <= end
                                and bytes(buffer[pos : pos + known.size]) == known.content
                            ):
                                last = known.last
                                run = pos = fresh = again = pos + known.size
                                found[-1] = (other, run_start[0], run_start[1], run_start[2], run, None)
                                continue
                            first, begin = tag, pos
                        last = tag
                        run = pos = fresh = pos + 8 + length
                        found[-1] = (other, run_start[0], run_start[1], run_start[2], run, None)
                        if removed is not None and pos - begin > _STRETCH:
                            self._note(removed, first, begin, pos, last)
                            again = pos
                        continue
                    if begin == again != pos == run and removed is not None:  # likewise
                        self._note(removed, first, begin, pos, last)
                        again = -1
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
                    of_block = private.rule(block[0], group, element & 0xFF, vr, length)
                    if of_block is not None and private.is_sequence(of_block) and vr != _SQ:
                        of_block = of_block if self._is_sequence(value, length, end, of_block) else None
                    if of_block is not None:
                        rule = of_block
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
            pos = fresh = again = stop
        if pos != end or delimited:
            raise Irregular(Reason.TRUNCATED, max(last, 0))
        found.extend((self._required(tag), tag, pos, pos, pos, None) for tag in (watch, *awaited) if tag <= last_tag)
        self._bound(found)
        return found, pos

    def _note(self, stretches: dict[int, Stretch], first: int, begin: int, stop: int, last: int) -> None:
        """Note the neighbours from `begin` to `stop`, the tags of the first and last of which are these."""
        if _SHORTEST_STRETCH < stop - begin < _LONGEST_STRETCH and stop <= len(self._buffer):
            stretches[first] = Stretch(bytes(self._buffer[begin:stop]), stop - begin, last)

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
        if not descends or (vr != _SQ and vr_of(tag) != "SQ" and not self._is_private_sequence(rule)):
            return stop, None
        return stop, self._sequence(value, stop, explicit and vr != _UN, False, rule)[0]

    def _is_private_sequence(self, rule: R | None) -> bool:
        private = self._rules.private
        return private is not None and rule is not None and private.is_sequence(rule)

    def _is_sequence(self, value: int, length: int, end: int, rule: R) -> bool:
        """Whether a value of defined length, whose VR nothing tells, reads as items from its first to its last byte.

        Such items are in implicit VR (PS3.5 6.2.2 note 2). Raises Undecodable for what goes beyond the bounds.
        """
        if length == UNDEFINED_LENGTH:
            return True
        depth, count = self._depth, self._count
        try:
            return value + length <= end and self._sequence(value, value + length, False, False, rule)[1] <= end
        except (Irregular, StructError):
            return False
        finally:
            self._depth, self._count = depth, count

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
