"""What peers do that mean harm, or are broken: each attack is a function that goes on for a while against one address.

They come from an address of their own, with as many connections as one address may have. An attack fails the test
where the node should have let go of it by itself, and has not.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from tests.rawpeer import (
    ABORT,
    AC,
    COMMAND,
    CT,
    DATA,
    ECHO_RQ,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    VERIFICATION,
    RawPeer,
    associate_request,
    data_pdu,
    encode_command,
    store_request,
)

ADDRESS: Final = "127.0.0.66"
PER_ADDRESS: Final = 24
HANDSHAKE: Final = 2.0  # seconds, as the node is configured
IDLE: Final = 2.0
OBJECT_SIZE: Final = 10_000_000
_TOLERANCE: Final = 5.0  # on a machine that is busy
_HUGE: Final = 0xFFFFFFFF
_REQUEST: Final = associate_request([(1, CT, [EXPLICIT]), (3, VERIFICATION, [IMPLICIT])])
_STORE: Final = data_pdu((1, COMMAND | LAST, store_request()))
# With an attribute that the response repeats.
_ECHO: Final = data_pdu(
    (3, COMMAND | LAST, encode_command({0x0002: VERIFICATION, 0x0100: ECHO_RQ, 0x1000: b"1" * 15_000}))
)
_ABORT: Final = struct.pack(">BxIBBBB", ABORT, 4, 0, 0, 0, 0)


class Target(NamedTuple):
    """An address of the node, and how long to go on. `tls`: what it takes to speak TLS there, None for plain."""

    port: int
    tls: ssl.SSLContext | None
    seconds: float
    is_long: bool

    def tcp(self, address: str = ADDRESS) -> RawPeer:
        """A connection without TLS, whatever the address expects."""
        return RawPeer(socket.create_connection(("127.0.0.1", self.port), 10, (address, 0)))

    def connect(self, address: str = ADDRESS) -> RawPeer:
        """A connection, with TLS where it is due."""
        peer = self.tcp(address)
        if self.tls is not None:
            peer.socket = self.tls.wrap_socket(peer.socket, server_hostname="node")
        return peer

    def associated(self, address: str = ADDRESS) -> RawPeer:
        """An association for CT images and C-ECHO."""
        peer = self.connect(address)
        peer.send(_REQUEST)
        answer = peer.read_pdu()
        assert answer is not None
        assert answer[0] == AC, answer
        return peer

    def again(self) -> Iterator[int]:
        """Numbers, until the time is over."""
        end = time.monotonic() + self.seconds
        yield from itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())


class Attack(NamedTuple):
    """An attack by name. `over`: plain, tls or both; `seconds`: how long the repeated ones go on."""

    run: Callable[[Target], None]
    over: tuple[str, ...] = ("plain",)
    seconds: float = 0.5
    long_seconds: float = 5
    long_over: tuple[str, ...] = ()
    """Where else, in a long run."""

    @property
    def name(self) -> str:
        """That of the function."""
        return self.run.__name__


# ---------------------------------------------------------------------- connections


def health_checks(target: Target) -> None:
    """A load balancer that connects and closes, fifteen times a second."""
    for _ in target.again():
        target.tcp().socket.close()
        time.sleep(1 / 15)


def http(target: Target) -> None:
    """A browser that has the wrong port."""
    _refused_at_once(target, b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")


def garbage(target: Target) -> None:
    """Bytes without a meaning, of any length."""
    chance = random.Random(1)  # noqa: S311 - no secret
    for _ in target.again():
        with target.tcp() as peer, contextlib.suppress(OSError):
            # A PDU or TLS record that is due, but for all that follows, is waited for: that is another attack.
            peer.send(b"\xff" + chance.randbytes(chance.choice((1, 7, 100, 70_000))))
            peer.socket.shutdown(socket.SHUT_WR)
            _let_go(peer, 0)


def tls_where_there_is_none(target: Target) -> None:
    """A TLS client on a port without."""
    context = ssl.create_default_context()
    for _ in target.again():
        with target.tcp() as peer:
            try:
                context.wrap_socket(peer.socket, server_hostname="node").close()
            except OSError:
                continue
            raise AssertionError("there is TLS")


def dicom_where_there_is_tls(target: Target) -> None:
    """A sender without TLS on a port with it."""
    _refused_at_once(target, _REQUEST)


def silent_connects(target: Target) -> None:
    """Connected, and no word, until the node has had enough."""
    _hold([target.tcp() for _ in range(PER_ADDRESS)], HANDSHAKE)


def silent_after_tls(target: Target) -> None:
    """The same behind a handshake that was all right."""
    _hold([target.connect() for _ in range(PER_ADDRESS)], HANDSHAKE)


def silent_associations(target: Target) -> None:
    """Associated, and no message."""
    _hold([target.associated() for _ in range(PER_ADDRESS)], IDLE)


def connection_flood(target: Target) -> None:
    """Five hundred at once, most of which are more than one address may have."""
    with contextlib.ExitStack() as peers:
        for _ in range(500):
            sock = peers.enter_context(socket.socket())
            sock.bind((ADDRESS, 0))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", target.port))
        # What does not fit the queue of those that wait is for the kernels to settle: not all are told of their end.
        time.sleep(HANDSHAKE)


def slow_tls_handshake(target: Target) -> None:
    """The first bytes of a ClientHello one by one: the whole handshake has one deadline."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="node").do_handshake()
    _trickle([target.tcp() for _ in range(PER_ADDRESS)], outgoing.read(), HANDSHAKE)


