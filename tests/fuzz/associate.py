"""An A-ASSOCIATE-RQ, read and answered: an association with a well-formed answer, a rejection, or an A-ABORT."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from scp_anon.errors import Aborted, Closed, Rejected
from scp_anon.network import negotiation
from scp_anon.network.connection import Connection
from tests import rawpeer
from tests.fuzz.fakes import FakeSocket


def check(data: bytes) -> None:
    """Raises if the negotiation ends otherwise than it may."""
    with FakeSocket(data) as connected:
        connection = Connection(connected, 1)
        try:
            request = negotiation.read_request(connection)
            association = negotiation.accept(connection, request, negotiation.Services(True, True))
        except (Aborted, Rejected, Closed):
            assert not connected.sent
            return
        kind, length = struct.unpack_from(">BxI", connected.sent)
        content = bytes(connected.sent[6:])
        assert (kind, length) == (rawpeer.AC, len(content))
        answer = rawpeer.accepted(content)
        agreed = {number: syntax for number, (result, syntax) in answer.contexts.items() if result == 0}
        assert agreed == {number: context.transfer_syntax for number, context in association.contexts.items()}
        for context in association.contexts.values():
            assert context.abstract_syntax in {*storage_sop_classes(), rawpeer.VERIFICATION}
            assert context.transfer_syntax in transfer_syntaxes()
        assert association.peer_maximum_length >= 0


def item(kind: int, content: bytes) -> bytes:
    """An item, or sub-item, of the user information."""
    return struct.pack(">BxH", kind, len(content)) + content


def seeds() -> Iterator[bytes]:
    """Requests of few contexts and of many, with all kinds of user information, right and wrong."""
    make = partial(rawpeer.associate_request, [(1, rawpeer.CT, [rawpeer.EXPLICIT])])
    other = rawpeer.associate_request
    yield make()
    yield other([(5, rawpeer.VERIFICATION, [rawpeer.IMPLICIT, rawpeer.EXPLICIT])], called=b"", calling=b"\0" * 16)
    yield other([(2 * i + 1, uid, [rawpeer.EXPLICIT]) for i, uid in enumerate([*storage_sop_classes()][:20])])
    yield other([(1, rawpeer.CT, [*transfer_syntaxes()])], maximum_length=0)
    yield other([(1, rawpeer.CT, [rawpeer.EXPLICIT]), (1, rawpeer.MR, [rawpeer.EXPLICIT])])
    yield other([(0, rawpeer.CT, [rawpeer.EXPLICIT]), (2, "1.2.3", []), (255, "", [""])])
    yield other([(1, "x" * 65, ["\xff".encode("latin-1").decode("latin-1")])])
    yield make(application_context="1.2.3")
    yield make(version=2)
    role = struct.pack(">H", len(rawpeer.CT)) + rawpeer.CT.encode() + b"\1\1"
    extended = struct.pack(">H", len(rawpeer.CT)) + rawpeer.CT.encode() + b"\2\1\1\0"
    common = struct.pack(">H", 5) + b"1.2.3" + struct.pack(">H", 5) + b"1.2.4" + struct.pack(">HH5s", 7, 5, b"1.2.5")
    identity = b"\2\1" + struct.pack(">H4sH4s", 4, b"user", 4, b"pass")
    items = (
        item(0x53, b"\0\1\0\1"),
        item(0x54, role),
        item(0x55, b"CANARY^PATIENT"),
        item(0x56, extended),
        item(0x57, common),
        item(0x58, identity),
    )
    for one in (*items, b"".join(items), item(0x99, b"?"), items[0] * 3, items[5][:9]):
        yield make(user_items=one)
    yield make()[:60]
    yield struct.pack(">BxI", rawpeer.RQ, 1 << 30)
    yield struct.pack(">BxII", rawpeer.RELEASE_RQ, 4, 0)
    yield b"GET / HTTP/1.1\r\n\r\n"
