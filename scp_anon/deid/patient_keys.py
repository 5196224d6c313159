"""Who is one patient: what tells a patient from others in an original.

A patient is known by Patient ID (0010,0020) without the spaces around it. What systems write where they know no
patient, such as `0` or `UNKNOWN`, is no Patient ID. Without a Patient ID, Patient's Name (0010,0010) tells, compared as
PS3.5 6.2.1 has it: trailing delimiters and the spaces around a component do not count. An instance with neither is of a
patient of its study alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# Compared without case, spaces and punctuation. Placeholders as well: 0, 00 …, 1111 …, 999 …, XX ….
PLACEHOLDERS: Final = frozenset(
    """
    anon anonym anonyme anonymised anonymized anonymous anonymus anonimo anonimizado anoniem anonyymi
    unknown unk unbekannt inconnu inconnue desconocido desconocida desconhecido sconosciuto sconosciuta onbekend
    ukjent ukendt okand okänd tuntematon neznamy nieznany bilinmeyen
    none null nil nan na notavailable notapplicable notknown notgiven notset undefined undef empty blank missing
    noid nopid nopatientid nopatient nomrn nonumber noname keine kein ohne aucun aucune sans ninguno nessuno geen ingen
    patient patientid pid id mrn name patientname nameunknown unknownname unknownpatient unknownid
    default dummy sample placeholder removed redacted deidentified deleted tbd test
    """.split()
)
_SIMPLE: Final = re.compile(r"[\W_]+")
_NUMBER: Final = re.compile(r"0+|1{4,}|9{3,}|x{2,}")


class PatientKeys:
    """Makes the keys of patients by the settings of a profile."""

    def __init__(self, by_issuer: bool = False, placeholders: Iterable[str] | None = None) -> None:
        """`by_issuer`: Issuer of Patient ID counts. `placeholders`: values in place of the list of this module."""
        self._by_issuer = by_issuer
        own = None if placeholders is None else frozenset(map(_simple, placeholders))
        self._placeholders = PLACEHOLDERS if own is None else own
        self._has_own = own is not None

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """Return the key of a patient: by ID, by name where there is no ID, "" where there is neither."""
        patient_id = patient_id.strip(" \0")
        if patient_id and not self.is_placeholder(patient_id):
            return id_key(patient_id, issuer if self._by_issuer else "")
        name = normalised_name(name)
        return f"name:{name}" if name and not self._is_nobody(name) else ""

    def is_placeholder(self, value: str) -> bool:
        """Return whether a system writes this value where it knows no patient."""
        simple = _simple(value)
        if simple in self._placeholders or not simple:
            return True
        return not self._has_own and _NUMBER.fullmatch(simple) is not None

    def _is_nobody(self, name: str) -> bool:
        """Return whether each component of a name is a placeholder."""
        return all(self.is_placeholder(part) for part in re.split(r"[\^=]", name) if part)


def _simple(value: str) -> str:
    return _SIMPLE.sub("", value.casefold())


def id_key(patient_id: str, issuer: str = "") -> str:
    """Return the key of the patient who has this Patient ID; `issuer` is empty where it does not count."""
    return f"id:{patient_id}\0{issuer}" if issuer else f"id:{patient_id}"


def study_key(study_instance_uid: str, sop_instance_uid: str) -> str:
    """Return the key of a patient whom an instance does not name: of the study, or of the instance without one."""
    return f"study:{study_instance_uid}" if study_instance_uid else f"instance:{sop_instance_uid}"


def names_patient(key: str) -> bool:
    """Return whether a key is that of a patient whom an instance names."""
    return key.startswith(("id:", "name:"))


def normalised_name(name: str) -> str:
    """Return a PN value without what PS3.5 6.2.1 lets a writer leave out.

    Spaces around a component do not count, nor do delimiters behind the last component, or the last component group,
    that has a value.
    """
    groups = ("^".join(part.strip() for part in group.split("^")).rstrip("^") for group in name.split("="))
    return "=".join(groups).rstrip("=")
