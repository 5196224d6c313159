"""From incoming to outgoing: the third hop. A pool of threads claims, de-identifies, and publishes or quarantines."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scp_anon import log
from scp_anon.deid import Deidentifier
from scp_anon.errors import Reason, Refused, Undecodable
from scp_anon.spool import Entry, Spool

# What to wait before an original is tried again that a full or failing disk kept from being published.
_DISK_TROUBLE: Final = 10.0
# A result may end as a file in a folder: the umask says who may read it there.
_RESULT_MODE: Final = 0o666


@dataclass(frozen=True)
class Treatment:
    """What is done with the instances of one route."""

    deidentifier: Deidentifier
    destinations: Sequence[str]


class Workers:
    """The pool. Whatever happens to an original, it ends in outgoing or in quarantine, or stays where it was."""

    def __init__(self, spool: Spool, treatments: Mapping[str, Treatment], threads: int) -> None:
        """`treatments`: by route."""
        self._spool = spool
        self._treatments = treatments
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"worker-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for what is in hand, after the spool's queues are closed; returns whether all ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                entry = self._spool.claim()
                if entry is None:
                    return
                if self._stopping.is_set():
                    self._spool.put_back(entry)
                    return
                self._work(entry)
            except OSError as error:
                # Not even a rename went well. The original stays where it is; the thread lives on.
                log.error("disk-trouble", detail=type(error).__name__)
                self._stopping.wait(_DISK_TROUBLE)

    def _work(self, entry: Entry) -> None:
        try:
            self._deidentify(entry)
        except Undecodable as undecodable:
            self._quarantine(entry, undecodable.reason, undecodable.detail)
        except (OSError, Refused) as error:
            # Of our own disk, not of the instance: nothing is wrong with it.
            log.error("disk-trouble", entry=entry.envelope.id, detail=type(error).__name__)
            self._spool.put_back(entry, _DISK_TROUBLE)
        except Exception as error:
            # A fault of ours that this instance brings out. It fails closed, like everything that cannot be ruled on;
            # the message may hold a value, so only its type is told.
            self._quarantine(entry, Reason.UNEXPECTED_ERROR, type(error).__name__)

    def _deidentify(self, entry: Entry) -> None:
        treatment = self._treatments.get(entry.envelope.route)
        if treatment is None:
            raise Undecodable(Reason.UNKNOWN_ROUTE)
        self._spool.check_room()
        with self._spool.draft(_RESULT_MODE) as draft:
            treatment.deidentifier.file_to(entry.path, draft.descriptor)
            self._spool.publish(entry, draft, treatment.destinations)

    def _quarantine(self, entry: Entry, reason: Reason, detail: str) -> None:
        log.warning("quarantined", entry=entry.envelope.id, route=entry.envelope.route, reason=reason, detail=detail)
        self._spool.quarantine(entry, reason, detail)
