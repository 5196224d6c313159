"""The directories of a spool: made, checked, locked by the process whose own they are, and found when it is dead."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from scp_anon.envelope import Envelope
from scp_anon.errors import ConfigError
from scp_anon.filesystem import kind_of_file_system, make_directory

_PLACES: Final = ("tmp", "active", "incoming", "quarantine", "outgoing")
_NETWORK_FILE_SYSTEMS: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ncpfs")
_OF_THE_SYSTEM: Final = frozenset(("lost+found",))  # in a file system that is a spool and nothing else


class Entry(NamedTuple):
    """An instance in the spool: its envelope, and the file; no file ("") for an original that is in memory only."""

    envelope: Envelope
    path: str


class Places:
    """The places of the spool at `path`, those of one process among them."""

    def __init__(self, path: Path, destinations: Collection[str], durable: bool) -> None:
        """Nothing is made yet. `durable`: what is made is on stable storage."""
        self._durable = durable
        token = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = path
        self.incoming = path / "incoming"
        self.quarantine = path / "quarantine"
        self.outgoing = {name: path / "outgoing" / name for name in destinations}
        self.active = path / "active" / token
        self.tmp = path / "tmp" / token
        self._lock = -1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have no other process at it during the block. Raises OSError."""
        root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(root, fcntl.LOCK_EX)
            yield
        finally:
            os.close(root)

    def make_own(self) -> None:
        """Make our own places, and hold their lock for as long as we live; for use while `alone`. Raises OSError."""
        make_directory(self.active, 0o700, self._durable)
        self.tmp.mkdir(mode=0o700)
        self._lock = os.open(self.active, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def give_up(self) -> None:
        """Give up this process's places; what is still in them, another process recovers."""
        with suppress(OSError):
            self.tmp.rmdir()
            self.active.rmdir()
        os.close(self._lock)

    def abandoned(self) -> Iterator[Entry]:
        """What dead processes had claimed; for use while `alone`.

        Who asks moves each entry to where it belongs. What they were writing is removed, as are their places.
        """
        alive = set()
        for directory in directories(self._path / "active"):
            try:
                lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # it ended just now, and well
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield from entries(directory)
                with suppress(OSError):  # something that is not ours is in it: left alone
                    directory.rmdir()
            except BlockingIOError:
                alive.add(directory.name)
            finally:
                os.close(lock)
        for directory in directories(self._path / "tmp"):
            if directory.name not in alive:
                shutil.rmtree(directory, ignore_errors=True)

    def make(self) -> None:
        """Make what all processes share. Raises OSError, and ConfigError for what is no place for a spool."""
        make_directory(self._path, durable=self._durable)
        there = {path.name for path in self._path.iterdir()} - _OF_THE_SYSTEM
        if there and not (self._path / _PLACES[0]).is_dir():
            raise ConfigError(f"spool {self._path}: is not empty, and not a spool; it needs a directory of its own")
        self._path.chmod(0o700)
        kind = kind_of_file_system(self._path)
        if kind.startswith(_NETWORK_FILE_SYSTEMS):
            raise ConfigError(f"spool {self._path}: is on {kind}; it needs a local file system")
        for place in _PLACES:
            make_directory(self._path / place, 0o700, self._durable)
        for directory in self.outgoing.values():
            make_directory(directory, 0o700, self._durable)
        every = (self._path, *(self._path / place for place in _PLACES), *self.outgoing.values())
        if len({place.stat().st_dev for place in every}) > 1:
            raise ConfigError(f"spool {self._path}: its directories are on different file systems; they must be on one")


def directories(place: Path) -> list[Path]:
    """The directories in a place of a spool, in the order of their names."""
    return sorted(path for path in place.iterdir() if path.is_dir())


def entries(directory: Path) -> Iterator[Entry]:
    """The entries in a place of a spool, oldest first; files that are not ours are not among them."""
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return  # the process whose place it was has ended
    for path in paths:
        with suppress(ValueError):  # not ours: nothing that we could say of it
            yield Entry(Envelope.parse(path.name), str(path))
