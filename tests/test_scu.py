"""The requestor: against our own SCP, and against acceptors made by hand that answer what no real one would."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scp_anon.destinations.dicom import DicomDestination
from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.errors import Aborted, AssociationError, Closed, Permanent, Reason, Refused, Rejected, Transient
from scp_anon.network import scu
from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor
from tests.harness import eventually
from tests.peers import free_port
from tests.rawpeer import (
    ABORT,
    CT,
    DATA,
    ECHO_RQ,
    EXPLICIT,
    IMPLICIT,
    LAST,
    MR,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    RQ,
    STORE_RQ,
    Fragment,
    RawPeer,
    associate_accept,
    data_pdu,
    decode_command,
    encode_command,
    fragments,
    number,
    proposed,
)
from tests.test_scp_wire import Service, serving

CT_EXPLICIT = Context(CT, EXPLICIT)
META = FileMeta(CT, "1.2.3.4", EXPLICIT)
HEAD = encode_file_meta(META)


@pytest.fixture
def service() -> Iterator[Service]:
    """Our own SCP."""
    with serving() as running:
        yield running


def peer_at(port: int, called: str = "SCP_ANON", timeout: float = 10) -> Peer:
    """A peer on the loopback interface."""
    return Peer("127.0.0.1", port, called, "SENDER", timeout)


def written(path: Path, data_set: bytes) -> Path:
    """A DICOM file with this data set, which nobody here reads."""
    path.write_bytes(HEAD + data_set)
    return path


# ---------------------------------------------------------------------- an acceptor made by hand


class Acceptor:
    """Listens, and serves one connection with `script`; what that raises, the test sees at the end."""

    def __init__(self, script: Callable[[RawPeer], None]) -> None:
        self._listener = RawListener()
        self.port = self._listener.port
        self.error: BaseException | None = None
        self._script = script
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._listener.accept() as peer:
                self._script(peer)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Wait for the script's end."""
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


class RawListener:
    """A listening socket on a free port."""

    def __init__(self) -> None:
        import socket

        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.port: int = self._socket.getsockname()[1]

    def accept(self) -> RawPeer:
        """The next connection; the only one."""
        with self._socket:
            return RawPeer(self._socket.accept()[0])


@contextlib.contextmanager
def accepting(script: Callable[[RawPeer], None]) -> Iterator[int]:
    """The port of an acceptor that runs `script` for one connection."""
    acceptor = Acceptor(script)
    yield acceptor.port
    acceptor.end()


def accept(peer: RawPeer, maximum_length: int = 16384, results: Mapping[int, int] | None = None) -> None:
    """Answer an A-ASSOCIATE-RQ, with the first transfer syntax that is proposed for each context."""
    request = peer.read_pdu()
    assert request is not None
    assert request[0] == RQ
    contexts = {
        context_id: ((results or {}).get(context_id, 0), syntaxes[0])
        for context_id, (_, syntaxes) in proposed(request[1]).items()
    }
    peer.send(associate_accept(contexts, maximum_length))


def message(peer: RawPeer, limit: int) -> tuple[dict[int, bytes], list[Fragment]]:
    """The next C-STORE-RQ: its command set and the fragments of its data set. No PDU may be longer than `limit`."""
    received: list[Fragment] = []
    while not (received and received[-1].control == LAST):
        answer = peer.read_pdu()
        assert answer is not None
        assert answer[0] == DATA
        assert len(answer[1]) <= limit
        received.extend(fragments(answer[1]))
    command = b"".join(fragment.value for fragment in received if fragment.control & 1)
    data = [fragment for fragment in received if not fragment.control & 1]
    assert [fragment.control for fragment in data] == [0] * (len(data) - 1) + [LAST]
    return decode_command(command), data


def respond(peer: RawPeer, status: int, field: int = STORE_RQ, message_id: int = 1) -> None:
    """Send a response."""
    peer.send(data_pdu((1, 3, encode_command({0x0100: field | 0x8000, 0x0120: message_id, 0x0900: status}))))


def finish(peer: RawPeer) -> list[int]:
    """The types of the PDUs that come until the requestor closes; a request for release is answered."""
    kinds = []
    with contextlib.suppress(OSError):
        while (answer := peer.read_pdu()) is not None:
            kinds.append(answer[0])
            if answer[0] == RELEASE_RQ:
                peer.send(struct.pack(">BxII", RELEASE_RP, 4, 0))
    return kinds


