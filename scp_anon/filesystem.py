"""Files, as the promises need them: written whole, brought to stable storage, large ones never held in memory."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

Bytes: TypeAlias = "bytes | bytearray | memoryview"

# Up to this size a file is read; above it is mapped: memory stays flat.
READ_LIMIT: Final = 8 << 20
_HEAD: Final = 1 << 16
_IOV_MAX: Final = 512


def write_all(descriptor: int, parts: Sequence[Bytes]) -> None:
    """Write all parts to an open file, in as few calls as can be. Raises OSError."""
    for first in range(0, len(parts), _IOV_MAX):
        batch = parts[first : first + _IOV_MAX]
        written = os.writev(descriptor, batch)
        if written != sum(map(len, batch)):
            _write_rest(descriptor, b"".join(batch), written)


def _write_rest(descriptor: int, content: bytes, written: int) -> None:
    """What is left of a content of which so much has been written."""
    left = memoryview(content)[written:]
    while left:
        left = left[os.write(descriptor, left) :]


def copy_range(source: int, target: int, start: int, stop: int) -> None:
    """Copy source[start:stop] to the present position of target, inside the kernel. Raises OSError."""
    while start < stop:
        copied = os.sendfile(target, source, start, stop - start)
        if not copied:
            raise OSError("the file became shorter while it was read")
        start += copied


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[bytes | memoryview, int | None]]:
    """A file's content; with the open file itself where it is a large one, whose content is mapped, not read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size <= READ_LIMIT:
            yield _read(descriptor, size), None
        else:
            yield mapped(descriptor), descriptor
    finally:
        os.close(descriptor)


def mapped(descriptor: int) -> memoryview:
    """The content of an open file that is not empty, as a map that lives as long as any view of it."""
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def head_of(descriptor: int) -> bytes | memoryview:
    """The content of an open file that is not empty; of a large one, as a map."""
    head = os.pread(descriptor, _HEAD, 0)
    return head if len(head) < _HEAD else mapped(descriptor)


def sync_directory(directory: str | Path) -> None:
    """Bring a directory's entries to stable storage. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, mode: int = 0o777, durable: bool = True) -> None:
    """Make a directory, with what is missing above it, unless it is there. Raises OSError.

    Its name is on stable storage then, also if another process has made it, or one that died before it was: a
    directory is made only when the one above it is.
    """
    if not directory.is_dir():
        make_directory(directory.parent, durable=durable)
        directory.mkdir(mode, exist_ok=True)
    if durable:
        with suppress(PermissionError):  # what is above us may not be ours to open
            sync_directory(directory.parent)


@contextmanager
def written_aside(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A file to write to that is at `path` when the block has ended well, and otherwise nowhere.

    Raises FileExistsError if there is one at `path` already, and OSError.
    """
    aside = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield aside
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        aside.rename(path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def probe(directory: Path) -> None:
    """Raise OSError unless rename, link and fsync work here."""
    first, second, third = (directory / name for name in ("probe-1", "probe-2", "probe-3"))
    with first.open("wb") as file:
        os.fsync(file.fileno())
    first.rename(second)
    third.hardlink_to(second)
    sync_directory(directory)
    second.unlink()
    third.unlink()


def kind_of_file_system(path: Path) -> str:
    """The type of the file system that `path` is on; empty where the system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    place = path.resolve()
    kinds = {Path(mount[1]): mount[2] for mount in mounts}
    return next((kinds[parent] for parent in (place, *place.parents) if parent in kinds), "")


def _read(descriptor: int, size: int) -> bytes:
    content = os.read(descriptor, size)
    while len(content) < size:
        more = os.read(descriptor, size - len(content))
        if not more:
            break
        content += more
    return content
