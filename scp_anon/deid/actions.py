"""The action codes of PS3.15 Table E.1-1a, and the project's own: one small function for each.

An action is given the `Scope` of the attribute and its raw value (padding included, nothing for an attribute that is
absent), and returns the new value, which the splicer pads and encodes: bytes, or the data sets of the items for a
sequence. The very same object returned means that the attribute stays as it is. Where an action cannot be applied to
a value it raises `Unfit`, and what the rule says for that case is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from scp_anon.deid import dates, text
from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.identity import is_hash
from scp_anon.deid.instance import SPECIFIC_CHARACTER_SET, Instance, Scope, unpadded
from scp_anon.dicom.elements import DataSet, Items, Value, encode_element
from scp_anon.dicom.finding import Found

Action: TypeAlias = Callable[[Scope, bytes], Value]
# Whether a value may be one that an action has made.
Made: TypeAlias = Callable[[Scope, bytes], bool]

# What has been done to an instance, beyond the Basic Profile; the options' bits are behind them.
WEAKENED: Final = 1  # a rule of the project kept more than the Basic Profile does
DATES_KEPT: Final = 2
DATES_MOVED: Final = 4
FIRST_OPTION: Final = 8

# A DS or IS value, of one number or several.
_NUMBER: Final = rb"[ \0]*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)?[ \0]*"
NUMBERS: Final = re.compile(_NUMBER + rb"(\\" + _NUMBER + rb")*")

_PARTIAL_DATE: Final = re.compile(rb"(1[89]|20)\d\d((0[1-9]|1[0-2]))?")
_IMPLICIT_HEADER: Final = 8  # bytes
# Longest values in bytes, of ASCII (PS3.5 6.2).
LONGEST: Final = {"AE": 16, "CS": 16, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024, "UI": 64}


class Unfit(Exception):
    """An action cannot be applied to this value."""


class Days(Protocol):
    """By how many days the dates of an instance move."""

    @property
    def always(self) -> bool:
        """Whether every instance has such a number."""

    def __call__(self, scope: Scope) -> int:
        """The number. Raises Unfit for an instance that has none."""

    def may_be(self, tag: int, scope: Scope, value: bytes) -> bool:
        """Whether a date may be one that was moved by it."""


class Rule:
    """What becomes of one attribute.

    `vr`: the VR that a new value is written with. `act`: makes the new value. `encoded`: the new element where it is
    the same for every instance (nothing, to remove it), encoded as implicit and as explicit VR little endian.
    `descends`: the attribute stays, and its items, if it is a sequence, are ruled on. `added`: items of ours that a
    sequence which stays is given besides its own. `choose`: gives the rule that holds at this place, for this instance.
    `otherwise`: the rule for a value that `act` finds unfit; without one the instance is quarantined. `done`: bits for
    `Instance.done` where an attribute with a value was ruled on. `items`: what is special to an item of a sequence that
    stays: None for nothing, else rules by tag that hold in this item, or no rules at all to remove it.
    `last`: gives the rule when all else is done, as it tells what was done. `made`: whether a value may be of `act`'s
    making, where doing it again would not tell: of a new UID there is another new one.
    """

    __slots__ = ("act", "added", "choose", "descends", "done", "encoded", "items", "last", "made", "otherwise", "vr")

    def __init__(
        self,
        vr: str,
        act: Action | None = None,
        *,
        encoded: tuple[bytes, bytes] | None = None,
        descends: bool = False,
        added: Items = (),
        choose: Callable[[Scope], Rule] | None = None,
        otherwise: Rule | None = None,
        done: int = 0,
        items: Callable[[Scope], Mapping[int, Rule] | None] | None = None,
        last: Callable[[Instance], Rule] | None = None,
        made: Made | None = None,
    ) -> None:
        self.vr, self.act, self.encoded, self.descends, self.added = vr, act, encoded, descends, added
        self.made = made
        self.choose, self.otherwise, self.done, self.items, self.last = choose, otherwise, done, items, last

    def with_(self, done: int = 0, otherwise: Rule | None = None) -> Rule:
        """The same rule, which notes `done`, and has `otherwise` where its own action is unfit."""
        return Rule(
            self.vr,
            self.act,
            encoded=self.encoded,
            descends=self.descends,
            added=self.added,
            choose=self.choose,
            otherwise=otherwise or self.otherwise,
            done=self.done | done,
            items=self.items,
            last=self.last,
            made=self.made,
        )


REMOVE = Rule("UN", encoded=(b"", b""))
KEEP = Rule("SQ", descends=True)
# As REMOVE, but an element of its own among what is found, not part of a range: its value is a fact.
REMOVE_NOTED = Rule("UN", encoded=(b"", b""))

FoundRule: TypeAlias = Found[Rule]


def keep(done: int = 0) -> Rule:
    """K: the attribute stays; the items of a sequence are ruled on."""
    return Rule("SQ", descends=True, done=done)


def constant(tag: int, vr: str, value: Value) -> Rule:
    """The same value for every instance, whatever was there."""
    return Rule(vr, encoded=(encode_element(tag, vr, value, False), encode_element(tag, vr, value, True)))


def for_any_tag(rule: Rule) -> Rule:
    """A rule of one attribute as that of others: what is encoded beforehand would name the one."""
    otherwise = for_any_tag(rule.otherwise) if rule.otherwise is not None else None
    if rule.encoded is None or rule.encoded == REMOVE.encoded:
        return rule if otherwise is rule.otherwise else rule.with_(otherwise=otherwise)
    value = rule.encoded[False][_IMPLICIT_HEADER:]
    return Rule(rule.vr, lambda scope, original: value, otherwise=otherwise, done=rule.done)


def dummy(tag: int, vr: str) -> Rule:
    """D: a non-empty dummy value, valid for the VR; for a UID one that is new but the same for the same original."""
    if vr == "UI":
        return new_uid()
    return constant(tag, vr, BY_TAG.get(tag) or BY_VR[vr])


def empty(tag: int, vr: str) -> Rule:
    """Z: a zero-length value; a sequence of no items."""
    return constant(tag, vr, () if vr == "SQ" else b"")


def new_uid() -> Rule:
    """U: each value of the attribute replaced by its keyed successor."""
    return Rule("UI", _new_uids, made=_are_new_uids)


def patient_id() -> Rule:
    """Z/D by a pseudonym: of the value at hand, which in a nested item may be another patient's."""
    return Rule("LO", _patient_id, made=_is_pseudonym)


