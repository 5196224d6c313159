"""What has been done in an output folder, so that a run that was cut off can be resumed.

The manifest is a file in the output folder. Its first line says by what it was made: digests of the profile, the key,
the project and the layout, and the version. Then there is a line for each input that is finished, as JSON:

    [hash of the path of the source, size, mtime in ns, status, place, number, hash of the content if that counts,
    the study and its patient where this input is the first of its study]

Lines are appended when what they tell of is on stable storage, every two seconds or so, and are brought there
themselves. What a crash leaves of the last line is ignored. The source is known by a keyed hash of its
path; of two lines for the same the later one holds. Nobody else can write as long as a run has the file locked: the
processes of a run that was killed have it locked until they are gone.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from scp_anon.batch.scratch import scratch
from scp_anon.errors import ConfigError
from scp_anon.filesystem import sync_directory

NAME: Final = ".scp-anon-manifest"
_FORMAT: Final = 1
_EVERY: Final = 2.0  # seconds, or more on a slow disk: ten times what it takes, up to a minute
_SELDOM: Final = 60.0
_LINES: Final = 16384
_PATIENCE: Final = 10.0  # seconds until the processes of a killed run must have gone
_DIGITS: Final = 32
_FEWEST: Final = 5  # values of a line behind the source
_INDEXED: Final = 6  # values of a line that the index has


class Done(NamedTuple):
    """What has become of an input: `place` is that of the layout, with `NUMBER` in it if `number` is to go there.

    A folder of the input is in it as a keyed hash. `content`: a keyed hash of it, if each is to be done once.
    `owner`: the study and its patient, of the first input of a study.
    """

    size: int
    mtime_ns: int
    status: str
    place: str | None
    number: int | None
    content: str | None = None
    owner: str | None = None


class Names:
    """Keyed hashes of the paths of sources."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, path: str) -> str:
        """The hash of the path of a source, as hexadecimal digits."""
        content = os.path.abspath(path).encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, content, "sha256").hex()[:_DIGITS]

    def of_folder(self, folder: str) -> str:
        """The hash of a folder below an input, in braces: what a place has of it that is told."""
        content = b"folder\0" + folder.encode("utf-8", "surrogateescape")
        return f"{{{hmac.digest(self._key, content, 'sha256').hex()[:_DIGITS]}}}"


