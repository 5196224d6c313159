"""The commands of the operator: queue and quarantine. They work on the spool itself, with or without a running node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer
from pydicom import dcmread
from pydicom.dataset import Dataset

from scp_anon import config
from scp_anon.cli.node import ConfigFile
from scp_anon.deid import PIXELS_SEEN, load_key
from scp_anon.errors import ConfigError
from scp_anon.harmless import visible
from scp_anon.inspection import Inspection
from scp_anon.places import Entry
from scp_anon.sealing import Seal, is_sealed

_HEADERS: Final = 64 << 20  # bytes of a sealed file that are unsealed to be shown

queue = typer.Typer(name="queue", help="What waits to be de-identified or delivered.", no_args_is_help=True)
quarantine = typer.Typer(name="quarantine", help="What was set aside, and why.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of entries, or their beginnings.")]
All = Annotated[bool, typer.Option("--all", help="Every entry.")]


@queue.command("list")
def list_queue(file: ConfigFile = None) -> None:
    """List the entries that wait: id, where, attempts, when next, calling and called AE title."""
    for destination, entry in _inspection(file).queued():
        envelope = entry.envelope
        due = _time(envelope.not_before / 1000) if envelope.not_before else "now"
        where = f"to {destination}" if destination else "to be de-identified"
        typer.echo(
            f"{envelope.id}  {where}  attempts {envelope.attempt}  due {due}  {envelope.calling} > {envelope.route}"
        )


@queue.command("retry")
def retry_queue(ids: Ids = None, every: All = False, file: ConfigFile = None) -> None:
    """Make deferred entries due now."""
    inspection = _inspection(file)
    _each((entry for _, entry in inspection.queued()), ids, every, inspection.retry, "made due")


@queue.command("drop")
def drop_queue(ids: Ids = None, every: All = False, file: ConfigFile = None) -> None:
    """Delete entries for good, undelivered."""
    inspection = _inspection(file)
    _each((entry for _, entry in inspection.queued()), ids, every, inspection.drop, "dropped")


@quarantine.command("list")
def list_quarantine(file: ConfigFile = None) -> None:
    """List the entries set aside: id, arrival, reason, detail, who refused it, calling and called AE title."""
    for entry in _inspection(file).quarantined():
        envelope = entry.envelope
        origin = f"refused by {envelope.destination}" if envelope.destination else "original"
        typer.echo(
            f"{envelope.id}  {_time(envelope.arrival)}  {envelope.reason}  {envelope.detail or '-'}  {origin}  "
            f"{envelope.calling} > {envelope.route}"
        )


@quarantine.command("show")
def show_quarantine(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Id of an entry, or its beginning.")],
    show_values: Annotated[bool, typer.Option(help="Print values too: they identify the patient.")] = False,
    file: ConfigFile = None,
) -> None:
    """Show an entry: its envelope, and the tags, VRs and lengths of its data set. Values only if asked for."""
    settings = config.load(file)
    for entry in _chosen(Inspection(settings.spool.path).quarantined(), [identifier], False):
        _show_entry(entry, show_values, settings.key.file)


@quarantine.command("release")
def release_quarantine(
    ids: Ids = None,
    every: All = False,
    pixels_seen: Annotated[
        bool, typer.Option("--pixels-seen", help="You have looked at their pixels: they identify nobody.")
    ] = False,
    file: ConfigFile = None,
) -> None:
    """Send entries on again: an original through the engine, a refused result to its destination."""
    inspection = _inspection(file)
    note = PIXELS_SEEN if pixels_seen else ""
    _each(inspection.quarantined(), ids, every, lambda entry: inspection.release(entry, note), "released")


@quarantine.command("drop")
def drop_quarantine(ids: Ids = None, every: All = False, file: ConfigFile = None) -> None:
    """Delete entries for good."""
    inspection = _inspection(file)
    _each(inspection.quarantined(), ids, every, inspection.drop, "dropped")


def _inspection(file: Path | None) -> Inspection:
    return Inspection(config.load(file).spool.path)


def _each(
    entries: Iterable[Entry], ids: list[str] | None, every: bool, act: Callable[[Entry], None], done: str
) -> None:
    """Do `act` with the chosen entries; those that went elsewhere in the meantime are not counted (exit code 1)."""
    count = 0
    chosen = _chosen(entries, ids or [], every)
    for entry in chosen:
        try:
            act(entry)
        except FileNotFoundError:
            typer.echo(f"{entry.envelope.id}: is no longer there, or has nowhere to go", err=True)
        else:
            count += 1
    typer.echo(f"{count} {done}")
    if count < len(chosen):
        raise typer.Exit(1)


def _chosen(entries: Iterable[Entry], ids: list[str], every: bool) -> list[Entry]:
    """The entries that were named. Raises ConfigError for an id that is of none, or of several instances."""
    if every == bool(ids):
        raise ConfigError("name the entries by their ids, or say --all")
    known = list(entries)
    if every:
        return known
    chosen = []
    for identifier in ids:
        matching = [entry for entry in known if entry.envelope.id.startswith(identifier)]
        if len({entry.envelope.id for entry in matching}) != 1:
            raise ConfigError(f"{identifier}: {'more than one entry has' if matching else 'no entry has'} this id")
        chosen.extend(matching)
    return chosen


def _show_entry(entry: Entry, show_values: bool, key: Path) -> None:
    for name, value in entry.envelope._asdict().items():
        typer.echo(f"{name}: {value}")
    typer.echo(f"size: {Path(entry.path).stat().st_size}")
    try:
        with open(entry.path, "rb") as file:
            _show(dcmread(_readable(file, key), force=True, stop_before_pixels=True), show_values, "")
    except ConfigError:
        raise
    except Exception as error:
        # Whatever is wrong with it brought it here; the message may hold a value.
        typer.echo(f"the data set cannot be read further ({type(error).__name__})")


def _readable(file: BinaryIO, key: Path) -> BinaryIO:
    """A file as it was received: of a sealed one, as much as headers may take. Raises Undecodable, ConfigError."""
    if not is_sealed(file.fileno()):
        return file
    return BytesIO(Seal(load_key(key)).open(file.fileno()).read(0, _HEADERS))


def _show(data_set: Dataset, show_values: bool, indent: str) -> None:
    """Print the elements of a data set and its items."""
    for element in data_set:
        length = len(element.value) if element.VR == "SQ" else element.VM
        value = f"  {visible(str(element.repval))}" if show_values and element.VR != "SQ" else ""
        typer.echo(f"{indent}{element.tag} {element.VR} {element.keyword or '-'} {length}{value}")
        if element.VR == "SQ":
            for item in element.value:
                _show(item, show_values, indent + "  ")


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
