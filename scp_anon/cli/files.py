"""The commands that look at files, and that sort them: metadata, export, table, split."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from scp_anon import header, picture, splitting, table
from scp_anon.cli import exchange
from scp_anon.cli.options import Option, ProfileName
from scp_anon.dicom.whole import read_whole
from scp_anon.errors import ConfigError, Undecodable
from scp_anon.harmless import visible

_FILES, _PATIENTS = "files", "patients"


def metadata(
    file: Annotated[Path, typer.Argument(help="A DICOM file.", exists=True, dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="In the DICOM JSON Model, whole and without colour.")] = False,
) -> None:
    """Print what is in a file, values included: those of an original identify the patient."""
    unreadable = 0
    try:
        data_set = read_whole(file)
        if as_json:
            content, faults = header.as_json(data_set)
            typer.echo(json.dumps(content, indent=2))
            unreadable = len(faults)
        else:
            console = Console(highlight=False)
            for line in header.lines(data_set):
                text = _text(line)
                if console.is_terminal:
                    console.print(text, soft_wrap=True)
                else:
                    typer.echo(text.plain)  # a hundred times as fast, and nothing else is left of it there
                unreadable += not line.is_readable
    except (Undecodable, OSError) as error:
        _refuse(file, _why(error))
    if unreadable:
        _refuse(file, f"{unreadable} attribute{'' if unreadable == 1 else 's'} cannot be read")


def _text(line: header.Line) -> Text:
    text = Text("  " * line.indent)
    text.append(line.tag, "dim")
    text.append(f" {line.vr}" if line.vr else "", "cyan")
    text.append(f" {line.name}" if line.name else "", "bold")
    return text.append(f"  {line.value}" if line.value else "", "" if line.is_readable else "red")


def export(
    file: Annotated[str, typer.Argument(metavar="FILE|KIND", help="A DICOM file; or for whom to print rules: mmiv.")],
    target: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="The picture: .png or .jpg.")] = None,
    frame: Annotated[int | None, typer.Option(min=1, help="Which frame; the first if not given.")] = None,
    all_frames: Annotated[bool, typer.Option("--all-frames", help="All, as OUT_0001.png and so on.")] = False,
    window: Annotated[
        str | None, typer.Option(metavar="C/W", help="Window center and width, in place of the file's own.")
    ] = None,
    overlays: Annotated[bool, typer.Option("--overlays", help="Burn the overlays in.")] = False,
    profile: ProfileName = "basic",
    option: Option = None,
    form: Annotated[str, typer.Option("--format", help="Of rules: json or csv.")] = "json",
) -> None:
    """Make a picture of a DICOM image; or print a profile as another tool's rules. Pictures may identify."""
    if target is None:
        exchange.export(file, profile, option, form)
        return
    if target.suffix.lower() not in picture.FORMATS:
        raise ConfigError(f"{target}: a picture is a .png or a .jpg file")
    if frame and all_frames:
        raise ConfigError("either --frame or --all-frames, not both")
    if not Path(file).is_file():
        raise ConfigError(f"{file}: no such file")
    try:
        pictures = picture.Pictures(Path(file), _window(window), overlays)
        for number, path in _chosen(pictures.count, target, frame, all_frames):
            pictures.save(number, path)
            typer.echo(f"{visible(str(path))}: frame {number} of {pictures.count}")
    except FileExistsError as error:
        raise ConfigError(f"{error.filename}: a file is there already") from None
    except MemoryError:
        _refuse(Path(file), "its frames are too large for this machine")
    except (picture.NoPicture, Undecodable, OSError) as error:
        _refuse(Path(file), _why(error))


def _window(text: str | None) -> picture.Window | None:
    """A window as it was named. Raises ConfigError."""
    if text is None:
        return None
    center, _, width = text.partition("/")
    try:
        window = picture.Window(float(center), float(width))
    except ValueError:
        raise ConfigError("--window: CENTER/WIDTH, such as 40/400") from None
    if not 1 <= window.width < float("inf") or not abs(window.center) < float("inf"):
        raise ConfigError("--window: the width is 1 or more")
    return window


def _chosen(count: int, target: Path, frame: int | None, every: bool) -> Iterator[tuple[int, Path]]:
    """The frames that were asked for, and where they go. Raises NoPicture for one that is not there."""
    if every:
        yield from picture.numbered(target, count)
    elif frame and frame > count:
        raise picture.NoPicture(f"has no frame {frame}: it has {count}")
    else:
        yield frame or 1, target


def table_command(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files.", exists=True, file_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write: .csv or .xlsx.")],
    columns: Annotated[
        str | None, typer.Option(help="files: number, path, size; patients: who is in which file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="The report of the deid that wrote FOLDER: who became whom.", dir_okay=False)
    ] = None,
) -> None:
    """List the DICOM files of a folder, or who became whom in them, as a table for its owner only."""
    kind = columns or (_FILES if output.suffix.lower() == ".csv" and report is None else _PATIENTS)
    if kind not in (_FILES, _PATIENTS) or (report and kind == _FILES):
        raise ConfigError(f"--columns: {_FILES} or {_PATIENTS}; with --report {_PATIENTS}")
    found = table.Found()
    if report:
        rows = table.patients_of_run(report, folder, found)
    else:
        rows = table.files_of(folder, found) if kind == _FILES else table.patients_of(folder, found)
    try:
        with table.table(output, table.FILES if kind == _FILES else table.PATIENTS) as add:
            for row in rows:
                add(row)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror or type(error).__name__}") from None
    _say(found, output)


def _say(found: table.Found, output: Path) -> None:
    typer.echo(f"{found.files} DICOM, {found.others} others")
    for reason, count in found.faults.most_common():
        typer.echo(f"  {count} {visible(reason)}")
    if found.identifies:
        typer.echo(f"{output}: holds values of originals, which identify; only you can read it", err=True)
    if found.faults:
        raise typer.Exit(1)


def split(
    folder: Annotated[Path, typer.Argument(help="The folder; what is in its folders stays.")],
    mask: Annotated[str, typer.Option(help="What the names end in.")] = ".png",
    delimiter: Annotated[str, typer.Option(help="What ends the part of a name that names the folder.")] = "_",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be moved, and move nothing.")] = False,
) -> None:
    """Sort the files of a folder into folders by the beginning of their names: 17_001.png into 17. Never overwrites."""
    counts: Counter[str] = Counter()
    for move in splitting.split(folder, mask, delimiter, counts, dry_run):
        if move.fate != "moved":
            typer.echo(f"{visible(move.name)}: {move.fate}", err=True)
        elif dry_run:
            typer.echo(f"{visible(move.name)} -> {visible(move.group)}/{visible(move.name)}")
    typer.echo(f"{counts['moved']} {'to move' if dry_run else 'moved'}, {counts['left']} left")
    if counts["in the way"] or counts["failed"]:
        typer.echo(f"{counts['in the way']} in the way, {counts['failed']} failed", err=True)
        raise typer.Exit(1)


def _why(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _refuse(file: Path, why: str) -> None:
    """Exit with 1, and the reason."""
    sys.stdout.flush()
    typer.echo(f"{visible(str(file))}: {why}", err=True)
    raise typer.Exit(1)
