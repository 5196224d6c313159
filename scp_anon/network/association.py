"""An established association: PDUs, fragments and command sets, for acceptor and requestor (PS3.8 9.3, Annex E)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from scp_anon.errors import Aborted, AssociationError, Closed
from scp_anon.network import dimse, pdu
from scp_anon.network.connection import Connection

# What we offer to receive in one PDU. More gains nothing, and "unlimited" lets the peer choose our allocation.
MAXIMUM_PDU_LENGTH: Final = 131072


class ReleaseRequested(AssociationError):
    """The peer asks to release the association: an end in good order, if it comes between messages."""


class Context(NamedTuple):
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


class Fragment(NamedTuple):
    """The header of a presentation data value: its `length` bytes are yet to be read from the connection."""

    context_id: int
    control: int
    length: int


class Association:
    """The data phase of one association, over a connection that has been negotiated."""

    def __init__(
        self,
        connection: Connection,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Mapping[int, Context],
        peer_maximum_length: int,
    ) -> None:
        """`peer_maximum_length`: the largest PDU that the peer takes, 0 for no limit (PS3.8 D.1)."""
        self.connection = connection
        self.calling_ae_title = calling_ae_title
        self.called_ae_title = called_ae_title
        self.contexts = contexts
        self.peer_maximum_length = peer_maximum_length
        self._left = 0  # bytes of the present P-DATA-TF PDU behind the fragment that is being read

    def next_fragment(self) -> Fragment:
        """Read up to the value of the next fragment. Raises ReleaseRequested, Aborted or Closed."""
        if not self._left:
            self._left = self._data_pdu()
        length, context_id, control = pdu.pdv_header(self.connection.read(pdu.PDV_HEADER_LENGTH))
        self._left -= 4 + length
        if length < 2 or self._left < 0:
            raise invalid("a fragment that does not fit its PDU")
        if 0 < self._left < pdu.PDV_HEADER_LENGTH:
            raise invalid("a PDU with bytes that belong to no fragment")
        if context_id not in self.contexts:
            raise invalid("a presentation context that was not accepted")
        return Fragment(context_id, control, length - 2)

    def read_command(self) -> tuple[int, dimse.CommandSet]:
        """Read a whole command set; returns it and its presentation context's ID. Raises as `next_fragment`."""
        encoded = b""
        taken = 0
        fragment = first = self.next_fragment()
        while True:
            if not fragment.control & pdu.COMMAND or fragment.context_id != first.context_id:
                raise unexpected("a data set where a command set was due")
            taken += pdu.PDV_HEADER_LENGTH + fragment.length  # without end are those that hold nothing, too
            if taken > dimse.COMMAND_SET_LIMIT:
                raise invalid("a command set that is too long")
            encoded += self.connection.read(fragment.length)
            if fragment.control & pdu.LAST:
                return first.context_id, dimse.decode(encoded)
            fragment = self.next_fragment()

    def read_data_set(self, context_id: int, limit: int) -> bytes:
        """Read a whole data set that has to be small. Raises as `next_fragment`."""
        encoded = b""
        while True:
            fragment = self.next_fragment()
            if fragment.control & pdu.COMMAND or fragment.context_id != context_id:
                raise unexpected("a command set in the midst of a data set")
            if len(encoded) + fragment.length > limit:
                raise invalid("a data set that is too long")
            part = bytearray(fragment.length)
            self.connection.read_into(memoryview(part))
            encoded += part
            if fragment.control & pdu.LAST:
                return encoded

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a command set that fits one PDU, as all of ours do. Raises Closed."""
        header = pdu.data_header(context_id, pdu.COMMAND | pdu.LAST, len(command))
        self.connection.send(header + command)

    def abort(self, error: Aborted) -> None:
        """Say A-ABORT and close; nothing is raised, as there is nothing left to be done."""
        with contextlib.suppress(Closed):  # the peer has gone already
            self.connection.send(pdu.abort(error.source, error.diagnostic))
        self.connection.close(linger=1)

    def _data_pdu(self) -> int:
        """Read the header of the next PDU, which should be a P-DATA-TF; returns its length."""
        kind, length = pdu.header(self.connection.read(pdu.HEADER_LENGTH))
        if kind == pdu.P_DATA_TF:
            if not pdu.PDV_HEADER_LENGTH <= length <= MAXIMUM_PDU_LENGTH:
                raise invalid("a PDU longer than we offered to receive")
            return int(length)
        if kind in (pdu.A_RELEASE_RQ, pdu.A_RELEASE_RP, pdu.A_ABORT):
            if length != 4:
                raise invalid("a PDU of the wrong length")
            source, reason = self.connection.read(4)[2:]
            if kind == pdu.A_ABORT:
                raise Aborted(source, reason, f"aborted by the peer ({source}/{reason})")
            if kind == pdu.A_RELEASE_RQ:
                raise ReleaseRequested("the peer asks for release")
        if pdu.A_ASSOCIATE_RQ <= kind <= pdu.A_ABORT:
            raise unexpected("a PDU that is not due now")
        raise Aborted(pdu.BY_SERVICE_PROVIDER, pdu.UNRECOGNIZED_PDU, "a PDU of no known type")


def invalid(why: str) -> Aborted:
    """The A-P-ABORT for a value that is not allowed."""
    return Aborted(pdu.BY_SERVICE_PROVIDER, pdu.INVALID_PDU_PARAMETER, why)


def unexpected(why: str) -> Aborted:
    """The A-P-ABORT for what is not due."""
    return Aborted(pdu.BY_SERVICE_PROVIDER, pdu.UNEXPECTED_PDU, why)