def patient_name() -> Rule:
    """Z by the name that goes with the pseudonym of the instance's patient."""

    def made(scope: Scope, value: bytes) -> bool:
        return scope.instance.patients.may_be_name(value.strip(b" \0"), scope.instance)

    return Rule("PN", lambda scope, value: scope.instance.patients.name(scope.instance), made=made)


def pseudonym(vr: str) -> Rule:
    """The pseudonym of the patient whose ID the attribute holds, cut to what the VR may hold."""
    longest = LONGEST.get(vr)

    def made(scope: Scope, value: bytes) -> bool:
        return _is_pseudonym(scope, value) or value.strip(b" \0") == scope.instance.patient[:longest]

    return Rule(vr, lambda scope, value: _patient_id(scope, value)[:longest], made=made)


def hashed(vr: str, length: int) -> Rule:
    """Letters and digits that are a keyed function of the value; nothing for nothing."""

    def act(scope: Scope, value: bytes) -> Value:
        decoded = text.decode(value, scope.character_sets)
        return scope.instance.identity.hash(decoded, length) if decoded else b""

    return Rule(vr, act, made=lambda scope, value: is_hash(value.strip(b" \0"), length))


def application_entity() -> Rule:
    """C of an AE title: another AE title, the same for the same, so that devices can still be told apart."""

    def act(scope: Scope, value: bytes) -> Value:
        titles = [title.strip(b" \0").decode("latin-1") for title in value.split(b"\\")]
        return b"\\".join(b"AE" + scope.instance.identity.hash(f"ae:{title}", 14) if title else b"" for title in titles)

    def made(scope: Scope, value: bytes) -> bool:
        titles = [title.strip(b" \0") for title in value.split(b"\\")]
        return all(not title or (title[:2] == b"AE" and is_hash(title[2:], 14)) for title in titles)

    return Rule("AE", act, made=made)


def shifted(vr: str, days: Days, tag: int = 0) -> Rule:
    """C of dates (PS3.15 E.3.6): moved by the instance's days; times of day and time zones stay.

    `tag`: the attribute, where it is one of the standard.
    """
    shift = {"DA": dates.shift_dates, "DT": dates.shift_date_times}.get(vr)
    if shift is None:
        return kept(vr) if days.always else _kept_with(kept(vr), days)

    def act(scope: Scope, value: bytes) -> Value:
        try:
            return shift(value, days(scope)) if value.strip(b" \0") else value
        except dates.NoDate:
            raise Unfit from None

    return Rule(vr, act, made=lambda scope, value: _VALID[vr](value) and days.may_be(tag, scope, value))


def _kept_with(rule: Rule, days: Days) -> Rule:
    """A time of day or a time zone, which stays only where the dates of its instance can be moved."""
    keep_it = rule.act

    def act(scope: Scope, value: bytes) -> Value:
        days(scope)
        return keep_it(scope, value) if keep_it is not None else value

    return Rule(rule.vr, act, made=lambda scope, value: _VALID[rule.vr](value))


def kept(vr: str) -> Rule:
    """K, where the value is one of its VR: anything may be written in the place of a date, a number or a UID."""
    is_valid = _is_date_or_month if vr == "DA" else _VALID.get(vr)
    if is_valid is None:
        return KEEP

    def act(scope: Scope, value: bytes) -> Value:
        if not is_valid(value):
            raise Unfit
        return value

    return Rule(vr, act)


def capped_age() -> Rule:
    """K of an age: kept, but that of the very old, who are few, is told as 90 years."""

    def act(scope: Scope, value: bytes) -> Value:
        try:
            capped = dates.cap_age(value)
        except dates.NoDate:
            raise Unfit from None
        return value if capped == value.strip(b" \0") else capped

    return Rule("AS", act)