class Manifest:
    """The manifest of an output folder, open for one run.

    Its index is a temporary data base, so that memory stays flat: what is finished, the numbers that were given, and
    whose output has which place.
    """

    def __init__(
        self,
        folder: Path,
        head: Mapping[str, str],
        names: Names,
        resume: bool,
        writes: bool = True,
        loaded: Callable[[str, Done], None] = lambda source, done: None,
    ) -> None:
        """`head`: what has to be the same to go on. `resume`: go on with what is there; else begin anew.

        `writes`: False only reads what is there. `loaded` is told of each input that is finished: the hash of its
        source, and what has become of it. Raises ConfigError for a manifest of another head, or in use.
        """
        self.before: Callable[[], None] = lambda: None
        """What has to be on stable storage before a line is written."""
        self._folder = folder
        self._names = names
        self._loaded = loaded
        self._pending: list[str] = []
        self._sync_at = time.monotonic() + _EVERY
        self._index = scratch(
            "done (source BLOB PRIMARY KEY, size, mtime, status, place, n, content)",
            "numbers (place BLOB PRIMARY KEY, n)",
            "holders (place BLOB PRIMARY KEY, source BLOB)",
        )
        self._descriptor: int | None = None
        try:
            self._open(head, resume, writes)
        except BaseException:
            self.close()
            raise

    def _open(self, head: Mapping[str, str], resume: bool, writes: bool) -> None:
        path = self._folder / NAME
        if not writes:
            if resume and path.exists():
                self._load(path, head)
            return
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            self._lock()
            end = self._load(path, head) if resume else 0
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            if not end:
                self._append([_line({"scp-anon manifest": _FORMAT, **head})])
                sync_directory(self._folder)
        except OSError as error:
            raise ConfigError(f"{path}: the manifest cannot be written: {error.strerror}") from None

    def _lock(self) -> None:
        assert self._descriptor is not None  # it has just been opened
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(f"{self._folder}: another run is at work in this folder") from None
                time.sleep(0.1)

    def _load(self, path: Path, head: Mapping[str, str]) -> int:
        """Read what has been done; returns where the last whole line ends. Raises ConfigError."""
        end = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # a crash has cut it off
                try:
                    content = json.loads(line)
                    if end:
                        done = Done(*content[1:])
                        self._remember(bytes.fromhex(content[0]), done)
                        self._hold(bytes.fromhex(content[0]), done)
                        self._loaded(content[0], done)
                    else:
                        _check_head(self._folder, content, head)
                except (ValueError, TypeError, LookupError, OverflowError, RecursionError, sqlite3.Error):
                    raise ConfigError(f"{path}: is damaged; take another output folder") from None
                end += len(line)
        return end

    def _remember(self, source: bytes, done: Done) -> None:
        self._index.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?, ?, ?)", (source, *done[:_INDEXED]))
        if done.number is not None:
            self._index.execute(
                "INSERT INTO numbers VALUES (?, ?) ON CONFLICT DO UPDATE SET n = max(n, excluded.n)",
                (os.fsencode(done.place or ""), done.number),
            )

    def _hold(self, source: bytes, done: Done) -> None:
        if done.status == "delivered" and done.place is not None and done.number is None:
            self._index.execute("INSERT OR IGNORE INTO holders VALUES (?, ?)", (_key(done.place), source))

    def is_held_by_another(self, path: str, place: str) -> bool:
        """Whether a place without a number is that of the output of another source than the one at `path`."""
        row = self._index.execute("SELECT source FROM holders WHERE place = ?", (_key(place),)).fetchone()
        return row is not None and row[0] != bytes.fromhex(self._names.of(path))

    def find(self, path: str) -> Done | None:
        """What has become of the source at `path`, if it is finished."""
        source = bytes.fromhex(self._names.of(path))
        query = "SELECT size, mtime, status, place, n, content FROM done WHERE source = ?"
        found = self._index.execute(query, (source,)).fetchone()
        return Done(*found) if found else None

    def number(self, path: str, place: str) -> int:
        """The number of an output at such a place: the one that its source had there, or else the next."""
        before = self.find(path)
        if before is not None and before.place == place and before.number is not None:
            return before.number
        row = self._index.execute("SELECT n FROM numbers WHERE place = ?", (os.fsencode(place),)).fetchone()
        return int(row[0]) + 1 if row else 1

    def add(self, path: str, done: Done) -> None:
        """Note that a source is finished, and its output is whole in its place. Raises ConfigError."""
        source = self._names.of(path)
        if done.number is not None:
            self._remember(bytes.fromhex(source), done)
        self._hold(bytes.fromhex(source), done)
        if self._descriptor is None:
            return
        self._pending.append(_line([source, *_without_nothing(done)]))
        if len(self._pending) >= _LINES or time.monotonic() > self._sync_at:
            self.sync()

    def sync(self) -> None:
        """Bring the outputs to stable storage, and then what is told of them. Raises ConfigError."""
        begin = time.monotonic()
        if self._pending and self._descriptor is not None:
            try:
                self.before()
                _sync_file_system(self._descriptor)
                self._append(self._pending)
            except OSError as error:
                raise ConfigError(f"{self._folder}: the manifest cannot be written: {error.strerror}") from None
            self._pending = []
        end = time.monotonic()
        self._sync_at = end + min(max(_EVERY, 10 * (end - begin)), _SELDOM)

    def _append(self, lines: list[str]) -> None:
        assert self._descriptor is not None  # or nobody would write
        left = memoryview("".join(lines).encode("ascii"))
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the folder free."""
        self._index.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _without_nothing(done: Done) -> list[object]:
    """Return the values of a line without those at its end that say nothing."""
    values: list[object] = list(done)
    while len(values) > _FEWEST and values[-1] is None:
        values.pop()
    return values


def _key(place: str) -> bytes:
    """What stands for a place in the index, which is the smaller by it."""
    return hashlib.blake2b(os.fsencode(place), digest_size=16).digest()


def _line(content: object) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


def _check_head(folder: Path, found: object, head: Mapping[str, str]) -> None:
    """Raise ConfigError where what is there was made by something else."""
    if not isinstance(found, dict) or found.pop("scp-anon manifest", None) != _FORMAT:
        raise ValueError
    changed = [name for name in head if found.get(name) != head[name]]
    if "version" in changed and "profile" in changed:
        changed.remove("profile")  # another version has other rules for the same profile: nobody has changed it
    if changed:
        what = " and ".join(changed)
        raise ConfigError(f"{folder}: was begun with another {what}: resume with the same, or take another folder")


def _sync_file_system(descriptor: int) -> None:
    """Bring all of the file system of an open file to stable storage: one call for thousands of files."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    else:
        os.sync()
