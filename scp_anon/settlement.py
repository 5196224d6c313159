"""When what was delivered leaves the queue: as soon as it is stored, or when the destination has committed to it.

By storage commitment (PS3.4 Annex J) an entry stays in outgoing after it has been stored. The destination is asked to
commit to what it has stored, a hundred instances at a time or as soon as there is nothing else to be sent. Its report
may come on the same association, or later on another one; until then the entry is in hand, and is not sent again.
What is not committed to in time, or fails, is sent again, and asked for again. Nothing but the queue itself is on disk:
after a restart all that was not committed to is sent once more.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from scp_anon import log, metrics
from scp_anon.destinations import Destination
from scp_anon.destinations.dicom import DicomDestination
from scp_anon.errors import Permanent, Reason, Transient
from scp_anon.network.commitment import BATCH_LIMIT, Report
from scp_anon.places import Entry
from scp_anon.spool import Spool

_IDLE: Final = 30.0  # seconds without an entry after which a destination may let go of its association
_ASK_AFTER: Final = 0.5  # seconds without an entry after which commitment is asked for
_IN_HAND_LIMIT: Final = 10_000  # instances that are waited for, before no more are sent
# Failure Reasons (PS3.3 C.14.1.1) that no repetition mends: class not supported, class and instance in conflict.
_FOR_GOOD: Final = frozenset((0x0122, 0x0119))


class Settlement(Protocol):
    """What becomes of entries that one association has delivered. Used by the thread of that association."""

    def patience(self) -> float:
        """For how many seconds to wait for another entry."""

    def delivered(self, entry: Entry) -> None:
        """The destination has stored an entry."""

    def idle(self) -> None:
        """There was nothing to send for as long as that."""


class AtOnce:
    """What is stored is done with."""

    def __init__(self, spool: Spool, name: str, place: Destination) -> None:
        self._spool, self._name, self._place = spool, name, place

    def patience(self) -> float:
        """Until the association is let go of."""
        return _IDLE

    def delivered(self, entry: Entry) -> None:
        """Give the entry up."""
        self._spool.acknowledge(self._name, entry)
        metrics.DELIVERIES.add(self._name, "delivered")

    def idle(self) -> None:
        """Let go of the association."""
        self._place.idle()


class _Transaction(NamedTuple):
    """Instances that the destination was asked to commit to: by SOP Instance UID, and until when it may take."""

    entries: dict[str, list[Entry]]
    until: float

    def every(self) -> Iterator[tuple[str, Entry]]:
        """Each entry, with its SOP Instance UID: an instance may have come twice."""
        return ((uid, entry) for uid, entries in self.entries.items() for entry in entries)


class Commitments:
    """What a destination has yet to commit to. Shared by its associations, and by those that bring its reports."""

    def __init__(self, spool: Spool, name: str, timeout: float, delay: Callable[[int], float]) -> None:
        """`timeout`: seconds that an answer may take. `delay`: seconds to wait after the attempt of this number."""
        self._spool, self._name, self._timeout, self._delay = spool, name, timeout, delay
        self._lock = threading.Lock()
        self._transactions: dict[str, _Transaction] = {}

    def expect(self, transaction_uid: str, entries: dict[str, list[Entry]]) -> None:
        """The destination is about to be asked for these."""
        with self._lock:
            self._transactions[transaction_uid] = _Transaction(entries, time.monotonic() + self._timeout)

    def waiting(self) -> int:
        """How many instances are waited for."""
        with self._lock:
            return sum(1 for transaction in self._transactions.values() for _ in transaction.every())

    def settle(self, report: Report) -> None:
        """Do with the entries of a transaction what the destination says. One that is not known is nobody's."""
        with self._lock:
            transaction = self._transactions.pop(report.transaction_uid, None)
        if transaction is None:
            return
        for uid, entry in transaction.every():
            with self._in_hand(entry):
                if uid in report.committed:
                    self._committed(entry)
                else:
                    self._failed(entry, report.failed.get(uid, 0))

    def give_up(self, transaction_uid: str) -> None:
        """Whoever was asked did not take the question: send the instances again."""
        with self._lock:
            transaction = self._transactions.pop(transaction_uid, None)
        for _, entry in transaction.every() if transaction else ():
            with self._in_hand(entry):
                self._send_again(entry, "not asked")

    def expire(self) -> None:
        """Send again what was not answered in time."""
        now = time.monotonic()
        with self._lock:
            late = [uid for uid, transaction in self._transactions.items() if transaction.until < now]
            expired = [self._transactions.pop(uid) for uid in late]
        for transaction in expired:
            for _, entry in transaction.every():
                metrics.COMMITMENTS.add(self._name, "unanswered")
                with self._in_hand(entry):
                    self._send_again(entry, "unanswered")

    @contextmanager
    def _in_hand(self, entry: Entry) -> Iterator[None]:
        """Where the disk fails, leave this entry to be sent again: those behind it are not to wait for ever."""
        try:
            yield
        except OSError as error:
            log.error("disk-trouble", destination=self._name, entry=entry.envelope.id, detail=type(error).__name__)
            metrics.DISK_TROUBLES.add()
            self._spool.hand_back(self._name, entry)

    def _committed(self, entry: Entry) -> None:
        self._spool.acknowledge(self._name, entry)
        metrics.COMMITMENTS.add(self._name, "committed")
        metrics.DELIVERIES.add(self._name, "delivered")

    def _failed(self, entry: Entry, reason: int) -> None:
        metrics.COMMITMENTS.add(self._name, "failed")
        if reason not in _FOR_GOOD:
            self._send_again(entry, f"{reason:04X}H")
            return
        log.warning("quarantined", destination=self._name, entry=entry.envelope.id, reason=Reason.NOT_COMMITTED)
        self._spool.quarantine(entry, Reason.NOT_COMMITTED, f"{reason:04X}H", destination=self._name)
        metrics.DELIVERIES.add(self._name, "refused")

    def _send_again(self, entry: Entry, why: str) -> None:
        log.warning("not-committed", destination=self._name, entry=entry.envelope.id, detail=why)
        metrics.DELIVERIES.add(self._name, "deferred")
        self._spool.defer(self._name, entry, self._delay(entry.envelope.attempt + 1))


