"""The commands that need no node: deid, keygen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from scp_anon import batch
from scp_anon.cli.changes import Changes, changed
from scp_anon.cli.options import Key, Option, Pixels, ProfileName, Project, key_of
from scp_anon.cli.progress import shown
from scp_anon.deid import generate_key
from scp_anon.destinations.layout import DEFAULT, Layout
from scp_anon.errors import ConfigError

_STANDARD_OUTPUT = Path("-")


def keygen(file: Annotated[Path, typer.Argument(help="The key file to make; it must not exist.")]) -> None:
    """Make a new random key. Keep it: with another key, the same patient gets another pseudonym."""
    generate_key(file)
    typer.echo(f"{file}: made; keep a copy in a safe place")


def deid(
    paths: Annotated[list[Path], typer.Argument(metavar="IN...", help="DICOM files, and folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to; made if missing.")],
    profile: ProfileName = "basic",
    option: Option = None,
    pixels: Pixels = None,
    modalities: Annotated[str | None, typer.Option(help="Take these only, as MR,CT; any other is quarantined.")] = None,
    admit: Annotated[
        list[str] | None,
        typer.Option(help="An entry of a profile's admit, before its own: '{when: ..., then: ...}'; may be repeated."),
    ] = None,
    key: Key = None,
    project: Project = "demo",
    layout: Annotated[
        str, typer.Option(help="Where in the folder: a template of keywords of new values and {n}, or mirror.")
    ] = DEFAULT,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in the output folder: skip inputs that are finished.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each; write nothing.")] = False,
    quarantine: Annotated[
        Path | None, typer.Option(help="A folder for copies, which identify, of what cannot be ruled on.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report, which names the sources, as JSON Lines; - to print it.")
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="Write the counts as JSON.")] = None,
    processes: Annotated[int, typer.Option(help="Processes; by default one a core.", min=1)] = os.cpu_count() or 1,
) -> None:
    """De-identify files and folders, by the same engine as the node."""
    if layout != batch.MIRROR:
        Layout(layout, numbers=True)
    files = batch.inputs(paths, output)
    if quarantine is not None:
        _check_quarantine(quarantine, paths, output)
    settings = changed(profile, Changes(option or (), pixels, modalities, admit or ()))
    job = batch.Job(key_of(key), project, settings, layout, output, quarantine, dry_run)
    counts = batch.Summary()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_report(report)) if report else None
        show = stack.enter_context(shown(paths, counts))
        outcomes = stack.enter_context(contextlib.closing(batch.perform(job, files, processes, resume)))
        for outcome in outcomes:
            counts.add(outcome)
            if file:
                batch.write_report(file, outcome)
            show()
    if summary is not None:
        batch.write_whole(summary, counts.as_json(dry_run), "summary")
    _print(counts, dry_run, report == _STANDARD_OUTPUT)
    if not counts.is_clean:
        raise typer.Exit(1)


def _check_quarantine(folder: Path, paths: list[Path], output: Path) -> None:
    """Raise ConfigError where originals would be put among inputs, or among what is passed on."""
    for path in paths:
        batch.check_outside(path, folder, "quarantine folder")
    if folder.resolve().is_relative_to(output.resolve()):
        raise ConfigError(f"{folder}: originals must not be inside the output folder {output}")


@contextlib.contextmanager
def _report(path: Path) -> Iterator[IO[str]]:
    if path == _STANDARD_OUTPUT:
        yield typer.get_text_stream("stdout")
        return
    with batch.open_private(path, "report") as file:
        yield file


def _print(counts: batch.Summary, dry_run: bool, to_error: bool) -> None:
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.by_status.items()))
    typer.echo(("dry run: " if dry_run else "") + (told or "nothing to do"), err=to_error)
    for reason, count in counts.by_reason.most_common():
        typer.echo(f"  {count} {reason}", err=to_error)
