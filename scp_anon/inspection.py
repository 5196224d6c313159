"""The operator's side of the spool: what is in it, and release, retry and drop, with or without a running node."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from scp_anon.envelope import SEPARATOR, SEPARATORS, Envelope
from scp_anon.errors import ConfigError, Reason
from scp_anon.filesystem import sync_directory
from scp_anon.places import Entry, directories, entries

_REASON = Envelope._fields.index("reason")


class Census(NamedTuple):
    """How many entries there are.

    `queues`: incoming, active, or outgoing/NAME → how many, and when the oldest of them arrived (seconds since 1970).
    `quarantine`: reason → how many; with each reason that there is.
    """

    queues: dict[str, tuple[int, float]]
    quarantine: dict[str, int]


class Inspection:
    """What an operator sees and does, also while a node runs: every step is one rename or unlink, as the node's own."""

    def __init__(self, path: Path) -> None:
        """`path`: the spool. Raises ConfigError if there is none."""
        if not (path / "incoming").is_dir():
            raise ConfigError(f"spool {path}: there is no spool here")
        self._path = path

    def quarantined(self) -> Iterator[Entry]:
        """The entries of quarantine, oldest first."""
        return entries(self._path / "quarantine")

    def queued(self) -> Iterator[tuple[str, Entry]]:
        """The entries that wait, each with its destination (empty: for de-identification), oldest first."""
        for directory in (self._path / "incoming", *directories(self._path / "active")):
            yield from (("", entry) for entry in entries(directory))
        for directory in directories(self._path / "outgoing"):
            yield from ((directory.name, entry) for entry in entries(directory))

    def census(self) -> Census:
        """Count what is in the spool, without a look into the files."""
        active = (name for place in directories(self._path / "active") for name in _names(place))
        queues = {"incoming": _count(_names(self._path / "incoming")), "active": _count(active)}
        for directory in directories(self._path / "outgoing"):
            queues[f"outgoing/{directory.name}"] = _count(_names(directory))
        reasons = Counter(name.split(SEPARATOR)[_REASON] for name in _names(self._path / "quarantine"))
        return Census(queues, {reason: reasons[reason] for reason in Reason})

    def release(self, entry: Entry, note: str = "") -> None:
        """Send an entry of quarantine on its way again: an original through the engine, a result to its destination.

        `note`: what an original's envelope tells the engine.
        """
        envelope = entry.envelope
        place = self._path / "outgoing" / envelope.destination if envelope.destination else self._path / "incoming"
        clean = envelope._replace(
            attempt=0, not_before=0, destination="", reason="", detail="" if envelope.destination else note
        )
        os.rename(entry.path, place / clean.name)
        sync_directory(place)

    def retry(self, entry: Entry) -> None:
        """Make a deferred entry due now."""
        os.rename(entry.path, Path(entry.path).with_name(entry.envelope._replace(not_before=0).name))

    def drop(self, entry: Entry) -> None:
        """Delete an entry for good."""
        os.unlink(entry.path)


def _names(directory: Path) -> Iterator[str]:
    """The names of the entries in a directory, in no order; nothing of a directory that is gone.

    They are not parsed: there may be a million.
    """
    try:
        with os.scandir(directory) as files:
            yield from (file.name for file in files if file.name.count(SEPARATOR) == SEPARATORS)
    except FileNotFoundError:
        return


def _count(names: Iterable[str]) -> tuple[int, float]:
    count, oldest = 0, ""
    for name in names:
        count += 1
        oldest = min(oldest or name, name)  # ids rise with the time of arrival
    try:
        return count, Envelope.parse(oldest).arrival if oldest else 0.0
    except ValueError:
        return count, 0.0  # a stranger's, whose name looks like one of ours
