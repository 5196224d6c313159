"""The command that checks results: verify."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scp_anon.cli.changes import Changes, changed, taking_changes
from scp_anon.cli.options import DEFAULT_KEY, Project
from scp_anon.deid import load_key, previewed, with_audit
from scp_anon.errors import ConfigError
from scp_anon.harmless import visible
from scp_anon.verification import Finding, Job, Report
from scp_anon.verification import verify as run

_SHOWN_EVERY: Final = 0.1  # seconds


@taking_changes
def verify(
    output: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders of de-identified files.")],
    changes: Changes,
    against: Annotated[Path | None, typer.Option(help="The originals: what of their values is left?")] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Results have the places of their originals; else UIDs tell, by the key.")
    ] = False,
    key: Annotated[Path | None, typer.Option(help="The key; without it var/key, if it is there.")] = None,
    project: Project = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Processes; by default one a core.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Check de-identified folders: what would still be changed, what is left of the originals, what is broken."""
    settings = previewed(with_audit(changed(changes), None))
    master = _key(key)
    if against is not None and master is None and not mirror:
        raise ConfigError("--against: without the key results cannot be told by their UIDs: --key FILE, or --mirror")
    reports = {}
    with _progress() as progress:
        for folder in output:
            told = _Told(progress)
            reports[folder] = run(Job(master, project, settings, folder, against, mirror), processes, told)
    if as_json:
        told_of = {str(folder): report.as_json() for folder, report in reports.items()}
        typer.echo(json.dumps(told_of, indent=2))
    else:
        for folder, report in reports.items():
            _print(folder, report)
    if any(report.findings for report in reports.values()):
        raise typer.Exit(1)


def _key(path: Path | None) -> bytes | None:
    """The key that was named, or the default one if it is there: a new one would be of no use here."""
    return load_key(path or DEFAULT_KEY) if path is not None or DEFAULT_KEY.exists() else None


def _print(folder: Path, report: Report) -> None:
    typer.echo(f"{folder}: {report.results} results checked, {report.others} other files")
    if report.originals:
        typer.echo(f"  {report.originals} originals, {report.without_result} of them without a result")
    rows = [_row(finding, count, example) for finding, (count, example) in sorted(report.findings.items())]
    if not rows:
        typer.echo("  nothing found")
        return
    rows.insert(0, ("kind", "path", "count", "example"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for kind, path, count, example in rows:
        typer.echo(f"  {kind:{widths[0]}}  {path:{widths[1]}}  {count:>{widths[2]}}  {example}")


def _row(finding: Finding, count: int, example: str) -> tuple[str, str, str, str]:
    path = f"{finding.path} in {finding.where}" if finding.where else finding.path
    return finding.kind, f"{path} {finding.detail}".strip(), str(count), visible(example)


def _progress() -> Progress:
    """Counts on a terminal, nothing elsewhere; never names."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Without a thread of its own: this process is going to be forked.
    return Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)


class _Told:
    """Shows how far it is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("checking", total=None)
        self._what = ""
        self._done = 0
        self._shown = 0.0

    def __call__(self, what: str) -> None:
        self._done = self._done + 1 if what == self._what else 1
        self._what = what
        if (now := time.monotonic()) > self._shown + _SHOWN_EVERY:
            self._progress.update(self._task, description=f"checking {what}", completed=self._done, refresh=True)
            self._shown = now
