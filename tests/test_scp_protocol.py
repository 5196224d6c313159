"""The SCP and the SCU at the level of PDUs: what the standard asks for, and what no peer may do to us."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.presentation import build_context

from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from scp_anon.errors import Aborted, AssociationError, Closed, Refused, Rejected
from scp_anon.network import dimse, negotiation, pdu, service
from scp_anon.network.admission import Admission
from scp_anon.network.association import MAXIMUM_PDU_LENGTH, Association, Context
from scp_anon.network.connection import Connection, connect
from scp_anon.network.scp import Server
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor
from scp_anon.network.service import Limits
from scp_anon.network.storage import StoreRequest

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
MR = Context("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1")
FIND = Context("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.1.2")


class Memory:
    """A storage that keeps what it is given, and refuses where it is told to."""

    def __init__(self) -> None:
        self.received: list[tuple[StoreRequest, bytes]] = []
        self.discarded = 0
        self.refuse_at = ""
        self.spilled: list[int] = []

    def receive(self, request: StoreRequest) -> _Reception:
        """Begin, unless refused."""
        self.refuse("begin")
        return _Reception(self, request)

    def refuse(self, place: str) -> None:
        """Raise where the test wants it."""
        if self.refuse_at == place:
            raise Refused(0xA700, "told to")


class _Reception:
    def __init__(self, memory: Memory, request: StoreRequest) -> None:
        self._memory, self._request, self._data = memory, request, bytearray()

    def spill(self, part: memoryview) -> None:
        self._memory.refuse("spill")
        self._memory.spilled.append(len(part))
        self._data += part

    def commit(self, rest: memoryview) -> None:
        self._memory.refuse("commit")
        self._data += rest
        self._memory.received.append((self._request, bytes(self._data)))

    def discard(self) -> None:
        self._memory.discarded += 1

    def proceed(self, rest: memoryview) -> None:
        assert self._data.endswith(rest)


@pytest.fixture
def memory() -> Memory:
    """What the server stores to."""
    return Memory()


@contextlib.contextmanager
def serving(memory: Memory, limits: Limits | None = None) -> Iterator[int]:
    """A server on a free port."""
    server = Server(memory, Admission({"SCP": None}), limits or Limits(idle_timeout=5, handshake_timeout=5))
    port = server.listen("127.0.0.1", 0)
    try:
        yield port
    finally:
        assert server.drain(5)


@pytest.fixture
def port(memory: Memory) -> Iterator[int]:
    """A server with ordinary limits."""
    with serving(memory) as listening:
        yield listening


def peer(port: int, called: str = "SCP") -> Peer:
    """The server."""
    return Peer("127.0.0.1", port, called, "SCU", 5)


def opened(port: int, *contexts: Context) -> Association:
    """An association with the server, of which each PDU is written by hand."""
    return negotiation.request(Connection(connect("127.0.0.1", port, 5), 5), "SCU", "SCP", contexts or (CT,))


def command(context: Context = CT, instance: str = "1.2.3", message_id: int = 1) -> bytes:
    """A C-STORE-RQ."""
    return dimse.store_request(message_id, context.abstract_syntax, instance)


def send_store(
    association: Association, data: bytes, request: bytes = b"", context_id: int = 1, size: int = 100
) -> int:
    """Send a C-STORE message by hand, in fragments of `size`; returns the status of the response."""
    request = request or command()
    association.connection.send(pdu.data_header(context_id, pdu.COMMAND | pdu.LAST, len(request)), request)
    pieces = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    for i, piece in enumerate(pieces):
        association.connection.send(pdu.data_header(context_id, pdu.LAST * (i == len(pieces) - 1), len(piece)), piece)
    return status(association)


def status(association: Association) -> int:
    """The status of the next response."""
    return dimse.number(association.read_command()[1], dimse.STATUS)


def aborted(association: Association) -> tuple[int, int]:
    """Source and reason of the A-ABORT that comes next."""
    with pytest.raises(Aborted) as abort:
        association.read_command()
    association.connection.close()
    return abort.value.source, abort.value.diagnostic


# ---------------------------------------------------------------------- negotiation


def test_every_storage_class_in_every_transfer_syntax(port: int) -> None:
    """All are accepted; none of the transfer syntaxes that keep the image elsewhere."""
    every = [Context(sop_class, syntax) for sop_class in storage_sop_classes() for syntax in transfer_syntaxes()]
    assert len(storage_sop_classes()) > 200
    assert len(transfer_syntaxes()) > 40
    sample = every[:: len(every) // 500]
    for start in range(0, len(sample), 128):
        association = opened(port, *sample[start : start + 128])
        assert set(association.contexts.values()) == set(sample[start : start + 128])
        association.abort(Aborted(0, 0, "done"))
    for syntax in ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.7.1"):
        association = opened(port, CT._replace(transfer_syntax=syntax), CT)
        assert list(association.contexts.values()) == [CT]
        association.abort(Aborted(0, 0, "done"))


def test_contexts_of_other_services_are_not_accepted(port: int) -> None:
    """Each context is judged for itself."""
    association = opened(port, FIND, VERIFICATION_CONTEXT, CT)
    assert list(association.contexts) == [3, 5]
    association.abort(Aborted(0, 0, "done"))


def test_an_uncompressed_syntax_is_preferred(port: int) -> None:
    """Of several in one context, explicit VR little endian; big endian last."""
    connection = Connection(connect("127.0.0.1", port, 5), 5)
    proposed = build_context(CT.abstract_syntax, ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
    proposed.context_id = 1
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE

    primitive = A_ASSOCIATE()
    primitive.application_context_name = negotiation.APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "SCU", "SCP"
    primitive.presentation_context_definition_list = [proposed]
    primitive.user_information = negotiation._user_information()
    connection.send(A_ASSOCIATE_RQ(primitive).encode())
    head = connection.read(6)
    answer = A_ASSOCIATE_AC()
    answer.decode(head + connection.read(pdu.header(head)[1]))
    (result,) = answer.to_primitive().presentation_context_definition_results_list
    assert result.transfer_syntax == ["1.2.840.10008.1.2.1"]
    assert answer.to_primitive().maximum_length_received == MAXIMUM_PDU_LENGTH
    connection.close()


def test_unknown_called_ae_title(port: int) -> None:
    """1/1/7."""
    with pytest.raises(Rejected) as rejected:
        Requestor(peer(port, "OTHER"), [CT])
    assert (rejected.value.result, rejected.value.source, rejected.value.diagnostic) == (1, 1, 7)


def raw(port: int, data: bytes) -> bytes:
    """What the server answers to bytes that begin a connection."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(1000):
                answer += piece
        return answer