class ByCommitment:
    """What is stored stays until the destination has committed to it."""

    def __init__(self, spool: Spool, name: str, place: DicomDestination, commitments: Commitments) -> None:
        self._spool, self._name, self._place, self._commitments = spool, name, place, commitments
        self._stored: list[Entry] = []
        self._idle_since = 0.0

    def patience(self) -> float:
        """Not for long, while something is to be asked or heard; for ever, where too much is waited for."""
        while self._commitments.waiting() >= _IN_HAND_LIMIT and not self._spool.departures[self._name].is_closed():
            time.sleep(_ASK_AFTER)
            self._hear()
        return _ASK_AFTER if self._stored or self._commitments.waiting() else _IDLE

    def delivered(self, entry: Entry) -> None:
        """Keep the entry, and ask for it with others."""
        self._idle_since = 0.0
        self._stored.append(entry)
        if len(self._stored) >= BATCH_LIMIT:
            self._ask()
        self._hear()

    def idle(self) -> None:
        """Ask for what is stored, hear what is said, and let go of the association when nothing is for long."""
        if self._stored and not self._spool.departures[self._name].is_closed():
            self._ask()
        self._hear()
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > _IDLE:
            self._place.idle()

    def _ask(self) -> None:
        stored, self._stored = self._stored, []
        transaction_uid = f"2.25.{uuid.uuid4().int}"
        references = []
        entries: dict[str, list[Entry]] = {}
        for entry in stored:
            try:
                reference = self._place.reference(entry.path)
            except (OSError, Permanent):
                self._spool.hand_back(self._name, entry)  # dropped by an operator, or its own turn will tell
                continue
            references.append(reference)
            entries.setdefault(reference.sop_instance_uid, []).append(entry)
        # Before it is asked for: the report may be there before the response.
        self._commitments.expect(transaction_uid, entries)
        try:
            self._place.request_commitment(transaction_uid, list(dict.fromkeys(references)))
        except Transient as transient:
            log.warning("commitment-not-asked", destination=self._name, detail=str(transient))
            self._commitments.give_up(transaction_uid)

    def _hear(self) -> None:
        for report in self._place.reports():
            self._commitments.settle(report)
        self._commitments.expire()


def settlements(
    spool: Spool, name: str, places: Sequence[Destination], commitments: Commitments | None
) -> list[Settlement]:
    """One for each association with a destination; `commitments` where it has to commit to what it stores."""
    return [
        ByCommitment(spool, name, place, commitments)
        if commitments is not None and isinstance(place, DicomDestination)
        else AtOnce(spool, name, place)
        for place in places
    ]
