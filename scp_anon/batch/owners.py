"""Of which patient each study is, as far as a run has come: the first one, in the order of the inputs."""

from __future__ import annotations

from typing import Final

from scp_anon.batch.scratch import scratch
from scp_anon.deid.study_patients import Owner

_DIGITS: Final = 32  # of a study, in the manifest


class Owners:
    """The studies with their patients, in a temporary data base."""

    def __init__(self) -> None:
        self._index = scratch("owners (study BLOB PRIMARY KEY, patient BLOB)")

    def first(self, owner: Owner) -> Owner | None:
        """Return the study of `owner` with its first patient, None if nobody is known."""
        row = self._index.execute("SELECT study, patient FROM owners WHERE study = ?", owner[:1]).fetchone()
        return Owner(*row) if row else None

    def add(self, owner: Owner) -> None:
        """Remember the first patient of a study."""
        self._index.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", owner)

    def close(self) -> None:
        """Give up the data base."""
        self._index.close()


def written(owner: Owner) -> str:
    """Return a study with its patient as the manifest has it: hexadecimal digits."""
    return owner.study.hex() + owner.patient.hex()


def read(text: str) -> Owner:
    """Return what `written` has made a text of. Raises ValueError."""
    return Owner(bytes.fromhex(text[:_DIGITS]), bytes.fromhex(text[_DIGITS:]))
