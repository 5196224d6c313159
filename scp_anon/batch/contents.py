"""Which contents are finished, so that none is done twice: what `deid --once` goes by.

A content is known by its keyed hash, and finished as long as the output of the source that had it is there. Where the
manifest does not tell that place, as that of a mirror, it is finished once its source has been found to be so.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from scp_anon.batch.scratch import scratch
from scp_anon.dicom.finding import Buffer

SAME_CONTENT: Final = "same-content"
"""Why an input is skipped whose content is finished."""

_DIGITS: Final = 32
_CHUNK: Final = 1 << 20


def content_of(key: bytes, buffer: Buffer, mapped: int | None) -> str:
    """The keyed hash of a file, as hexadecimal digits: of `buffer`, or of the open file of which that is a map.

    A large file is read, not looked at in its map, which would have it in memory. Raises OSError.
    """
    if mapped is None:
        return hmac.digest(key, buffer, "sha256").hex()[:_DIGITS]
    found, place = hmac.new(key, digestmod="sha256"), 0
    while part := os.pread(mapped, _CHUNK, place):
        found.update(part)
        place += len(part)
    return found.hexdigest()[:_DIGITS]


class Contents:
    """The contents that are finished, each with its source and its output. They are in a temporary data base."""

    def __init__(self, folder: Path, writes: bool) -> None:
        """`folder`: that of the outputs. `writes`: False where there are none, as in a dry run."""
        self._folder = folder
        self._writes = writes
        self._index = scratch("contents (content BLOB PRIMARY KEY, source BLOB, output BLOB, is_new)")
        self._index.execute("CREATE INDEX by_source ON contents (source)")
        self._index.execute("CREATE INDEX by_output ON contents (output)")

    def add(self, content: str, source: str, output: str | None, is_new: bool) -> None:
        """Note that a source with this content is finished.

        `output`: None where it is not known. What the source, or this place, had before is not there any more.
        `is_new`: it is of this run.
        """
        self.forget(source)
        place = os.fsencode(output) if output is not None else None
        self._index.execute("DELETE FROM contents WHERE output = ?", (place,))
        row = (bytes.fromhex(content), bytes.fromhex(source), place, is_new)
        self._index.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)", row)

    def find(self, source: str, output: str) -> None:
        """Note that the output of a source that was finished before is there."""
        row = (os.fsencode(output), bytes.fromhex(source))
        self._index.execute("UPDATE contents SET output = ? WHERE source = ?", row)

    def forget(self, source: str) -> None:
        """Note that a source is done again, so that what it has given may be replaced."""
        self._index.execute("DELETE FROM contents WHERE source = ?", (bytes.fromhex(source),))

    def has(self, content: str) -> bool:
        """Whether a content is finished, and what it has given is there."""
        query = "SELECT output, is_new FROM contents WHERE content = ?"
        output, is_new = self._index.execute(query, (bytes.fromhex(content),)).fetchone() or (None, False)
        if output is None:
            return False
        return os.path.lexists(self._folder / os.fsdecode(output)) or bool(is_new and not self._writes)

    def close(self) -> None:
        """Give up the data base."""
        self._index.close()
