"""The inputs of a run: the files that are named, and those in the folders that are named, in the order of their names.

However many files a folder has, memory stays flat: the names of a large one are sorted on the disk.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, count, islice
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final, NamedTuple

from scp_anon.batch.scratch import scratch
from scp_anon.errors import ConfigError

_IN_MEMORY: Final = 4096  # names of one folder
LINK_NOT_FOLLOWED: Final = "link-not-followed"
"""Why a link in a folder is left out: it leads to a folder, or nowhere."""

_ROOT: Final = "root"  # the folder that has no name


class Input(NamedTuple):
    """A file to de-identify: where it is, its place in the folder that was given, and whether it was given by name."""

    path: str
    relative: str
    given: bool


def inputs(paths: Iterable[Path], output: Path, sample: int | None = None) -> Iterator[Input]:
    """The files that are named, and all those in the folders that are named, in the order of their names.

    `sample`: so many of each folder, chosen as by chance, but the same ones whenever it has the same names. Raises
    ConfigError for a path that does not exist, for an output inside an input, and for an input inside the output, where
    a result could take its place.
    """
    paths = list(paths)
    for path in paths:
        if not os.path.exists(path):
            raise ConfigError(f"{path}: no such file or folder")
        check_outside(path, output, "output")
        if is_inside(path, output):
            raise ConfigError(f"{path}: the input must not be inside the output {output}")
    return _inputs(paths, sample)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder itself, or below it, links resolved."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_outside(path: Path, folder: Path, what: str) -> None:
    """Raise ConfigError where something that is written would be inside an input, or be the input itself."""
    if is_inside(folder, path):
        raise ConfigError(f"{folder}: the {what} must not be inside the input {path}")


def _inputs(paths: list[Path], sample: int | None) -> Iterator[Input]:
    """As `inputs`; where several are named, each has a place of its own, so that none replaces another in a mirror."""
    names: set[str] = set()
    for path in paths:
        name = _unused(os.path.basename(os.path.abspath(path)) or _ROOT, names)
        names.add(name)
        if os.path.isdir(path):
            place = f"{name}/" if len(paths) > 1 else ""
            # Among a few of each folder nobody looks for links; of all of them each is told.
            for file in files_in(str(path), sample, with_links=sample is None):
                yield Input(file, place + file[len(str(path)) :].lstrip("/"), False)
        else:
            yield Input(str(path), name, True)


def _unused(name: str, names: set[str]) -> str:
    """A name, with a number behind it where it is taken already."""
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain((name,), numbered) if each not in names)


def files_in(folder: str, sample: int | None = None, with_links: bool = False) -> Iterator[str]:
    """All files below a folder, or a sample of each, in the order of their names; links to folders are not followed.

    A folder that cannot be listed is yielded itself: it fails as a file that cannot be read does. So are, `with_links`,
    links to folders, and links that lead nowhere.
    """
    # No recursion: folders can be nested deeper than Python's calls. Path, place below `folder`, what is left in it.
    pending: list[tuple[str, str, Iterator[tuple[bytes, bool]]]] = [("", "", iter(((os.fsencode(folder), True),)))]
    while pending:
        above, place, entries = pending[-1]
        name, is_folder = next(entries, (b"", False))
        if not name:
            pending.pop()
            continue
        path = os.path.join(above, os.fsdecode(name))
        if is_folder:
            below = f"{place}/{os.fsdecode(name)}" if above else ""
            try:
                found = _entries(path, with_links)
                pending.append((path, below, _ordered(found if sample is None else _sample(found, sample, below))))
                continue
            except OSError:
                pass
        yield path


def _ordered(entries: Iterator[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
    """The entries of a folder in the order of their names. Raises OSError where it cannot be listed."""
    first = list(islice(entries, _IN_MEMORY + 1))
    return iter(sorted(first)) if len(first) <= _IN_MEMORY else _sorted(chain(first, entries))


def _entries(folder: str, with_links: bool) -> Iterator[tuple[bytes, bool]]:
    """The names in a folder, and whether each is a folder itself; what is neither that nor a file is left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = _is_folder(entry, with_links)
            if is_folder is not None:
                yield os.fsencode(entry.name), is_folder


def _is_folder(entry: os.DirEntry[str], with_links: bool = False) -> bool | None:
    """Whether a name is that of a folder or of a file; None for neither.

    A link that nobody can follow counts as a file: it fails as one, and the rest of its folder is done. So does,
    `with_links`, one that leads nowhere, or to a folder.
    """
    try:
        if entry.is_dir(follow_symlinks=False):
            return True
        return False if entry.is_file() or (with_links and _leads_to_no_file(entry)) else None
    except OSError:
        return False


def _leads_to_no_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() or not os.path.exists(entry.path)


def is_link_to_no_file(path: str) -> bool:
    """Whether a path is a link to a folder, or leads nowhere. Raises OSError for one that nobody can follow."""
    try:
        return os.path.islink(path) and stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _sample(entries: Iterable[tuple[bytes, bool]], size: int, place: str) -> Iterator[tuple[bytes, bool]]:
    """All folders, and so many of the files: those with the least hashes of their places."""
    least: list[tuple[int, bytes]] = []  # a heap, with the largest hash on top
    for name, is_folder in entries:
        if is_folder:
            yield name, True
            continue
        digest = hashlib.sha256(os.fsencode(place) + b"/" + name).digest()
        ranked = (-int.from_bytes(digest, "big"), name)
        if len(least) < size:
            heapq.heappush(least, ranked)
        else:
            heapq.heappushpop(least, ranked)
    yield from ((name, False) for _, name in least)


def _sorted(entries: Iterator[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
    """More names than are to be in memory, in their order: by a temporary file that nobody else can open."""
    database = scratch("entries (name BLOB PRIMARY KEY, is_folder)")
    try:
        database.executemany("INSERT INTO entries VALUES (?, ?)", entries)
    except BaseException:
        database.close()
        raise
    return _read(database)


def _read(database: sqlite3.Connection) -> Iterator[tuple[bytes, bool]]:
    with closing(database):
        yield from database.execute("SELECT name, is_folder FROM entries ORDER BY name")


class Census:
    """Counts the files below some paths in a process of its own, so that nobody waits for it."""

    def __init__(self, paths: Iterable[Path], context: BaseContext, sample: int | None = None) -> None:
        """Start counting; `sample`: so many of each folder at most."""
        self._counted = context.Value("q", 0, lock=False)
        self._is_done = context.Value("b", 0, lock=False)
        arguments = (list(map(str, paths)), sample, self._counted, self._is_done)
        self._process = context.Process(target=_count, args=arguments, daemon=True)  # type: ignore[attr-defined]  # each context has one
        self._process.start()

    @property
    def total(self) -> int | None:
        """How many there are; None as long as that is not known."""
        return int(self._counted.value) if self._is_done.value else None

    def close(self) -> None:
        """Count no more."""
        self._process.kill()
        self._process.join()


def _count(paths: list[str], sample: int | None, counted: object, is_done: object) -> None:
    """Count as `inputs` would find them."""
    total = 0
    for path in paths:
        pending = [path] if os.path.isdir(path) else []
        total += not pending
        while pending:
            folder = pending.pop()
            here = 0
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        is_folder = _is_folder(entry, sample is None)
                        if is_folder:
                            pending.append(entry.path)
                        else:
                            here += is_folder is False
            except OSError:
                here += 1
            total += here if sample is None else min(here, sample)
    counted.value, is_done.value = total, 1  # type: ignore[attr-defined]  # shared values have no type of their own
