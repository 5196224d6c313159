"""What a profile would still change in what is de-identified already.

To de-identify a second time would change a good result too: of a new UID it makes another new one, and it moves a date
that has been moved. So each rule is asked what it leaves behind. What it removes must not be there, what it empties
must be empty, a dummy must be the dummy; of a value that it makes anew, the form must be that of such a value. Anything
else is done again, and must stay what it is.

A condition of a profile (`when`) is asked of the result, as there is nothing else to ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from scp_anon.deid.actions import FoundRule, Rule, Unfit
from scp_anon.deid.digest import without_digest
from scp_anon.deid.engine import Deidentifier, Read
from scp_anon.deid.instance import PATIENT_ID, PATIENT_NAME, Instance, Scope, unpadded
from scp_anon.deid.profile import (
    DEIDENTIFICATION_METHOD,
    DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
)
from scp_anon.deid.residual import Place
from scp_anon.dicom.elements import encode_item
from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.walk import elements, leaves
from scp_anon.errors import Filtered, NotAdmitted, Reason, Undecodable

Kind: TypeAlias = Literal["present", "not-empty", "not-dummy", "not-replaced", "not-cleaned", "not-claimed", "held"]
_HEADER: Final = 8
_TERMS: Final = frozenset((b"REMOVED", b"MODIFIED", b"UNMODIFIED"))
# How the version and the key begin in (0012,0063): another version is no fault, nor a key that is not at hand. The
# digest of a profile tells nothing there if the version is another.
VERSION: Final = b"scp-anon "
_KEY: Final = b"key "
Overrides: TypeAlias = "Mapping[int, Rule] | None"


class Change(NamedTuple):
    """What would still be changed at a place.

    `present`: it would be removed; `not-empty`: emptied; `not-dummy`: a dummy would come in its place; `not-replaced`:
    it is none of the values that the rule makes; `not-cleaned`: less of it would stay; `not-claimed`: what a result has
    to say of its de-identification is missing; `held`: its pixels may identify.
    """

    kind: Kind
    place: Place


def changes(engine: Deidentifier, read: Read, transfer_syntax_uid: str, with_key: bool = True) -> Iterator[Change]:
    """What the profile of `engine` would still change in a result that it has read.

    `with_key`: whether the key of `engine` is the one that the result was made with. Raises Undecodable.
    """
    buffer, found, profile = read.buffer, read.found, engine.profile
    facts = {
        tag: bytes(buffer[start:end]) for _, tag, _, start, end, _ in found if tag in profile.facts and end > start
    }
    instance = Instance(
        profile.identity, profile.patients, facts, {"TransferSyntaxUID": transfer_syntax_uid}, profile.sets
    )
    instance.patient = _patient(instance)
    try:
        profile.admission.check(instance)
    except (NotAdmitted, Filtered):
        pass  # what is asked for there may have been replaced
    except Undecodable as undecodable:
        if undecodable.reason == Reason.PIXELS_MAY_IDENTIFY:
            yield Change("held", (0x7FE00010,))
    recheck = _Recheck(buffer, with_key)
    scope = Scope(instance, (), instance.character_sets, buffer, found)
    explicit = not read.syntax.implicit_vr
    yield from recheck.data_set(found, explicit, scope)
    yield from recheck.claims(explicit, scope)


def _patient(instance: Instance) -> bytes:
    """The pseudonym that the instance's patient has been given: as the ID, or as the name where there was no ID."""
    pseudonym = instance.facts.get(PATIENT_ID, b"").strip(b" \0")
    name = instance.facts.get(PATIENT_NAME, b"").strip(b" \0")
    if pseudonym or not instance.patients.may_be_id(name):
        return pseudonym or instance.patients.of("", instance)
    return name


