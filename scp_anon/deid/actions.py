"""The action codes of PS3.15 Table E.1-1a: one small pure function for each.

An action is given the `Instance` that it works on and the raw value of the attribute (padding included, nothing for
an attribute that is absent), and returns the new value, which the splicer pads and encodes: bytes, or the data sets
of the items for a sequence. The very same object returned means that the attribute stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scp_anon.deid import text
from scp_anon.deid.dummies import BY_TAG, BY_VR, NEVER_EMPTY
from scp_anon.deid.identity import Identity
from scp_anon.dicom.elements import DataSet, Items, Value, encode_element
from scp_anon.dicom.encoding import Found
from scp_anon.errors import Reason, Undecodable

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020

# The attributes whose original values an `Instance` is made of.
FACTS = frozenset((SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, PATIENT_NAME, PATIENT_ID))


@dataclass(frozen=True, slots=True)
class Instance:
    """What the actions may know of the instance that they work on, besides the value at hand."""

    identity: Identity
    sop_class_uid: str
    sop_instance_uid: bytes
    character_sets: tuple[str, ...]
    patient: bytes
    """The patient's pseudonym: by Patient ID, by Patient's Name where there is no ID, empty where there is neither."""

    @classmethod
    def of(cls, identity: Identity, facts: dict[int, bytes]) -> Instance:
        """Made of the top-level values of `FACTS`. Raises Undecodable where one that must be there is missing."""
        sop_class_uid = unpadded(facts.get(SOP_CLASS_UID, b""))
        sop_instance_uid = unpadded(facts.get(SOP_INSTANCE_UID, b""))
        if not sop_class_uid:
            raise Undecodable(Reason.MISSING_UID, "(0008,0016)")
        if not sop_instance_uid:
            raise Undecodable(Reason.MISSING_UID, "(0008,0018)")
        if b"\\" in sop_instance_uid:
            raise Undecodable(Reason.MALFORMED, "(0008,0018)")  # which of them would the instance be?
        terms = text.character_sets(facts.get(SPECIFIC_CHARACTER_SET, b""))
        return cls(
            identity=identity,
            sop_class_uid=sop_class_uid.decode("ascii", "replace"),
            sop_instance_uid=sop_instance_uid,
            character_sets=terms,
            patient=_pseudonym(identity, "id", facts.get(PATIENT_ID, b""), terms)
            or _pseudonym(identity, "name", facts.get(PATIENT_NAME, b""), terms),
        )


Action: TypeAlias = Callable[[Instance, bytes], Value]


class Rule:
    """What becomes of one attribute.

    `vr`: the VR that a new value is written with. `act`: makes the new value. `encoded`: the new element where it is
    the same for every instance (nothing, to remove it), encoded as implicit and as explicit VR little endian.
    `descends`: the attribute stays, and its items, if it is a sequence, are ruled on. `added`: items of ours that a
    sequence which stays is given besides its own.
    """

    __slots__ = ("act", "added", "descends", "encoded", "vr")

    def __init__(
        self,
        vr: str,
        act: Action,
        encoded: tuple[bytes, bytes] | None = None,
        descends: bool = False,
        added: Items = (),
    ) -> None:
        self.vr, self.act, self.encoded, self.descends, self.added = vr, act, encoded, descends, added


def _unchanged(instance: Instance, value: bytes) -> bytes:
    return value


REMOVE = Rule("UN", _unchanged, encoded=(b"", b""))
KEEP = Rule("SQ", _unchanged, descends=True)

FoundRule: TypeAlias = Found[Rule]


def unpadded(value: bytes) -> bytes:
    """A UI value without the NUL that pads it, nor the blanks that some write instead (PS3.5 9.1)."""
    return value.strip(b"\0 ")


def constant(tag: int, vr: str, value: Value) -> Rule:
    """The same value for every instance, whatever was there."""
    return Rule(vr, _unchanged, encoded=(encode_element(tag, vr, value, False), encode_element(tag, vr, value, True)))


def dummy(tag: int, vr: str) -> Rule:
    """D: a non-empty dummy value, valid for the VR; for a UID one that is new but the same for the same original."""
    if vr == "UI":
        return new_uid()
    return constant(tag, vr, BY_TAG.get(tag) or BY_VR[vr])


def empty(tag: int, vr: str) -> Rule:
    """Z: a zero-length value; a sequence of no items, or of a dummy where one without items would be invalid."""
    return constant(tag, vr, NEVER_EMPTY.get(tag, () if vr == "SQ" else b""))


def new_uid() -> Rule:
    """U: each value of the attribute replaced by its keyed successor."""
    return Rule("UI", _new_uids)


def patient_id() -> Rule:
    """Z/D by a pseudonym: of the value at hand, which in a nested item may be another patient's."""
    return Rule("LO", _patient_id)


def patient_name() -> Rule:
    """Z by the pseudonym of the instance's patient."""
    return Rule("PN", lambda instance, value: instance.patient)


def check_character_set() -> Rule:
    """Keep Specific Character Set, but refuse the instance if it names a set that the standard does not define."""
    return Rule("CS", _check_character_set)


def append_values(vr: str, *values: bytes) -> Rule:
    """Values of ours behind those of an earlier de-identification, each of them once."""

    def append(instance: Instance, value: bytes) -> bytes:
        earlier = [part.strip(b"\0 ") for part in value.split(b"\\")] if value else []
        return b"\\".join([*(part for part in earlier if part not in values), *values])

    return Rule(vr, append)


def append_items(*items: DataSet) -> Rule:
    """Keep a sequence of an earlier de-identification, and add items of ours to it."""
    return Rule("SQ", lambda instance, value: items, descends=True, added=items)


def _new_uids(instance: Instance, value: bytes) -> bytes:
    uid = instance.identity.uid
    if b"\\" not in value:
        original = unpadded(value)
        return uid(original) if original else b""
    return b"\\".join(uid(original) if original else b"" for original in map(unpadded, value.split(b"\\")))


def _patient_id(instance: Instance, value: bytes) -> bytes:
    return _pseudonym(instance.identity, "id", value, instance.character_sets) or instance.patient


def _check_character_set(instance: Instance, value: bytes) -> bytes:
    text.character_sets(value)
    return value


def _pseudonym(identity: Identity, kind: str, value: bytes, terms: tuple[str, ...]) -> bytes:
    decoded = text.decode(value, terms)
    return identity.pseudonym(f"{kind}:{decoded}") if decoded else b""
