"""Files and folders through the same engine: what `scp-anon deid` does.

The input is never changed. Each output is written aside and renamed into its place, so that what is there is whole.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal, NamedTuple

from scp_anon import log
from scp_anon.deid import Deidentifier, ProfileFile
from scp_anon.destinations.layout import Layout
from scp_anon.errors import ConfigError, Filtered, Permanent, Reason, Undecodable
from scp_anon.filesystem import head_of

MIRROR: Final = "mirror"
# Found on the way through a folder, these are no instances that anybody would miss.
_NO_INSTANCE: Final = frozenset((Reason.NOT_DICOM, Reason.EMPTY, Reason.DICOMDIR))
_CHUNK: Final = 32

Status = Literal["delivered", "filtered", "quarantined", "failed"]


class Input(NamedTuple):
    """A file to de-identify: where it is, its place in the folder that was given, and whether it was given by name."""

    path: Path
    relative: PurePosixPath
    given: bool


class Outcome(NamedTuple):
    """What became of an input: `output` is under the output folder, `reason` a quarantine reason or an error's name."""

    source: str
    status: Status
    output: str | None
    reason: str | None
    size: int


@dataclass(frozen=True)
class Job:
    """What is done with each input: shared by all processes."""

    key: bytes
    project: str
    profile: ProfileFile
    layout: str
    output: Path


@dataclass
class Summary:
    """The counts of a run."""

    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    size: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.by_status[outcome.status] += 1
        self.size += outcome.size
        if outcome.reason:
            self.by_reason[outcome.reason] += 1

    @property
    def is_clean(self) -> bool:
        """Nothing was quarantined, and nothing failed."""
        return not (self.by_status["quarantined"] or self.by_status["failed"])


def inputs(paths: Iterable[Path], output: Path) -> Iterator[Input]:
    """The files that are named, and all those in the folders that are named, in the order of their names.

    Raises ConfigError for a path that does not exist, and for an output inside an input.
    """
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"{output}: the output must not be inside the input {path}")
    return _inputs(paths)


def _inputs(paths: list[Path]) -> Iterator[Input]:
    """As `inputs`; where several are named, each has a place of its own, so that none replaces another in a mirror."""
    names: Counter[str] = Counter()
    for path in paths:
        names[path.name] += 1
        name = path.name if names[path.name] == 1 else f"{path.name}-{names[path.name]}"
        if path.is_dir():
            place = PurePosixPath(name if len(paths) > 1 else "")
            yield from (Input(file, place / PurePosixPath(file.relative_to(path)), False) for file in _files(path))
        else:
            yield Input(path, PurePosixPath(name), True)


def run(job: Job, files: Iterable[Input], processes: int) -> Iterator[Outcome]:
    """De-identify the files, in as many processes; yields what became of each, in their order. Memory stays flat.

    Raises ConfigError if the output folder cannot be made.
    """
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{job.output}: the output folder cannot be made: {error.strerror}") from None
    if processes == 1:
        _Worker.start(job)
        yield from (_Worker.run(file) for file in files)
        return
    with ProcessPoolExecutor(processes, initializer=_Worker.start, initargs=(job,)) as pool:
        remaining = iter(files)
        while window := list(islice(remaining, processes * _CHUNK * 4)):
            yield from pool.map(_Worker.run, window, chunksize=_CHUNK)


def write_report(report: IO[str], outcome: Outcome) -> None:
    """Append one JSON object. It names the source: a report is written only where it was asked for."""
    line = {"source": outcome.source, "status": outcome.status, "output": outcome.output, "reason": outcome.reason}
    report.write(json.dumps(line) + "\n")


class _Worker:
    """One process's engine."""

    _instance: _Worker

    def __init__(self, job: Job) -> None:
        self._deidentifier = Deidentifier(job.key, job.project, job.profile)
        self._layout = None if job.layout == MIRROR else Layout(job.layout)
        self._output = job.output

    @classmethod
    def start(cls, job: Job) -> None:
        """Make the engine of this process, which may not have inherited that libraries are silent."""
        log.silence_libraries()
        cls._instance = cls(job)

    @classmethod
    def run(cls, file: Input) -> Outcome:
        """De-identify one file."""
        return cls._instance._outcome(file)

    def _outcome(self, file: Input) -> Outcome:
        size = 0
        status: Status
        try:
            size = file.path.stat().st_size
            return Outcome(str(file.path), "delivered", str(self._deidentify(file)), None, size)
        except Undecodable as undecodable:
            reason = str(undecodable.reason)
            status = "filtered" if undecodable.reason in _NO_INSTANCE and not file.given else "quarantined"
        except Filtered:
            status, reason = "filtered", str(Reason.NOT_ADMITTED)
        except Permanent as permanent:
            status, reason = "quarantined", str(permanent.reason)
        except OSError as error:
            status, reason = "failed", error.strerror or type(error).__name__
        except Exception:
            # A fault of ours that this file brings out: nothing is written, and the others go on.
            status, reason = "quarantined", str(Reason.UNEXPECTED_ERROR)
        return Outcome(str(file.path), status, None, reason, size)

    def _deidentify(self, file: Input) -> PurePosixPath:
        """De-identify into the output folder; returns the place in it."""
        temporary = self._output / f".{secrets.token_hex(8)}.tmp"
        self._deidentifier.file(file.path, temporary)
        try:
            place = PurePosixPath(self._place(temporary)) if self._layout else file.relative
            target = self._output / place
            try:
                temporary.rename(target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.rename(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return place

    def _place(self, path: Path) -> str:
        assert self._layout is not None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self._layout.place(head_of(descriptor))
        finally:
            os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in the order of their names; links to folders are not followed.

    A folder that cannot be listed is yielded itself: it fails as a file that cannot be read does.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
