"""Instances that wait for their patient's row in a table: when the table has changed, they go through again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scp_anon import log
from scp_anon.deid import Deidentifier, TablePatients, stamp
from scp_anon.errors import Reason
from scp_anon.inspection import Inspection

_LOOK_AGAIN: Final = 1.0  # seconds between looks at the tables
_LATE: Final = 5.0


class Awaiting:
    """Watches the tables of patients, in a thread of its own; `tables`: route → its table."""

    def __init__(self, spool: Path, tables: Mapping[str, Path]) -> None:
        self._inspection = Inspection(spool)
        self._tables = tables
        # As if they had just changed: they may have, while the node was down.
        self._seen: dict[Path, object] = {}
        self._changed: dict[Path, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="awaiting", daemon=True)

    def start(self) -> None:
        """Begin to watch, if there is a table."""
        if self._tables:
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()

    def look(self) -> int:
        """Release what waits for a table that has changed; returns how many instances that were."""
        now = time.monotonic()
        for path in set(self._tables.values()):
            if (seen := stamp(path)) != self._seen.get(path):
                self._seen[path] = seen
                self._changed[path] = now
        # What the engine looked up just before the change may come here a little later.
        changed = {route for route, path in self._tables.items() if now < self._changed.get(path, 0) + _LATE}
        if not changed:
            return 0
        waiting = [
            entry
            for entry in self._inspection.quarantined()
            if entry.envelope.reason == Reason.AWAITING_MAPPING and entry.envelope.route in changed
        ]
        for entry in waiting:
            self._inspection.release(entry)
        return len(waiting)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                count = self.look()
                if count:
                    log.event("mapping-changed", count=count)
            except OSError as error:
                # An operator was faster, or the disk is in trouble: what waits is looked for again.
                log.warning("disk-trouble", detail=type(error).__name__)
                self._seen.clear()
            self._stopping.wait(_LOOK_AGAIN)


def table_of(deidentifier: Deidentifier) -> Path | None:
    """The table that a profile has its patients' pseudonyms from, if it has."""
    patients = deidentifier.profile.settings.patients
    return patients.file if isinstance(patients, TablePatients) else None
