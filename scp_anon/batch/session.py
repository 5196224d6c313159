"""A run from its beginning to its end: what is finished is skipped, the rest is de-identified, numbered and noted."""

from __future__ import annotations

import contextlib
import filecmp
import os
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from scp_anon.batch.contents import SAME_CONTENT, Contents
from scp_anon.batch.drift import Drift
from scp_anon.batch.files import Input
from scp_anon.batch.manifest import NAME, Done, Manifest
from scp_anon.batch.mapping import Mapping
from scp_anon.batch.owners import Owners, written
from scp_anon.batch.owners import read as read_owner
from scp_anon.batch.pool import run
from scp_anon.batch.report import QuarantineFolder
from scp_anon.batch.work import MIRROR, TEMPORARY, Job, Outcome, Worker, put
from scp_anon.deid.study_patients import Owner
from scp_anon.destinations.layout import FOLDER, filled
from scp_anon.errors import ConfigError, Reason

_FINISHED: Final = ("delivered", "filtered")


def perform(
    job: Job,
    files: Iterable[Input],
    processes: int,
    resume: bool = False,
    mapping: Path | None = None,
    alarm: Drift | None = None,
) -> Generator[Outcome]:
    """De-identify the files; yields what became of each, in their order.

    `resume`: go on where an earlier run in the same output folder has ended. `mapping`: a file for old and new UIDs,
    if the job has them told. `alarm`: is given the attributes of originals, likewise. Raises ConfigError where a folder
    cannot be made, or holds the results of something else.
    """
    with contextlib.ExitStack() as stack:
        try:
            if not job.dry_run:
                job.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{job.output}: the output folder cannot be made: {error.strerror}") from None
        Worker.start(job)
        contents = Contents(job.output, not job.dry_run) if job.once else None
        if contents is not None:
            stack.callback(contents.close)
        owners = Owners() if job.study_policy != "separate" else None
        if owners is not None:
            stack.callback(owners.close)
        manifest = _manifest(job, resume, contents, owners)
        stack.callback(manifest.close)
        pairs = None
        if mapping is not None and not job.dry_run:
            pairs = Mapping(mapping, resume)
            stack.callback(pairs.close)
        manifest.before = partial(_sync, pairs, alarm)
        kept = None
        if job.quarantine is not None and not job.dry_run:
            kept = QuarantineFolder(job.quarantine)
            stack.callback(kept.close)
        if not job.dry_run:
            _clear(job)
            stack.callback(_clear, job)
            stack.callback(manifest.sync)
        outcomes = run(job, _remaining(job, files, manifest, contents) if resume else files, processes)
        stack.enter_context(contextlib.closing(outcomes))
        for outcome in outcomes:
            _note(outcome, pairs, alarm)
            final = _settled(job, manifest, contents, owners, outcome)
            if kept is not None and final.copy is not None:
                kept.add(final)
            yield final
        manifest.sync()
        if pairs is not None:
            pairs.finish()


def _note(outcome: Outcome, pairs: Mapping | None, alarm: Drift | None) -> None:
    if pairs is not None:
        for pair in outcome.uids:
            pairs.add(*pair)
    if alarm is not None:
        alarm.add(outcome.tags)


def _sync(*noted: Mapping | Drift | None) -> None:
    for each in noted:
        if each is not None:
            each.sync()


def _manifest(job: Job, resume: bool, contents: Contents | None, owners: Owners | None) -> Manifest:
    """The manifest of the output folder. Raises ConfigError where it is that of something else."""
    writes = not job.dry_run
    if writes and Worker.current.is_numbered and not (resume and (job.output / NAME).exists()):
        with os.scandir(job.output) as entries:
            if any(entries):
                why = "has files, which new numbers could replace: --resume what it has, or take another folder"
                raise ConfigError(f"{job.output}: {why}")

    def loaded(source: str, done: Done) -> None:
        """Note a content that an earlier run has finished; of a mirror, or a folder, it is not told where.

        And note of which patient a study is.
        """
        if owners is not None and done.owner is not None:
            owners.add(read_owner(done.owner))
        if contents is not None and done.content is not None and done.status == "delivered":
            place = filled(done.place, done.number, "") if done.place is not None else "{"
            contents.add(done.content, source, None if "{" in place else place, is_new=False)

    return Manifest(job.output, Worker.current.head(), job.names, resume, writes, loaded)


def _remaining(
    job: Job, files: Iterable[Input], manifest: Manifest, contents: Contents | None
) -> Iterator[Input | Outcome]:
    """The files, with an outcome in the place of each that is finished: its input is the same, its output is there."""
    for file in files:
        done = manifest.find(file.path)
        finished = _finished(job, file, done, contents) if done is not None and _is_same(file, done) else None
        if contents is not None and done is not None and done.status == "delivered":
            if finished is None or finished.output is None:
                contents.forget(job.names.of(file.path))
            else:
                contents.find(job.names.of(file.path), finished.output)
        yield finished or file


