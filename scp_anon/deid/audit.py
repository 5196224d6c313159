"""The audit: which original has become what, in an SQLite file of its own. IT IDENTIFIES PATIENTS.

Only a profile that says `audit: {file: PATH}`, or a command with `--audit`, has one. A row for each attribute, original
and new value: of the attributes of Table E.1-1 at the top level of instances that are text, dates or UIDs, where they
have changed. It is written before the result is passed on; where it cannot be, nothing is.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from scp_anon.deid import text
from scp_anon.deid.actions import FoundRule
from scp_anon.deid.tables import ruled
from scp_anon.dicom.dictionary import CHARACTER_SET_VRS, LONG_VRS, keyword_of, vr_of
from scp_anon.dicom.finding import Buffer
from scp_anon.errors import ConfigError
from scp_anon.version import VERSION

WARNING: Final = (
    "CONFIDENTIAL: this file holds protected health information. It says which original names, IDs, dates and UIDs "
    "have become which new ones, so that whoever has it can identify patients. Keep it apart from the results."
)
_VRS: Final = CHARACTER_SET_VRS | frozenset("AE AS CS DA DS DT IS TM UI UR".split())
_LONG: Final = frozenset(vr.encode("ascii") for vr in LONG_VRS)
_REMEMBERED: Final = 1 << 16  # rows that are known to be there: those of a series come again with each instance
_WAIT: Final = 60  # seconds for another process that writes
_AGAIN: Final = 0.05
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS value (
    project TEXT NOT NULL, key_id TEXT NOT NULL, tag TEXT NOT NULL, attribute TEXT NOT NULL,
    original TEXT NOT NULL, new TEXT NOT NULL,
    UNIQUE (original, new, tag, project, key_id)
);
CREATE INDEX IF NOT EXISTS by_new ON value (new);
"""


class Row(NamedTuple):
    """What has become of a value; `new` is empty where it was emptied or removed."""

    project: str
    key_id: str
    tag: str
    attribute: str
    original: str
    new: str


def audited() -> frozenset[int]:
    """The attributes whose values are told."""
    return frozenset(tag for tag in ruled() if vr_of(tag) in _VRS)


class Audit:
    """An audit file, made when there is something to write. Safe to share between threads, and after a fork."""

    def __init__(self, path: Path, project: str, key_id: str) -> None:
        """Raises ConfigError for a file that others may read, and where none can be made."""
        self._path = path
        self._project, self._key_id = project, key_id
        self._tags = audited()
        self._lock = threading.Lock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        self._seen: set[tuple[str, str, str]] = set()
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder for the audit")
        if path.exists():
            check_mode(path)

    def record(
        self,
        buffer: Buffer,
        found: Iterable[FoundRule],
        made: Mapping[int, bytes],
        explicit: bool,
        character_sets: tuple[str, ...],
    ) -> None:
        """Write what has become of an instance's values: those found in `buffer`, and the new elements by tag.

        Raises OSError where the file cannot be written.
        """
        values = {
            (tag, original, new)
            for tag, before, after in self._changed(buffer, found, made, explicit)
            for original, new in _pairs(vr_of(tag) or "UN", before, after, character_sets)
            if original and original != new
        }
        rows = {
            (f"{tag >> 16:04X},{tag & 0xFFFF:04X}", original, new): keyword_of(tag) for tag, original, new in values
        }
        with self._lock:
            missing = [row for row in rows if row not in self._seen]
            if missing:
                self._write([Row(self._project, self._key_id, row[0], rows[row], row[1], row[2]) for row in missing])
                if len(self._seen) > _REMEMBERED:
                    self._seen.clear()
                self._seen.update(missing)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _changed(
        self, buffer: Buffer, found: Iterable[FoundRule], made: Mapping[int, bytes], explicit: bool
    ) -> Iterator[tuple[int, bytes, bytes]]:
        for _, tag, _, start, stop, _ in found:
            if tag in self._tags and stop > start and (element := made.get(tag)) is not None:
                header = 12 if explicit and element[4:6] in _LONG else 8
                yield tag, bytes(buffer[start:stop]), element[header:]

    def _write(self, rows: list[Row]) -> None:
        try:
            connection = self._connected()
            with connection:
                connection.executemany("INSERT OR IGNORE INTO value VALUES (?, ?, ?, ?, ?, ?)", rows)
        except (sqlite3.Error, ConfigError):
            raise OSError(errno.EIO, "the audit cannot be written") from None

    def _connected(self) -> sqlite3.Connection:
        """The connection of this process: one that was opened before a fork must not be used after it."""
        if self._connection is None or self._process != os.getpid():
            self._connection, self._process = self._opened(), os.getpid()
            self._seen.clear()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            check_mode(self._path)  # by its name: to open and close a file loses the locks that SQLite has on it
        connection = sqlite3.connect(self._path, timeout=_WAIT, check_same_thread=False)
        _unlocked(lambda: connection.execute("PRAGMA journal_mode=WAL"))
        connection.execute("PRAGMA synchronous=FULL")  # as the results: on stable storage before they are passed on
        connection.executescript(_SCHEMA)
        with connection:
            about = {"warning": WARNING, "made by": f"scp-anon {VERSION}"}
            connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
        return connection


def check_mode(path: Path) -> None:
    """Raises ConfigError for an audit that anyone but its owner may read."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: the audit is open to others (mode {mode:04o}); make it 0600")


def _unlocked(work: Callable[[], object]) -> None:
    """Do what SQLite does not wait for itself, while another process has just made the file."""
    until = time.monotonic() + _WAIT
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN)
        else:
            return


def rows_of(path: Path, value: str, by_original: bool) -> list[Row]:
    """The rows with this new value, or with this original. Raises ConfigError for a file that is no audit."""
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such audit")
    check_mode(path)
    column = "original" if by_original else "new"
    query = f"SELECT * FROM value WHERE {column} = ? ORDER BY project, tag, original, new"  # noqa: S608 - one of two
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=_WAIT, uri=True)
        try:
            return [Row(*row) for row in connection.execute(query, (value,))]
        finally:
            connection.close()
    except sqlite3.Error:
        raise ConfigError(f"{path}: is no audit that can be read") from None


def _pairs(vr: str, before: bytes, after: bytes, terms: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The original and new values as text: of several UIDs each for itself."""
    original, new = (_text(value, terms) for value in (before, after))
    if vr == "UI" and original.count("\\") == new.count("\\"):
        for one, other in zip(original.split("\\"), new.split("\\"), strict=True):
            yield one.strip(" \0"), other.strip(" \0")
    else:
        yield original, new


def _text(value: bytes, terms: tuple[str, ...]) -> str:
    # What its character set does not have cannot be stored as text: told as an escape.
    return text.decode(value, terms).encode("utf-8", "backslashreplace").decode("utf-8")
