"""The splice: what the rules say of the elements found, put between the ranges that nobody touches.

The result is a list of pieces: bytes that are new, and (start, stop) ranges of the original. Pixel data is never
copied on the way: it is part of a range. Lengths of sequences and items around a change are corrected; whether they
are of defined or undefined length stays as it was (PS3.5 7.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, TypeAlias

from scp_anon.deid.actions import FoundRule, Rule, Unfit
from scp_anon.deid.instance import Instance, Scope
from scp_anon.dicom.dictionary import tag_text
from scp_anon.dicom.elements import Items, encode_element, encode_item
from scp_anon.dicom.finding import Buffer, Item, Sequence
from scp_anon.errors import Reason, Undecodable

Range: TypeAlias = "tuple[int, int]"
Piece: TypeAlias = "bytes | Range"
Overrides: TypeAlias = "Mapping[int, Rule] | None"

_length = Struct("<I").pack
_HEADER: Final = 8  # bytes of an item's header, and of a delimitation


def splice(
    buffer: Buffer, start: int, stop: int, explicit: bool, instance: Instance, found: list[FoundRule]
) -> tuple[list[Piece], dict[int, bytes]]:
    """De-identify the encoded data set at `buffer[start:stop]`, in which `found` was found.

    Returns the pieces, and those of them that are new elements of the data set itself, by tag. Raises `Undecodable`
    where the instance cannot be ruled on.
    """
    splicer = _Splicer(buffer)
    scope = Scope(instance, (), instance.character_sets, buffer, found)
    splicer.data_set(found, start, stop, explicit, scope)
    splicer.finish(explicit, scope)
    return splicer.pieces, splicer.made


class _Splicer:
    """Collects the pieces of one instance."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.pieces: list[Piece] = []
        self.made: dict[int, bytes] = {}  # at the top level
        self._last: list[tuple[int, FoundRule]] = []

    def data_set(
        self, found: list[FoundRule], start: int, stop: int, explicit: bool, scope: Scope, overrides: Overrides = None
    ) -> int:
        """Append what the data set at start:stop becomes; returns by how many bytes it has grown."""
        pieces, instance = self.pieces, scope.instance
        made = {} if scope.path else self.made
        copied = start
        growth = 0
        for first, tag, begin, value, end, sequence in found:
            rule = first
            if overrides is not None or rule.choose is not None:
                rule = _chosen(rule, tag, scope, overrides)
            new: bytes | None = None
            if rule.encoded is not None:
                new = rule.encoded[explicit]
            elif rule.last is not None:
                new = b""
                self._last.append((len(pieces) + (begin > copied), (rule, tag, begin, value, end, sequence)))
            elif sequence is not None and rule.descends:
                growth += self._sequence(rule, tag, sequence, copied, value, end, scope)
                copied = end
            elif not rule.descends or end == begin:
                rule, new = _made(rule, tag, scope, bytes(self._buffer[value:end]), explicit)
            if end > value:
                instance.done |= rule.done
            if new is not None:
                if begin > copied:
                    pieces.append((copied, begin))
                if new:
                    pieces.append(new)
                made[tag] = new
                copied = end
                growth += len(new) - (end - begin)
        if stop > copied:
            pieces.append((copied, stop))
        return growth

    def finish(self, explicit: bool, scope: Scope) -> None:
        """Put in what tells of all that was done, now that it is known."""
        for place, (rule, tag, begin, value, end, sequence) in reversed(self._last):
            assert rule.last is not None  # that is why it is here
            told = _Splicer(self._buffer)
            told.data_set([(rule.last(scope.instance), tag, begin, value, end, sequence)], begin, end, explicit, scope)
            self.pieces[place:place] = told.pieces

    def _sequence(
        self, rule: Rule, tag: int, sequence: Sequence[Rule], copied: int, value: int, end: int, scope: Scope
    ) -> int:
        """Append a kept sequence, from `copied` before its header on; returns its growth."""
        place = self._length_field(copied, value, sequence.undefined)
        copied = value
        growth = 0
        present: set[bytes] = set()
        for item in sequence.items:
            begin = len(self.pieces)
            inside = scope.inside(tag, item.found)
            overrides = rule.items(inside) if rule.items is not None else None
            if overrides is not None and not overrides:
                growth += self._without(item, copied)
            else:
                growth += self._item(item, copied, sequence.explicit, inside, overrides)
            copied = _end(item)
            if rule.added:
                present.add(self._content(begin, item.undefined))
        if sequence.end > copied:
            self.pieces.append((copied, sequence.end))
        growth += self._added(rule.added, present, sequence.explicit)
        if end > sequence.end:
            self.pieces.append((sequence.end, end))
        if place is not None:
            self.pieces[place] = self._corrected(end - value + growth)
        return growth

    def _item(self, item: Item[Rule], copied: int, explicit: bool, scope: Scope, overrides: Overrides) -> int:
        """Append an item, from `copied` before its header on; returns its growth."""
        place = self._length_field(copied, item.content, item.undefined)
        growth = self.data_set(item.found, item.content, item.stop, explicit, scope, overrides)
        if item.undefined:
            self.pieces.append((item.stop, _end(item)))
        if place is not None:
            self.pieces[place] = self._corrected(item.stop - item.content + growth)
        return growth

    def _without(self, item: Item[Rule], copied: int) -> int:
        """Append what is before an item, but not the item; returns the growth, which is negative."""
        if item.start > copied:
            self.pieces.append((copied, item.start))
        return item.start - _end(item)

    def _content(self, begin: int, undefined: bool) -> bytes:
        """The data set of an item that has become the pieces from `begin` on, without its header and delimitation."""
        buffer = self._buffer
        whole = b"".join(p if isinstance(p, bytes) else bytes(buffer[p[0] : p[1]]) for p in self.pieces[begin:])
        return whole[_HEADER:-_HEADER] if undefined else whole[_HEADER:]

    def _added(self, items: Items, present: set[bytes], explicit: bool) -> int:
        """Append those of the items to add that the sequence has not got already; returns its growth."""
        encoded = (encode_item(item, explicit) for item in items)
        # The content tells, whether the item that holds it is of defined length or not.
        new = b"".join(item for item in encoded if item[_HEADER:] not in present)
        if new:
            self.pieces.append(new)
        return len(new)

    def _length_field(self, copied: int, content: int, undefined: bool) -> int | None:
        """Append a header up to `content`; returns the place among the pieces of a length to be corrected, if any."""
        if undefined:
            self.pieces.append((copied, content))
            return None
        self.pieces.append((copied, content - 4))
        self.pieces.append(b"")
        return len(self.pieces) - 1

    def _corrected(self, length: int) -> bytes:
        if length >= 0xFFFFFFFF:
            raise Undecodable(Reason.MALFORMED, "sequence too long")
        return _length(length)


def _chosen(rule: Rule, tag: int, scope: Scope, overrides: Overrides) -> Rule:
    """The rule that holds here: the item's own, or what the rule has for this place and instance."""
    if overrides is not None:
        rule = overrides.get(tag, rule)
    while rule.choose is not None:
        rule = rule.choose(scope)
    return rule


def _made(rule: Rule, tag: int, scope: Scope, original: bytes, explicit: bool) -> tuple[Rule, bytes | None]:
    """The rule that could be applied in the end, and the new element; None if it stays as it is."""
    while rule.act is not None:
        try:
            result = rule.act(scope, original)
        except Unfit:
            if rule.otherwise is None:
                raise Undecodable(Reason.RULE_NOT_APPLICABLE, tag_text(tag)) from None
            rule = _chosen(rule.otherwise, tag, scope, None)
        else:
            return rule, None if result is original else encode_element(tag, rule.vr, result, explicit)
    return rule, rule.encoded[explicit] if rule.encoded is not None else None


def _end(item: Item[Rule]) -> int:
    """Where an item ends, its delimitation included."""
    return item.stop + 8 if item.undefined else item.stop
