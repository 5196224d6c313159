"""One connection to the service class provider, from its handshake to its end (PS3.4 Annexes A and B, PS3.8 9.2).

What is received goes to a `Storage`, and what that returns is the status of the C-STORE response. While a message is
being received its bytes are in one buffer of the association; beyond `_SPILL` they go to the storage piece by piece,
so that memory stays flat whatever the object's size.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from scp_anon import log, metrics
from scp_anon.errors import Aborted, AssociationError, Closed, Refused, Rejected
from scp_anon.network import dimse, negotiation, pdu
from scp_anon.network.association import Association, Context, ReleaseRequested, invalid, unexpected
from scp_anon.network.commitment import STORAGE_COMMITMENT, Report, receive_report
from scp_anon.network.connection import Connection
from scp_anon.network.storage import Inflow, Storage, StoreRequest
from scp_anon.network.tls import AcceptorTls, Unlisted

_BUFFER: Final = 1 << 20
_SPILL: Final = 8 << 20
_WITHOUT_END: Final = 8  # times the largest object that is taken: nobody waits for the answer
_UID_LIMIT: Final = 64
_UID_CHARACTERS: Final = frozenset("0123456789.")
_LINGER: Final = 1.0

# Given the AE title of who reports storage commitment, and the report.
OnReport: TypeAlias = Callable[[str, Report], None]


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


class Service:
    """One connection, from its handshake to its end."""

    def __init__(
        self,
        connected: socket.socket,
        address: str,
        slot: int,
        tls: AcceptorTls | None,
        storage: Storage,
        limits: Limits,
        admit: Callable[[Service, negotiation.Request], negotiation.Services],
        on_report: OnReport,
    ) -> None:
        self._on_report = on_report
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
            metrics.REJECTIONS.add("tls-subject" if isinstance(closed, Unlisted) else "tls-handshake")
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
            association = negotiation.accept(connection, request, self._admit(self, request))
        except Rejected as rejected:
            answer = rejected.result, rejected.source, rejected.diagnostic
            metrics.REJECTIONS.add(_REASONS.get(answer, metrics.OTHER))
            connection.send(pdu.reject(*answer))
            log.warning(
                "association-rejected", address=self._address, reason=str(rejected), calling=calling, called=called
            )
        except Aborted as aborted:
            metrics.REJECTIONS.add("invalid-request")
            connection.send(pdu.abort(aborted.source, aborted.diagnostic))
            log.warning(
                "association-aborted", address=self._address, reason=str(aborted), calling=calling, called=called
            )
        else:
            connection.set_deadline(2 * self._limits.association_age)  # a message in hand has as long again
            connection.set_timeout(self._limits.idle_timeout)
            connection.set_pace(self._limits.minimum_rate)
            metrics.ASSOCIATIONS.add()
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
        elif field == dimse.N_EVENT_REPORT_RQ and has_data_set and _is_of_commitment(association, context_id):
            self._on_report(association.calling_ae_title, receive_report(association, context_id, command))
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
            metrics.REFUSED.add(f"{status:04X}")
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
        filled = taken = 0
        while True:
            fragment = association.next_fragment()
            if fragment.control & pdu.COMMAND or fragment.context_id != context_id:
                raise unexpected("a command set in the midst of a data set")
            # One that is too large is read to its end, to be answered; one without an end is not.
            taken += pdu.PDV_HEADER_LENGTH + fragment.length
            if taken > _WITHOUT_END * self._limits.object_size + _SPILL:
                raise invalid("a data set without an end")
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


def _is_of_commitment(association: Association, context_id: int) -> bool:
    return association.contexts[context_id].abstract_syntax == STORAGE_COMMITMENT


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


# Of an A-ASSOCIATE-RJ: result, source and reason, in the words of PS3.8 9.3.4.
_REASONS: Final = {
    (1, 1, 2): "application-context-name-not-supported",
    (1, 1, 3): "calling-ae-title-not-recognized",
    (1, 1, 7): "called-ae-title-not-recognized",
    (1, 2, 2): "protocol-version-not-supported",
    (2, 3, 2): "local-limit-exceeded",
}

_ignored = partial(contextlib.suppress, OSError, Closed)