# ---------------------------------------------------------------------- against our own SCP


def test_store_echo_release(service: Service, tmp_path: Path) -> None:
    """What is sent arrives, to the byte, under the titles and UIDs that were announced."""
    sizes = [0, 1, 2, 131_066, 131_067, (1 << 20) - 6, 1 << 20, 3_000_001]
    with Requestor(peer_at(service.port), [CT_EXPLICIT, VERIFICATION_CONTEXT, Context("1.2.3", EXPLICIT)]) as requestor:
        assert requestor.accepts(CT_EXPLICIT)
        assert not requestor.accepts(Context("1.2.3", EXPLICIT))
        assert not requestor.accepts(Context(MR, EXPLICIT))
        for size in sizes:
            assert requestor.echo() == 0
            path = written(tmp_path / "file.dcm", bytes(i % 253 for i in range(size)))
            assert requestor.store(path, META, len(HEAD)) == 0
    contents = [reception.content for reception in service.storage.receptions]
    assert [len(content) for content in contents] == sizes
    assert all(content == bytes(i % 253 for i in range(len(content))) for content in contents)
    request = service.storage.receptions[0].request
    assert request == ("SENDER", "SCP_ANON", CT, "1.2.3.4", EXPLICIT)
    eventually(service.is_idle)


def test_refused_and_then_not(service: Service, tmp_path: Path) -> None:
    """A failure is a status, and the association goes on."""
    path = written(tmp_path / "file.dcm", bytes(100))
    with Requestor(peer_at(service.port), [CT_EXPLICIT]) as requestor:
        service.storage.faults["commit"] = Refused(0xA700, "full")
        assert requestor.store(path, META, len(HEAD)) == 0xA700
        service.storage.faults.clear()
        assert requestor.store(path, META, len(HEAD)) == 0


def test_rejected(service: Service) -> None:
    """The reason is told."""
    with pytest.raises(Rejected) as rejected:
        Requestor(peer_at(service.port, called="NOBODY"), [CT_EXPLICIT])
    assert (rejected.value.result, rejected.value.source, rejected.value.diagnostic) == (1, 1, 7)


def test_all_contexts_of_one_association(service: Service, tmp_path: Path) -> None:
    """128 proposals, each its own context."""
    from scp_anon.dicom.uids import storage_sop_classes

    contexts = [Context(uid, EXPLICIT) for uid in storage_sop_classes()][:128]
    path = written(tmp_path / "file.dcm", b"a data set")
    with Requestor(peer_at(service.port), contexts) as requestor:
        for context in contexts:
            assert requestor.store(path, FileMeta(context.abstract_syntax, "1.2.3", EXPLICIT), len(HEAD)) == 0
    assert [reception.request.sop_class_uid for reception in service.storage.receptions] == [cx[0] for cx in contexts]


def test_an_error_aborts(service: Service) -> None:
    """A `with` block that ends by an exception ends the association by A-ABORT, not in good order."""
    with pytest.raises(KeyError), Requestor(peer_at(service.port), [CT_EXPLICIT]):
        raise KeyError
    eventually(service.is_idle)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a" * 64, "bad..name"])
def test_nobody_there(host: str) -> None:
    """Not a host name, no such host, nobody listens: all the same, the connection cannot be made."""
    with pytest.raises(Closed, match="cannot connect"):
        Requestor(Peer(host, free_port(), "CALLED", "CALLING", 5), [CT_EXPLICIT])


# ---------------------------------------------------------------------- framing


@pytest.mark.parametrize("limit", [0, 128, 512, 4096, 16383, 16384, 65535, 131072, 1 << 20, 0xFFFFFFFF])
def test_fragments_fit_the_peer(limit: int, tmp_path: Path) -> None:
    """No PDU is longer than the peer takes; fragments are even, but for what is left of an odd data set."""
    fragment = ((limit or 1 << 20) - 6) & ~1
    near = [size for n in (1, 2) for size in (n * fragment - 1, n * fragment, n * fragment + 1) if size < 2_100_000]
    sizes = [0, 1, 2, *near, 1_100_001]
    paths = [written(tmp_path / f"{i}.dcm", os.urandom(size)) for i, size in enumerate(sizes)]

    def script(peer: RawPeer) -> None:
        accept(peer, limit)
        for i, path in enumerate(paths):
            command, data = message(peer, limit or 1 << 20)
            assert b"".join(value.value for value in data) == path.read_bytes()[len(HEAD) :]
            assert all(len(value.value) % 2 == 0 for value in data[:-1])
            assert all(value.value for value in data[:-1])
            assert number(command[0x0110]) == i + 1
            respond(peer, 0, message_id=i + 1)
        assert finish(peer) == [RELEASE_RQ]

    with accepting(script) as port, Requestor(peer_at(port), [CT_EXPLICIT]) as requestor:
        for path in paths:
            assert requestor.store(path, META, len(HEAD)) == 0


