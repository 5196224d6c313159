"""A destination that is a folder: each instance becomes a file, whole and on stable storage, or is not there at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from scp_anon.destinations.layout import Layout
from scp_anon.errors import Transient
from scp_anon.filesystem import copy_range, mapped, sync_directory


class FolderDestination:
    """Delivers into one folder; where in it, the layout says."""

    def __init__(self, folder: Path, layout: Layout, durable: bool = True) -> None:
        """`durable`: False leaves out every fsync."""
        self._folder = folder
        self._layout = layout
        self._durable = durable
        umask = os.umask(0)
        os.umask(umask)
        self._mode = 0o666 & ~umask

    def deliver(self, path: Path, upcoming: Callable[[], Iterable[Path]]) -> None:
        """Put the instance into the folder, over an earlier one of the same name. Raises Transient or Permanent."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                target = self._folder / self._layout.place(mapped(descriptor))
                os.fchmod(descriptor, self._mode)
                self._put(path, descriptor, target)
            finally:
                os.close(descriptor)
            if self._durable:
                sync_directory(target.parent)
        except OSError as error:
            raise Transient(f"folder: {errno.errorcode.get(error.errno or 0, 'OSError')}") from None

    def idle(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    def _put(self, path: Path, descriptor: int, target: Path) -> None:
        """Make `target` the instance: another link to its file if nobody else needs that one, else a copy."""
        try:
            if os.fstat(descriptor).st_nlink == 1:
                return _link(path, target)
        except FileNotFoundError:
            self._make_directory(target.parent)
            return self._put(path, descriptor, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
        return self._copy(descriptor, target)

    def _copy(self, source: int, target: Path) -> None:
        self._make_directory(target.parent)
        temporary = _temporary(target)
        copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode)
        try:
            copy_range(source, copy, 0, os.fstat(source).st_size)
            if self._durable:
                os.fsync(copy)
            temporary.rename(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(copy)

    def _make_directory(self, directory: Path) -> None:
        """Make a directory and what is missing above it, each entry on stable storage."""
        if directory.is_dir():
            return
        self._make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        if self._durable:
            sync_directory(directory.parent)


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except FileExistsError:
        temporary = _temporary(target)
        temporary.hardlink_to(path)
        temporary.rename(target)
        # Where both were links to one file already, the rename has done nothing.
        temporary.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    return target.with_name(f".{secrets.token_hex(8)}.tmp")
