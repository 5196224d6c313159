"""The parts of a node, which share nothing but the spool: receiving, delivering, and telling how it goes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final, Protocol

from scp_anon import log, metrics
from scp_anon.announcements import Reports
from scp_anon.awaiting import Awaiting, table_of
from scp_anon.config import DicomSection
from scp_anon.delivery import BackOff, Line, Sender
from scp_anon.destinations import Destination
from scp_anon.intake import Intake
from scp_anon.network.commitment import Report
from scp_anon.network.occupancy import OwnOccupancy
from scp_anon.network.scp import Server
from scp_anon.network.storage import StoreRequest
from scp_anon.operations import Facts, Operations
from scp_anon.plan import Plan
from scp_anon.settlement import Commitments, Settlement, settlements
from scp_anon.spool import Spool
from scp_anon.worker import Workers

_RECOVER_EVERY: Final = 5.0  # seconds


class Part(Protocol):
    """One of the parts of a node."""

    def start(self) -> None:
        """Begin to work."""

    def retire(self) -> None:
        """Take on nothing new; what has been begun may come to its end in its own time."""

    def is_idle(self) -> bool:
        """Whether nothing is in hand that a peer would miss."""

    def stop(self, deadline: float) -> None:
        """Take on nothing more. May wait, up to `deadline` by the monotonic clock, for what is being received."""

    def join(self, deadline: float) -> None:
        """Wait for what is in hand, after the spool's queues are closed."""


class Parts:
    """Some parts, and the spool that they work on, as one."""

    def __init__(self, parts: Sequence[Part], spool: Spool | None, drain_timeout: float) -> None:
        self._parts, self._spool, self._drain_timeout = parts, spool, drain_timeout

    def start(self) -> None:
        """Start them, the last first."""
        for part in reversed(self._parts):
            part.start()

    def retire(self) -> None:
        """Have them take on nothing new."""
        for part in self._parts:
            part.retire()

    def are_idle(self) -> bool:
        """Whether nothing is in hand that a peer would miss."""
        return all(part.is_idle() for part in self._parts)

    def drain(self) -> None:
        """Stop them. What is still busy at the end of the drain timeout is safe in the spool all the same."""
        log.event("draining")
        deadline = time.monotonic() + self._drain_timeout
        for part in self._parts:
            part.stop(deadline)
        if self._spool is not None:
            self._spool.close_queues()
        for part in self._parts:
            part.join(deadline)
        self.close()

    def close(self) -> None:
        """Give up the spool, when they have nothing in hand."""
        if self._spool is not None:
            self._spool.close()

    def give_way(self, others: Parts) -> None:
        """Have others begin as these take on nothing new, one part after the other."""
        for own, other in zip_longest(self._parts, others._parts):
            if own is not None:
                own.retire()
            if other is not None:
                other.start()


class Receiving:
    """From the sockets to outgoing: receives, and de-identifies."""

    def __init__(
        self,
        plan: Plan,
        spool: Spool,
        listeners: Sequence[socket.socket],
        occupancy: OwnOccupancy,
        threads: int,
        reports: Reports,
    ) -> None:
        """`threads`: those that de-identify what is not in memory. `reports`: where those of destinations go."""
        self._treatments = plan.treatments
        self._spool = spool
        self._listeners = listeners
        self._tls = plan.tls
        self._workers = Workers(spool, plan.treatments, threads, plan.unseal)
        intake = Intake(spool, self._workers.work, self._refuses, self._work_at_once)

        def on_report(reporter: str, report: Report) -> None:
            reports.tell(reporter, *report)

        self._server = Server(intake, plan.admission, plan.limits, occupancy, on_report)

    def start(self) -> None:
        """Begin to work: the queue first, then the doors."""
        self._workers.start()
        for listener, tls in zip(self._listeners, self._tls, strict=True):
            self._server.accept_from(listener, tls)
        metrics.PROCESSES.set(1, "receiver")

    def retire(self) -> None:
        """Accept no more associations; those that there are go on. The queue is for others."""
        metrics.PROCESSES.set(0, "receiver")
        self._server.stop_accepting()
        self._workers.stop()
        self._spool.arrivals.close()

    def is_idle(self) -> bool:
        """Whether there is no association, and nothing in hand."""
        return self._server.is_idle() and self._workers.join(0)

    def stop(self, deadline: float) -> None:
        """Receive what is being received to its end, and nothing more."""
        metrics.PROCESSES.set(0, "receiver")
        self._server.drain(_left(deadline))
        self._workers.stop()

    def join(self, deadline: float) -> None:
        """Wait for what is being de-identified."""
        self._workers.join(_left(deadline))

    def _refuses(self, request: StoreRequest, data_set: memoryview) -> bool:
        context = {"CallingAETitle": request.calling_ae_title, "CalledAETitle": request.called_ae_title}
        treatment = self._treatments[request.called_ae_title]
        return treatment.deidentifier.refuses(data_set, request.transfer_syntax_uid, context)

    def _work_at_once(self, request: StoreRequest, data_set: memoryview) -> bool:
        return self._workers.work_at_once(
            request.called_ae_title, request.calling_ae_title, data_set, request.transfer_syntax_uid
        )


