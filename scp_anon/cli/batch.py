"""The commands that need no node: deid, keygen."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scp_anon import batch
from scp_anon.cli.options import Key, Option, Pixels, ProfileName, Project, key_of
from scp_anon.deid import generate_key, load_profile, with_changes
from scp_anon.destinations.layout import DEFAULT, Layout
from scp_anon.errors import ConfigError

_SHOWN_EVERY = 0.1  # seconds


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
    key: Key = None,
    project: Project = "demo",
    layout: Annotated[
        str, typer.Option(help="Where in the folder: a template of keywords of new values, or mirror.")
    ] = DEFAULT,
    report: Annotated[Path | None, typer.Option(help="Write a report, which names the sources, as JSON Lines.")] = None,
    processes: Annotated[int, typer.Option(help="Processes; by default one a core.", min=1)] = os.cpu_count() or 1,
) -> None:
    """De-identify files and folders, by the same engine as the node."""
    if layout != batch.MIRROR:
        Layout(layout)
    files = batch.inputs(paths, output)
    settings = with_changes(load_profile(profile), option or (), pixels)
    job = batch.Job(key_of(key), project, settings, layout, output)
    summary = batch.Summary()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_report(report)) if report else None
        progress = stack.enter_context(_progress())
        task = progress.add_task("de-identifying", total=None)
        shown = 0.0
        for outcome in batch.run(job, files, processes):
            summary.add(outcome)
            if file:
                batch.write_report(file, outcome)
            if (now := time.monotonic()) > shown + _SHOWN_EVERY:
                progress.update(task, completed=summary.by_status.total(), refresh=True)
                shown = now
    _print(summary)
    if not summary.is_clean:
        raise typer.Exit(1)


def _open_report(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the report cannot be written: {error.strerror}") from None


def _progress() -> Progress:
    """A progress bar on a terminal, nothing elsewhere; it shows counts, never names."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Without a thread of its own: this process is going to be forked.
    return Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)


def _print(summary: batch.Summary) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.by_status.items()))
    typer.echo(counts or "nothing to do")
    for reason, count in summary.by_reason.most_common():
        typer.echo(f"  {count} {reason}")
