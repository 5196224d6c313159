"""The service class user: C-STORE, C-ECHO and storage commitment as requestor (PS3.4 Annexes A, B and J, PS3.7 9.1)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, Self

from scp_anon.dicom.part10 import META_LIMIT, FileMeta, read_file_meta
from scp_anon.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from scp_anon.errors import Aborted, AssociationError, Closed
from scp_anon.network import commitment, dimse, negotiation, pdu
from scp_anon.network.association import Association, Context, ReleaseRequested, unexpected
from scp_anon.network.connection import Connection, connect
from scp_anon.network.tls import RequestorTls

_READ: Final = 1 << 20
_UNLIMITED: Final = 1 << 20  # what we put into one PDU for a peer that sets no limit
_SMALLEST: Final = 128  # no peer takes less, but some may say so
_LINGER: Final = 1.0
_HEARD_AT_ONCE: Final = 100  # messages: one that says more is not to keep us from sending


class Peer(NamedTuple):
    """Another application entity, and who we are to it."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    timeout: float = 60
    tls: RequestorTls | None = None


class Requestor:
    """An association that we have asked for, on which instances are sent one after the other.

    `reports`: what has been told of storage commitment on it, whenever that was.
    """

    def __init__(self, peer: Peer, proposals: Iterable[Context]) -> None:
        """Open the association, with at most 128 proposals. Raises AssociationError."""
        self.reports: list[commitment.Report] = []
        connected = connect(peer.host, peer.port, peer.timeout)
        connection = Connection(peer.tls.wrap(connected, peer.timeout) if peer.tls else connected, peer.timeout)
        try:
            self._use(negotiation.request(connection, peer.calling_ae_title, peer.called_ae_title, proposals))
        except AssociationError as error:
            if isinstance(error, Aborted) and error.source == pdu.BY_SERVICE_PROVIDER:
                _say(connection, pdu.abort(error.source, error.diagnostic))
            connection.close()
            raise

    def _use(self, association: Association) -> None:
        self._association = association
        self._contexts = {context: context_id for context_id, context in association.contexts.items()}
        self._message_ids = count(1)
        limit = association.peer_maximum_length or _UNLIMITED
        # Fragments are even (PS3.7 Annex F): stock receivers abort on others.
        self._fragment = max(min(limit, _UNLIMITED), _SMALLEST) - pdu.PDV_HEADER_LENGTH & ~1
        self._buffer = memoryview(bytearray(max(_READ // self._fragment, 1) * self._fragment))

    def accepts(self, context: Context) -> bool:
        """Whether the peer has accepted this presentation context."""
        return context in self._contexts

    def echo(self) -> int:
        """C-ECHO; returns the status. Raises AssociationError."""
        context_id = self._contexts[VERIFICATION_CONTEXT]
        message_id = self._next_message_id()
        self._association.send_command(context_id, dimse.echo_request(message_id, VERIFICATION))
        return self._response(message_id, dimse.C_ECHO_RQ)

    def store(self, path: str | Path, meta: FileMeta, start: int) -> int:
        """C-STORE of the DICOM file at `path`, whose data set begins at `start`; returns the status.

        Its presentation context must be an accepted one. Raises AssociationError, or OSError for the file.
        """
        context_id = self._contexts[Context(meta.sop_class_uid, meta.transfer_syntax_uid)]
        message_id = self._next_message_id()
        command = dimse.store_request(message_id, meta.sop_class_uid, meta.sop_instance_uid)
        head: list[bytes | memoryview] = [
            pdu.data_header(context_id, pdu.COMMAND | pdu.LAST, len(command)),
            command,
        ]
        for piece, last in _pieces(path, start, self._buffer):
            # The command goes out with the first of the data: one write less for the peer to wait for.
            self._association.connection.send(*head, *_fragments(context_id, piece, self._fragment, last))
            head = []
        return self._response(message_id, dimse.C_STORE_RQ)

    def request_commitment(self, transaction_uid: str, references: Sequence[commitment.Reference]) -> int:
        """Ask the peer to commit to instances that it has stored; returns the status. Raises AssociationError."""
        context_id = self._contexts[commitment.CONTEXT]
        message_id = self._next_message_id()
        command = dimse.action_request(
            message_id, commitment.STORAGE_COMMITMENT, commitment.INSTANCE, commitment.REQUEST_COMMITMENT
        )
        content = memoryview(commitment.action_information(transaction_uid, references))
        head = pdu.data_header(context_id, pdu.COMMAND | pdu.LAST, len(command))
        self._association.connection.send(head, command, *_fragments(context_id, content, self._fragment, True))
        return self._response(message_id, dimse.N_ACTION_RQ)

    def listen(self) -> None:
        """Hear what the peer has to say by itself, if it has said something. Raises AssociationError."""
        for _ in range(_HEARD_AT_ONCE):
            if not self._association.connection.has_input():
                return
            context_id, command = self._association.read_command()
            if not self._is_report(context_id, command):
                raise unexpected("a message that nobody has asked for")

    def _is_report(self, context_id: int, command: dimse.CommandSet) -> bool:
        """Whether a command is that of a report of storage commitment, which is then read to its end."""
        if dimse.number(command, dimse.COMMAND_FIELD) != dimse.N_EVENT_REPORT_RQ:
            return False
        if self._association.contexts[context_id].abstract_syntax != commitment.STORAGE_COMMITMENT:
            return False
        self.reports.append(commitment.receive_report(self._association, context_id, command))
        return True

    def release(self) -> None:
        """End the association in good order; nothing is raised, as nothing hangs on it."""
        connection = self._association.connection
        try:
            connection.set_timeout(_LINGER)
            connection.send(pdu.release_request())
            connection.read(pdu.HEADER_LENGTH + 4)
        except Closed:
            pass  # the peer has gone without a reply
        finally:
            connection.close()

    def abort(self) -> None:
        """End the association at once."""
        self._association.abort(Aborted(pdu.BY_SERVICE_USER, pdu.REASON_NOT_SPECIFIED, "aborted"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def _next_message_id(self) -> int:
        return next(self._message_ids) & 0xFFFF

    def _response(self, message_id: int, field: int) -> int:
        """Read the response to a request; returns its status. Raises AssociationError."""
        try:
            context_id, command = self._association.read_command()
            while self._is_report(context_id, command):
                context_id, command = self._association.read_command()
        except ReleaseRequested:
            _say(self._association.connection, pdu.release_reply())
            raise Closed("the peer released the association instead of a response") from None
        responded = command.get(dimse.MESSAGE_ID_BEING_RESPONDED_TO), dimse.number(command, dimse.COMMAND_FIELD)
        if responded != (message_id.to_bytes(2, "little"), field | dimse.RESPONSE):
            raise unexpected("a response to another request")
        if len(command.get(dimse.STATUS, b"")) != 2:
            raise unexpected("a response without a status")
        return dimse.number(command, dimse.STATUS)


VERIFICATION_CONTEXT: Final = Context(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)


def read_meta(path: str | Path) -> tuple[FileMeta, int]:
    """The File Meta Information of a DICOM file, and where its data set begins. Raises Undecodable, OSError."""
    with open(path, "rb", buffering=0) as file:
        return read_file_meta(file.read(META_LIMIT))


def _pieces(path: str | Path, start: int, buffer: memoryview) -> Iterator[tuple[memoryview, bool]]:
    """The file from `start` on, in pieces that fit the buffer, and whether each is the last. Memory stays flat."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        while True:
            filled = os.preadv(descriptor, [buffer], start)
            start += filled
            if not filled and start < size:
                raise OSError("the file became shorter while it was sent")
            yield buffer[:filled], start >= size
            if start >= size:
                return
    finally:
        os.close(descriptor)


def _fragments(context_id: int, piece: memoryview, size: int, last: bool) -> Iterator[bytes | memoryview]:
    """A piece as P-DATA-TF PDUs, header and value in turn."""
    for start in range(0, max(len(piece), 1), size):
        value = piece[start : start + size]
        is_last = last and start + size >= len(piece)
        yield pdu.data_header(context_id, pdu.LAST if is_last else 0, len(value))
        yield value


def _say(connection: Connection, encoded: bytes) -> None:
    with contextlib.suppress(Closed):  # the peer has gone already
        connection.send(encoded)