def request(context_name: str = negotiation.APPLICATION_CONTEXT, version: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ without any presentation context."""
    item = struct.pack(">BxH", 0x10, len(context_name)) + context_name.encode()
    head = struct.pack(">HH16s16s32x", version, 0, b"SCP".ljust(16), b"SCU".ljust(16))
    user = struct.pack(">BxHBxHI", 0x50, 8, 0x51, 4, 16384)
    return struct.pack(">BxI", 1, len(head + item + user)) + head + item + user


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (request("1.2.3.4"), pdu.reject(1, 1, 2)),
        (request(version=2), pdu.reject(1, 2, 2)),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", pdu.abort(2, 1)),
        (b"\x04\0\0\0\0\x10" + bytes(16), pdu.abort(2, 2)),
        (b"\x05\0\0\0\0\x04" + bytes(4), pdu.abort(2, 2)),
        (b"\x01\0\x7f\xff\xff\xff", pdu.abort(2, 6)),
        (b"\x01\0\0\0\0\x04" + bytes(4), pdu.abort(2, 6)),
        (request()[:-9] + b"\xff" * 9, None),
    ],
)
def test_beginnings_that_are_wrong(port: int, first: bytes, answer: bytes | None) -> None:
    """Each gets the answer that PS3.8 has for it, and the connection ends."""
    said = raw(port, first)
    assert said == answer if answer is not None else said[:1] in (b"\x02", b"\x07", b"")


def test_silence_ends_after_the_handshake_timeout(memory: Memory) -> None:
    """Also when it is broken by single bytes."""
    with serving(memory, Limits(handshake_timeout=0.5)) as port:
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 5) as slow:
            with contextlib.suppress(OSError):
                for byte in request():
                    slow.sendall(bytes([byte]))
                    time.sleep(0.1)
            assert time.monotonic() - begin < 4


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize("size", [1, 7, 100, 16384, MAXIMUM_PDU_LENGTH - 6])
def test_data_set_in_fragments(port: int, memory: Memory, size: int) -> None:
    """Fragments of any size make up the same data set."""
    data = bytes(i % 256 for i in range(300 if size < 100 else 400_000))
    association = opened(port)
    assert send_store(association, data, size=size) == 0
    assert memory.received[0] == (StoreRequest("SCU", "SCP", CT.abstract_syntax, "1.2.3", CT.transfer_syntax), data)
    association.connection.send(pdu.release_request())
    assert association.connection.read(10) == pdu.release_reply()
    association.connection.close()


def test_fragments_of_a_command_and_several_in_one_pdu(port: int, memory: Memory) -> None:
    """A command set may be split, and one PDU may hold several fragments."""
    association = opened(port)
    request = command()
    values = [(pdu.COMMAND, request[:20]), (pdu.COMMAND | pdu.LAST, request[20:]), (0, b"abcd"), (pdu.LAST, b"ef")]
    items = b"".join(struct.pack(">IBB", len(value) + 2, 1, control) + value for control, value in values)
    association.connection.send(struct.pack(">BxI", 4, len(items)) + items)
    assert status(association) == 0
    assert memory.received[0][1] == b"abcdef"
    association.abort(Aborted(0, 0, "done"))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([(1, pdu.LAST, b"data first")], 2),
        ([(1, pdu.COMMAND | pdu.LAST, command()), (1, pdu.COMMAND | pdu.LAST, command())], 2),
        ([(3, pdu.COMMAND | pdu.LAST, command())], 6),
        ([(2, pdu.COMMAND | pdu.LAST, command())], 6),
        ([(1, pdu.COMMAND | pdu.LAST, b"no command set")], 6),
        ([(1, pdu.COMMAND | pdu.LAST, b"")], 6),
        ([(1, pdu.COMMAND, bytes(20_000))], 6),
        ([(1, pdu.COMMAND | pdu.LAST, dimse.response({dimse.COMMAND_FIELD: b"\x01\x00"}, 0))], 2),
    ],
)
def test_messages_out_of_order(port: int, memory: Memory, parts: list[tuple[int, int, bytes]], reason: int) -> None:
    """What is not due, or no command set, ends the association by A-P-ABORT; nothing is stored."""
    association = opened(port)
    for context_id, control, value in parts:
        association.connection.send(pdu.data_header(context_id, control, len(value)), value)
    assert aborted(association) == (2, reason)
    assert not memory.received


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">BxI", 4, MAXIMUM_PDU_LENGTH + 1), 6),
        (struct.pack(">BxI", 4, 0xFFFFFFFF), 6),
        (struct.pack(">BxI", 4, 3), 6),
        (struct.pack(">BxIIBB", 4, 6, 100, 1, 3), 6),
        (struct.pack(">BxIIBB", 4, 6, 1, 1, 3), 6),
        (struct.pack(">BxI", 9, 10), 1),
        (struct.pack(">BxI", 2, 10), 2),
        (struct.pack(">BxI", 5, 400), 6),
        (request(), 2),
    ],
)
def test_pdus_that_are_wrong(port: int, sent: bytes, reason: int) -> None:
    """Lengths that do not fit, or that would have us allocate, and PDUs of no or another kind, end the association."""
    association = opened(port)
    association.connection.send(sent)
    assert aborted(association) == (2, reason)


def test_other_services_are_not_recognised(port: int) -> None:
    """A C-FIND gets its status when its identifier has been read, and the association goes on."""
    association = opened(port, CT)
    find = dimse.encode(
        {0x0002: b"1.2", 0x0100: b"\x20\x00", 0x0110: b"\x07\x00", 0x0700: b"\0\0", 0x0800: b"\x01\x00"}
    )
    assert send_store(association, b"identifier", find) == 0x0211
    assert send_store(association, b"data") == 0
    association.abort(Aborted(0, 0, "done"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(command(MR), 0xA900), (command(instance="no UID"), 0x0117), (command(instance="1." * 40), 0x0117)],
)
def test_commands_that_cannot_be(port: int, memory: Memory, sent: bytes, expected: int) -> None:
    """Refused when all has been read; the next message is served."""
    association = opened(port)
    assert send_store(association, b"data" * 100, sent) == expected
    assert send_store(association, b"data") == 0
    assert len(memory.received) == 1
    association.abort(Aborted(0, 0, "done"))


def test_store_without_a_data_set(port: int) -> None:
    """There is nothing to store."""
    association = opened(port)
    no_data = command().replace(b"\x00\x00\x00\x08\x02\0\0\0\x01\x00", b"\x00\x00\x00\x08\x02\0\0\0\x01\x01")
    association.connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(no_data)), no_data)
    assert status(association) == 0xC000
    association.abort(Aborted(0, 0, "done"))


@pytest.mark.parametrize("place", ["begin", "spill", "commit"])
def test_storage_that_refuses(memory: Memory, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is the answer, after all has been read; the reception is discarded; the association goes on."""
    monkeypatch.setattr(service, "_BUFFER", 1 << 17)
    monkeypatch.setattr(service, "_SPILL", 1 << 17)
    with serving(memory) as port:
        memory.refuse_at = place
        association = opened(port)
        assert send_store(association, bytes(500_000), size=16384) == 0xA700
        memory.refuse_at = ""
        assert send_store(association, b"data") == 0
        assert [data for _, data in memory.received] == [b"data"]
        assert memory.discarded == (0 if place == "begin" else 1)
        association.abort(Aborted(0, 0, "done"))


def test_large_data_set_is_spilled(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer stays as it is; what goes to the storage piece by piece is what was sent."""
    monkeypatch.setattr(service, "_BUFFER", 1 << 17)
    monkeypatch.setattr(service, "_SPILL", 1 << 18)
    data = bytes(i % 251 for i in range(3_000_000))
    with serving(memory) as port:
        association = opened(port)
        assert send_store(association, data, size=100_000) == 0
        association.abort(Aborted(0, 0, "done"))
    assert memory.received[0][1] == data
    assert max(memory.spilled) <= 1 << 18


def test_limit_of_object_size(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger ones are refused (A700), spilled or not."""
    monkeypatch.setattr(service, "_BUFFER", 1 << 17)
    monkeypatch.setattr(service, "_SPILL", 1 << 17)
    with serving(memory, Limits(object_size=200_000)) as port:
        association = opened(port)
        for size, expected in ((200_000, 0), (200_001, 0xA700), (900_000, 0xA700), (10, 0)):
            assert send_store(association, bytes(size), size=50_000) == expected
        association.abort(Aborted(0, 0, "done"))


def test_association_that_ends_in_mid_message(port: int, memory: Memory) -> None:
    """The reception is discarded, whether the peer aborts, releases, or just goes."""
    for number, last in enumerate((pdu.abort(0, 0), pdu.release_request(), b"")):
        association = opened(port)
        association.connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(command())), command())
        association.connection.send(pdu.data_header(1, 0, 4), b"half", last)
        association.connection.close()
        deadline = time.monotonic() + 5
        while memory.discarded <= number and time.monotonic() < deadline:
            time.sleep(0.01)
        assert memory.discarded == number + 1
    assert not memory.received