def test_command_is_as_the_standard_has_it(tmp_path: Path) -> None:
    """C-STORE-RQ: PS3.7 table 9.3-1; the UIDs of the file."""

    def script(peer: RawPeer) -> None:
        accept(peer)
        command, _ = message(peer, 16384)
        assert command.keys() == {0x0000, 0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000}
        assert command[0x0002].rstrip(b"\0") == CT.encode()
        assert command[0x1000].rstrip(b"\0") == b"1.2.3.4"
        assert number(command[0x0100]) == STORE_RQ
        assert number(command[0x0700]) == 0
        assert number(command[0x0800]) != 0x0101
        respond(peer, 0xB000)
        finish(peer)

    path = written(tmp_path / "file.dcm", b"a data set")
    with accepting(script) as port, Requestor(peer_at(port), [CT_EXPLICIT]) as requestor:
        assert requestor.store(path, META, len(HEAD)) == 0xB000


def test_message_ids_go_round(tmp_path: Path) -> None:
    """After 65535 they begin again; a response is matched all the same."""
    path = written(tmp_path / "file.dcm", b"a data set")
    last = [65534, 65535, 0, 1]

    def script(peer: RawPeer) -> None:
        accept(peer)
        for expected in last:
            command, _ = message(peer, 16384)
            assert number(command[0x0110]) == expected
            respond(peer, 0, message_id=expected)
        finish(peer)

    with accepting(script) as port, Requestor(peer_at(port), [CT_EXPLICIT]) as requestor:
        for _ in range(65533):
            requestor._next_message_id()
        for _ in last:
            assert requestor.store(path, META, len(HEAD)) == 0


@pytest.mark.parametrize("left", [0, 100, 2_000_000])
def test_file_shrinks_while_it_is_sent(
    left: int, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, and no instance at the peer: half a data set never gets its last fragment."""
    path = written(tmp_path / "file.dcm", bytes(3_000_000))
    read = os.preadv

    def shrinking(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        filled = read(descriptor, buffers, offset)
        os.truncate(path, len(HEAD) + left)
        return filled

    monkeypatch.setattr(os, "preadv", shrinking)
    with pytest.raises(OSError), Requestor(peer_at(service.port), [CT_EXPLICIT]) as requestor:
        requestor.store(path, META, len(HEAD))
    eventually(service.is_idle)
    assert service.storage.ends == ["discarded"]


def test_destination_after_a_file_that_shrank(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The association that was left in the midst of a message is not used for the next instance."""
    broken, good = written(tmp_path / "1.dcm", bytes(3_000_000)), written(tmp_path / "2.dcm", b"good data")
    read = os.preadv

    def shrinking(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        filled = read(descriptor, buffers, offset)
        os.truncate(broken, len(HEAD))
        return filled

    destination = DicomDestination(peer_at(service.port))
    monkeypatch.setattr(os, "preadv", shrinking)
    with pytest.raises(OSError):
        destination.deliver(str(broken), list)
    monkeypatch.undo()
    eventually(service.is_idle)
    destination.deliver(str(good), list)
    destination.close()
    assert [reception.content for reception in service.storage.receptions if reception.end == "committed"] == [
        b"good data"
    ]


# ---------------------------------------------------------------------- peers that do not keep to the standard


def rejecting(peer: RawPeer) -> None:
    """A-ASSOCIATE-RJ, transient, local limit exceeded."""
    peer.read_pdu()
    peer.send(struct.pack(">BxIBBBB", RJ, 4, 0, 2, 3, 2))
    finish(peer)


def aborting(peer: RawPeer) -> None:
    """A-ABORT instead of an answer."""
    peer.read_pdu()
    peer.send(struct.pack(">BxIBBBB", ABORT, 4, 0, 0, 2, 0))
    finish(peer)


def closing(peer: RawPeer) -> None:
    """No answer at all."""
    peer.read_pdu()


def nonsense(peer: RawPeer) -> None:
    """Another protocol."""
    peer.read_pdu()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert ABORT in finish(peer)


def broken_answer(peer: RawPeer) -> None:
    """An A-ASSOCIATE-AC that cannot be read."""
    peer.read_pdu()
    peer.send(struct.pack(">BxI", 2, 100), bytes(100))
    assert ABORT in finish(peer)


def endless_answer(peer: RawPeer) -> None:
    """An A-ASSOCIATE-AC that claims to be far too long."""
    peer.read_pdu()
    peer.send(struct.pack(">BxI", 2, 0xFFFFFFFF))
    assert ABORT in finish(peer)


def foreign_context(peer: RawPeer) -> None:
    """An answer for a context that was not proposed."""
    peer.read_pdu()
    peer.send(associate_accept({7: (0, EXPLICIT)}))
    assert ABORT in finish(peer)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (rejecting, Rejected),
        (aborting, Aborted),
        (closing, Closed),
        (nonsense, Aborted),
        (broken_answer, Aborted),
        (endless_answer, Aborted),
        (foreign_context, Aborted),
    ],
)
def test_no_association(script: Callable[[RawPeer], None], error: type[AssociationError]) -> None:
    """Each failure has its type; where the peer is at fault it is told by A-ABORT."""
    with accepting(script) as port, pytest.raises(error):
        Requestor(peer_at(port), [CT_EXPLICIT])


