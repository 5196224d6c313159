"""A destination that is a folder: each instance becomes a file, whole and on stable storage, or is not there at all."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from scp_anon.destinations.layout import Layout
from scp_anon.errors import Transient
from scp_anon.filesystem import copy_range, head_of, make_directory, sync_directory

_SHARED: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK)  # where a link cannot be had
T = TypeVar("T")
_REMEMBERED: Final = 10_000  # directories
# Below the folder: what is being copied, and gets its name when it is whole.
TEMPORARIES: Final = ".scp-anon"
_ABANDONED: Final = 86_400  # seconds


class FolderDestination:
    """Delivers into one folder; where in it, the layout says."""

    def __init__(self, folder: Path, layout: Layout, durable: bool = True) -> None:
        """`durable`: False leaves out every fsync."""
        self._folder = str(folder.absolute())
        self.layout = layout
        self._durable = durable
        self._made: set[str] = set()  # directories whose names are known to be on stable storage
        self._temporaries = f"{self._folder}/{TEMPORARIES}"
        self._sweep()

    def deliver(self, path: str, upcoming: Callable[[], Iterable[str]], again: bool = False) -> None:
        """Put the instance into the folder, over an earlier one of the same name. Raises Transient or Permanent."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                target = f"{self._folder}/{self.layout.place(head_of(descriptor))}"
                self._put(path, descriptor, target)
            finally:
                os.close(descriptor)
            if self._durable:
                sync_directory(os.path.dirname(target))
        except OSError as error:
            raise _transient(error) from None

    def take(self, path: str, place: str) -> None:
        """Move a whole file, which is on stable storage already and nobody else needs, into the folder.

        `place`: where in it, as its layout has it. Raises Transient.
        """
        target = f"{self._folder}/{place}"
        try:
            self._move(path, target)
            if self._durable:
                sync_directory(os.path.dirname(target))
        except OSError as error:
            raise _transient(error) from None

    def shares_file_system(self, path: Path) -> bool:
        """Whether files of this directory can be moved into the folder."""
        return os.stat(path).st_dev == os.stat(self._folder).st_dev

    def idle(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    def _move(self, path: str, target: str) -> None:
        self._in(os.path.dirname(target), lambda: os.rename(path, target))

    def _put(self, path: str, descriptor: int, target: str) -> None:
        """Make `target` the instance: another link to its file if nobody else needs that one, else a copy."""
        try:
            if os.fstat(descriptor).st_nlink == 1:
                return self._link(path, target)
        except OSError as error:
            if error.errno not in _SHARED:
                raise
        return self._copy(descriptor, target)

    def _link(self, path: str, target: str) -> None:
        try:
            self._in(os.path.dirname(target), lambda: os.link(path, target))
        except FileExistsError:
            temporary = self._temporary()
            self._in(self._temporaries, lambda: os.link(path, temporary))
            try:
                os.rename(temporary, target)
            finally:
                if os.path.lexists(temporary):  # it failed, or has done nothing, as both were links to one file already
                    os.unlink(temporary)

    def _copy(self, source: int, target: str) -> None:
        temporary = self._temporary()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        copy = self._in(self._temporaries, lambda: os.open(temporary, flags, 0o666))
        try:
            copy_range(source, copy, 0, os.fstat(source).st_size)
            if self._durable:
                os.fsync(copy)
            self._in(os.path.dirname(target), lambda: os.rename(temporary, target))
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            os.close(copy)

    def _temporary(self) -> str:
        return f"{self._temporaries}/{secrets.token_hex(8)}"

    def _sweep(self) -> None:
        """Remove what a process that died has left half written; not what another one may be writing now."""
        with suppress(FileNotFoundError), os.scandir(self._temporaries) as left:
            for entry in left:
                if entry.stat().st_mtime < time.time() - _ABANDONED:
                    os.unlink(entry.path)

    def _in(self, directory: str, call: Callable[[], T]) -> T:
        """Have a call made that needs a directory, which is made if it is missing."""
        self._make_directory(directory)
        try:
            return call()
        except FileNotFoundError:
            self._made.clear()  # somebody has removed it
            self._make_directory(directory)
            return call()

    def _make_directory(self, directory: str) -> None:
        """Make a directory and what is missing above it, each name on stable storage.

        One that is there may have been made by a process that has not come to that yet, or never will: so each process
        sees to it once.
        """
        if directory in self._made:
            return
        if directory != self._folder:
            self._make_directory(os.path.dirname(directory))
        make_directory(Path(directory), durable=self._durable)
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        self._made.add(directory)


def _transient(error: OSError) -> Transient:
    return Transient(f"folder: {errno.errorcode.get(error.errno or 0, 'OSError')}", of_destination=True)
