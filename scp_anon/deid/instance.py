"""What the actions may know: of the instance as a whole, and of the data set that an attribute is in."""

from __future__ import annotations

from collections.abc import Mapping
from struct import calcsize, iter_unpack
from typing import TYPE_CHECKING, Final

from scp_anon.deid import dates, text
from scp_anon.deid.character_sets import STANDARD, CharacterSets
from scp_anon.deid.descriptors import OwnIdentity
from scp_anon.deid.identity import Identity
from scp_anon.deid.patient_keys import study_key
from scp_anon.dicom.dictionary import vr_of
from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.uids import iod_of_sop_class
from scp_anon.errors import Reason, Undecodable

if TYPE_CHECKING:
    from scp_anon.deid.actions import FoundRule
    from scp_anon.deid.conditions import Name
    from scp_anon.deid.patients import Patients
    from scp_anon.deid.study_patients import StudyPatients

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021

# The top-level attributes whose original values every instance is made of.
FACTS: Final = frozenset(
    (SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID)
)

_BINARY: Final = {"FD": "<d", "FL": "<f", "SL": "<i", "SS": "<h", "SV": "<q", "UL": "<I", "US": "<H", "UV": "<Q"}
# Their backslash is a character, not a separator of values (PS3.5 6.2).
SINGLE: Final = frozenset("LT ST UR UT".split())


class Instance:
    """One instance on its way through the engine.

    `facts`: top-level tag → raw value, of those that rules or conditions need. `context`: what is known besides the
    data set. `iod`: the key of its IOD in the tables, or "". `patient`: its pseudonym. `patient_key`: what tells its
    patient from others. `own`: what its text has to be cleaned of. `done`: what has been done to it so far, as bits of
    `actions`. `sets`: reads Specific Character Set as the profile says.
    """

    __slots__ = (
        "character_sets",
        "context",
        "done",
        "facts",
        "identity",
        "iod",
        "own",
        "patient",
        "patient_key",
        "patients",
        "sets",
        "sop_class_uid",
    )

    def __init__(
        self,
        identity: Identity,
        patients: Patients,
        facts: dict[int, bytes],
        context: Mapping[str, str],
        sets: CharacterSets = STANDARD,
    ) -> None:
        """Raises Undecodable where a fact that must be there is missing or more than one."""
        sop_instance_uid = unpadded(facts.get(SOP_INSTANCE_UID, b""))
        self.sop_class_uid = unpadded(facts.get(SOP_CLASS_UID, b"")).decode("ascii", "replace")
        if not self.sop_class_uid:
            raise Undecodable(Reason.MISSING_UID, "(0008,0016)")
        if not sop_instance_uid:
            raise Undecodable(Reason.MISSING_UID, "(0008,0018)")
        if b"\\" in sop_instance_uid:
            raise Undecodable(Reason.MALFORMED, "(0008,0018)")  # which of them would the instance be?
        self.identity = identity
        self.patients = patients
        self.iod = iod_of_sop_class().get(self.sop_class_uid, "")
        self.facts = facts
        self.context = context
        self.sets = sets
        self.character_sets = sets.terms(facts.get(SPECIFIC_CHARACTER_SET, b""))
        self.done = 0
        self.own = OwnIdentity()
        self.patient = b""
        self.patient_key = self._named_patient() or study_key(self._study(), _ascii(sop_instance_uid))

    def find_patient(self, studies: StudyPatients | None = None) -> None:
        """Find the patient's pseudonym. `studies`: decides where another instance of the study names another patient.

        Raises Undecodable to hold the instance, and OSError.
        """
        self.patient = self.patients.pseudonym(self)
        study = self._study()
        if studies is None or not study:
            return
        key = studies.patient(study, self.patient_key, self.patients)
        if key != self.patient_key:
            self.patient_key = key
            self.patient = self.patients.pseudonym(self)

    def text(self, tag: int) -> str:
        """A top-level value as text without its padding, "" where it is absent."""
        return text.decode(self.facts.get(tag, b""), self.character_sets)

    def _study(self) -> str:
        return _ascii(unpadded(self.facts.get(STUDY_INSTANCE_UID, b"")))

    def _named_patient(self) -> str:
        """Return the key of the patient whom the instance names, "" where it names nobody."""
        return self.patients.key(self.text(PATIENT_ID), self.text(ISSUER_OF_PATIENT_ID), self.text(PATIENT_NAME))

    def values(self, name: Name) -> list[str] | None:
        """The values of a top-level attribute among the facts, or of the context; None where it is absent."""
        if isinstance(name, str):
            value = self.context.get(name)
            return None if value is None else [value]
        raw = self.facts.get(name)
        if raw is None:
            return None
        vr = vr_of(name) or "UN"
        if vr in _BINARY:
            size = calcsize(_BINARY[vr])
            return [str(number) for (number,) in iter_unpack(_BINARY[vr], raw[: len(raw) // size * size])]
        if vr == "AS":
            raw = dates.plain_ages(raw)
        decoded = text.decode(raw, self.character_sets)
        return [decoded] if vr in SINGLE else [value.strip(" \0") for value in decoded.split("\\")]


class Scope:
    """The data set that an attribute is in: the sequences that it is reached through, and what was found in it."""

    __slots__ = ("buffer", "character_sets", "found", "instance", "path")

    def __init__(
        self,
        instance: Instance,
        path: tuple[int, ...],
        character_sets: tuple[str, ...],
        buffer: Buffer,
        found: list[FoundRule],
    ) -> None:
        self.instance = instance
        self.path = path
        self.character_sets = character_sets
        self.buffer = buffer
        self.found = found

    def value(self, tag: int) -> bytes | None:
        """The raw value of an attribute of this data set that was found, None if it was not."""
        for _, found, _, start, stop, _ in self.found:
            if found == tag:
                return bytes(self.buffer[start:stop])
        return None

    def has(self, tag: int) -> bool:
        """Whether an attribute of this data set was found."""
        return any(found == tag for _, found, *_ in self.found)

    def items(self, tag: int) -> list[Scope]:
        """The items of a sequence of this data set that was looked into."""
        for _, found, _, _, _, sequence in self.found:
            if found == tag and sequence is not None:
                return [self.inside(tag, item.found) for item in sequence.items]
        return []

    def inside(self, tag: int, found: list[FoundRule]) -> Scope:
        """An item of the sequence `tag`, which may have a Specific Character Set of its own (PS3.5 7.5.3)."""
        character_sets = self.character_sets
        for _, inner, _, start, stop, _ in found:
            if inner == SPECIFIC_CHARACTER_SET:
                character_sets = self.instance.sets.terms(bytes(self.buffer[start:stop]))
            if inner >= SPECIFIC_CHARACTER_SET:
                break
        return Scope(self.instance, (*self.path, tag), character_sets, self.buffer, found)


def _ascii(uid: bytes) -> str:
    return uid.decode("ascii", "replace")


def unpadded(value: bytes) -> bytes:
    """A UI value without the NUL that pads it, nor the blanks that some write instead (PS3.5 9.1)."""
    return value.strip(b"\0 ")
