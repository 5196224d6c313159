"""Private attributes that are known to be safe (PS3.15 E.3.10): kept by creator, wherever their block is.

Safe is what Table E.3.10-1 or the site's own list names, and what the instance itself declares in Private Data Element
Characteristics Sequence (0008,0300). Only numbers are kept as they are, and only where they are numbers: of the
VR that is expected, or unknown. Codes and short texts are kept if they pass as clean text; everything else goes, as
nobody can tell what a vendor puts there.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from struct import calcsize
from typing import Final

from scp_anon.deid.actions import NUMBERS, REMOVE, Action, Rule, Unfit
from scp_anon.deid.descriptors import is_own
from scp_anon.deid.instance import Scope
from scp_anon.deid.tables import SafePrivate
from scp_anon.deid.vocabulary import TOKEN, names, pieces_of
from scp_anon.dicom.dictionary import dictionary, vr_code, vr_name
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Rules
from scp_anon.dicom.uids import TransferSyntax

PRIVATE_DATA_ELEMENT_CHARACTERISTICS: Final = 0x00080300
_GROUP: Final = 0x00080301
_CREATOR: Final = 0x00080302
_STATUS: Final = 0x00080303
_NONIDENTIFYING: Final = 0x00080304

_SIZES: Final = {
    "FL": "<f",
    "FD": "<d",
    "SL": "<i",
    "SS": "<h",
    "SV": "<q",
    "UL": "<I",
    "US": "<H",
    "UV": "<Q",
    "AT": "<I",
}
_TEXTS: Final = frozenset("CS LO LT SH ST UC UT".split())
_UNKNOWN: Final = vr_code("UN")

ANY: Final = b"*"
"""In a rule, the creator that stands for all."""

# (creator, group, offset) → rule; of group and offset None stands for any.
Known = Mapping[tuple[bytes, int | None, int | None], Rule]

# Attributes that hold names of pulse sequences, which no vocabulary has all of.
_SEQUENCE_NAMES: Final = frozenset(((b"GEMS_ACQU_01", 0x0019, 0x9E),))
_SEQUENCE_NAME: Final = re.compile(
    r"(?=.{2,16}\Z)[0-9]?[A-Za-z]{1,8}[0-9]{0,2}([A-Za-z]{1,8}[0-9]{0,2})?([_-][A-Za-z0-9]{1,4})?"
)

# Numbers that happen to be eight letters or more are hard to come by.
_TEXT: Final = re.compile(rb"[\x20-\x7e]{7,}[\x20-\x7e\0]")


class PrivateRules:
    """Rules for private elements by creator: those of the project first, then what is safe, then nothing."""

    def __init__(
        self,
        own: Known,
        safe: Iterable[SafePrivate],
        clean_text: Action,
        shift: Mapping[str, Rule],
        done: int,
        written: Container[int] = (),
    ) -> None:
        """`shift`: VR → rule for dates, where a dates option keeps any. `done`: the bit of the option.

        `written`: groups that the project writes itself: nothing that was there stays.
        """
        self._own = own
        self._written = written
        self._clean_text = clean_text
        self._shift = shift
        self._done = done
        self._sequence = Rule("SQ", descends=True, done=done)
        self._safe = {}
        for row in safe:
            place = row.creator.encode("ascii"), row.group, row.offset
            rule = self._name_rule() if place in _SEQUENCE_NAMES else self._by_vr(row.vr)
            if rule is not None:
                self._safe[place] = row.vr, rule
        self._creators = {creator for creator, *_ in (*own, *self._safe)}
        self.creator = Rule("LO", descends=True)

    def knows(self, creator: bytes) -> bool:
        """Whether anything in blocks of this creator has a rule."""
        return creator in self._creators or (bool(creator) and ANY in self._creators)

    def writes(self, group: int) -> bool:
        """Whether the project writes this group itself."""
        return group in self._written

    def rule(self, creator: bytes, group: int, offset: int, vr: int, length: int) -> Rule | None:
        """The rule for the element of this offset in a block of `creator`, of this encoded VR (0: not told), if any."""
        if self.writes(group):
            return None
        own = self._own_rule(creator, group, offset)
        if own is not None:
            return None if own is REMOVE else own  # what has no rule goes as well, and its creator with it
        expected, rule = self._safe.get((creator, group, offset), ("", None))
        if rule is None:
            return None
        return rule if vr in (0, _UNKNOWN) or vr_name(vr) in expected.split(" or ") else None

    def is_sequence(self, rule: object) -> bool:
        """Whether a rule is that of safe sequences: what it is for is kept only if it reads as items."""
        return rule is self._sequence

    def removes(self, creator: bytes, group: int, offset: int) -> bool:
        """Whether a rule of the project removes the element, whatever else says that it is safe."""
        return self._own_rule(creator, group, offset) is REMOVE

    def _own_rule(self, creator: bytes, group: int, offset: int) -> Rule | None:
        for name in (creator, ANY) if self._own else ():
            for key in ((name, group, offset), (name, None, offset), (name, group, None), (name, None, None)):
                if key in self._own:
                    return self._own[key]
        return None

    def with_declared(self, declared: Declared) -> PrivateRules:
        """The same rules, and what an instance itself declares to be safe."""
        return _WithDeclared(self, declared) if declared else self

    def _by_vr(self, vr: str) -> Rule | None:
        """The rule for a safe attribute of a VR; None for one that is not kept."""
        if vr == "SQ":
            return self._sequence
        if vr in _SIZES:
            return Rule(vr, _whole(calcsize(_SIZES[vr])), otherwise=REMOVE, done=self._done)
        if vr in ("DS", "IS"):
            return Rule(vr, _numbers, otherwise=REMOVE, done=self._done)
        if vr in _TEXTS:
            return Rule(vr, self._clean_or_remove, otherwise=REMOVE, done=self._done)
        if vr in self._shift:
            return self._shift[vr].with_(self._done, REMOVE)
        return Rule("UI", _unfit, otherwise=REMOVE) if vr == "UI" else None

    def _name_rule(self) -> Rule:
        """The rule for the name of a pulse sequence."""
        return Rule("LO", self._name_or_remove, otherwise=REMOVE, done=self._done)

    def _name_or_remove(self, scope: Scope, value: bytes) -> bytes:
        """A clean text, or one short word that is neither anybody's common name nor of the instance's own identity."""
        name = value.strip(b" \0").decode("latin-1")
        pieces = (piece for word in TOKEN.findall(name) for piece in (word.lower(), *pieces_of(word)))
        is_name = _SEQUENCE_NAME.fullmatch(name) and names().isdisjoint(pieces)
        return value if is_name and not is_own(name, scope.instance.own) else self._clean_or_remove(scope, value)

    def rule_by_vr(self, vr: str) -> Rule | None:
        """The rule for an attribute of this VR that an instance declares to be safe."""
        return self._by_vr(vr)

    def _clean_or_remove(self, scope: Scope, value: bytes) -> bytes:
        """A text that has nothing to be cleaned away, or a number; a part of a vendor's term would mean nothing."""
        if NUMBERS.fullmatch(value):
            return value
        if self._clean_text(scope, value) is not value:
            raise Unfit
        return value