def _finished(job: Job, file: Input, done: Done, contents: Contents | None) -> Outcome | None:
    """The outcome of an input that is what it was; None where it is not finished after all."""
    output = _output(job, file, done)
    if done.status == "filtered":
        return Outcome(file.path, "skipped", None, None, done.size)
    if done.status == "delivered" and os.path.lexists(job.output / output):
        return Outcome(file.path, "skipped", output, None, done.size)
    if done.status == "skipped" and contents is not None and done.content is not None and contents.has(done.content):
        return Outcome(file.path, "skipped", None, SAME_CONTENT, done.size, content=done.content)
    return None


def _output(job: Job, file: Input, done: Done) -> str:
    """Where the output of an input that is finished has been put; nowhere, where its folder was another one."""
    if job.layout == MIRROR:
        return file.relative
    folder = job.folder_of(file)
    return filled((done.place or "").replace(job.names.of_folder(folder), FOLDER), done.number, folder)


def _is_same(file: Input, done: Done) -> bool:
    """Whether an input is what it was."""
    try:
        found = os.stat(file.path)
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (done.size, done.mtime_ns)


def _settled(
    job: Job, manifest: Manifest, contents: Contents | None, owners: Owners | None, outcome: Outcome
) -> Outcome:
    """Give an output its place, and note what is finished; returns the outcome as it is then."""
    if contents is not None and outcome.content is not None:
        is_there = contents.has(outcome.content)
        if outcome.status == "skipped":
            return outcome if is_there else outcome._replace(status="failed", reason="what had its content is gone")
        if outcome.status == "delivered" and is_there:
            return _skipped(manifest, outcome)
    outcome, owner = _owned(owners, outcome)
    if outcome.status not in _FINISHED:
        return outcome
    place, number, output = job.told(outcome), None, None
    if outcome.output is not None:
        if Worker.current.is_numbered:
            number = manifest.number(outcome.source, place or "")
        output = job.placed(outcome, number)
    try:
        if outcome.temporary is not None and output is not None:
            is_anothers = number is None and place is not None and manifest.is_held_by_another(outcome.source, place)
            if is_anothers and _differs(outcome.temporary, f"{job.output}/{output}"):
                return _set_aside(outcome)
            put(outcome.temporary, str(job.output), output)
    except OSError as error:
        return outcome._replace(status="failed", output=None, reason=error.strerror)
    done = Done(outcome.size, outcome.mtime_ns, outcome.status, place, number, outcome.content)
    manifest.add(outcome.source, done._replace(owner=written(owner)) if owner is not None else done)
    if owners is not None and owner is not None:
        owners.add(owner)
    if contents is not None and outcome.content is not None:
        contents.add(outcome.content, job.names.of(outcome.source), output, is_new=True)
    return outcome._replace(output=output, temporary=None)


def _owned(owners: Owners | None, outcome: Outcome) -> tuple[Outcome, Owner | None]:
    """Have a result be that of its study's patient; returns the outcome, and who is the first patient of a study."""
    owner = outcome.owner
    if owners is None or owner is None or outcome.status != "delivered":
        return outcome, None
    first = owners.first(owner)
    if first is None:
        return outcome, owner if Worker.current.names_patient(owner) else None
    return (Worker.current.of_study(outcome, first) if first != owner else outcome), None


def _differs(temporary: str, there: str) -> bool:
    """Whether an output is another one than that which is in its place. Raises OSError."""
    try:
        return not filecmp.cmp(temporary, there, shallow=False)
    except FileNotFoundError:
        return False  # somebody has taken it away: the place is free


def _set_aside(outcome: Outcome) -> Outcome:
    """Quarantine what would replace the output of an input that came before it."""
    _remove(outcome.temporary)
    aside = outcome._replace(status="quarantined", output=None, temporary=None, reason=str(Reason.DUPLICATE_UID))
    return Worker.current.set_aside(aside)


def _remove(temporary: str | None) -> None:
    if temporary is not None:
        with contextlib.suppress(OSError):  # what is left is removed at the end
            os.unlink(temporary)


def _skipped(manifest: Manifest, outcome: Outcome) -> Outcome:
    """Leave out what has the content of one that is finished, and note that."""
    _remove(outcome.temporary)
    manifest.add(outcome.source, Done(outcome.size, outcome.mtime_ns, "skipped", None, None, outcome.content))
    return outcome._replace(status="skipped", output=None, reason=SAME_CONTENT, temporary=None)


def _clear(job: Job) -> None:
    """Remove what processes that were killed have left aside."""
    with os.scandir(job.output) as entries:
        left = [entry.path for entry in entries if TEMPORARY.fullmatch(entry.name)]
    for path in left:
        with contextlib.suppress(OSError):
            os.unlink(path)