def tls_handshake_storm(target: Target) -> None:
    """Handshakes cost the acceptor more than anything else that a stranger can ask for."""
    for _ in target.again():
        target.connect().socket.close()


# ---------------------------------------------------------------------- negotiation


def half_requests(target: Target) -> None:
    """Half an A-ASSOCIATE-RQ, and no more."""
    peers = [target.connect() for _ in range(PER_ADDRESS)]
    for i, peer in enumerate(peers):
        peer.send(_REQUEST[: i * 9 + 1])
    _hold(peers, HANDSHAKE)


def trickled_requests(target: Target) -> None:
    """An A-ASSOCIATE-RQ at a byte a second: no silence is long, but all of it is."""
    _trickle([target.connect() for _ in range(PER_ADDRESS)], _REQUEST, HANDSHAKE)


def request_of_four_gigabytes(target: Target) -> None:
    """By its length, and some of it does come."""
    _aborted(target.connect, struct.pack(">BxI", RQ, _HUGE), bytes(60_000))


def request_of_a_mebibyte(target: Target) -> None:
    """As large as is taken, and made of the smallest items that there are: all have to be looked at."""
    for item in (struct.pack(">BxH", 0x40, 0), struct.pack(">BxH", 0x40, 17) + EXPLICIT.encode()[:17]):
        room = ((1 << 20) - 1000) // 16 // len(item)
        syntaxes = item * min(room, 65_000 // len(item))
        items = b""
        for context_id in range(1, 33, 2):
            content = struct.pack("BBBB", context_id, 0, 0, 0) + struct.pack(">BxH", 0x30, 25) + CT.encode() + syntaxes
            items += struct.pack(">BxH", 0x20, len(content)) + content
        head = _REQUEST[6:74] + items
        with target.connect() as peer:
            peer.send(struct.pack(">BxI", RQ, len(head)), head)
            _let_go(peer, HANDSHAKE + IDLE)


def context_flood(target: Target) -> None:
    """All that can be proposed: 128 presentation contexts with all transfer syntaxes each."""
    every = list(transfer_syntaxes())
    classes = list(itertools.islice(itertools.cycle(storage_sop_classes()), 128))
    request = associate_request([(2 * i + 1, uid, every) for i, uid in enumerate(classes)])
    for _ in target.again():
        with target.connect() as peer:
            peer.send(request)
            answer = peer.read_pdu()
            assert answer is not None
            assert answer[0] == AC


def duplicate_context_ids(target: Target) -> None:
    """The same ID for many, and IDs that are even: accepted or refused, but not for ever in between."""
    peers = [target.connect() for _ in range(3)]
    for peer, ids in zip(peers, ([1] * 128, [2, 4, 6], [255, 255, 1]), strict=True):
        peer.send(associate_request([(number, CT, [EXPLICIT]) for number in ids]))
    _hold(peers, HANDSHAKE + IDLE)


# ---------------------------------------------------------------------- messages


def half_messages(target: Target) -> None:
    """A command set, and half of its data set."""
    peers = [target.associated() for _ in range(PER_ADDRESS)]
    for peer in peers:
        peer.send(_STORE, struct.pack(">BxIIBB", DATA, 100_006, 100_002, 1, 0), bytes(50_000))
    _hold(peers, IDLE)


def trickled_messages(target: Target) -> None:
    """A data set at a byte a second is below the minimum rate, which counts from the thirtieth second on."""
    peers = [target.associated() for _ in range(PER_ADDRESS)]
    for peer in peers:
        peer.send(_STORE)
    data_set = struct.pack(">BxIIBB", DATA, 100_006, 100_002, 1, 0) + bytes(100_000)
    if target.is_long:
        _trickle(peers, data_set, 32)
        return
    for i in range(3):
        for peer in peers:
            peer.send(data_set[i : i + 1])
        time.sleep(1)
    for peer in peers:
        peer.socket.close()


def pdu_of_four_gigabytes(target: Target) -> None:
    """A P-DATA-TF longer than was offered."""
    _aborted(target.associated, struct.pack(">BxI", DATA, _HUGE), bytes(60_000))


def fragment_of_four_gigabytes(target: Target) -> None:
    """A presentation data value longer than its PDU."""
    _aborted(target.associated, struct.pack(">BxIIBB", DATA, 1000, _HUGE, 1, 0), bytes(994))


def wrong_context(target: Target) -> None:
    """A message in a presentation context that was never proposed."""
    _aborted(target.associated, data_pdu((99, COMMAND | LAST, store_request())))


def command_without_its_data_set(target: Target) -> None:
    """Where a data set was announced, the next command comes."""
    _aborted(target.associated, _STORE, _STORE)


def data_set_without_command(target: Target) -> None:
    """A data set, and no word before it."""
    _aborted(target.associated, data_pdu((1, LAST, bytes(1000))))


def endless_command_set(target: Target) -> None:
    """Fragment after fragment."""
    _aborted(target.associated, data_pdu((1, COMMAND, bytes(2000))) * 20)


def endless_nothing(target: Target) -> None:
    """Fragments without a byte in them: a command set of them ends; a data set does, when all of it is too much."""
    fragment = data_pdu((1, COMMAND, b""))
    with target.associated() as peer:
        _aborted_while_sending(peer, fragment * 1000)
    fragment = data_pdu((1, 0, b""))
    with target.associated() as peer:
        peer.send(_STORE)
        for _ in target.again():
            peer.send(fragment * 1000)


def endless_data_set(target: Target) -> None:
    """It is larger than any instance may be, and goes on."""
    piece = data_pdu((1, 0, bytes(100_000)))
    with target.associated() as peer:
        peer.send(_STORE)
        _aborted_while_sending(peer, piece)


def replies_never_read(target: Target) -> None:
    """Request after request, until the node cannot say its answers any more: then it has had enough."""
    with target.associated() as peer:
        peer.socket.settimeout(4 * IDLE + _TOLERANCE)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)  # so that it comes to that soon
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            while True:
                peer.send(_ECHO * 10)


