"""The splice: what the rules say of the elements found, put between the ranges that nobody touches.

The result is a list of pieces: bytes that are new, and (start, stop) ranges of the original. Pixel data is never
copied on the way: it is part of a range. Lengths of sequences and items around a change are corrected; whether they
are of defined or undefined length stays as it was (PS3.5 7.5).
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import TypeAlias

from scp_anon.deid import text
from scp_anon.deid.actions import FACTS, SPECIFIC_CHARACTER_SET, FoundRule, Instance, Rule
from scp_anon.deid.identity import Identity
from scp_anon.deid.profile import Profile
from scp_anon.dicom.elements import Items, encode_element, encode_item
from scp_anon.dicom.encoding import Buffer, Item, Sequence, scan
from scp_anon.dicom.uids import TransferSyntax
from scp_anon.errors import Reason, Undecodable

Range: TypeAlias = "tuple[int, int]"
Piece: TypeAlias = "bytes | Range"

_length = Struct("<I").pack


def splice(
    buffer: Buffer, start: int, stop: int, syntax: TransferSyntax, profile: Profile, identity: Identity
) -> tuple[list[Piece], Instance]:
    """De-identify the encoded data set at `buffer[start:stop]`; returns the pieces, and the instance it was.

    Raises `Irregular` where the strict pass refuses the encoding, `Undecodable` where the instance cannot be ruled on.
    """
    found = scan(buffer, start, stop, syntax, profile.rules, profile.required)
    facts = {tag: bytes(buffer[value:end]) for _, tag, _, value, end, _ in found if tag in FACTS}
    instance = Instance.of(identity, facts)
    splicer = _Splicer(buffer)
    splicer.data_set(found, start, stop, not syntax.implicit_vr, instance)
    return splicer.pieces, instance


class _Splicer:
    """Collects the pieces of one instance."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.pieces: list[Piece] = []

    def data_set(self, found: list[FoundRule], start: int, stop: int, explicit: bool, instance: Instance) -> int:
        """Append what the data set at start:stop becomes; returns by how many bytes it has grown."""
        pieces, buffer = self.pieces, self._buffer
        copied = start
        growth = 0
        for rule, tag, begin, value, end, sequence in found:
            if sequence is not None:
                growth += self._sequence(rule, sequence, copied, value, end, instance)
                copied = end
                continue
            if rule.encoded is not None:
                new = rule.encoded[explicit]
            else:
                original = bytes(buffer[value:end])
                result = rule.act(instance, original)
                if result is original:
                    continue
                new = encode_element(tag, rule.vr, result, explicit)
            if begin > copied:
                pieces.append((copied, begin))
            if new:
                pieces.append(new)
            copied = end
            growth += len(new) - (end - begin)
        if stop > copied:
            pieces.append((copied, stop))
        return growth

    def _sequence(
        self, rule: Rule, sequence: Sequence[Rule], copied: int, value: int, end: int, instance: Instance
    ) -> int:
        """Append a kept sequence, from `copied` before its header on; returns its growth."""
        place = self._length_field(copied, value, sequence.undefined)
        copied = value
        growth = 0
        for item in sequence.items:
            growth += self._item(item, copied, sequence.explicit, self._inside(item, instance))
            copied = item.stop
        if sequence.end > copied:
            self.pieces.append((copied, sequence.end))
        growth += self._added(rule.added, sequence)
        if end > sequence.end:
            self.pieces.append((sequence.end, end))
        if place is not None:
            self.pieces[place] = self._corrected(end - value + growth)
        return growth

    def _item(self, item: Item[Rule], copied: int, explicit: bool, instance: Instance) -> int:
        """Append an item, from `copied` before its header on; returns its growth."""
        place = self._length_field(copied, item.content, item.undefined)
        growth = self.data_set(item.found, item.content, item.stop, explicit, instance)
        if place is not None:
            self.pieces[place] = self._corrected(item.stop - item.content + growth)
        return growth

    def _inside(self, item: Item[Rule], instance: Instance) -> Instance:
        """The instance as an item sees it, which may have a Specific Character Set of its own (PS3.5 7.5.3)."""
        for _, tag, _, value, end, _ in item.found:
            if tag == SPECIFIC_CHARACTER_SET:
                return replace(instance, character_sets=text.character_sets(bytes(self._buffer[value:end])))
            if tag > SPECIFIC_CHARACTER_SET:
                break
        return instance

    def _added(self, items: Items, sequence: Sequence[Rule]) -> int:
        """Append those of the items to add that the sequence has not got already; returns its growth."""
        if not items:
            return 0
        # The content tells, whether the item that holds it is of defined length or not.
        present = {bytes(self._buffer[item.content : item.stop]) for item in sequence.items if not item.found}
        encoded = (encode_item(item, sequence.explicit) for item in items)
        new = b"".join(item for item in encoded if item[8:] not in present)
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