def _whole(size: int) -> Action:
    """Binary numbers stay: so many bytes each, and not a text, which implicit VR would not tell from them."""

    def act(scope: Scope, value: bytes) -> bytes:
        if len(value) % size or _TEXT.fullmatch(value):
            raise Unfit
        return value

    return act


def _numbers(scope: Scope, value: bytes) -> bytes:
    if not NUMBERS.fullmatch(value):
        raise Unfit
    return value


def _unfit(scope: Scope, value: bytes) -> bytes:
    raise Unfit


class _Wanted:
    """The rule of a look for declarations: what is in this item is wanted."""

    descends = True


_DECLARATIONS: Final = Rules(
    dict.fromkeys((PRIVATE_DATA_ELEMENT_CHARACTERISTICS, _GROUP, _CREATOR, _STATUS, _NONIDENTIFYING), _Wanted()),
    dictionary().keys() - {PRIVATE_DATA_ELEMENT_CHARACTERISTICS, _GROUP, _CREATOR, _STATUS, _NONIDENTIFYING},
    None,
    None,
)

# (creator, group) → the offsets that are declared safe, or None for all of the block.
Declared = Mapping[tuple[bytes, int], frozenset[int] | None]


class _WithDeclared(PrivateRules):
    """Private rules with the declarations of one instance behind them."""

    def __init__(self, rules: PrivateRules, declared: Declared) -> None:
        self._rules = rules
        self._declared = declared
        self.creator = rules.creator
        self.is_sequence = rules.is_sequence  # type: ignore[method-assign]  # one and the same for both

    def knows(self, creator: bytes) -> bool:
        """As without declarations, or declared."""
        return self._rules.knows(creator) or any(creator == declared for declared, _ in self._declared)

    def rule(self, creator: bytes, group: int, offset: int, vr: int, length: int) -> Rule | None:
        """As without declarations; else by the VR that the element is written with, which must be told."""
        known = self._rules.rule(creator, group, offset, vr, length)
        is_ruled = self._rules.writes(group) or self._rules.removes(creator, group, offset)
        is_declared = (creator, group) in self._declared and not is_ruled
        if known is not None or not is_declared or vr in (0, _UNKNOWN):
            return known
        offsets = self._declared[creator, group]
        return self._rules.rule_by_vr(vr_name(vr)) if offsets is None or offset in offsets else None


def declarations(
    buffer: Buffer, start: int, stop: int, syntax: TransferSyntax
) -> dict[tuple[bytes, int], frozenset[int] | None]:
    """What the instance declares to be safe in Private Data Element Characteristics Sequence (PS3.3 C.12.1.1.7).

    Raises Irregular as the pass does.
    """
    found = scan(buffer, start, stop, syntax, _DECLARATIONS, last_tag=PRIVATE_DATA_ELEMENT_CHARACTERISTICS)
    result: dict[tuple[bytes, int], frozenset[int] | None] = {}
    for _, tag, _, _, _, sequence in found:
        if tag != PRIVATE_DATA_ELEMENT_CHARACTERISTICS or sequence is None:
            continue
        for item in sequence.items:
            values = {inner: bytes(buffer[value:end]) for _, inner, _, value, end, _ in item.found}
            group = int.from_bytes(values.get(_GROUP, b"")[:2], "little")
            creator = values.get(_CREATOR, b"").strip(b" \0")
            status = values.get(_STATUS, b"").strip(b" \0")
            if status == b"SAFE":
                result[creator, group] = None
            elif status == b"MIXED":
                raw = values.get(_NONIDENTIFYING, b"")
                numbers = (int.from_bytes(raw[i : i + 2], "little") for i in range(0, len(raw) - 1, 2))
                result[creator, group] = frozenset(number & 0xFF for number in numbers)
    return result
