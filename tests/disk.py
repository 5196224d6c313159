"""A disk that can lose its power: which calls have changed it, and what may be left of that.

What POSIX says is taken by its word. A file's content is on stable storage by an fsync of the file, a name by an fsync
of its directory; what was not synced may have happened or not, but in one directory in the order of the calls. A rename
is one change, in both its directories, as every journaling file system has it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias
from unittest import mock

from scp_anon.filesystem import Bytes

# Whether a change that was not synced has happened all the same.
Choose: TypeAlias = Callable[[], bool]
# What is on a disk: path below its root → content, None for a directory.
Tree: TypeAlias = dict[str, bytes | None]


class File:
    """A regular file: what has been written to it, and how much of that is on stable storage."""

    def __init__(self, content: bytes = b"", is_synced: bool = False) -> None:
        self.content = content
        self._synced = len(content) if is_synced else 0

    def write(self, content: bytes) -> None:
        """Append."""
        self.content += content

    def sync(self) -> None:
        """What fsync does."""
        self._synced = len(self.content)

    def left(self, choose: Choose) -> bytes:
        """What a power loss leaves of it: of what was not synced nothing, half, or all."""
        lost = len(self.content) - self._synced
        if lost and not choose():
            return self.content[: self._synced + (lost // 2 if choose() else 0)]
        return self.content


class Change(NamedTuple):
    """A call that has changed names: those of which directories, and what they stand for since."""

    directories: frozenset[str]
    after: dict[str, File | None]


class Disk:
    """The files below a directory, by their absolute paths; a directory is None."""

    def __init__(self, root: Path) -> None:
        """`root`: what is there already is on stable storage."""
        self.root = str(root)
        self.live: dict[str, File | None] = {}
        for path, content in read_tree(root).items():
            self.live[f"{root}/{path}"] = None if content is None else File(content, is_synced=True)
        self._stable = dict(self.live)
        self._pending: list[Change] = []

    def covers(self, path: str) -> bool:
        """Whether a path is on this disk."""
        return path.startswith(f"{self.root}/")

    def create(self, path: str) -> File:
        """A new file, or the one that has this name already."""
        file = self.live.get(path)
        if file is None:
            file = File()
            self._change({path: file})
        return file

    def make_directory(self, path: str) -> None:
        """What mkdir does."""
        self._change({path: None})

    def link(self, source: str, target: str) -> None:
        """What link does."""
        self._change({target: self.create(source)})

    def rename(self, source: str, target: str) -> None:
        """What rename does; nothing, where both are names of one file."""
        file = self.create(source)
        if self.live.get(target) is not file:
            self._change({target: file}, gone=[source])

    def unlink(self, path: str) -> None:
        """What unlink does."""
        self._change({}, gone=[path])

    def remove_directory(self, path: str) -> None:
        """What rmdir does: it comes behind everything that was in the directory."""
        self._change({}, gone=[path], also=path)

    def sync_directory(self, directory: str) -> None:
        """What fsync of a directory does: all its changes so far are on stable storage, and all that they go by."""
        synced = {directory}
        left: list[Change] = []
        stable: list[Change] = []
        for change in reversed(self._pending):
            if synced.isdisjoint(change.directories):
                left.append(change)
            else:
                synced |= change.directories
                stable.append(change)
        for change in reversed(stable):
            _apply(change, self._stable)
        self._pending = left[::-1]

    def after_power_loss(self, choose: Choose) -> Tree:
        """What may be found after a power loss now; of what was not synced, what `choose` says."""
        names = dict(self._stable)
        lost: set[str] = set()
        for change in self._pending:
            if lost.isdisjoint(change.directories) and choose():
                _apply(change, names)
            else:
                lost |= change.directories
        files: dict[int, bytes] = {}  # a file has one content, whatever its names
        tree: Tree = {}
        for path, file in sorted(names.items()):
            if any(parent not in names for parent in self._parents(path)):
                continue
            content = None if file is None else files.setdefault(id(file), file.left(choose))
            tree[os.path.relpath(path, self.root)] = content
        return tree

    def content(self) -> Tree:
        """What is on it now."""
        return {
            os.path.relpath(path, self.root): None if file is None else file.content for path, file in self.live.items()
        }

    def _change(self, after: dict[str, Any], gone: list[str] | None = None, also: str = "") -> None:
        marks = {**dict.fromkeys(gone or [], _GONE), **after}
        directories = {os.path.dirname(path) for path in marks} | ({also} if also else set())
        change = Change(frozenset(directories), marks)
        _apply(change, self.live)
        self._pending.append(change)

    def _parents(self, path: str) -> Iterator[str]:
        while (path := os.path.dirname(path)) != self.root:
            yield path


_GONE: Any = File()


def _apply(change: Change, names: dict[str, File | None]) -> None:
    for path, file in change.after.items():
        if file is _GONE:
            names.pop(path, None)
        else:
            names[path] = file


def read_tree(root: Path) -> Tree:
    """What is there in a directory."""
    paths = sorted(root.rglob("*"))
    return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in paths}


def write_tree(tree: Tree, root: Path) -> None:
    """Make it anew in another directory."""
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
            (root / path).chmod(0o600)  # a key must be nobody else's


def all_of_it() -> bool:
    """Everything that was not synced has happened all the same."""
    return True


def nothing_of_it() -> bool:
    """Nothing that was not synced has happened."""
    return False


def some_of_it(bits: int) -> Choose:
    """What the bits of a number say, from the lowest one on, again and again."""
    numbers = itertools.cycle(range(64))
    return lambda: bool(bits >> next(numbers) & 1)


class Cut(BaseException):
    """The process has ended here."""


class Recorder:
    """Notes what calls of `os` do to a disk, as a context manager. Nothing here needs a real fsync: there is none.

    `fuse`: that many more of the calls go well. In the next one the process ends: from then on it does nothing more.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.fuse = -1
        self._paths: dict[int, str] = {}  # by descriptor
        names = "open close write writev sendfile fsync rename link unlink mkdir rmdir".split()
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in names}
        self._patch = mock.patch.multiple(os, **{name: getattr(self, name) for name in names})

    def __enter__(self) -> Self:
        self._patch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._patch.stop()

    def end_process(self) -> None:
        """Its files are closed, and with them go its locks."""
        for descriptor in self._paths:
            self._real["close"](descriptor)
        self._paths = {}
        self.fuse = -1

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """os.open."""
        if flags & os.O_CREAT:
            self._count()
        descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self._paths[descriptor] = self._path(path, dir_fd)
        if flags & os.O_CREAT:
            self.disk.create(self._paths[descriptor])
        return descriptor

    def close(self, descriptor: int) -> None:
        """os.close."""
        self._paths.pop(descriptor, None)
        self._real["close"](descriptor)

    def write(self, descriptor: int, content: Bytes) -> int:
        """os.write."""
        return self._append(descriptor, bytes(content))

    def writev(self, descriptor: int, parts: Sequence[Bytes]) -> int:
        """os.writev."""
        return self._append(descriptor, b"".join(parts))

    def sendfile(self, target: int, source: int, offset: int, count: int) -> int:
        """os.sendfile."""
        return self._append(target, os.pread(source, count, offset))

    def fsync(self, descriptor: int) -> None:
        """os.fsync."""
        self._count()
        path = self._paths.get(descriptor, "")
        node = self.disk.live.get(path)
        if node is not None:
            node.sync()
        elif path:
            self.disk.sync_directory(path)

    def rename(self, source: Any, target: Any) -> None:
        """os.rename."""
        self._count()
        self._real["rename"](source, target)
        self.disk.rename(os.fspath(source), os.fspath(target))

    def link(self, source: Any, target: Any, **options: Any) -> None:
        """os.link."""
        self._count()
        self._real["link"](source, target, **options)
        self.disk.link(os.fspath(source), os.fspath(target))

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        """os.unlink."""
        self._count()
        self._real["unlink"](path, dir_fd=dir_fd)
        self.disk.unlink(self._path(path, dir_fd))

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """os.mkdir."""
        self._count()
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        self.disk.make_directory(self._path(path, dir_fd))

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        """os.rmdir."""
        self._count()
        self._real["rmdir"](path, dir_fd=dir_fd)
        self.disk.remove_directory(self._path(path, dir_fd))

    def _append(self, descriptor: int, content: bytes) -> int:
        file = self.disk.live.get(self._paths.get(descriptor, ""))
        assert file is not None
        if self.fuse == 0:
            content = content[: len(content) // 2]  # what came before the end
        self._real["write"](descriptor, content)
        file.write(content)
        self._count()
        return len(content)

    def _count(self) -> None:
        if self.fuse == 0:
            raise Cut
        self.fuse -= 1

    def _path(self, path: Any, directory: int | None) -> str:
        return os.path.join(self._paths[directory], path) if directory is not None else os.fspath(path)
