"""The commands that need no node: deid, keygen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from scp_anon import batch
from scp_anon.cli.changes import Changes, changed, taking_changes
from scp_anon.cli.options import DEFAULT_KEY, Key, Project, key_of
from scp_anon.cli.progress import shown
from scp_anon.cli.written import STANDARD_OUTPUT, check_written
from scp_anon.deid import ProfileFile, generate_key, previewed, with_audit
from scp_anon.destinations.fields import LayoutFields
from scp_anon.destinations.layout import DEFAULT, Layout
from scp_anon.errors import ConfigError

_BY_SERIES: Final = "{SeriesInstanceUID}/{Modality}.{SOPInstanceUID}.dcm"


def keygen(file: Annotated[Path, typer.Argument(help="The key file to make; it must not exist.")]) -> None:
    """Make a new random key. Keep it: with another key, the same patient gets another pseudonym."""
    generate_key(file)
    typer.echo(f"{file}: made; keep a copy in a safe place")


@taking_changes
def deid(
    paths: Annotated[list[Path], typer.Argument(metavar="IN...", help="DICOM files, and folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to; made if missing.")],
    changes: Changes,
    key: Key = None,
    project: Project = "demo",
    layout: Annotated[
        str | None,
        typer.Option(help="Where in the folder: keywords of new values in braces, {n}, {Folder}; or mirror."),
    ] = None,
    by_series: Annotated[bool, typer.Option("--by-series", help=f"The layout {_BY_SERIES}.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in the output folder: skip inputs that are finished.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(help="Take so many files of each folder only, to see what becomes of them.", min=1)
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Skip inputs whose content is, byte for byte, that of one that is finished.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each; write nothing.")] = False,
    quarantine: Annotated[
        Path | None, typer.Option(help="A folder for copies, which identify, of what cannot be ruled on.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report, which names the sources, as JSON Lines; - to print it.")
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Write the counts as JSON.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Write old and new Study and Series UIDs, which identify, as JSON.")
    ] = None,
    drift: Annotated[
        Path | None, typer.Option(help="The file of attributes known so far: new ones are named, and added.")
    ] = None,
    fields: Annotated[
        Path | None, typer.Option(help="A file of fields of the originals that the layout may have.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="Write down what was and what is, which identifies: see lookup.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes; by default one a core.", min=1)] = os.cpu_count() or 1,
) -> None:
    """De-identify files and folders, by the same engine as the node."""
    place = _layout(layout, by_series, fields)
    files = batch.inputs(paths, output, sample)
    written = {"--quarantine": quarantine, "--report": report, "--mapping": mapping, "--audit": audit}
    needed = (key or DEFAULT_KEY, Path(changes.profile), fields, *(changes.rules or ()))
    check_written({**written, "--summary": summary, "--drift": drift}, paths, output, needed)
    settings = _watched(changed(changes), audit, dry_run)
    master, told = key_of(key, not dry_run), (mapping is not None, drift is not None)
    job = batch.Job(master, project, settings, place, output, quarantine, dry_run, *told, fields, once)
    alarm = batch.Drift(drift, not dry_run) if drift else None
    counts = batch.Summary()
    with contextlib.ExitStack() as stack:
        if alarm is not None:
            stack.callback(alarm.close)
        lines = stack.enter_context(_report(report)) if report else None
        show = stack.enter_context(shown(paths, counts, sample))
        outcomes = stack.enter_context(contextlib.closing(batch.perform(job, files, processes, resume, mapping, alarm)))
        for outcome in _begun(outcomes, report):
            _note(outcome, counts, lines)
            show()
    _print(counts, alarm, dry_run, report == STANDARD_OUTPUT)
    if summary is not None:
        batch.write_whole(summary, counts.as_json(dry_run), "summary")
    _end(counts, alarm, dry_run)


def _end(counts: batch.Summary, alarm: batch.Drift | None, dry_run: bool) -> None:
    """Remember the attributes of this run, and exit with 1 if not all is well."""
    if alarm and not dry_run:
        alarm.finish()
    if not counts.is_clean:
        raise typer.Exit(1)


def _watched(settings: ProfileFile, audit: Path | None, dry_run: bool) -> ProfileFile:
    """The profile with the audit that is wanted; for a dry run, one that writes nothing."""
    if dry_run:
        return previewed(with_audit(settings, None))
    return with_audit(settings, audit) if audit is not None else settings


def _layout(layout: str | None, by_series: bool, fields: Path | None) -> str:
    """The layout that is wanted. Raises ConfigError."""
    if by_series and layout is not None:
        raise ConfigError("--by-series is a layout: give one of both")
    wanted = _BY_SERIES if by_series else layout or DEFAULT
    if fields is not None:
        LayoutFields(wanted, fields)
    elif wanted != batch.MIRROR:
        Layout(wanted, numbers=True)
    return wanted


def _note(outcome: batch.Outcome, counts: batch.Summary, lines: IO[str] | None) -> None:
    """Count an outcome, and report it where that is wanted."""
    counts.add(outcome)
    if lines:
        batch.write_report(lines, outcome)


@contextlib.contextmanager
def _report(path: Path) -> Iterator[IO[str]]:
    if path == STANDARD_OUTPUT:
        yield typer.get_text_stream("stdout")
        return
    with batch.open_private(path, "report", "a") as file:
        yield file


def _begun(outcomes: Iterator[batch.Outcome], report: Path | None) -> Iterator[batch.Outcome]:
    """The outcomes; an earlier report is emptied only now that the output folder is ours.

    Until then another run may be at work there, and write just that report.
    """
    first = next(outcomes, None)
    if report is not None and report.is_file():
        os.truncate(report, 0)
    if first is not None:
        yield first
        yield from outcomes


def _print(counts: batch.Summary, alarm: batch.Drift | None, dry_run: bool, to_error: bool) -> None:
    """Say the counts, and name the attributes that were never seen before."""
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.by_status.items()))
    said = [("dry run: " if dry_run else "") + (told or "nothing to do")]
    said.extend(f"  {count} {reason}" for reason, count in counts.by_reason.most_common())
    if alarm and alarm.is_first:
        said.append(f"{len(alarm.new)} attributes are known from now on")
    elif alarm and alarm.new:
        said.append(f"never seen before: {len(alarm.new)} attributes")
        said.extend(f"  {name}" for name in alarm.told())
    for line in said:
        typer.echo(line, err=to_error)
