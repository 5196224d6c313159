"""The service class provider: listens, and admits connections and associations; `service` serves each of them."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import Final

from scp_anon import log, metrics
from scp_anon.errors import Rejected
from scp_anon.network import negotiation
from scp_anon.network.admission import Admission
from scp_anon.network.occupancy import Occupancy, OwnOccupancy
from scp_anon.network.service import Limits, OnReport, Service
from scp_anon.network.storage import Storage
from scp_anon.network.tls import AcceptorTls

_BACKLOG: Final = 128
# Connections that are not associations yet, or no longer: health checks, rejections on their way out.
_HANDSHAKES: Final = 64
_LEAVE_TO_OTHERS: Final = 0.01  # seconds that a process with more connections than another leaves it to that one


def occupancy_of(limits: Limits, processes: int = 1, earlier: Occupancy | None = None) -> Occupancy:
    """The table of connections that goes with these limits; those in an `earlier` one count, too."""
    return Occupancy(limits.associations, limits.per_address, limits.associations + _HANDSHAKES, processes, earlier)


class Server:
    """Listens on any number of addresses; each association is served by a thread of its own."""

    def __init__(
        self,
        storage: Storage,
        admission: Admission,
        limits: Limits,
        occupancy: OwnOccupancy | None = None,
        on_report: OnReport = lambda reporter, report: None,
    ) -> None:
        """`admission`: who may come in. `occupancy`: where several processes share the limits.

        `on_report` gets the AE title of a destination, and what it says of storage commitment.
        """
        self._on_report = on_report
        self._storage = storage
        self._admission = admission
        self._limits = limits
        self._occupancy = occupancy or occupancy_of(limits).of_process(0)
        self._accepting: list[threading.Thread] = []
        self._services: set[Service] = set()
        self._changed = threading.Condition()
        self._draining = False
        self._woken, self._wake = os.pipe()

    def listen(self, address: str, port: int) -> int:
        """Begin to listen; returns the port (port 0: any free one). Raises OSError."""
        listener = bind(address, port)
        self.accept_from(listener)
        bound: int = listener.getsockname()[1]
        return bound

    def accept_from(self, listener: socket.socket, tls: AcceptorTls | None = None) -> None:
        """Begin to accept what comes to a socket of `bind`, which other processes may have as well."""
        thread = threading.Thread(target=self._accept, args=(listener, tls), name="listener", daemon=True)
        self._accepting.append(thread)
        thread.start()

    def stop_accepting(self) -> None:
        """Stop listening; the associations that there are go on."""
        if not self._draining:
            self._draining = True
            os.close(self._wake)  # which wakes those who accept
            for thread in self._accepting:
                thread.join()
            os.close(self._woken)

    def is_idle(self) -> bool:
        """Whether there is no connection."""
        with self._changed:
            return not self._services

    def drain(self, timeout: float) -> bool:
        """Stop listening, let messages that are being received come to their end, then end the associations.

        Returns False if one was still busy after `timeout` seconds.
        """
        self.stop_accepting()
        with self._changed:
            for service in self._services:
                service.end()
            return self._changed.wait_for(lambda: not self._services, timeout)

    def _accept(self, listener: socket.socket, tls: AcceptorTls | None) -> None:
        with listener:
            self._accept_until_drained(listener, tls)

    def _accept_until_drained(self, listener: socket.socket, tls: AcceptorTls | None) -> None:
        arrivals = select.poll()
        arrivals.register(listener, select.POLLIN)
        arrivals.register(self._woken, select.POLLIN)
        while True:
            arrivals.poll()
            if self._draining:
                return
            if self._occupancy.is_crowded():
                time.sleep(_LEAVE_TO_OTHERS)
            try:
                connected, address = listener.accept()
            except BlockingIOError:
                continue  # another process was faster
            except OSError:
                log.warning("accept-failed")  # out of descriptors: the next one may go better
                time.sleep(0.1)
                continue
            self._begin(connected, address[0], tls)

    def _begin(self, connected: socket.socket, address: str, tls: AcceptorTls | None) -> None:
        """Serve a connection, in a thread of its own."""
        if not self._admission.knows(address):
            connected.close()
            self._turn_away(address, "address-not-listed")
            return
        slot = self._occupancy.connected(address)
        if slot is None:
            connected.close()
            self._turn_away(address, "too-many-connections")
            return
        service = Service(connected, address, slot, tls, self._storage, self._limits, self._admit, self._on_report)
        with self._changed:
            self._services.add(service)
        try:
            threading.Thread(target=self._serve, args=(service,), name="association", daemon=True).start()
        except RuntimeError:
            log.warning("accept-failed")  # out of threads: likewise
            connected.close()
            self._forget(service)

    def _turn_away(self, address: str, reason: str) -> None:
        log.event("connection-refused", address=address, reason=reason)
        metrics.REJECTIONS.add(reason)

    def _serve(self, service: Service) -> None:
        try:
            service.run()
        finally:
            self._forget(service)

    def _forget(self, service: Service) -> None:
        self._occupancy.ended(service.slot)
        with self._changed:
            self._services.discard(service)
            self._changed.notify_all()

    def _admit(self, service: Service, request: negotiation.Request) -> negotiation.Services:
        """What this association is for. Raises Rejected unless it may be: by its AE titles, and by the limit."""
        services = self._admission.check(request.calling_ae_title, request.called_ae_title)
        if not self._occupancy.associate(service.slot):
            raise Rejected(2, 3, 2)
        return services


def bind(address: str, port: int) -> socket.socket:
    """A socket that listens (port 0: on any free one); several processes may accept from it. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
