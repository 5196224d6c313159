"""One study is of one patient (PS3.3 7.3.1): what becomes of an instance that names another patient than its study has.

`hold`: it is quarantined. `first`: it gets the patient that the first instance of its study had. `separate`: it gets
the patient that it names, so that the study has two. Two Patient IDs that become the same pseudonym are one patient.

To know the first patient of a study takes memory. What is remembered identifies nobody without the key: a keyed hash of
the Study Instance UID, and the patient's key, encrypted (AES-SIV, RFC 5297).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from scp_anon.deid.identity import subkey
from scp_anon.deid.patient_keys import names_patient
from scp_anon.errors import Reason, Undecodable

StudyPolicy: TypeAlias = Literal["hold", "first", "separate"]
_CACHED: Final = 1 << 14
_REMEMBERED: Final = 1 << 16  # studies of which a process knows the patient without asking the file
_PATIENCE: Final = 30.0  # seconds to wait for another process that writes


class Find(Protocol):
    """How a patient's key becomes a Patient ID."""

    def find(self, key: str) -> bytes:
        """Return the new Patient ID of a patient. Raises Undecodable for one who has to be waited for."""


class StudyPatients(Protocol):
    """Decides of which patient an instance is."""

    def patient(self, study: str, key: str, patients: Find) -> str:
        """Return the key of the patient for an instance of `study` that names the patient `key`.

        Raises Undecodable to hold the instance, and OSError.
        """


class Owner(NamedTuple):
    """A study and its patient, in the form in which they are remembered."""

    study: bytes
    patient: bytes


class StudySeal:
    """Makes of a study and a patient what identifies nobody without the key."""

    def __init__(self, key: bytes, project: str) -> None:
        """`key`: the master key. `project`: studies of two projects are independent of each other."""
        study_key = subkey(key, "study of a patient", project)
        cipher = AESSIV(subkey(key, "patient of a study", project))
        self._study = lru_cache(_CACHED)(lambda study: subkey(study_key, study, "")[:16])
        self._patient = lru_cache(_CACHED)(
            lambda patient: cipher.encrypt(patient.encode("utf-8", "surrogateescape"), None)
        )
        self._cipher = cipher

    def owner(self, study: str, patient: str) -> Owner:
        """Return a study and its patient in the form in which they are remembered."""
        return Owner(self._study(study), self._patient(patient))

    def key(self, owner: Owner) -> str:
        """Return the key of the patient. Raises ValueError for what was remembered with another key."""
        try:
            return self._cipher.decrypt(owner.patient, None).decode("utf-8", "surrogateescape")
        except InvalidTag:
            raise ValueError("remembered with another key") from None


class SharedStudies:
    """Remembers the first patient of each study in a file that the processes of a node share."""

    def __init__(self, path: Path, seal: StudySeal, policy: Literal["hold", "first"], durable: bool) -> None:
        """`path`: the file, made when it is needed. `durable`: a new study is on stable storage before it is used."""
        self._path = path
        self._seal = seal
        self._policy = policy
        self._durable = durable
        self._known: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def patient(self, study: str, key: str, patients: Find) -> str:
        """Return the key of the study's first patient. Raises Undecodable by the policy `hold`, and OSError."""
        owner = self._seal.owner(study, key)
        known = self._known.get(owner.study)
        if known is None:
            known = self._first(owner, names_patient(key))
        if known is None or known == owner.patient:
            return key
        try:
            first = self._seal.key(Owner(owner.study, known))
        except ValueError as error:
            raise OSError(f"{self._path.name}: {error}") from None
        return decided(self._policy, first, key, patients)

    def _first(self, owner: Owner, is_named: bool) -> bytes | None:
        """Return a study's first patient, who is remembered if it is this one; None for nobody. Raises OSError.

        `is_named`: the instance names its patient; else it is no reason to remember anybody.
        """
        with self._lock:
            try:
                with closing(self._opened()) as database:
                    if is_named:
                        with database:
                            database.execute("INSERT OR IGNORE INTO study VALUES (?, ?)", owner)
                    found = database.execute("SELECT patient FROM study WHERE study = ?", owner[:1]).fetchone()
            except sqlite3.Error as error:
                raise OSError(f"{self._path.name}: {type(error).__name__}") from None
            if found is None:
                return None
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            first = bytes(found[0])
            self._known[owner.study] = first
            return first

    def _opened(self) -> sqlite3.Connection:
        """Open the file. It is open for a moment only, as a new study is rare and no file may be open over a fork."""
        database = sqlite3.connect(self._path, timeout=_PATIENCE)
        try:
            database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            database.execute("CREATE TABLE IF NOT EXISTS study (study BLOB PRIMARY KEY, patient BLOB) WITHOUT ROWID")
        except BaseException:
            database.close()
            raise
        return database


class NamedOwner:
    """Notes which study and patient an instance names, for somebody who knows what came before it. Of one thread."""

    def __init__(self, seal: StudySeal) -> None:
        self.found: Owner | None = None
        """Those of the last instance; None for one that names no study."""
        self.key: str | None = None
        """The key of the patient whom the last instance names."""
        self._seal = seal
        self._key: str | None = None

    def patient(self, study: str, key: str, patients: Find) -> str:
        """Return the key that the instance names, or the one that it has to have."""
        self.found, self.key = self._seal.owner(study, key), key
        return self._key or key

    @contextmanager
    def being(self, key: str) -> Iterator[None]:
        """Have instances be those of the patient `key` during the block."""
        self._key = key
        try:
            yield
        finally:
            self._key = None

    def decided(self, policy: StudyPolicy, first: Owner, owner: Owner, patients: Find) -> str | None:
        """Return the key of another patient whom an instance of `owner` has to have, None where it may stay.

        Raises Undecodable to hold the instance.
        """
        key = self._seal.key(owner)
        other = decided(policy, self._seal.key(first), key, patients)
        return None if other == key else other

    def is_named(self, owner: Owner) -> bool:
        """Return whether an instance names its patient."""
        return names_patient(self._seal.key(owner))


def decided(policy: StudyPolicy, first: str, key: str, patients: Find) -> str:
    """Return the key of the patient for an instance of `key` in a study of `first`. Raises Undecodable to hold it.

    An instance that names nobody contradicts nobody: it is of its study's patient.
    """
    if not names_patient(key):
        return first
    if patients.find(first) == patients.find(key):
        return key
    if policy == "hold":
        raise Undecodable(Reason.STUDY_OF_TWO_PATIENTS, "(0010,0020)")
    return first if policy == "first" else key