def replaced_by(vr: str, make: Callable[[Instance], bytes]) -> Rule:
    """A text of the project's own, which may name the project or the patient's pseudonym."""
    return Rule(vr, lambda scope, value: make(scope.instance)[: LONGEST.get(vr)])


def noting_dates(rule: Rule) -> Rule:
    """The same rule for a date, of which it shows only then whether it has changed it."""
    act = rule.act
    assert act is not None  # what could be anything comes of an action

    def noting(scope: Scope, value: bytes) -> Value:
        new = act(scope, value)
        note_date(scope, value, new)
        return new

    return Rule(rule.vr, noting).with_(rule.done, rule.otherwise)


def note_date(scope: Scope, value: bytes, new: Value) -> None:
    """Note that a date stays, or is another one now."""
    if isinstance(new, bytes) and new.strip(b" \0"):
        is_same = new.strip(b" \0") == value.strip(b" \0")
        scope.instance.done |= DATES_KEPT if is_same else DATES_MOVED


def _is_date(value: bytes) -> bool:
    return _is(dates.shift_dates, value)


def _is_date_or_month(value: bytes) -> bool:
    """Whether it is a date, or one of which the day, or month and day, are missing: it says less than a date."""
    return all(_is_date(part) or _PARTIAL_DATE.fullmatch(part.strip(b" \0")) for part in value.split(b"\\"))


def _is_date_time(value: bytes) -> bool:
    return _is(dates.shift_date_times, value)


def _is(shift: Callable[[bytes, int], bytes], value: bytes) -> bool:
    try:
        shift(value, 0)
    except dates.NoDate:
        return False
    return True


_VALID: Final[dict[str, Callable[[bytes], bool]]] = {
    "DA": _is_date,
    "DT": _is_date_time,
    "TM": dates.are_times,
    "SH": dates.is_zone,
    "DS": lambda value: NUMBERS.fullmatch(value) is not None,
    "IS": lambda value: NUMBERS.fullmatch(value) is not None,
    "UI": lambda value: not value.strip(b"0123456789.\\\0 "),
}


def check_character_set() -> Rule:
    """Keep Specific Character Set; a misspelt term becomes the defined one, and an unknown one has the instance held.

    At the top level the set that a profile assumes is written where none is declared.
    """
    return Rule("CS", _check_character_set)


def append_values(vr: str, *values: bytes) -> Rule:
    """Values of ours behind those of an earlier de-identification, each of them once."""

    def append(scope: Scope, value: bytes) -> bytes:
        earlier = [part.strip(b"\0 ") for part in value.split(b"\\")] if value else []
        return b"\\".join([*(part for part in earlier if part not in values), *values])

    return Rule(vr, append)


def append_items(*items: DataSet) -> Rule:
    """Keep a sequence of an earlier de-identification, and add items of ours to it."""
    return Rule("SQ", lambda scope, value: items, descends=True, added=items)


def at_top_level(rule: Rule, inside: Rule = KEEP) -> Rule:
    """A rule for the instance itself; `inside`: that for items, where the attribute stays if nothing else is said."""
    return Rule(rule.vr, descends=True, choose=lambda scope: inside if scope.path else rule)


def _new_uids(scope: Scope, value: bytes) -> bytes:
    uid = scope.instance.identity.uid
    if b"\\" not in value:
        original = unpadded(value)
        return uid(original) if original else b""
    return b"\\".join(uid(original) if original else b"" for original in map(unpadded, value.split(b"\\")))


def _are_new_uids(scope: Scope, value: bytes) -> bool:
    is_new = scope.instance.identity.is_new_uid
    return all(is_new(uid) for uid in map(unpadded, value.split(b"\\")) if uid)


def _is_pseudonym(scope: Scope, value: bytes) -> bool:
    return scope.instance.patients.may_be_id(value.strip(b" \0"))


def _patient_id(scope: Scope, value: bytes) -> bytes:
    """The instance's patient at the top level, and wherever the ID is the same; else that of whom it is."""
    instance = scope.instance
    if not scope.path:
        return instance.patient
    decoded = text.decode(value, scope.character_sets)
    if not decoded or decoded == instance.text(0x00100020):
        return instance.patient
    return instance.patients.of(instance.patients.key(decoded, "", ""), instance)


def _check_character_set(scope: Scope, value: bytes) -> bytes:
    if not scope.path and not value.strip(b" \0"):
        return scope.instance.facts.get(SPECIFIC_CHARACTER_SET, value)
    return scope.instance.sets.proper(value) or value


def encoded(new: str, vr: str, scope: Scope) -> bytes:
    """A new text in the character set of its data set. Raises Unfit where that has no such characters."""
    try:
        value = text.encode(new, scope.character_sets)
    except UnicodeError:
        raise Unfit from None
    if len(new) > LONGEST.get(vr, len(new)):
        raise Unfit
    return value