class _Recheck:
    """Goes through one result as the splicer goes through an original."""

    def __init__(self, buffer: Buffer, with_key: bool) -> None:
        self._buffer, self._with_key = buffer, with_key
        self._last: list[FoundRule] = []

    def data_set(
        self, found: list[FoundRule], explicit: bool, scope: Scope, overrides: Overrides = None
    ) -> Iterator[Change]:
        """What would be changed in one data set."""
        for first, tag, begin, value, end, sequence in found:
            rule = _chosen(overrides.get(tag, first) if overrides is not None else first, scope)
            place = (*scope.path, tag)
            if rule.last is not None:
                self._last.append((rule, tag, begin, value, end, sequence))
            elif tag == DEIDENTIFICATION_METHOD and not scope.path:
                yield from self._method(rule, scope, value, end)
            elif rule.encoded is not None:
                yield from self._constant(rule, scope, tag, begin, value, end, explicit)
            elif sequence is not None and rule.descends:
                for item in sequence.items:
                    inside = scope.inside(tag, item.found)
                    special = rule.items(inside) if rule.items is not None else None
                    if special is not None and not special:
                        yield Change("present", place)
                    else:
                        yield from self.data_set(item.found, sequence.explicit, inside, special)
            elif rule.act is not None and end > value:
                yield from self._made(rule, scope, tag, begin, value, end, explicit)
            if end > value and rule.act is None:
                scope.instance.done |= rule.done

    def claims(self, explicit: bool, scope: Scope) -> Iterator[Change]:
        """What is missing of that which a result has to say of what was done, as far as that can be told from it."""
        for told, tag, _, value, end, sequence in self._last:
            assert told.last is not None  # that is why it is here
            rule = told.last(scope.instance)
            if tag == LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED:
                if unpadded(bytes(self._buffer[value:end])) not in _TERMS:
                    yield Change("not-claimed", (tag,))
            elif tag == DEIDENTIFICATION_METHOD_CODE_SEQUENCE and rule.added:
                items = sequence.items if sequence is not None else []
                present = {bytes(self._buffer[item.content : item.stop]) for item in items}
                inside = sequence.explicit if sequence is not None else explicit
                if any(encode_item(item, inside)[_HEADER:] not in present for item in rule.added):
                    yield Change("not-claimed", (tag,))

    def _method(self, rule: Rule, scope: Scope, value: int, end: int) -> Iterator[Change]:
        """(0012,0063) must have what this profile says there."""
        assert rule.act is not None  # it appends
        wanted = rule.act(scope, b"")
        assert isinstance(wanted, bytes)  # of VR LO
        present = [part.strip(b" \0") for part in bytes(self._buffer[value:end]).split(b"\\")]
        # Another version may have other rules for the same profile, and so another digest.
        is_ours = any(part.startswith(VERSION) and part in present for part in wanted.split(b"\\"))
        alike = [] if is_ours else [without_digest(part) for part in present]
        for method in wanted.split(b"\\"):
            if method.startswith(VERSION):
                is_there = any(part.startswith(VERSION) for part in present)
            else:
                is_there = method in present or without_digest(method) in alike
                is_there = is_there or (method.startswith(_KEY) and not self._with_key)
            if not is_there:
                yield Change("not-claimed", (DEIDENTIFICATION_METHOD,))
                return

    def _constant(
        self, rule: Rule, scope: Scope, tag: int, begin: int, value: int, end: int, explicit: bool
    ) -> Iterator[Change]:
        """What is the same for every instance: nothing, an empty value, or a dummy."""
        assert rule.encoded is not None  # that is why it is here
        wanted = rule.encoded[explicit]
        if not wanted:
            # A range may be that of several neighbours.
            neighbours = elements(self._buffer, begin, end, explicit)
            yield from (Change("present", (*scope.path, each)) for _, each, *_ in neighbours if not is_creator(each))
        elif begin == end:
            yield Change("not-claimed", (*scope.path, tag))
        elif not self._is(wanted, begin, end, explicit):
            is_empty = not any(content for _, content in _leaves(wanted, explicit))
            yield Change("not-empty" if is_empty else "not-dummy", (*scope.path, tag))

    def _is(self, wanted: bytes, begin: int, end: int, explicit: bool) -> bool:
        """Whether an element is what we write, in whatever lengths somebody else has written it again."""
        there = bytes(self._buffer[begin:end])
        return there == wanted or _leaves(there, explicit) == _leaves(wanted, explicit)

    def _made(
        self, rule: Rule, scope: Scope, tag: int, begin: int, value: int, end: int, explicit: bool
    ) -> Iterator[Change]:
        """What an action makes of the value at hand."""
        original = bytes(self._buffer[value:end])
        otherwise = _chosen(rule.otherwise, scope) if rule.otherwise is not None else None
        if otherwise is not None and otherwise.encoded and self._is(otherwise.encoded[explicit], begin, end, explicit):
            return
        if rule.made is not None:
            if rule.made(scope, original):
                scope.instance.done |= rule.done
            else:
                yield from self._otherwise(otherwise, scope, tag, begin, value, end, explicit)
            return
        assert rule.act is not None  # that is why it is here
        try:
            new = rule.act(scope, original)
        except Unfit:
            yield from self._otherwise(otherwise, scope, tag, begin, value, end, explicit)
            return
        scope.instance.done |= rule.done
        if new is not original and (not isinstance(new, bytes) or new.strip(b" \0") != original.strip(b" \0")):
            yield Change("not-cleaned", (*scope.path, tag))

    def _otherwise(
        self, rule: Rule | None, scope: Scope, tag: int, begin: int, value: int, end: int, explicit: bool
    ) -> Iterator[Change]:
        """What the rule behind says of a value that cannot be of an action's making."""
        if rule is None:
            yield Change("not-replaced", (*scope.path, tag))
        elif rule.encoded is not None:
            yield from self._constant(rule, scope, tag, begin, value, end, explicit)
        elif rule.act is not None:
            yield from self._made(rule, scope, tag, begin, value, end, explicit)
        else:
            scope.instance.done |= rule.done  # it stays


def is_creator(tag: int) -> bool:
    """Whether a tag is that of a private creator: it stays where all that it was written for has gone (PS3.5 7.8.1)."""
    return tag >> 16 & 1 == 1 and 0x10 <= tag & 0xFFFF <= 0xFF


def _chosen(rule: Rule, scope: Scope) -> Rule:
    while rule.choose is not None:
        rule = rule.choose(scope)
    return rule


def _leaves(element: bytes, explicit: bool) -> list[tuple[Place, bytes]]:
    try:
        found = elements(element, 0, len(element), explicit)
    except Irregular:
        return []
    return [(leaf.place, element[leaf.start : leaf.stop].strip(b" \0")) for leaf in leaves(found, element, explicit)]
