"""Old → new Study and Series Instance UIDs of a run, in a file for its owner's eyes only: whoever has it can go back.

What is found is appended to a file beside it, so that a run that was cut off and resumed has all of it in the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from scp_anon.batch.originals import KEYWORDS
from scp_anon.batch.scratch import scratch
from scp_anon.batch.writing import open_private, write_whole
from scp_anon.errors import ConfigError


class Mapping:
    """The pairs of a run. They are in a temporary data base, so that memory stays flat."""

    def __init__(self, path: Path, resume: bool) -> None:
        """`resume`: with those that are in the file already. Raises ConfigError."""
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._index = scratch("uids (kind, old, new, PRIMARY KEY (kind, old))")
        if resume:
            for pair in chain(self._whole(), self._begun()):
                self._index.execute("INSERT OR REPLACE INTO uids VALUES (?, ?, ?)", pair)
        self._file = open_private(self._part, "mapping", "a" if resume else "w")

    def add(self, kind: str, old: str, new: str) -> None:
        """Note a pair. Raises ConfigError where it cannot be written."""
        self._index.execute("INSERT OR REPLACE INTO uids VALUES (?, ?, ?)", (kind, old, new))
        try:
            self._file.write(json.dumps([kind, old, new]) + "\n")
        except OSError as error:
            raise self._unwritten(error) from None

    def sync(self) -> None:
        """Bring what was noted to stable storage. Raises ConfigError."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritten(error) from None

    def finish(self) -> None:
        """Write the file itself. Raises ConfigError."""
        write_whole(self._path, self._as_json(), "mapping", 0o600)
        self._part.unlink()

    def close(self) -> None:
        """Give up what is open."""
        with suppress(OSError):  # what could not be written has been told by `sync`
            self._file.close()
        self._index.close()

    def _unwritten(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self._path}: the mapping cannot be written: {error.strerror}")

    def _as_json(self) -> Iterator[str]:
        """As mmiv's mapping.json has it."""
        yield "{"
        for i, kind in enumerate(KEYWORDS.values()):
            yield f'{"," * bool(i)}\n  "{kind}": {{'
            rows = self._index.execute("SELECT old, new FROM uids WHERE kind = ? ORDER BY old", (kind,))
            yield from (f"{',' * bool(j)}\n    {json.dumps(o)}: {json.dumps(n)}" for j, (o, n) in enumerate(rows))
            yield "\n  }"
        yield "\n}\n"

    def _whole(self) -> Iterator[tuple[str, str, str]]:
        """The pairs of a run that has come to its end. Raises ConfigError."""
        if not self._path.exists():
            return
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            yield from ((kind, str(old), str(new)) for kind in content for old, new in content[kind].items())
        except (OSError, ValueError, TypeError, AttributeError):
            raise ConfigError(f"{self._path}: is no mapping that can be gone on with") from None

    def _begun(self) -> Iterator[tuple[str, str, str]]:
        """The pairs of a run that was cut off: whole lines. Raises ConfigError."""
        if not self._part.exists():
            return
        with self._part.open("r+b") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                try:
                    kind, old, new = json.loads(line)
                except (ValueError, TypeError):
                    raise ConfigError(f"{self._part}: is damaged") from None
                yield kind, old, new
            file.truncate(end)  # or what is appended would be behind half a line