def test_drain_ends_idle_associations(memory: Memory) -> None:
    """They are told by A-ABORT; nothing new is accepted."""
    server = Server(memory, Admission({"SCP": None}), Limits())
    port = server.listen("127.0.0.1", 0)
    association = opened(port)
    assert server.drain(5)
    with pytest.raises(AssociationError):
        association.read_command()
    association.connection.close()
    with pytest.raises(Closed):
        connect("127.0.0.1", port, 1)


# ---------------------------------------------------------------------- as requestor


def test_echo(port: int) -> None:
    """Our own C-ECHO, several on one association."""
    with Requestor(peer(port), [VERIFICATION_CONTEXT]) as requestor:
        assert [requestor.echo() for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("maximum", [0, 1024, 4096, 16384, 131072])
@pytest.mark.parametrize("size", [0, 1, 1018, 4090, 4091, 16378, 300_000, 2_100_000])
def test_fragments_that_we_send(maximum: int, size: int, tmp_path: Path) -> None:
    """No PDU is longer than the peer takes, the last fragment is marked, and the bytes are those of the file."""
    data = bytes(i % 251 for i in range(size))
    head = encode_file_meta(FileMeta(CT.abstract_syntax, "1.2.3", CT.transfer_syntax))
    path = tmp_path / "file"
    path.write_bytes(head + data)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = connect("127.0.0.1", listener.getsockname()[1], 5)
        theirs, _ = listener.accept()
    received: list[tuple[int, bytes]] = []

    def receive() -> None:
        connection = Connection(theirs, 5)
        while True:
            _, length = pdu.header(connection.read(6))
            assert not maximum or length <= maximum
            content = bytearray(length)
            connection.read_into(memoryview(content))
            received.append((content[5], bytes(content[6:])))
            if content[5] == pdu.LAST:
                break
        sent = dimse.decode(received[0][1])
        answer = dimse.response(sent, 0)
        connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(answer)), answer)

    requestor = Requestor.__new__(Requestor)  # an association that nobody negotiated
    connection = Connection(ours, 5)
    requestor._use(Association(connection, "SCU", "SCP", {1: CT}, maximum))
    thread = threading.Thread(target=receive)
    thread.start()
    assert requestor.store(path, FileMeta(CT.abstract_syntax, "1.2.3", CT.transfer_syntax), len(head)) == 0
    thread.join()
    assert b"".join(value for _, value in received[1:]) == data
    assert [control for control, _ in received[1:]] == [0] * (len(received) - 2) + [pdu.LAST]
    ours.close()
    theirs.close()


def test_peer_that_is_not_there() -> None:
    """A refused connection is an association that is closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Closed, match="cannot connect"):
            Requestor(peer(unused.getsockname()[1]), [CT])


def test_peer_that_closes_or_answers_nonsense() -> None:
    """Whatever a peer does instead of an A-ASSOCIATE-AC, it is an AssociationError."""
    for answer in (
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        pdu.abort(2, 1),
        b"\x02\0\0\0\0\x02ab",
        pdu.release_reply(),
    ):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def respond(listener: socket.socket = listener, answer: bytes = answer) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(answer)

            thread = threading.Thread(target=respond)
            thread.start()
            with pytest.raises(AssociationError):
                Requestor(peer(listener.getsockname()[1]), [CT])
            thread.join()
