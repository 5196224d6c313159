"""Numbers for patients, one after the other: the same over files, processes and runs, by a file that is appended to.

The file is text: a line that says which key it was begun with, then a line for each patient, `number token`. The
token is a keyed hash, so that nothing of it leads to anybody without the key. The promise: no number is given twice,
and none is used before it is on stable storage. What holds it up:

- Whoever meets a patient that it does not know takes a lock on the file, reads what others have appended, brings that
  to stable storage (they may have died before they did), and only then appends a line of its own, and does the same.
- A last line without its end was never used: whoever is next cuts it off.
- A file that has gone, become shorter, or is another one is an error for those that have read it: none of them begins
  anew. Neither does one whose lines are not what this module writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scp_anon.deid.identity import Identity
from scp_anon.deid.patient_keys import PatientKeys
from scp_anon.deid.settings import PreviewedPatients, SequentialPatients
from scp_anon.errors import ConfigError
from scp_anon.filesystem import make_directory, sync_directory, write_all

if TYPE_CHECKING:
    from scp_anon.deid.instance import Instance

_HEADER: Final = "scp-anon patients 1, key {}\n"
_LINE: Final = re.compile(rb"([1-9][0-9]{0,17}) ([0-9a-f]{32})")
_LONGEST_HEADER: Final = 256


class PatientIndex:
    """The file: token → number. Safe between threads and processes of one machine, and over a fork."""

    def __init__(self, path: Path, start: int, key_id: str) -> None:
        """`start`: the first number, or one to go on from that is higher than those given. Opens nothing yet."""
        self.path = path
        self._start = start
        self._header = _HEADER.format(key_id).encode("ascii")
        self._numbers: dict[bytes, int] = {}
        self._last = 0
        self._end = 0  # how far the file has been read
        self._file: tuple[int, int] | None = None  # which one that was: device and inode

    def check(self) -> None:
        """Raises ConfigError for a file that is no index of this key; one that is not there yet is none."""
        try:
            with self.path.open("rb") as file:
                head = file.readline(_LONGEST_HEADER)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"{self.path}: the index of patients cannot be read: {error.strerror}") from None
        if head.endswith(b"\n") and head != self._header:
            raise ConfigError(f"{self.path}: is no index of patients, or one that was begun with another key")

    def number(self, token: bytes) -> int:
        """The number of a patient, a new one if there is none. Raises OSError, in which case none was given."""
        number = self._numbers.get(token)
        return self._given(token) if number is None else number

    def _given(self, token: bytes) -> int:
        with self._locked() as descriptor:
            self._catch_up(descriptor)
            number = self._numbers.get(token)
            if number is None:
                number = self._next()
                self._append(descriptor, b"%d %b\n" % (number, token))
                self._numbers[token] = self._last = number
            return number

    def _next(self) -> int:
        return max(self._last + 1, self._start)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open and locked. A file that has been read before is never made anew."""
        create = os.O_CREAT if self._file is None else 0
        if create:
            make_directory(self.path.parent)
        # Opened each time: threads, and processes after a fork, would share one lock of one open file.
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | create, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield descriptor
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _catch_up(self, descriptor: int) -> None:
        """Take over what others have appended, on stable storage; leaves the file with whole lines. Raises OSError."""
        content = self._unread(descriptor)
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(descriptor, self._end + len(whole))
        if whole:
            os.fsync(descriptor)
        first = self._file is None
        self._take_over(whole, descriptor)
        if not self._end:
            self._append(descriptor, self._header)
        if first:
            sync_directory(self.path.parent)

    def _unread(self, descriptor: int) -> bytes:
        """What is behind what was read. Raises OSError where that is not the same file any more."""
        status, named = os.fstat(descriptor), os.stat(self.path)
        identity = status.st_dev, status.st_ino
        if identity != (named.st_dev, named.st_ino) or self._file not in (None, identity):
            raise OSError(errno.ESTALE, "the index of patients has been replaced")
        if status.st_size < self._end:
            raise OSError(errno.ESTALE, "the index of patients has become shorter")
        content = b""
        while len(content) < status.st_size - self._end:
            more = os.pread(descriptor, status.st_size - self._end - len(content), self._end + len(content))
            if not more:
                raise OSError(errno.ESTALE, "the index of patients has become shorter")
            content += more
        return content

    def _take_over(self, whole: bytes, descriptor: int) -> None:
        """The numbers in some more lines, all or none. Raises OSError for lines that are not ours."""
        lines = whole.split(b"\n")[:-1]
        if lines and not self._end and lines.pop(0) + b"\n" != self._header:
            raise OSError(errno.EINVAL, "no index of patients, or one that was begun with another key")
        found: dict[bytes, int] = {}
        last = self._last
        for line in lines:
            match = _LINE.fullmatch(line)
            if not match or int(match[1]) <= last or match[2] in found or match[2] in self._numbers:
                raise OSError(errno.EINVAL, "the index of patients is damaged")
            found[match[2]] = last = int(match[1])
        self._numbers.update(found)
        self._last = last
        self._end += len(whole)
        status = os.fstat(descriptor)
        self._file = status.st_dev, status.st_ino

    def _append(self, descriptor: int, line: bytes) -> None:
        """Add a line, on stable storage. Raises OSError, after which nobody finds the line."""
        try:
            write_all(descriptor, [line])
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._end)
            raise
        self._end += len(line)


class PreviewedIndex(PatientIndex):
    """The same, for a look at what would be: new numbers are not written, and hold for nobody else."""

    def _given(self, token: bytes) -> int:
        if self._file is None:
            self._load()
        number = self._numbers.get(token)
        if number is None:
            number = self._numbers[token] = self._last = self._next()
        return number

    def _load(self) -> None:
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                content = self._unread(descriptor)
                self._take_over(content[: content.rfind(b"\n") + 1], descriptor)
            finally:
                os.close(descriptor)


class Sequential:
    """A number for each patient, in the order in which they come."""

    def __init__(self, identity: Identity, settings: SequentialPatients) -> None:
        self._identity = identity
        self._prefix = settings.prefix.encode("ascii")
        self._keys = PatientKeys(settings.issuer, settings.placeholders)
        kind = PreviewedIndex if isinstance(settings, PreviewedPatients) else PatientIndex
        self._index = kind(settings.file, settings.start, identity.key_id)

    def check(self) -> None:
        """Raises ConfigError for a file that is no index of this key."""
        self._index.check()

    def key(self, patient_id: str, issuer: str, name: str) -> str:
        """By ID, with its issuer if that counts; by name where there is no ID."""
        return self._keys.key(patient_id, issuer, name)

    def pseudonym(self, instance: Instance) -> bytes:
        """The number of the instance's patient. Raises OSError."""
        return self.of(instance.patient_key, instance)

    def name(self, instance: Instance) -> bytes:
        """The same as the ID."""
        return instance.patient

    def of(self, key: str, instance: Instance) -> bytes:
        """The number of any patient; whoever is only mentioned gets one too, and keeps it. Raises OSError."""
        return self.find(key)

    def may_be_id(self, value: bytes) -> bool:
        """A number, by its form."""
        return not value or (value.startswith(self._prefix) and value[len(self._prefix) :].isdigit())

    def may_be_name(self, value: bytes, instance: Instance) -> bool:
        """The same as the ID."""
        return value == instance.patient

    def find(self, key: str) -> bytes:
        """The number of any patient, a new one if there is none. Raises OSError."""
        return b"%b%d" % (self._prefix, self._index.number(self._identity.token(key))) if key else b""
