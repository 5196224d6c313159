"""What a peer sends, through the service provider: it always ends in an orderly way, and stores nothing twice.

The first byte tells whether the association is to be negotiated or is there already, the second the sizes of the
pieces in which the rest arrives.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scp_anon import log
from scp_anon.network import service as services
from scp_anon.network.association import Association, Context
from scp_anon.network.commitment import CONTEXT as COMMITMENT
from scp_anon.network.commitment import Reference, action_information
from scp_anon.network.connection import Connection
from scp_anon.network.negotiation import Services
from scp_anon.network.service import Limits, Service
from tests import rawpeer, samples
from tests.fuzz.fakes import FakeSocket, MemoryStorage

# So that a few kilobytes are enough to grow a buffer, to spill it, and to be too large.
services._BUFFER = 256  # type: ignore[misc]  # a constant everywhere else
services._SPILL = 1024  # type: ignore[misc]
log.start("debug", Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as this process
LIMITS: Final = Limits(object_size=8192)
CONTEXTS: Final = {
    1: Context(rawpeer.CT, rawpeer.EXPLICIT),
    3: Context(rawpeer.CT, rawpeer.IMPLICIT),
    5: Context(rawpeer.VERIFICATION, rawpeer.IMPLICIT),
    7: COMMITMENT,
}
PIECES: Final = ((1 << 20,), (1,), (6, 1), (7, 100, 3), (65536, 1))
RELEASE: Final = struct.pack(">BxII", rawpeer.RELEASE_RQ, 4, 0)


def check(data: bytes) -> None:
    """Raises if an association ends otherwise than it may."""
    if len(data) < 2:
        return
    connected = FakeSocket(data[2:], PIECES[data[1] % len(PIECES)])
    storage = MemoryStorage()
    service = Service(
        connected, "127.0.0.1", 0, None, storage, LIMITS, lambda *_: Services(True, True), lambda *_: None
    )
    try:
        if data[0] % 8 == 0:
            service.run()
        else:
            service._buffer = bytearray(services._BUFFER)
            service._serve(Association(Connection(connected, 1), "CALLING", "CALLED", CONTEXTS, 16384))
        assert storage.open == 0
        check_sent(bytes(connected.sent), len(storage.stored))
    finally:
        connected.close()


def check_sent(sent: bytes, stored: int) -> None:
    """What was said is whole PDUs, nothing comes behind the end, and success was said once for each stored instance."""
    successes = 0
    ended = False
    while sent:
        kind, length = struct.unpack_from(">BxI", sent)
        content, sent = sent[6 : 6 + length], sent[6 + length :]
        assert len(content) == length
        assert not ended
        if kind == rawpeer.DATA:
            (fragment,) = rawpeer.fragments(content)
            assert fragment.control == rawpeer.COMMAND | rawpeer.LAST
            command = rawpeer.decode_command(fragment.value)
            successes += command[0x0100] == b"\1\x80" and command[0x0900] == b"\0\0"
        elif kind in (rawpeer.RJ, rawpeer.RELEASE_RP, rawpeer.ABORT):
            assert length == 4
            ended = True
        else:
            assert kind == rawpeer.AC
    assert successes == stored


def messages() -> Iterator[bytes]:
    """What well-behaved and other peers send in the data phase."""
    data = rawpeer.data_pdu
    command = rawpeer.COMMAND | rawpeer.LAST
    echo = rawpeer.encode_command({0x0002: rawpeer.VERIFICATION, 0x0100: rawpeer.ECHO_RQ})
    file = samples.encoded(samples.image())
    data_set = file[samples.data_set_start(file) :]
    store = data((1, command, rawpeer.store_request()))
    whole = store + b"".join(rawpeer.data_set_pdus(data_set, fragment=700))
    yield data((5, command, echo)) + RELEASE
    yield whole + whole + RELEASE
    yield store + b"".join(rawpeer.data_set_pdus(bytes(9000), fragment=1500)) + data((5, command, echo)) + RELEASE
    yield data((1, command, rawpeer.store_request()), (1, 0, data_set[:500]), (1, rawpeer.LAST, data_set[500:]))
    yield data((1, 1, rawpeer.store_request()[:50]), (1, command, rawpeer.store_request()[50:])) + data((1, 2, b""))
    for instance in ("1.13", "1.17", "", "x", "1." + "2" * 70):
        request = rawpeer.store_request(instance=instance)
        yield data((3, command, request)) + b"".join(rawpeer.data_set_pdus(data_set, 3)) + RELEASE
    yield data((1, command, rawpeer.store_request(rawpeer.MR))) + data((1, rawpeer.LAST, b"abc")) + RELEASE
    yield data((1, command, rawpeer.store_request(e0800=0x0101)))
    for field in (rawpeer.FIND_RQ, rawpeer.CANCEL_RQ, 0x8001, 0x8030):
        yield data((1, command, rawpeer.encode_command({0x0100: field, 0x0800: 1}))) + data((1, 2, b"query"))
    yield data((9, command, echo))
    report = rawpeer.encode_command(
        {0x0002: COMMITMENT.abstract_syntax, 0x0100: 0x0100, 0x0110: 1, 0x0800: 1, 0x1002: 1}
    )
    yield data((7, command, report), (7, rawpeer.LAST, action_information("2.25.1", [Reference(rawpeer.CT, "1.2")])))
    yield store + store
    yield store + data((3, 2, b"abc"))
    yield store + RELEASE
    yield store + struct.pack(">BxIBBBB", rawpeer.ABORT, 4, 0, 0, 2, 6)
    yield whole[:-1]
    yield struct.pack(">BxI", rawpeer.DATA, 0x7FFFFFFF)
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield struct.pack(">BxIIBB", rawpeer.DATA, 6, 0xFFFFFFFF, 1, 3)
    yield data((1, command, bytes(17000)))


def seeds() -> Iterator[bytes]:
    """All messages, in pieces of all sizes, and as they are behind a request for an association."""
    contexts = [(number, context.abstract_syntax, [context.transfer_syntax]) for number, context in CONTEXTS.items()]
    for number, message in enumerate(messages()):
        yield bytes([1, number % len(PIECES)]) + message
        if number % 4 == 0:
            yield bytes([0, 0]) + rawpeer.associate_request(contexts) + message
