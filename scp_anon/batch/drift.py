"""The alarm for attributes that were never seen before: what a new device or program sends is looked at by somebody.

The file of those that are known has a line for each: tag and keyword; of private ones group, offset and creator. A
creator is a value of the original, and nobody knows what all devices put there: the file is for its owner's eyes only.
What is new is appended to a file beside it before the manifest says that its file is finished, so that a run that was
cut off tells of it when it is resumed, or when there is another one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final

from pydicom._private_dict import private_dictionaries

from scp_anon.batch.originals import NO_CREATOR
from scp_anon.batch.writing import open_private, write_whole
from scp_anon.deid.tables import safe_private
from scp_anon.errors import ConfigError

_PRIVATE: Final = re.compile(r"(\([0-9A-F]{4},xx[0-9A-F]{2}\)) (.*)")


class Drift:
    """The attributes that are known, and those that were new in a run."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        """`writes`: whether what is new is noted. Raises ConfigError for a file that cannot be read."""
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._writes = writes
        self._file: IO[str] | None = None
        self.is_first = not path.exists()
        self._known: set[str] = set() if self.is_first else set(_lines(path))
        self.new: set[str] = set(self._begun()) - self._known

    def add(self, names: Iterable[str]) -> None:
        """Note attributes of an original. Raises ConfigError where they cannot be written."""
        new = [name for name in names if name not in self._known and name not in self.new]
        self.new.update(new)
        if not new or not self._writes:
            return
        self._file = self._file or open_private(self._part, "file of known attributes", "a")
        try:
            self._file.write("".join(f"{name}\n" for name in new))
        except OSError as error:
            raise self._unwritten(error) from None

    def sync(self) -> None:
        """Bring what was noted to stable storage. Raises ConfigError."""
        if self._file is None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritten(error) from None

    def told(self) -> list[str]:
        """The new ones as anybody may read them: of private ones, the creator only if it is known to be one."""
        return sorted(set(map(_told, self.new)))

    def finish(self) -> None:
        """Write down that all are known from now on. Raises ConfigError."""
        self.close()
        if self.new:
            lines = (f"{name}\n" for name in sorted(self._known | self.new))
            write_whole(self._path, lines, "file of known attributes", 0o600)
        with suppress(FileNotFoundError):
            self._part.unlink()

    def close(self) -> None:
        """Give up what is open."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written has been told by `sync`
                self._file.close()

    def _begun(self) -> Iterator[str]:
        """What a run that was cut off has noted: whole lines. Raises ConfigError."""
        if not self._part.exists():
            return
        end = self._part.read_bytes().rfind(b"\n") + 1
        if self._writes:
            os.truncate(self._part, end)  # or what is appended would be behind half a line
        yield from _lines(self._part, end)

    def _unwritten(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self._path}: the file of known attributes cannot be written: {error.strerror}")


def _lines(path: Path, end: int | None = None) -> list[str]:
    """The names in a file, as far as `end`. Raises ConfigError."""
    try:
        return path.read_bytes()[:end].decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", "not UTF-8")
        raise ConfigError(f"{path}: the known attributes cannot be read: {problem}") from None


@cache
def _creators() -> frozenset[str]:
    """The private creators that are in lists of such: those that anybody may read."""
    return frozenset((*private_dictionaries, *(row.creator for row in safe_private()), NO_CREATOR))


def _told(name: str) -> str:
    private = _PRIVATE.fullmatch(name)
    if private is None or private[2] in _creators():
        return name
    return f"{private[1]} of an unknown creator"
