"""A folder from its first file to the report: in several processes, in memory that does not grow with the folder."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from scp_anon import log
from scp_anon.batch.pool import spread
from scp_anon.errors import ConfigError, Reason
from scp_anon.verification.checks import Checked, Checker, Finding, Findings, Job, Original, Pairs, Uid, files_below
from scp_anon.verification.index import Index

_CHUNK: Final = 32  # files that are handed to a process at a time
_IS_OF: Final = {"study": "(0010,0020)", "series": "(0020,000D)"}  # which attribute tells
T = TypeVar("T")
U = TypeVar("U")

# Called with what is being done, after each file or study.
Progress: TypeAlias = Callable[[str], None]


@dataclass
class Report:
    """What was found: each finding with its count, and a file, by its place in the folder, that has it.

    `results` were checked, `others` are no DICOM; of the `originals`, so many have no result.
    """

    results: int = 0
    others: int = 0
    originals: int = 0
    without_result: int = 0
    findings: dict[Finding, tuple[int, str]] = field(default_factory=dict)

    def add(self, finding: Finding, example: str, count: int = 1) -> None:
        """Count a finding."""
        before, first = self.findings.get(finding, (0, example))
        self.findings[finding] = before + count, first

    def as_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "results": self.results,
            "others": self.others,
            "originals": self.originals,
            "originals_without_result": self.without_result,
            "findings": [
                {**finding._asdict(), "count": count, "example": example}
                for finding, (count, example) in sorted(self.findings.items())
            ],
        }


def verify(job: Job, processes: int, progress: Progress = lambda what: None) -> Report:
    """Check a folder of results. Raises ConfigError where there is none, or no folder of originals."""
    for folder in (job.output, job.against):
        if folder is not None and not folder.exists():
            raise ConfigError(f"{folder}: no such file or folder")
    if not job.output.is_dir():
        raise ConfigError(f"{job.output}: is not a folder")
    report = Report()
    with ExitStack() as stack:
        pool = _Pool(job, processes)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scp-anon-")))
        index = stack.enter_context(Index(folder, job.mirror))
        for checked in pool.map(Checker.result, files_below(job.output), _ended_by_result):
            if checked.sop_instance_uid:
                report.results += 1
                index.add_result(checked)
            else:
                report.others += 1
            for finding in checked.findings:
                report.add(finding, checked.relative)
            progress("results")
        if job.against is not None:
            _compare(job.against, pool, index, report, progress)
        else:
            index.index()
        for level, example in index.mixed():
            # Series of several studies may be those of the originals; of a study's patients the profile decides.
            if job.against is None or (level == "study" and job.profile.study_patients != "separate"):
                report.add(Finding("mixed", _IS_OF[level]), example)
        for times, example in index.duplicates():
            report.add(Finding("duplicate", "(0008,0018)"), example, times)
    return report


def _compare(against: Path, pool: _Pool, index: Index, report: Report, progress: Progress) -> None:
    """What only the originals can tell."""
    for original in pool.map(Checker.original, files_below(against), Original):
        report.originals += 1
        index.add_original(original)
        progress("originals")
    index.index()
    report.without_result = index.without_result()
    for told in pool.map(Checker.without_original, index.without_original(), _ended_alone):
        for result, finding in told:
            report.add(finding, result)
    for told in pool.map(Checker.study, index.studies(), _ended_by_study, 1):
        for result, finding in told:
            report.add(finding, result)
        progress("studies")
    for uid, dangling in index.unresolved():
        # It led to another instance of the folder before, whether it has been replaced since or not.
        if index.had(uid) or index.had(Uid(uid.level, pool.checker.hashed(uid.uid))):
            report.add(Finding("unresolved", dangling.path), dangling.example, dangling.times)


def _ended_by_result(relative: str) -> Checked:
    return Checked(relative, (Finding("unreadable", detail=str(Reason.TOO_MANY_ATTEMPTS)),), "?")


def _ended_alone(result: str) -> Findings:
    return [(result, Finding("no-original"))]


def _ended_by_study(pairs: Pairs) -> Findings:
    return [(result, Finding("not-compared")) for _, result in pairs if result is not None]


class _Pool:
    """The processes, each with an engine of its own, and one here."""

    def __init__(self, job: Job, processes: int) -> None:
        _Worker.start(job)
        self.checker = _Worker.checker
        self._start, self._processes = partial(_Worker.start, job), processes

    def map(
        self, check: Callable[[Checker, T], U], items: Iterable[T], ended: Callable[[T], U], chunk_size: int = _CHUNK
    ) -> Iterator[U]:
        """What a method of the checker says of each item, in their order; `ended`: if that ends its process."""
        return spread(items, self._processes, partial(_checked, check), ended, self._start, chunk_size)


def _checked(check: Callable[[Checker, T], U], item: T) -> U:
    return check(_Worker.checker, item)


class _Worker:
    """One process's engine."""

    checker: Checker
    job: Job

    @classmethod
    def start(cls, job: Job) -> None:
        """Make the engine of this process, unless it has it already; and let libraries be silent."""
        log.silence_libraries()
        if not hasattr(cls, "job") or cls.job is not job:
            cls.job, cls.checker = job, Checker(job)
            gc.freeze()  # what has been compiled stays: the collector need not look at it again and again