def reset_in_mid_message(target: Target) -> None:
    """The connection is not closed, but broken."""
    for i in target.again():
        peer = target.associated()
        peer.send(_STORE, data_pdu((1, 0, bytes(10_000)))[: 1000 * (i % 10) + 3])
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()


# ---------------------------------------------------------------------- ends


def release_storm(target: Target) -> None:
    """Associations for nothing; some ask for release twice, or answer what nobody has asked."""
    release, reply = (struct.pack(">BxII", kind, 4, 0) for kind in (RELEASE_RQ, RELEASE_RP))
    for i in target.again():
        with target.associated() as peer:
            peer.send((release, release * 3, reply, _STORE + release)[i % 4])
            _let_go(peer, 0)


def abort_storm(target: Target) -> None:
    """Aborts before, in and after everything."""
    for i in target.again():
        with target.associated() if i % 2 else target.connect() as peer, contextlib.suppress(OSError):
            peer.send((_ABORT, _ABORT * 3, _STORE * (i % 2) + _ABORT)[i % 3])
            _let_go(peer, 0)


# ---------------------------------------------------------------------- how they wait


def _refused_at_once(target: Target, said: bytes) -> None:
    for _ in target.again():
        with target.tcp() as peer:
            peer.send(said)
            _let_go(peer, 0)


