"""Files and folders through the same engine: what `scp-anon deid` does.

The input is never changed. Each output is written aside and renamed into its place, so that what is there is whole.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

from scp_anon import log
from scp_anon.deid import Deidentifier, ProfileFile
from scp_anon.destinations.layout import Layout
from scp_anon.errors import ConfigError, Filtered, Permanent, Reason, Undecodable

MIRROR: Final = "mirror"
# Found on the way through a folder, these are no instances that anybody would miss.
_NO_INSTANCE: Final = frozenset((Reason.NOT_DICOM, Reason.EMPTY, Reason.DICOMDIR))
_CHUNK: Final = 32  # files that are handed to a process at a time
_AHEAD: Final = 4  # chunks that wait for each process

Status = Literal["delivered", "filtered", "quarantined", "failed"]


class Input(NamedTuple):
    """A file to de-identify: where it is, its place in the folder that was given, and whether it was given by name."""

    path: str
    relative: str
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
            place = f"{name}/" if len(paths) > 1 else ""
            yield from (Input(file, place + file[len(str(path)) :].lstrip("/"), False) for file in _files(str(path)))
        else:
            yield Input(str(path), name, True)


def run(job: Job, files: Iterable[Input], processes: int) -> Iterator[Outcome]:
    """De-identify the files, in as many processes; yields what became of each, in their order. Memory stays flat.

    Raises ConfigError if the output folder cannot be made.
    """
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{job.output}: the output folder cannot be made: {error.strerror}") from None
    _Worker.start(job)
    if processes == 1:
        yield from map(_Worker.current.outcome, files)
        return
    # A fork has the engine that has just been made.
    context = get_context("fork" if "fork" in get_all_start_methods() else None)
    with ProcessPoolExecutor(processes, context, _Worker.start, (job,)) as pool:
        remaining = iter(files)
        ahead: deque[Future[list[Outcome]]] = deque()
        while True:
            while len(ahead) < processes * _AHEAD and (chunk := list(islice(remaining, _CHUNK))):
                ahead.append(pool.submit(_outcomes, chunk))
            if not ahead:
                return
            yield from ahead.popleft().result()


def _outcomes(files: list[Input]) -> list[Outcome]:
    """What became of some files, in one of the processes."""
    return [_Worker.current.outcome(file) for file in files]


def write_report(report: IO[str], outcome: Outcome) -> None:
    """Append one JSON object. It names the source: a report is written only where it was asked for."""
    line = {"source": outcome.source, "status": outcome.status, "output": outcome.output, "reason": outcome.reason}
    report.write(json.dumps(line) + "\n")


class _Worker:
    """One process's engine."""

    current: _Worker

    def __init__(self, job: Job) -> None:
        self._job = job
        self._deidentifier = Deidentifier(job.key, job.project, job.profile)
        self._layout = None if job.layout == MIRROR else Layout(job.layout)
        self._output = str(job.output)
        self._numbers = count()

    @classmethod
    def start(cls, job: Job) -> None:
        """Make the engine of this process, unless it has it already; and let libraries be silent."""
        log.silence_libraries()
        if not hasattr(cls, "current") or cls.current._job is not job:
            cls.current = cls(job)
            gc.freeze()  # what has been compiled stays: the collector need not look at it again and again

    def outcome(self, file: Input) -> Outcome:
        """De-identify one file."""
        size = 0
        status: Status
        try:
            size = os.stat(file.path).st_size
            return Outcome(file.path, "delivered", self._deidentify(file), None, size)
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
        return Outcome(file.path, status, None, reason, size)

    def _deidentify(self, file: Input) -> str:
        """De-identify into the output folder; returns the place in it."""
        temporary = f"{self._output}/.{os.getpid()}-{next(self._numbers)}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            with self._deidentifier.opened(file.path) as result:
                place = self._layout.place_of(result) if self._layout else file.relative
                result.write(descriptor)
            target = f"{self._output}/{place}"
            try:
                os.rename(temporary, target)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        return place


def _files(folder: str) -> Iterator[str]:
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
            yield from _files(entry.path)
        elif entry.is_file():
            yield entry.path
