"""The service class provider: listens, admits associations, and receives by C-STORE and C-ECHO (PS3.4 Annexes A and B).

What is received goes to a `Storage`, and what that returns is the status of the C-STORE response. While a message is
being received its bytes are in one buffer of the association; beyond `_SPILL` they go to the storage piece by piece,
so that memory stays flat whatever the object's size.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from scp_anon import log
from scp_anon.errors import Aborted, AssociationError, Closed, Refused, Rejected
from scp_anon.network import dimse, negotiation, pdu
from scp_anon.network.admission import Admission
from scp_anon.network.association import Association, Context, ReleaseRequested, unexpected
from scp_anon.network.connection import Connection
from scp_anon.network.occupancy import Occupancy, OwnOccupancy
from scp_anon.network.storage import Inflow, Storage, StoreRequest
from scp_anon.network.tls import AcceptorTls

_BUFFER: Final = 1 << 20
_SPILL: Final = 8 << 20
_BACKLOG: Final = 128
# Connections that are not associations yet, or no longer: health checks, rejections on their way out.
_HANDSHAKES: Final = 64
_UID_LIMIT: Final = 64
_UID_CHARACTERS: Final = frozenset("0123456789.")
_LINGER: Final = 1.0
_LEAVE_TO_OTHERS: Final = 0.01  # seconds that a process with more connections than another leaves it to that one


@dataclass(frozen=True)
class Limits:
    """Bounds on what peers can make us hold or wait for.

    `associations`: at once, `per_address`: connections from one address. `object_size`: bytes. `handshake_timeout`,
    `idle_timeout`, `association_age`: seconds. `minimum_rate`: bytes a second of a message, after a while.
    """

    associations: int = 64
    per_address: int = 32
    object_size: int = 16 << 30
    handshake_timeout: float = 30
    idle_timeout: float = 300
    minimum_rate: int = 1000
    association_age: float = 86400

    def occupancy(self, processes: int = 1) -> Occupancy:
        """The table of connections that goes with these limits."""
        return Occupancy(self.associations, self.per_address, self.associations + _HANDSHAKES, processes)


class Server:
    """Listens on any number of addresses; each association is served by a thread of its own."""

    def __init__(
        self,
        storage: Storage,
        admission: Admission,
        limits: Limits,
        occupancy: OwnOccupancy | None = None,
    ) -> None:
        """`admission`: who may come in. `occupancy`: where several processes share the limits."""
        self._storage = storage
        self._admission = admission
        self._limits = limits
        self._occupancy = occupancy or limits.occupancy().of_process(0)
        self._accepting: list[threading.Thread] = []
        self._services: set[_Service] = set()
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

    def drain(self, timeout: float) -> bool:
        """Stop listening, let messages that are being received come to their end, then end the associations.

        Returns False if one was still busy after `timeout` seconds.
        """
        if not self._draining:
            self._draining = True
            os.close(self._wake)  # which wakes those who accept
            for thread in self._accepting:
                thread.join()
            os.close(self._woken)
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
            log.event("connection-refused", address=address, reason="address-not-listed")
            return
        slot = self._occupancy.connected(address)
        if slot is None:
            connected.close()
            log.event("connection-refused", address=address, reason="too-many-connections")
            return
        service = _Service(connected, address, slot, tls, self._storage, self._limits, self._admit)
        with self._changed:
            self._services.add(service)
        try:
            threading.Thread(target=self._serve, args=(service,), name="association", daemon=True).start()
        except RuntimeError:
            log.warning("accept-failed")  # out of threads: likewise
            connected.close()
            self._forget(service)

    def _serve(self, service: _Service) -> None:
        try:
            service.run()
        finally:
            self._forget(service)

    def _forget(self, service: _Service) -> None:
        self._occupancy.ended(service.slot)
        with self._changed:
            self._services.discard(service)
            self._changed.notify_all()

    def _admit(self, service: _Service, request: negotiation.Request) -> None:
        """Raise Rejected unless this association may be: by its AE titles, and by the limit."""
        self._admission.check(request.calling_ae_title, request.called_ae_title)
        if not self._occupancy.associate(service.slot):
            raise Rejected(2, 3, 2)


def bind(address: str, port: int) -> socket.socket:
    """A socket that listens (port 0: on any free one); several processes may accept from it. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


