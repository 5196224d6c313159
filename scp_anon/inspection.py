"""The operator's side of the spool: what is in it, and release, retry and drop, with or without a running node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scp_anon.errors import ConfigError
from scp_anon.filesystem import sync_directory
from scp_anon.spool import Entry, directories, entries


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
