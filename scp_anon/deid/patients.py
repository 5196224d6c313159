"""The pseudonyms of patients: by keyed hash, the same for all, or from a table.

Who is one patient, `patient_keys` says. Issuer of Patient ID counts only if a profile says so: one hospital's systems
do not all write it, and one patient would be two.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from scp_anon.deid.identity import PSEUDONYM_LENGTH, Identity, is_hash
from scp_anon.deid.patient_keys import PatientKeys, id_key
from scp_anon.deid.settings import FixedPatients, HashedPatients, TablePatients
from scp_anon.errors import ConfigError, Reason, Undecodable

if TYPE_CHECKING:
    from scp_anon.deid.instance import Instance

_LOOK_AGAIN: Final = 1.0  # seconds between looks whether a table has changed
_LONGEST: Final = 64  # characters of an LO value


class Patients(Protocol):
    """How patients get their pseudonyms."""

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """What tells a patient from others, or "" where nothing does."""

    def pseudonym(self, instance: Instance) -> bytes:
        """The Patient ID of the instance's patient, "" where there is nobody. Raises Undecodable to hold it."""

    def name(self, instance: Instance) -> bytes:
        """The Patient's Name of the instance's patient."""

    def find(self, key: str) -> bytes:
        """The Patient ID of a patient by its key alone. Raises Undecodable for one who has to be waited for."""

    def of(self, key: str, instance: Instance) -> bytes:
        """The Patient ID of a patient by its key, who may be another one than the instance's."""

    def may_be_id(self, value: bytes) -> bool:
        """Whether a value, without padding, may be a Patient ID that was given."""

    def may_be_name(self, value: bytes, instance: Instance) -> bool:
        """The same of a Patient's Name; `instance.patient` is the new Patient ID already."""


class Hashed:
    """A keyed hash of what tells the patient from others, with a prefix."""

    def __init__(self, identity: Identity, settings: HashedPatients) -> None:
        self._identity = identity
        self._prefix = settings.prefix.encode("ascii")
        self._length = settings.length
        self._keys = PatientKeys(settings.issuer, settings.placeholders)

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """By ID, with its issuer if that counts; by name where there is no ID."""
        return self._keys.key(patient_id, issuer, name)

    def pseudonym(self, instance: Instance) -> bytes:
        """The pseudonym of the instance's patient."""
        return self.of(instance.patient_key, instance)

    def name(self, instance: Instance) -> bytes:
        """The same as the ID."""
        return instance.patient

    def of(self, key: str, instance: Instance) -> bytes:
        """The pseudonym of any patient."""
        return self.find(key)

    def find(self, key: str) -> bytes:
        """The pseudonym of any patient."""
        return self._prefix + self._identity.pseudonym(key, self._length) if key else b""

    def may_be_id(self, value: bytes) -> bool:
        """By its form."""
        return not value or (value.startswith(self._prefix) and is_hash(value[len(self._prefix) :], self._length))

    def may_be_name(self, value: bytes, instance: Instance) -> bool:
        """The same as the ID."""
        return value == instance.patient


class Fixed:
    """The same for all."""

    def __init__(self, identity: Identity, settings: FixedPatients) -> None:
        self._id = settings.id.encode("ascii")
        self._name = (settings.name or settings.id).encode("ascii")
        self._keys = PatientKeys()

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """By ID, or by name: dates still move by an offset of the patient's own."""
        return self._keys.key(patient_id, issuer, name)

    def pseudonym(self, instance: Instance) -> bytes:
        """The ID of all."""
        return self._id

    def name(self, instance: Instance) -> bytes:
        """The name of all."""
        return self._name

    def of(self, key: str, instance: Instance) -> bytes:
        """The ID of all."""
        return self._id

    def find(self, key: str) -> bytes:
        """The ID of all."""
        return self._id

    def may_be_id(self, value: bytes) -> bool:
        """The ID of all."""
        return value == self._id

    def may_be_name(self, value: bytes, instance: Instance) -> bool:
        """The name of all."""
        return value == self._name