def test_transfer_syntax_that_was_not_proposed() -> None:
    """Such a context is none that anything of ours could be sent on."""

    def script(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.send(associate_accept({1: (0, IMPLICIT)}))
        finish(peer)

    with accepting(script) as port, Requestor(peer_at(port), [CT_EXPLICIT]) as requestor:
        assert not requestor.accepts(CT_EXPLICIT)


def answers() -> dict[str, bytes]:
    """What a peer may say instead of the response to our message 1."""

    def response(**changes: Any) -> bytes:
        elements = {0x0100: STORE_RQ | 0x8000, 0x0120: 1, 0x0900: 0}
        elements.update({int(name[1:], 16): value for name, value in changes.items()})
        return data_pdu((1, 3, encode_command({k: v for k, v in elements.items() if v is not None})))

    return {
        "another message": response(e0120=2),
        "no message": response(e0120=None),
        "another service": response(e0100=ECHO_RQ | 0x8000),
        "a request": response(e0100=STORE_RQ),
        "no status": response(e0900=None),
        "status of a wrong length": response(e0900=b"\0\0\0\0"),
        "no command set": data_pdu((1, 3, b"nonsense")),
        "a data set": data_pdu((1, 2, b"a data set")),
        "another context": data_pdu((9, 3, encode_command({0x0100: 0x8001, 0x0120: 1, 0x0900: 0}))),
        "request for release": struct.pack(">BxII", RELEASE_RQ, 4, 0),
        "abort": struct.pack(">BxIBBBB", ABORT, 4, 0, 0, 0, 0),
        "the end": b"",
    }


@pytest.mark.parametrize("name", answers())
def test_no_response(name: str, tmp_path: Path) -> None:
    """No success without the response to this very request: the association is at its end."""
    path = written(tmp_path / "file.dcm", b"a data set")

    def script(peer: RawPeer) -> None:
        accept(peer)
        message(peer, 16384)
        peer.send(answers()[name])
        if name != "the end":
            finish(peer)

    with (
        accepting(script) as port,
        pytest.raises(AssociationError),
        Requestor(peer_at(port), [CT_EXPLICIT]) as requestor,
    ):
        requestor.store(path, META, len(HEAD))


def test_response_in_many_fragments(tmp_path: Path) -> None:
    """As it may come, PS3.8 Annex E."""
    path = written(tmp_path / "file.dcm", b"a data set")
    command = encode_command({0x0100: STORE_RQ | 0x8000, 0x0120: 1, 0x0900: 0xA700})

    def script(peer: RawPeer) -> None:
        accept(peer)
        message(peer, 16384)
        peer.send(*(data_pdu((1, 1, command[i : i + 1])) for i in range(len(command))), data_pdu((1, 3, b"")))
        finish(peer)

    with accepting(script) as port, Requestor(peer_at(port), [CT_EXPLICIT]) as requestor:
        assert requestor.store(path, META, len(HEAD)) == 0xA700


def test_silence(tmp_path: Path) -> None:
    """A peer that does not answer within the timeout is given up."""
    path = written(tmp_path / "file.dcm", b"a data set")

    def script(peer: RawPeer) -> None:
        accept(peer)
        message(peer, 16384)
        assert ABORT in finish(peer)

    with (
        accepting(script) as port,
        pytest.raises(Closed, match="silent"),
        Requestor(peer_at(port, timeout=0.3), [CT_EXPLICIT]) as requestor,
    ):
        requestor.store(path, META, len(HEAD))


def test_peer_that_never_reads(tmp_path: Path) -> None:
    """A peer that takes nothing more blocks us no longer than the timeout."""
    path = written(tmp_path / "file.dcm", bytes(30 << 20))
    stop = threading.Event()

    def script(peer: RawPeer) -> None:
        accept(peer)
        assert stop.wait(20)

    with accepting(script) as port:
        try:
            with (
                pytest.raises(Closed, match="sending failed"),
                Requestor(peer_at(port, timeout=0.3), [CT_EXPLICIT]) as requestor,
            ):
                requestor.store(path, META, len(HEAD))
        finally:
            stop.set()


# ---------------------------------------------------------------------- the destination that uses it


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_statuses_that_say_stored(status: int, service: Service, tmp_path: Path) -> None:
    """PS3.4 B.2.3: warnings are of an instance that is stored."""
    service.storage.faults = {"commit": Refused(status)} if status else {}
    destination = DicomDestination(peer_at(service.port))
    destination.deliver(str(written(tmp_path / "file.dcm", b"a data set")), list)
    destination.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, Transient),
        (0xA702, Transient),
        (0xA900, Permanent),
        (0xC000, Permanent),
        (0x0122, Permanent),
        (0x0124, Permanent),
        (0x0110, Permanent),
        (0xB001, Permanent),
    ],
)
def test_statuses_that_say_no(status: int, error: type[Exception], service: Service, tmp_path: Path) -> None:
    """Out of resources is for now; all other failures are for good; the association is kept for the next."""
    destination = DicomDestination(peer_at(service.port))
    service.storage.faults = {"commit": Refused(status)}
    with pytest.raises(error) as raised:
        destination.deliver(str(written(tmp_path / "file.dcm", b"a data set")), list)
    if isinstance(raised.value, Permanent):
        assert raised.value.reason == Reason.REFUSED_BY_DESTINATION
        assert f"{status:04X}" in raised.value.detail
    service.storage.faults = {}
    destination.deliver(str(written(tmp_path / "file.dcm", b"a data set")), list)
    assert len(service.server._services) == 1
    destination.close()


