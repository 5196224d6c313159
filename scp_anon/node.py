"""The node: builds the parts from the configuration, starts them, drains them, stops them. Read it top-down.

`Plan` is what a configuration comes to before anything runs. `Receiving` and `Delivering` are the two halves of a node,
which share nothing but the spool. `serve` has them run: each in processes of its own, or all in one.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from scp_anon import log
from scp_anon.announcements import Announcements
from scp_anon.awaiting import Awaiting, table_of
from scp_anon.config import (
    Config,
    DicomSection,
    FolderSection,
    KeySection,
    ListenSection,
    ListenTlsSection,
    RouteSection,
)
from scp_anon.deid import Deidentifier, generate_key, load_key, load_profile, with_changes
from scp_anon.delivery import BackOff, Sender
from scp_anon.destinations import Destination
from scp_anon.destinations.dicom import DicomDestination
from scp_anon.destinations.folder import FolderDestination
from scp_anon.destinations.layout import Layout
from scp_anon.errors import ConfigError
from scp_anon.intake import Intake
from scp_anon.network.admission import Admission
from scp_anon.network.negotiation import prepare
from scp_anon.network.occupancy import OwnOccupancy
from scp_anon.network.scp import Limits, Server, bind
from scp_anon.network.scu import Peer
from scp_anon.network.storage import StoreRequest
from scp_anon.network.tls import AcceptorTls, Credentials, RequestorTls
from scp_anon.spool import Announce, Spool
from scp_anon.supervisor import Role, Supervisor
from scp_anon.version import VERSION
from scp_anon.worker import Treatment, Workers

_STOPPED_AT_ONCE: Final = 1
# For what has to be done besides waiting for messages in hand, before a process is taken to hang.
_MARGIN: Final = 10.0
# The processes of a node that was killed a moment ago may still have its addresses.
_ADDRESS_PATIENCE: Final = 2.0


def serve(config: Config) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code. Raises ConfigError for what cannot work."""
    plan = Plan(config)
    listeners = [_listener(section) for section in config.listen]
    log.event("starting", version=VERSION, key=plan.key_id)
    for listener in listeners:
        address, port, *_ = listener.getsockname()
        log.event("listening", address=address, port=port)
    if config.processes == 1 or not hasattr(signal, "sigtimedwait"):
        code = _in_one_process(plan, listeners)
    else:
        code = _in_processes(plan, listeners)
    log.event("stopped")
    return code


def _in_one_process(plan: Plan, listeners: Sequence[socket.socket]) -> int:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(_STOPPED_AT_ONCE)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    occupancy = plan.limits.occupancy().of_process(0)
    spool = plan.spool()
    _live(
        plan, spool, (Receiving(plan, spool, listeners, occupancy, plan.config.workers), Delivering(plan, spool)), stop
    )
    return 0


def _in_processes(plan: Plan, listeners: Sequence[socket.socket]) -> int:
    count = plan.config.processes
    threads = -(-plan.config.workers // count)
    occupancy = plan.limits.occupancy(count)
    announcements = Announcements()

    def receive(number: int, stop: threading.Event) -> None:
        spool = plan.spool(announcements.tell)
        receiving = Receiving(plan, spool, listeners, occupancy.of_process(number), threads)
        _live(plan, spool, (receiving,), stop)

    def deliver(stop: threading.Event) -> None:
        spool = plan.spool()
        threading.Thread(target=announcements.listen, args=(spool.announced,), daemon=True).start()
        _live(plan, spool, (Delivering(plan, spool),), stop)

    receivers = [
        Role(f"receiver-{number + 1}", partial(receive, number), partial(occupancy.clear, number))
        for number in range(count)
    ]
    # What has been built is the same in all processes: it stays shared if the collector leaves it alone.
    gc.freeze()

    def on_stop() -> None:
        for listener in listeners:
            listener.close()

    return Supervisor([Role("delivery", deliver), *receivers], plan.config.drain_timeout + _MARGIN).run(on_stop)


def _live(plan: Plan, spool: Spool, halves: Sequence[Half], stop: threading.Event) -> None:
    """Have halves of a node run on a spool until `stop` is set, and then drain them.

    What is still busy at the end of the drain timeout is safe in the spool all the same.
    """
    for half in reversed(halves):
        half.start()
    stop.wait()
    log.event("draining")
    deadline = time.monotonic() + plan.config.drain_timeout
    for half in halves:
        half.stop(deadline)
    spool.close_queues()
    for half in halves:
        half.join(deadline)
    spool.close()


class Half(Protocol):
    """One of the halves of a node."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self, deadline: float) -> None:
        """Take on nothing more. May wait, up to `deadline` by the monotonic clock, for what is being received."""

    def join(self, deadline: float) -> None:
        """Wait for what is in hand, after the spool's queues are closed."""


class Plan:
    """What a configuration comes to: engines and destinations, and how to open the spool. Nothing of it runs."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for what cannot work."""
        self.config = config
        key = node_key(config.key)
        self.destinations = {name: _places(section, config) for name, section in config.destinations.items()}
        self.spool().close()  # a fault in it is told before anything runs
        self.treatments = {
            route.called_ae_title: Treatment(
                _deidentifier(key, route),
                route.destinations,
                _folder(config.spool.path, route, self.destinations),
                route.acknowledge == "deidentified",
            )
            for route in config.routes
        }
        networks = config.admission.addresses
        self.admission = Admission(
            {route.called_ae_title: _callers(route) for route in config.routes},
            tuple(map(ip_network, networks)) if networks is not None else None,
        )
        self.tls = [_acceptor_tls(section.tls) for section in config.listen]
        self.limits = Limits(**config.limits.model_dump())
        prepare()
        self.key_id = next(iter(self.treatments.values())).deidentifier.key_id

    def spool(self, announce: Announce | None = None) -> Spool:
        """Open the spool, for one process. Raises ConfigError."""
        section = self.config.spool
        return Spool(section.path, list(self.destinations), section.reserve, section.fsync, announce)


class Receiving:
    """From the sockets to outgoing: receives, and de-identifies."""

    def __init__(
        self, plan: Plan, spool: Spool, listeners: Sequence[socket.socket], occupancy: OwnOccupancy, threads: int
    ) -> None:
        """`threads`: those that de-identify what is not in memory."""
        self._treatments = plan.treatments
        self._listeners = listeners
        self._tls = plan.tls
        self._workers = Workers(spool, plan.treatments, threads)
        intake = Intake(spool, self._workers.work, self._refuses, self._work_at_once)
        self._server = Server(intake, plan.admission, plan.limits, occupancy)

    def start(self) -> None:
        """Begin to work: the queue first, then the doors."""
        self._workers.start()
        for listener, tls in zip(self._listeners, self._tls, strict=True):
            self._server.accept_from(listener, tls)

    def stop(self, deadline: float) -> None:
        """Receive what is being received to its end, and nothing more."""
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
    """From outgoing to the destinations; and back from quarantine, what has waited for a row in a table."""

    def __init__(self, plan: Plan, spool: Spool) -> None:
        section = plan.config.retry
        back_off = BackOff(section.first, section.limit)
        self._senders = [Sender(spool, name, places, back_off) for name, places in plan.destinations.items()]
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

    def stop(self, deadline: float) -> None:
        """Send nothing more after what is being sent."""
        self._awaiting.stop()
        for sender in self._senders:
            sender.stop()

    def join(self, deadline: float) -> None:
        """Wait for what is being sent."""
        for sender in self._senders:
            sender.join(_left(deadline))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)