class Table:
    """From a CSV file with the columns `id` and `pseudonym`, and if wanted `name` and `issuer`; read again on change.

    Whoever is not in it waits in quarantine until there is a row. Patients that are only mentioned in items get a
    keyed hash, as nobody should have to list them.
    """

    def __init__(self, identity: Identity, settings: TablePatients) -> None:
        """Raises ConfigError for a table that cannot be read."""
        self._identity = identity
        self._path = settings.file
        self._issuer = settings.issuer
        self._keys = PatientKeys(settings.issuer, settings.placeholders)
        self._look_at = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._rows: dict[str, tuple[bytes, bytes]] = {}
        self._look()

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """By ID, with its issuer if that counts; by name where there is no ID. What has a row is no placeholder."""
        listed = id_key(patient_id.strip(" \0"), issuer if self._issuer else "")
        return listed if listed in self._rows else self._keys.key(patient_id, issuer, name)

    def pseudonym(self, instance: Instance) -> bytes:
        """The pseudonym in the patient's row. Raises Undecodable where there is none."""
        return self.find(instance.patient_key)

    def find(self, key: str) -> bytes:
        """The pseudonym in the row of this patient. Raises Undecodable where there is none."""
        return self._row(key)[0]

    def name(self, instance: Instance) -> bytes:
        """The name in the patient's row, or the pseudonym."""
        return self._row(instance.patient_key)[1]

    def of(self, key: str, instance: Instance) -> bytes:
        """The pseudonym of a patient who may be mentioned only."""
        row = self._rows.get(key)
        return row[0] if row else self._identity.pseudonym(key, PSEUDONYM_LENGTH) if key else b""

    def may_be_id(self, value: bytes) -> bool:
        """One of the table, or a hash by its form."""
        return is_hash(value, PSEUDONYM_LENGTH) or any(value == pseudonym for pseudonym, _ in self._rows.values())

    def may_be_name(self, value: bytes, instance: Instance) -> bool:
        """The name in the row of the patient who has this ID."""
        return (instance.patient, value) in self._rows.values()

    def _row(self, key: str) -> tuple[bytes, bytes]:
        if time.monotonic() > self._look_at:
            with contextlib.suppress(ConfigError):  # half written, or gone for now: the rows that were there hold
                self._look()
        row = self._rows.get(key)
        if row is None:
            raise Undecodable(Reason.AWAITING_MAPPING)
        return row

    def _look(self) -> None:
        self._look_at = time.monotonic() + _LOOK_AGAIN
        seen = stamp(self._path)
        if seen != self._seen:
            self._rows = _read(self._path, self._issuer)
            self._seen = seen


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path, by_issuer: bool) -> dict[str, tuple[bytes, bytes]]:
    """The rows of a table. Raises ConfigError, which names the line and never what is in it."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        return _rows(path, csv.DictReader(io.StringIO(content), strict=True), by_issuer)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or "not CSV in UTF-8"
        raise ConfigError(f"{path}: cannot be read: {why}") from None


def _rows(path: Path, reader: csv.DictReader[str], by_issuer: bool) -> dict[str, tuple[bytes, bytes]]:
    """The rows of an open table. Raises ConfigError and csv.Error."""
    if not {"id", "pseudonym"} <= set(reader.fieldnames or ()):
        raise ConfigError(f"{path}:1: must have the columns id and pseudonym")
    rows: dict[str, tuple[bytes, bytes]] = {}
    for row in reader:
        patient = (row["id"] or "").strip()
        pseudonym = (row["pseudonym"] or "").strip()
        name = (row.get("name") or "").strip() or pseudonym
        for value in (pseudonym, name):
            if not value or len(value) > _LONGEST or "\\" in value or not (value.isascii() and value.isprintable()):
                raise ConfigError(f"{path}:{reader.line_num}: a pseudonym is 1 to 64 printable ASCII characters")
        key = id_key(patient, (row.get("issuer") or "").strip() if by_issuer else "")
        if not patient or key in rows:
            raise ConfigError(f"{path}:{reader.line_num}: {'this id is there twice' if patient else 'id is missing'}")
        rows[key] = (pseudonym.encode("ascii"), name.encode("ascii"))
    return rows