def test_contexts_of_what_comes_next(service: Service, tmp_path: Path) -> None:
    """One association is negotiated for all that is queued; another class that turns up makes a new one."""
    destination = DicomDestination(peer_at(service.port))
    paths = []
    for i, sop_class in enumerate((CT, MR)):
        paths.append(tmp_path / f"{i}.dcm")
        paths[-1].write_bytes(encode_file_meta(FileMeta(sop_class, f"1.2.{i}", EXPLICIT)) + b"a data set")
    (tmp_path / "broken").write_bytes(b"not a file of ours")
    destination.deliver(str(paths[0]), lambda: map(str, [*paths, tmp_path / "broken", tmp_path / "gone"]))
    (first,) = service.server._services
    destination.deliver(str(paths[1]), list)
    assert service.server._services == {first}
    paths[1].write_bytes(encode_file_meta(FileMeta("1.2.840.10008.5.1.4.1.1.7", "1.2.9", EXPLICIT)) + b"a data set")
    destination.deliver(str(paths[1]), list)
    destination.idle()
    eventually(service.is_idle)
    destination.deliver(str(paths[0]), list)
    destination.close()
    assert service.storage.ends == ["committed"] * 4


def test_destination_that_does_not_accept_it(service: Service, tmp_path: Path) -> None:
    """For good, with the transfer syntax as the detail."""
    path = tmp_path / "file.dcm"
    path.write_bytes(encode_file_meta(FileMeta("1.2.3", "1.2.4", EXPLICIT)) + b"a data set")
    destination = DicomDestination(peer_at(service.port))
    with pytest.raises(Permanent) as permanent:
        destination.deliver(str(path), list)
    assert (permanent.value.reason, permanent.value.detail) == (Reason.NO_ACCEPTED_CONTEXT, EXPLICIT)
    destination.close()


def test_constants() -> None:
    """What is put into one PDU for a peer without a limit is bounded by us."""
    assert 1 << 16 <= scu._UNLIMITED <= 1 << 20
