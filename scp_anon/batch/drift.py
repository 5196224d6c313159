"""The alarm for attributes that were never seen before: what a new device or program sends is looked at by somebody.

The file of those that are known has a line for each: tag and keyword; of private ones group, offset and creator. A
creator is a value of the original, and nobody knows what all devices put there: the file is for its owner's eyes only.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scp_anon.batch.writing import write_whole
from scp_anon.errors import ConfigError


class Drift:
    """The attributes that are known, and those that were new in a run."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that cannot be read."""
        self._path = path
        self.is_first = not path.exists()
        self._known: set[str] = set()
        self.new: set[str] = set()
        if not self.is_first:
            try:
                self._known.update(path.read_text(encoding="utf-8").splitlines())
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", "not UTF-8")
                raise ConfigError(f"{path}: the known attributes cannot be read: {problem}") from None

    def add(self, names: Iterable[str]) -> None:
        """Note attributes of an original."""
        self.new.update(name for name in names if name not in self._known)

    def finish(self) -> None:
        """Write down that all are known from now on. Raises ConfigError."""
        if self.new:
            lines = (f"{name}\n" for name in sorted(self._known | self.new))
            write_whole(self._path, lines, "file of known attributes", 0o600)