class Delivering:
    """From outgoing to the destinations; and back to incoming, what waited for a table, or lost its process."""

    def __init__(self, plan: Plan, spool: Spool, reports: Reports) -> None:
        self._spool = spool
        self._reports = reports
        self._stopping = threading.Event()
        self._recovering = threading.Thread(target=self._recover, name="recovering", daemon=True)
        section = plan.config.retry
        self._drain_timeout = plan.config.drain_timeout
        back_off = BackOff(section.first, section.limit)
        self._commitments = {
            name: Commitments(spool, name, section.commitment_timeout, back_off.delay)
            for name, section in plan.config.destinations.items()
            if isinstance(section, DicomSection) and section.commitment == "required"
        }
        self._titles = {
            name: section.called_ae_title
            for name, section in plan.config.destinations.items()
            if isinstance(section, DicomSection)
        }
        self._senders = [
            Sender(spool, name, list(map(Line, places, self._settlements(name, places))), back_off)
            for name, places in plan.destinations.items()
        ]
        tables = {
            route: table
            for route, treatment in plan.treatments.items()
            if (table := table_of(treatment.deidentifier)) is not None
        }
        self._awaiting = Awaiting(plan.config.spool.path, tables)

    def start(self) -> None:
        """Begin to send."""
        for sender in self._senders:
            sender.start()
        self._awaiting.start()
        self._recovering.start()
        if self._commitments:
            self._reports.listen(self._settle)
        metrics.PROCESSES.set(1, "delivery")

    def retire(self) -> None:
        """Send nothing more after what is being sent: the next one does not begin before."""
        self.stop(0)
        self._spool.close_queues()
        self.join(time.monotonic() + self._drain_timeout)

    def is_idle(self) -> bool:
        """Nothing here is anything that a peer would miss."""
        return True

    def stop(self, deadline: float) -> None:
        """Send nothing more after what is being sent."""
        metrics.PROCESSES.set(0, "delivery")
        self._stopping.set()
        self._awaiting.stop()
        for sender in self._senders:
            sender.stop()

    def join(self, deadline: float) -> None:
        """Wait for what is being sent."""
        for sender in self._senders:
            sender.join(_left(deadline))

    def _settle(
        self, reporter: str, transaction_uid: str, committed: frozenset[str], failed: Mapping[str, int]
    ) -> None:
        """Take note of what a destination has reported of storage commitment."""
        for name, commitments in self._commitments.items():
            if self._titles[name] == reporter:
                commitments.settle(Report(transaction_uid, committed, failed))

    def _settlements(self, name: str, places: Sequence[Destination]) -> list[Settlement]:
        return settlements(self._spool, name, places, self._commitments.get(name))

    def _recover(self) -> None:
        """See to what dead processes have claimed, long before the next of them is started."""
        while not self._stopping.wait(_RECOVER_EVERY):
            try:
                self._spool.recover()
            except OSError as error:
                log.error("disk-trouble", detail=type(error).__name__)


class Operating:
    """Health and metrics."""

    def __init__(self, plan: Plan, listener: socket.socket) -> None:
        spool = plan.config.spool
        self._operations = Operations(listener, Facts(spool.path, spool.reserve, plan.key_id))

    def start(self) -> None:
        """Begin to answer."""
        self._operations.start()

    def retire(self) -> None:
        """Answer no more: others do."""
        self._operations.stop()

    def is_idle(self) -> bool:
        """There is nothing that anybody would miss."""
        return True

    def stop(self, deadline: float) -> None:
        """Answer no more."""
        self._operations.stop()

    def join(self, deadline: float) -> None:
        """Nothing is in hand."""


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)