class _Service:
    """One connection, from its handshake to its end."""

    def __init__(
        self,
        connected: socket.socket,
        address: str,
        slot: int,
        tls: AcceptorTls | None,
        storage: Storage,
        limits: Limits,
        admit: Callable[[_Service, negotiation.Request], None],
    ) -> None:
        self.slot = slot
        self._socket = connected
        self._address = address
        self._tls = tls
        self._storage = storage
        self._limits = limits
        self._admit = admit
        self._buffer = bytearray()
        self._busy = threading.Lock()  # held while a message is being received and answered
        self._ending = False
        self._stored = 0

    def run(self) -> None:
        """Negotiate, then serve until the association ends, in whatever way. Raises nothing that a peer can cause."""
        try:
            if self._tls is not None:
                self._secure(self._tls)
            connection = Connection(self._socket, self._limits.handshake_timeout)
            association = self._negotiate(connection)
            if association is not None:
                self._buffer = bytearray(_BUFFER)
                self._serve(association)
        except (OSError, Closed):
            pass  # a connection that came and went without an association: health checks do that all day
        finally:
            self._socket.close()

    def _secure(self, tls: AcceptorTls) -> None:
        """The TLS handshake. Raises Closed."""
        try:
            self._socket = tls.wrap(self._socket, self._limits.handshake_timeout)
        except Closed as closed:
            log.event("connection-refused", address=self._address, reason=str(closed))
            raise

    def end(self) -> None:
        """End the association: now if it is idle, else after the message that is being received."""
        self._ending = True
        if self._busy.acquire(blocking=False):
            with _ignored():
                socket.socket.shutdown(self._socket, socket.SHUT_RD)  # of TCP, whatever is above it
            self._busy.release()

    def _negotiate(self, connection: Connection) -> Association | None:
        """The handshake; returns None if it came to nothing. Raises Closed."""
        connection.set_deadline(self._limits.handshake_timeout)
        calling = called = ""
        try:
            request = negotiation.read_request(connection)
            calling, called, _ = request
            self._admit(self, request)
            association = negotiation.accept(connection, request)
        except Rejected as rejected:
            connection.send(pdu.reject(rejected.result, rejected.source, rejected.diagnostic))
            log.warning(
                "association-rejected", address=self._address, reason=str(rejected), calling=calling, called=called
            )
        except Aborted as aborted:
            connection.send(pdu.abort(aborted.source, aborted.diagnostic))
            log.warning(
                "association-aborted", address=self._address, reason=str(aborted), calling=calling, called=called
            )
        else:
            connection.set_deadline(None)
            connection.set_timeout(self._limits.idle_timeout)
            connection.set_pace(self._limits.minimum_rate)
            log.event("association-accepted", address=self._address, calling=calling, called=called)
            return association
        connection.close(_LINGER)
        return None

    def _serve(self, association: Association) -> None:
        """Answer one message after the other until the association ends."""
        end = "released"
        end_at = time.monotonic() + self._limits.association_age
        try:
            while not self._ending and time.monotonic() < end_at:
                association.connection.rest()
                context_id, command = association.read_command()
                with self._busy:
                    self._answer(association, context_id, command)
            end = "the node stops" if self._ending else "older than the limit"
            association.abort(Aborted(pdu.BY_SERVICE_USER, pdu.REASON_NOT_SPECIFIED, end))
        except ReleaseRequested:
            with _ignored():
                association.connection.send(pdu.release_reply())
            association.connection.close(_LINGER)
        except Aborted as aborted:
            end = str(aborted)
            association.abort(aborted)
        except AssociationError as closed:
            end = "the node stops" if self._ending else str(closed)
            association.abort(Aborted(pdu.BY_SERVICE_PROVIDER, pdu.REASON_NOT_SPECIFIED, end))
        finally:
            log.event(
                "association-ended",
                calling=association.calling_ae_title,
                called=association.called_ae_title,
                reason=end,
                count=self._stored,
            )

    def _answer(self, association: Association, context_id: int, command: dimse.CommandSet) -> None:
        """Do what a command set asks for. Raises AssociationError."""
        field = dimse.number(command, dimse.COMMAND_FIELD)
        has_data_set = command.get(dimse.COMMAND_DATA_SET_TYPE) != dimse.NO_DATA_SET.to_bytes(2, "little")
        if field == dimse.C_STORE_RQ and has_data_set:
            self._store(association, context_id, command)
        elif field == dimse.C_STORE_RQ:
            answer = dimse.response(command, dimse.CANNOT_UNDERSTAND, "no data set")
            association.send_command(context_id, answer)
        elif field == dimse.C_ECHO_RQ and not has_data_set:
            association.send_command(context_id, dimse.response(command, dimse.SUCCESS))
        elif field & dimse.RESPONSE:
            raise unexpected("a response to no request")
        elif field != dimse.C_CANCEL_RQ:
            if has_data_set:
                self._receive(association, context_id, Inflow(0))
            association.send_command(context_id, dimse.response(command, dimse.UNRECOGNIZED_OPERATION))

    def _store(self, association: Association, context_id: int, command: dimse.CommandSet) -> None:
        """Receive one instance, and answer with what became of it. Raises AssociationError."""
        context = association.contexts[context_id]
        with Inflow(self._limits.object_size) as inflow:
            inflow.begin(lambda: self._storage.receive(_store_request(association, context, command)))
            rest = self._receive(association, context_id, inflow)
            committed = inflow.commit(rest)
        if isinstance(committed, Refused):
            status, comment = committed.status, committed.comment
            log.warning("store-refused", calling=association.calling_ae_title, status=f"{status:04X}", reason=comment)
            association.send_command(context_id, dimse.response(command, status, comment))
            return
        self._stored += 1
        try:
            association.send_command(context_id, dimse.response(command, dimse.SUCCESS))
        finally:
            committed.proceed(rest)

    def _receive(self, association: Association, context_id: int, inflow: Inflow) -> memoryview:
        """Read a data set to its end; returns what of it has not been spilled. Raises AssociationError."""
        filled = 0
        while True:
            fragment = association.next_fragment()
            if fragment.control & pdu.COMMAND or fragment.context_id != context_id:
                raise unexpected("a command set in the midst of a data set")
            if filled + fragment.length > len(self._buffer):
                if len(self._buffer) < _SPILL:
                    self._buffer = self._buffer + bytes(len(self._buffer))
                else:
                    inflow.spill(memoryview(self._buffer)[:filled])
                    filled = 0
            association.connection.read_into(memoryview(self._buffer)[filled : filled + fragment.length])
            filled += fragment.length
            if fragment.control & pdu.LAST:
                return memoryview(self._buffer)[:filled]


def _store_request(association: Association, context: Context, command: dimse.CommandSet) -> StoreRequest:
    """What is known of the instance before it comes. Raises Refused for what cannot be."""
    sop_class_uid = dimse.uid(command, dimse.AFFECTED_SOP_CLASS_UID)
    sop_instance_uid = dimse.uid(command, dimse.AFFECTED_SOP_INSTANCE_UID)
    if sop_class_uid != context.abstract_syntax:
        raise Refused(dimse.DATA_SET_DOES_NOT_MATCH, "SOP class is not that of the presentation context")
    if not (0 < len(sop_instance_uid) <= _UID_LIMIT and _UID_CHARACTERS.issuperset(sop_instance_uid)):
        raise Refused(dimse.INVALID_SOP_INSTANCE, "not a UID")
    return StoreRequest(
        association.calling_ae_title,
        association.called_ae_title,
        sop_class_uid,
        sop_instance_uid,
        context.transfer_syntax,
    )


_ignored = partial(contextlib.suppress, OSError, Closed)
