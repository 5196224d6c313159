"""Negotiating an association (PS3.8 7.1, PS3.7 Annex D), from either side, with pynetdicom's PDUs and its rules.

Everything that we use of pynetdicom, and nobody else does, is in this module.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from scp_anon.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scp_anon.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    storage_sop_classes,
    transfer_syntaxes,
)
from scp_anon.errors import Aborted, Rejected
from scp_anon.network import pdu
from scp_anon.network.association import MAXIMUM_PDU_LENGTH, Association, Context, invalid, unexpected
from scp_anon.network.commitment import STORAGE_COMMITMENT
from scp_anon.network.connection import Connection

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
MAXIMUM_CONTEXTS: Final = 128  # the odd numbers of one byte (PS3.8 9.3.2.2)

# 128 contexts with all transfer syntaxes each are some 200 KB: nobody gets to make us hold, or decode, much more.
_REQUEST_LIMIT: Final = 384 << 10
_FIXED_PART: Final = 68  # of an A-ASSOCIATE-RQ or -AC, before its items (PS3.8 9.3.2)
_ACCEPTANCE: Final = 0

# What goes wrong is raised; pynetdicom's own log may hold what a peer sent.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


class Request(NamedTuple):
    """An A-ASSOCIATE-RQ that was received."""

    calling_ae_title: str
    called_ae_title: str
    primitive: A_ASSOCIATE


def read_request(connection: Connection) -> Request:
    """Read the A-ASSOCIATE-RQ of a new connection.

    Raises Aborted for anything else, Rejected for another application context (1/1/2), Closed.
    """
    encoded = _read_pdu(connection, pdu.A_ASSOCIATE_RQ)
    try:
        request = A_ASSOCIATE_RQ()
        request.decode(encoded)
        primitive = request.to_primitive()
        titles = primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()
    except Exception:
        # The decoder raises whatever its parts do: it was made for peers that keep to the standard.
        raise invalid("an A-ASSOCIATE-RQ that cannot be read") from None
    if not request.protocol_version & 1:
        raise Rejected(1, 2, 2)
    if primitive.application_context_name != APPLICATION_CONTEXT:
        raise Rejected(1, 1, 2)
    return Request(*titles, primitive)


class Services(NamedTuple):
    """What an association is for, besides verification: to store to us, to report storage commitment to us."""

    storage: bool = True
    commitment: bool = False


def prepare() -> None:
    """Make what all acceptors share, so that the first association need not wait for it, in any process."""
    _supported(Services())


def accept(connection: Connection, request: Request, services: Services) -> Association:
    """Negotiate presentation contexts, and send the A-ASSOCIATE-AC. Raises Closed, Aborted for an invalid request."""
    proposed = request.primitive.presentation_context_definition_list
    try:
        results, roles = negotiate_as_acceptor(proposed, _supported(services), _roles(request.primitive))
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(APPLICATION_CONTEXT)
        answer.calling_ae_title = request.primitive.calling_ae_title
        answer.called_ae_title = request.primitive.called_ae_title
        answer.result = _ACCEPTANCE
        answer.result_source = 1
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_user_information(), *roles]
        encoded = A_ASSOCIATE_AC(answer).encode()
    except (ValueError, TypeError, IndexError, AttributeError):
        raise invalid("presentation contexts that cannot be negotiated") from None
    connection.send(encoded)
    return _association(connection, request.primitive, _accepted(results))


def request(
    connection: Connection, calling_ae_title: str, called_ae_title: str, proposals: Iterable[Context]
) -> Association:
    """Send an A-ASSOCIATE-RQ with one presentation context for each proposal, at most 128, and read the answer.

    Contexts that the peer did not accept are not in the association. Raises Rejected, Aborted, Closed.
    """
    contexts = {2 * i + 1: proposal for i, proposal in enumerate(proposals)}
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(APPLICATION_CONTEXT)
    primitive.calling_ae_title = calling_ae_title
    primitive.called_ae_title = called_ae_title
    primitive.presentation_context_definition_list = [
        _proposed(context_id, context) for context_id, context in contexts.items()
    ]
    primitive.user_information = _user_information()
    connection.send(A_ASSOCIATE_RQ(primitive).encode())
    encoded = _read_pdu(connection, pdu.A_ASSOCIATE_AC)
    try:
        answer = A_ASSOCIATE_AC()
        answer.decode(encoded)
        results = answer.to_primitive()
        accepted = {
            context_id: Context(contexts[context_id].abstract_syntax, context.transfer_syntax)
            for context_id, context in _accepted(results.presentation_context_definition_results_list).items()
        }
        primitive.maximum_length_received = results.maximum_length_received or 0
    except Exception:
        raise invalid("an A-ASSOCIATE-AC that cannot be read") from None
    return _association(connection, primitive, accepted)


def _accepted(results: Iterable[PresentationContext]) -> dict[int, Context]:
    """The accepted ones of negotiated presentation contexts, by ID (the abstract syntax is not in an answer)."""
    return {
        int(cx.context_id or 0): Context(cx.abstract_syntax or "", cx.transfer_syntax[0])
        for cx in results
        if cx.result == _ACCEPTANCE and cx.transfer_syntax
    }


def _association(connection: Connection, primitive: A_ASSOCIATE, contexts: Mapping[int, Context]) -> Association:
    limit = primitive.maximum_length_received or 0
    titles = primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()
    return Association(connection, *titles, contexts, limit)


def _read_pdu(connection: Connection, expected: int) -> bytes:
    """Read one PDU of the negotiation, header included. Raises Rejected or Aborted if it is not the expected one."""
    head = connection.read(pdu.HEADER_LENGTH)
    kind, length = pdu.header(head)
    if kind == expected:
        if not _FIXED_PART <= length <= _REQUEST_LIMIT:
            raise invalid("an association PDU that is too short or too long")
        content = bytearray(length)
        connection.read_into(memoryview(content))
        return head + bytes(content)
    if kind in (pdu.A_ASSOCIATE_RJ, pdu.A_ABORT) and length == 4 and expected == pdu.A_ASSOCIATE_AC:
        first, second, third = connection.read(4)[1:]
        if kind == pdu.A_ABORT:
            raise Aborted(second, third, f"aborted by the peer ({second}/{third})")
        raise Rejected(first, second, third)
    if pdu.A_ASSOCIATE_RQ <= kind <= pdu.A_ABORT:
        raise unexpected("a PDU that is not due before an association")
    raise Aborted(pdu.BY_SERVICE_PROVIDER, pdu.UNRECOGNIZED_PDU, "not a DICOM upper layer PDU")


@cache
def _supported(services: Services) -> list[PresentationContext]:
    """What we accept: every storage SOP class in every usable transfer syntax, verification, and reports."""
    plain = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
    contexts = [build_context(VERIFICATION, plain)]
    if services.storage:
        every = list(transfer_syntaxes())
        contexts += [build_context(sop_class, every) for sop_class in storage_sop_classes()]
    if services.commitment:
        reports = build_context(STORAGE_COMMITMENT, plain)
        reports.scu_role, reports.scp_role = False, True  # the one that asks for the association is the SCP
        contexts.append(reports)
    return contexts


def _roles(primitive: A_ASSOCIATE) -> dict[UID, tuple[bool | None, bool | None]]:
    """The roles that the requestor of an association proposes (PS3.7 D.3.3.4): SOP class → as SCU, as SCP.

    Only that of storage commitment is looked at: for all else the requestor is the SCU, as it is without.
    """
    return {
        item.sop_class_uid: (bool(item.scu_role), bool(item.scp_role))
        for item in primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid == STORAGE_COMMITMENT
    }


def _proposed(context_id: int, context: Context) -> PresentationContext:
    proposed: PresentationContext = build_context(context.abstract_syntax, context.transfer_syntax)
    proposed.context_id = context_id
    return proposed


def _user_information() -> list[Any]:
    maximum, implementation, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    maximum.maximum_length_received = MAXIMUM_PDU_LENGTH
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [maximum, implementation, version]