def node_key(section: KeySection) -> bytes:
    """The master key of a configuration, made now if it may be. Raises ConfigError."""
    if section.create and not section.file.exists():
        generate_key(section.file)
        log.warning("key-made")
    return load_key(section.file)


def check(config: Config) -> None:
    """Raise ConfigError for what a start with this configuration would stumble over, without changing anything."""
    if not (config.key.create and not config.key.file.exists()):
        load_key(config.key.file)
    for listen in config.listen:
        _acceptor_tls(listen.tls)
    for name, section in config.destinations.items():
        if isinstance(section, FolderSection):
            _check_folder(name, section.path)
        else:
            _requestor_tls(section)


def _listener(section: ListenSection) -> socket.socket:
    """Listen on an address. Raises ConfigError if that cannot be done."""
    deadline = time.monotonic() + _ADDRESS_PATIENCE
    while True:
        try:
            return bind(section.address, section.port)
        except (OSError, UnicodeError) as error:  # UnicodeError: not even a host name
            number = getattr(error, "errno", 0) or 0  # the resolver's own are below zero
            if number != errno.EADDRINUSE or time.monotonic() > deadline:
                why = os.strerror(number) if number > 0 else "no such address"
                raise ConfigError(f"listen: {section.address}:{section.port}: {why}") from None
            time.sleep(0.05)


def _callers(route: RouteSection) -> frozenset[str] | None:
    return frozenset(route.calling_ae_titles) if route.calling_ae_titles is not None else None


def _deidentifier(key: bytes, route: RouteSection) -> Deidentifier:
    return Deidentifier(key, route.project, with_changes(load_profile(route.profile), pixels=route.pixels))


def _places(section: FolderSection | DicomSection, config: Config) -> Sequence[Destination]:
    """A destination, once for each association with it."""
    if isinstance(section, FolderSection):
        try:
            section.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"destination folder {section.path}: cannot be made: {error.strerror}") from None
        if not os.access(section.path, os.W_OK | os.X_OK):
            raise ConfigError(f"destination folder {section.path}: cannot be written to")
        return [FolderDestination(section.path, Layout(section.layout), config.spool.fsync)]
    titles = section.called_ae_title, section.calling_ae_title
    peer = Peer(section.host, section.port, *titles, section.timeout, _requestor_tls(section))
    return [DicomDestination(peer) for _ in range(section.associations)]


def _folder(
    spool: Path, route: RouteSection, destinations: Mapping[str, Sequence[Destination]]
) -> FolderDestination | None:
    """The only destination of a route, if it is a folder to which the results can be moved."""
    only = destinations[route.destinations[0]][0] if len(route.destinations) == 1 else None
    return only if isinstance(only, FolderDestination) and only.shares_file_system(spool) else None


def _acceptor_tls(section: ListenTlsSection | None) -> AcceptorTls | None:
    if section is None:
        return None
    subjects = frozenset(section.subjects) if section.subjects is not None else None
    credentials = Credentials(section.certificate, section.key, section.ca, section.profile)
    return AcceptorTls(credentials, section.client, subjects)


def _requestor_tls(section: DicomSection) -> RequestorTls | None:
    tls = section.tls
    if tls is None:
        return None
    return RequestorTls(Credentials(tls.certificate, tls.key, tls.ca, tls.profile), tls.server_name or section.host)


def _check_folder(name: str, path: Path) -> None:
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise ConfigError(f"destinations.{name}.path: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"destinations.{name}.path: {existing} cannot be written to")