def _aborted(connect: Callable[[], RawPeer], *said: bytes) -> None:
    """All connections that may be say this, and are aborted for it."""
    for _ in range(PER_ADDRESS):
        with connect() as peer:
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # it need not read what it has refused
                peer.send(*said)
            _let_go(peer, 0)


def _aborted_while_sending(peer: RawPeer, piece: bytes) -> None:
    """Send the same on and on until the node has had enough, which it must before long."""
    deadline = time.monotonic() + IDLE + _TOLERANCE
    try:
        while time.monotonic() < deadline:
            peer.send(piece)
    except (ConnectionError, ssl.SSLEOFError):
        return
    raise AssertionError("the node would take more")


def _hold(peers: list[RawPeer], seconds: float) -> None:
    """Wait until the node has let go of all of them."""
    deadline = time.monotonic() + seconds
    for peer in peers:
        with peer:
            _let_go(peer, max(deadline - time.monotonic(), 0))


def _let_go(peer: RawPeer, seconds: float) -> None:
    """Read until the node closes the connection, which it must within so many seconds, or as many as it takes to."""
    peer.socket.settimeout(seconds + _TOLERANCE)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while peer.socket.recv(1 << 16):
            pass


def _trickle(peers: list[RawPeer], said: bytes, seconds: float) -> None:
    """Say it at a byte a second until the node has let go of all, which it must in time."""
    left = list(peers)
    begun = time.monotonic()
    for i in range(len(said)):
        assert time.monotonic() - begun < seconds + _TOLERANCE, f"{len(left)} are still connected"
        left = [peer for peer in left if _still_says(peer, said[i : i + 1])]
        if not left:
            return
        time.sleep(1)


def _still_says(peer: RawPeer, byte: bytes) -> bool:
    try:
        peer.send(byte)
    except OSError:
        peer.socket.close()
        return False
    return True


BOTH: Final = ("plain", "tls")
ATTACKS: Final = (
    Attack(health_checks, ("plain",), 10, 60),
    Attack(health_checks, ("tls",), 3, 60),
    Attack(http, BOTH),
    Attack(garbage, BOTH),
    Attack(tls_where_there_is_none),
    Attack(dicom_where_there_is_tls, ("tls",)),
    Attack(silent_connects, long_over=("tls",)),
    Attack(silent_after_tls, ("tls",)),
    Attack(silent_associations),
    Attack(connection_flood, long_over=("tls",)),
    Attack(slow_tls_handshake, ("tls",)),
    Attack(tls_handshake_storm, ("tls",)),
    Attack(half_requests),
    Attack(trickled_requests, long_over=("tls",)),
    Attack(request_of_four_gigabytes),
    Attack(request_of_a_mebibyte),
    Attack(context_flood),
    Attack(duplicate_context_ids),
    Attack(half_messages, long_over=("tls",)),
    Attack(trickled_messages),
    Attack(pdu_of_four_gigabytes),
    Attack(fragment_of_four_gigabytes),
    Attack(wrong_context),
    Attack(command_without_its_data_set),
    Attack(data_set_without_command),
    Attack(endless_command_set),
    Attack(endless_nothing),
    Attack(endless_data_set, BOTH),
    Attack(replies_never_read, BOTH),
    Attack(reset_in_mid_message, BOTH),
    Attack(release_storm),
    Attack(abort_storm, BOTH),
)
