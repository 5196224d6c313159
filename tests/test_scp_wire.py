"""The SCP over real sockets, with PDUs made by hand: what it accepts, how it refuses, and that it stays up."""

from __future__ import annotations

import contextlib
import itertools
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from scp_anon.errors import Refused
from scp_anon.network import negotiation
from scp_anon.network import service as service_module
from scp_anon.network.admission import Admission
from scp_anon.network.association import Association
from scp_anon.network.scp import Server
from scp_anon.network.service import Limits
from scp_anon.network.storage import StoreRequest
from tests import samples
from tests.harness import eventually
from tests.peers import require_peer
from tests.rawpeer import (
    ABORT,
    COMMAND,
    CT,
    EXPLICIT,
    FIND_RQ,
    IMPLICIT,
    LAST,
    MR,
    RELEASE_RQ,
    RJ,
    VERIFICATION,
    RawPeer,
    accepted,
    associate_request,
    data_pdu,
    data_set_pdus,
    decode_command,
    encode_command,
    fragments,
    number,
    store_request,
    trickle,
)

JPIP = "1.2.840.10008.1.2.4.94"
UNUSABLE = ("JPIP", "SMPTE", "RFC 2557", "XML", "Papyrus", "Real-Time")
SHORT = 0.3


class Reception:
    """One instance that the fake storage is given."""

    def __init__(self, storage: Storage, request: StoreRequest) -> None:
        self.request = request
        self.spilled: list[int] = []
        self.content = b""
        self.end = ""
        self.proceeded: bytes | None = None
        self._storage = storage

    def spill(self, part: memoryview) -> None:
        """A first part of a large one."""
        assert not self.end
        self._storage.judge("spill")
        self.spilled.append(len(part))
        self.content += part

    def commit(self, rest: memoryview) -> None:
        """The rest of it."""
        assert not self.end
        self._storage.judge("commit")
        self.content += rest
        self.end = "committed"

    def discard(self) -> None:
        """It will not come."""
        assert not self.end
        self.end = "discarded"

    def proceed(self, rest: memoryview) -> None:
        """Success was said."""
        assert self.end == "committed"
        assert self._storage.may_proceed.wait(10)
        self.proceeded = bytes(rest)


class Storage:
    """A storage in memory, that refuses where the test wants it to."""

    def __init__(self) -> None:
        self.receptions: list[Reception] = []
        self.faults: dict[str, Exception] = {}
        self.may_proceed = threading.Event()
        self.may_proceed.set()

    def receive(self, request: StoreRequest) -> Reception:
        """Begin."""
        self.judge("begin")
        reception = Reception(self, request)
        self.receptions.append(reception)
        return reception

    def judge(self, step: str) -> None:
        """Raise what the test wants to be raised at this step."""
        if step in self.faults:
            raise self.faults[step]

    @property
    def ends(self) -> list[str]:
        """What became of each."""
        return [reception.end for reception in self.receptions]


class Service:
    """A running server, its port and its storage."""

    def __init__(self, limits: Limits) -> None:
        self.storage = Storage()
        self.server = Server(self.storage, Admission({"SCP_ANON": None}), limits)
        self.port = self.server.listen("127.0.0.1", 0)

    def peer(self) -> RawPeer:
        """A new connection."""
        return RawPeer(self.port)

    def is_idle(self) -> bool:
        """Whether every connection has come to its end."""
        return not self.server._services

    def is_well(self) -> bool:
        """Whether it still does what it is for."""
        with self.peer() as peer:
            peer.associate()
            assert peer.store(b"well") == 0
            peer.release()
        return self.storage.receptions[-1].content == b"well"


@contextlib.contextmanager
def serving(**limits: Any) -> Iterator[Service]:
    """A server for the time of the block; it must drain well at the end."""
    service = Service(Limits(**limits))
    try:
        yield service
    finally:
        assert service.server.drain(10)


@pytest.fixture
def service() -> Iterator[Service]:
    """A server with the default limits."""
    with serving() as running:
        yield running


# ---------------------------------------------------------------------- negotiation


def batches(proposals: list[tuple[str, str]]) -> Iterator[list[tuple[int, str, list[str]]]]:
    """The proposals as contexts, as many as fit one request."""
    rest = iter(proposals)
    while batch := list(itertools.islice(rest, 128)):
        yield [(2 * i + 1, abstract, [transfer]) for i, (abstract, transfer) in enumerate(batch)]


def test_every_storage_class_in_every_transfer_syntax(service: Service) -> None:
    """Each pair is accepted, 128 at a time; the verification class too."""
    syntaxes = list(transfer_syntaxes())
    for contexts in batches(list(itertools.product(storage_sop_classes(), syntaxes))):
        with service.peer() as peer:
            answer = peer.associate(contexts)
            assert answer.contexts == {number: (0, names[0]) for number, _, names in contexts}
            assert answer.maximum_length == 131072


def test_what_others_know_is_accepted(service: Service) -> None:
    """The storage classes of pynetdicom and the usable transfer syntaxes of pydicom: no table of ours."""
    classes = [context.abstract_syntax for context in AllStoragePresentationContexts]
    syntaxes = [
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "Transfer Syntax" and not any(word in name for word in UNUSABLE)
    ]
    assert len(classes) > 100
    assert len(syntaxes) > 30
    pairs = [(str(sop_class), EXPLICIT) for sop_class in classes] + [(CT, syntax) for syntax in syntaxes]
    for contexts in batches(pairs):
        with service.peer() as peer:
            answer = peer.associate(contexts)
            assert {pairs[0]: result[0] for pairs, result in zip(contexts, answer.contexts.values(), strict=True)} == {
                context[0]: 0 for context in contexts
            }


def test_contexts_are_refused_one_by_one(service: Service) -> None:
    """An unknown class (3) or transfer syntax (4) says nothing of the other contexts."""
    with service.peer() as peer:
        answer = peer.associate(
            [
                (1, "1.2.3.4", [EXPLICIT]),
                (3, CT, [JPIP]),
                (255, CT, ["1.2.3.4", IMPLICIT]),
                (5, "1.2.840.10008.1.3.10", [EXPLICIT]),
                (7, "1.2.840.10008.1.20.1", [EXPLICIT]),
                (9, VERIFICATION, [IMPLICIT]),
            ]
        )
        results = {context_id: result for context_id, (result, _) in answer.contexts.items()}
        assert results == {1: 3, 3: 4, 5: 3, 7: 3, 9: 0, 255: 0}
        assert answer.contexts[255] == (0, IMPLICIT)
        assert peer.store(b"data", context_id=255) == 0
        assert peer.echo(9) == 0
        assert service.storage.receptions[0].request.transfer_syntax_uid == IMPLICIT


def test_preferred_transfer_syntax(service: Service) -> None:
    """What was compressed stays compressed; explicit VR goes before implicit, little endian before big."""
    big = "1.2.840.10008.1.2.2"
    jpeg = "1.2.840.10008.1.2.4.50"
    with service.peer() as peer:
        answer = peer.associate([(1, CT, [IMPLICIT, big, EXPLICIT]), (3, CT, [big, IMPLICIT]), (5, CT, [jpeg])])
        assert [syntax for _, syntax in answer.contexts.values()] == [EXPLICIT, IMPLICIT, jpeg]


def test_no_context_is_acceptable(service: Service) -> None:
    """The association stands, with nothing that can be sent on it."""
    with service.peer() as peer:
        assert peer.associate([(1, "1.2.3.4", [EXPLICIT])]).contexts[1][0] == 3
        peer.send(data_pdu((1, COMMAND | LAST, store_request())))
        assert peer.read_abort() == (2, 6)


@pytest.mark.parametrize("context_id", [0, 2, 254])
def test_even_context_id(context_id: int, service: Service) -> None:
    """Not an ID: PS3.8 9.3.2.2 has odd ones only."""
    with service.peer() as peer:
        peer.send(associate_request([(context_id, CT, [EXPLICIT])]))
        assert peer.read_abort() == (2, 6)
    assert service.is_well()


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"called": b"ANOTHER"}, (1, 1, 7)),
        ({"called": b"scp_anon"}, (1, 1, 7)),
        ({"application_context": "1.2.3"}, (1, 1, 2)),
        ({"version": 2}, (1, 2, 2)),
    ],
)
def test_rejections(options: dict[str, Any], answer: tuple[int, int, int], service: Service) -> None:
    """A-ASSOCIATE-RJ with its result, source and reason (PS3.8 9.3.4); then the connection ends."""
    with service.peer() as peer:
        peer.send(associate_request([(1, CT, [EXPLICIT])], **options))
        assert peer.read_pdu() == (RJ, bytes((0, *answer)))
        peer.end()
    assert service.is_well()


@pytest.mark.parametrize("called", [b"SCP_ANON", b"  SCP_ANON", b" SCP_ANON       "])
def test_blanks_around_ae_titles_mean_nothing(called: bytes, service: Service) -> None:
    """PS3.8 9.3.2: leading and trailing spaces are not significant."""
    with service.peer() as peer:
        peer.associate(called=called, calling=b"  MODALITY 1  ")
        assert peer.store(b"data") == 0
    request = service.storage.receptions[0].request
    assert (request.calling_ae_title, request.called_ae_title) == ("MODALITY 1", "SCP_ANON")


@pytest.mark.parametrize("title", [b"", b"\xc4RZTE", b"A\\B", b"A\x1b[31m", b"\0" * 16])
def test_ae_titles_that_are_none(title: bytes, service: Service) -> None:
    """No association: nothing that is not printable ASCII gets any further."""
    with service.peer() as peer:
        peer.send(associate_request([(1, CT, [EXPLICIT])], calling=title))
        assert peer.read_abort() == (2, 6)
    assert service.is_well()


def test_negotiation_items_that_we_do_not_use(service: Service) -> None:
    """Roles, identity, windows and extended negotiation are offered by stock requestors: none of them stops us."""
    role, window = SCP_SCU_RoleSelectionNegotiation(), AsynchronousOperationsWindowNegotiation()
    identity, extended = UserIdentityNegotiation(), SOPClassExtendedNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    identity.user_identity_type, identity.primary_field = 1, b"somebody"
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\3\0\1\0"
    requestor = AE("RAW")
    requestor.add_requested_context(CT, EXPLICIT)
    association = requestor.associate(
        "127.0.0.1", service.port, ae_title="SCP_ANON", ext_neg=[role, window, identity, extended]
    )
    assert association.is_established
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CT]
    association.release()


def test_duplicate_context_ids_do_no_harm(service: Service) -> None:
    """Two contexts of one ID: whatever is answered, what is stored is of the class that was announced for it."""
    with service.peer() as peer:
        peer.associate([(1, CT, [EXPLICIT]), (1, MR, [EXPLICIT])])
        statuses = {peer.store(b"data", sop_class=sop_class) for sop_class in (CT, MR)}
        assert statuses == {0, 0xA900}


def test_requests_that_cannot_be_read(service: Service) -> None:
    """Cut off, too long, or without any items: A-ABORT, and nothing is allocated for what a header claims."""
    whole = associate_request([(1, CT, [EXPLICIT])])
    for content in (whole[6:60], whole[6:90], b"", whole[6:78] + b"\x20\0\xff\xff\1"):
        with service.peer() as peer:
            peer.send(struct.pack(">BxI", 1, len(content)), content)
            assert peer.read_abort() == (2, 6)
    with service.peer() as peer:
        peer.send(struct.pack(">BxI", 1, 0xFFFFFFF0))
        assert peer.read_abort() == (2, 6)
    assert service.is_well()


@given(st.data())
def test_damaged_requests(service_for_all: Service, data: st.DataObject) -> None:
    """Bytes flipped anywhere in a request end in an answer or a closed connection, never in a thread that dies."""
    request = bytearray(associate_request([(1, CT, [EXPLICIT, IMPLICIT]), (3, VERIFICATION, [IMPLICIT])]))
    for place in data.draw(st.lists(st.integers(6, len(request) - 1), min_size=1, max_size=4)):
        request[place] = data.draw(st.integers(0, 255))
    with service_for_all.peer() as peer:
        peer.send(bytes(request))
        answer = peer.read_pdu()
        assert answer is not None
        assert answer[0] in (2, 3, 7)


@pytest.fixture(scope="module")
def service_for_all() -> Iterator[Service]:
    """A server that survives a whole module."""
    with serving() as running:
        yield running
        assert running.is_well()


# ---------------------------------------------------------------------- before an association


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", (2, 1)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (2, 1)),
        (b"\0" * 20, (2, 1)),
        (data_pdu((1, COMMAND | LAST, store_request())), (2, 2)),
        (struct.pack(">BxII", RELEASE_RQ, 4, 0), (2, 2)),
        (struct.pack(">BxII", 7, 4, 0), (2, 2)),
    ],
    ids=["http", "tls", "zeros", "data", "release", "abort"],
)
def test_something_else_than_a_request(said: bytes, answer: tuple[int, int], service: Service) -> None:
    """A-ABORT by the provider: unrecognized (1) or unexpected (2) PDU."""
    with service.peer() as peer:
        peer.send(said)
        assert peer.read_abort() == answer
    assert service.is_well()


def test_silence_and_trickling_end_with_the_handshake_time() -> None:
    """A connection without a request is closed, also one that sends a byte now and then."""
    with serving(handshake_timeout=SHORT) as service:
        with service.peer() as silent, service.peer() as slow:
            begin = time.monotonic()
            thread = threading.Thread(target=trickle, args=(slow, associate_request([(1, CT, [EXPLICIT])]), SHORT / 4))
            thread.start()
            assert silent.is_closed()
            assert slow.is_closed()
            assert time.monotonic() - begin < 10 * SHORT
            thread.join()
        assert service.is_well()


def test_connect_and_close(service: Service) -> None:
    """A load balancer's probes, more than there may be associations, cost nothing that lasts."""
    for _ in range(200):
        service.peer().socket.close()
    assert service.is_well()
    eventually(service.is_idle)


# ---------------------------------------------------------------------- messages


def test_echo_and_release(service: Service) -> None:
    """C-ECHO on any context; the response answers the request; A-RELEASE is answered."""
    with service.peer() as peer:
        peer.associate([(1, CT, [EXPLICIT]), (3, VERIFICATION, [IMPLICIT])])
        peer.send(data_pdu((3, COMMAND | LAST, encode_command({2: VERIFICATION, 0x0100: 0x0030, 0x0110: 777}))))
        answer = peer.read_command()
        assert number(answer[0x0100]) == 0x8030
        assert number(answer[0x0120]) == 777
        assert number(answer[0x0800]) == 0x0101
        assert number(answer[0x0900]) == 0
        assert answer[0x0002].rstrip(b"\0") == VERIFICATION.encode()
        peer.release()
    eventually(service.is_idle)


def test_store_response(service: Service) -> None:
    """It answers the request: message ID, SOP class and instance are those that were asked for."""
    with service.peer() as peer:
        peer.associate(calling=b"MODALITY")
        peer.send(
            data_pdu((1, COMMAND | LAST, store_request(instance="1.2.34.5", message_id=65535))), *data_set_pdus(b"x")
        )
        answer = peer.read_command()
        assert {element: value.rstrip(b"\0") for element, value in answer.items() if element in (2, 0x1000)} == {
            2: CT.encode(),
            0x1000: b"1.2.34.5",
        }
        assert [number(answer[element]) for element in (0x0100, 0x0120, 0x0800, 0x0900)] == [0x8001, 65535, 0x0101, 0]
    (reception,) = service.storage.receptions
    assert reception.request == StoreRequest("MODALITY", "SCP_ANON", CT, "1.2.34.5", EXPLICIT)
    assert reception.content == b"x"


def test_success_is_said_before_the_work(service: Service) -> None:
    """What follows a commit keeps no peer waiting; the next message is received after it."""
    service.storage.may_proceed.clear()
    with service.peer() as peer:
        peer.associate()
        assert peer.store(b"first") == 0
        assert [reception.proceeded for reception in service.storage.receptions] == [None]
        peer.send(data_pdu((1, COMMAND | LAST, store_request())), *data_set_pdus(b"second"))
        service.storage.may_proceed.set()
        assert peer.read_status() == 0
        peer.release()
    eventually(service.is_idle)
    assert [reception.proceeded for reception in service.storage.receptions] == [b"first", b"second"]


def test_work_is_done_though_nobody_hears_of_success(service: Service) -> None:
    """A peer that has gone before the response has its instance all the same, once."""
    service.storage.may_proceed.clear()
    with service.peer() as peer:
        peer.associate()
        assert peer.store(b"first") == 0
        peer.send(data_pdu((1, COMMAND | LAST, store_request())), *data_set_pdus(b"second"))
    service.storage.may_proceed.set()
    eventually(service.is_idle)
    assert service.storage.ends == ["committed"] * 2
    assert [reception.proceeded for reception in service.storage.receptions] == [b"first", b"second"]


def pieces(content: bytes, size: int) -> list[bytes]:
    """Content in pieces."""
    return [content[i : i + size] for i in range(0, len(content), size)]


def framings() -> dict[str, Callable[[bytes, bytes], bytes]]:
    """Ways to frame a command set and a data set that all mean the same."""

    def controls(content: bytes, size: int, command: int) -> list[tuple[int, int, bytes]]:
        parts = pieces(content, size)
        return [(1, command | (LAST if i == len(parts) - 1 else 0), part) for i, part in enumerate(parts)]

    def apart(size: int) -> Callable[[bytes, bytes], bytes]:
        return lambda command, data: b"".join(
            data_pdu(value) for value in (*controls(command, size, COMMAND), *controls(data, size, 0))
        )

    def together(size: int) -> Callable[[bytes, bytes], bytes]:
        return lambda command, data: data_pdu(*controls(command, size, COMMAND), *controls(data, size, 0))

    return {
        "one byte a PDU": apart(1),
        "seven bytes a PDU": apart(7),
        "large PDUs": apart(130000),
        "one PDU": together(100000),
        "one PDU, one byte a fragment": together(1),
        "empty fragments": lambda command, data: data_pdu(
            (1, COMMAND, b""),
            (1, COMMAND, command),
            (1, COMMAND | LAST, b""),
            (1, 0, b""),
            (1, 0, data),
            (1, LAST, b""),
        ),
    }


@pytest.mark.parametrize("name", framings())
def test_any_framing_means_the_same(name: str, service: Service) -> None:
    """Fragments and PDUs have no meaning of their own (PS3.8 Annex E); two messages in a row stay two."""
    data = bytes(i % 251 for i in range(9000))
    with service.peer() as peer:
        peer.associate()
        for instance, content in (("1.2.3", data), ("1.2.4", data[::-1])):
            peer.send(framings()[name](store_request(instance=instance), content))
            assert peer.read_status() == 0
        peer.release()
    assert [reception.content for reception in service.storage.receptions] == [data, data[::-1]]


@given(
    st.binary(max_size=4000),
    st.lists(st.tuples(st.integers(0, 700), st.booleans()), min_size=1, max_size=30),
    st.lists(st.integers(1, 900), min_size=1, max_size=20),
)
def test_any_packing_means_the_same(
    service_for_all: Service, data: bytes, cuts: list[tuple[int, bool]], segments: list[int]
) -> None:
    """Fragments of any size, alone or together in PDUs, in TCP segments of any size."""
    command = store_request(instance="1.2.840.1")
    values: list[tuple[int, int, bytes]] = []
    for kind, content in ((COMMAND, command), (0, data)):
        sizes = itertools.cycle(size for size, _ in cuts)
        while content or not values or values[-1][1] & COMMAND != kind:
            size = next(sizes) or (1 if all(not size for size, _ in cuts) else 0)
            values.append((1, kind, content[:size]))
            content = content[size:]
        values[-1] = (1, kind | LAST, values[-1][2])
    pdus: list[list[tuple[int, int, bytes]]] = [[]]
    for value, (_, apart) in zip(values, itertools.cycle(cuts), strict=False):
        pdus[-1].append(value)
        if apart:
            pdus.append([])
    stream = b"".join(data_pdu(*values) for values in pdus if values)
    with service_for_all.peer() as peer:
        peer.associate()
        lengths = itertools.cycle(segments)
        while stream:
            length = next(lengths)
            peer.send(stream[:length])
            stream = stream[length:]
        assert peer.read_status() == 0
        peer.release()
    assert service_for_all.storage.receptions[-1].content == data


def test_bytes_may_come_one_by_one(service: Service) -> None:
    """TCP has no messages: every header may come in two parts."""
    with service.peer() as peer:
        trickle(peer, associate_request([(1, CT, [EXPLICIT])]), 0)
        assert peer.read_pdu() is not None
        trickle(peer, data_pdu((1, COMMAND | LAST, store_request())) + b"".join(data_set_pdus(b"data" * 50)), 0)
        assert peer.read_status() == 0
    assert service.storage.receptions[0].content == b"data" * 50


ABORTS: dict[str, tuple[list[bytes], tuple[int, int]]] = {
    "data without command": ([data_pdu((1, LAST, b"data"))], (2, 2)),
    "command in a data set": (
        [data_pdu((1, COMMAND | LAST, store_request()), (1, 0, b"data"), (1, COMMAND | LAST, store_request()))],
        (2, 2),
    ),
    "data in a command set": ([data_pdu((1, COMMAND, store_request()[:20]), (1, LAST, b"data"))], (2, 2)),
    "command on two contexts": ([data_pdu((1, COMMAND, store_request()[:20]), (3, COMMAND | LAST, b""))], (2, 2)),
    "data on another context": ([data_pdu((1, COMMAND | LAST, store_request()), (3, LAST, b"data"))], (2, 2)),
    "context not accepted": ([data_pdu((5, COMMAND | LAST, store_request()))], (2, 6)),
    "context not proposed": ([data_pdu((99, COMMAND | LAST, store_request()))], (2, 6)),
    "PDU too long": ([struct.pack(">BxI", 4, 131073)], (2, 6)),
    "PDU far too long": ([struct.pack(">BxI", 4, 0xFFFFFFFF)], (2, 6)),
    "PDU too short": ([struct.pack(">BxIIB", 4, 5, 1, 1)], (2, 6)),
    "empty PDU": ([struct.pack(">BxI", 4, 0)], (2, 6)),
    "fragment longer than its PDU": ([struct.pack(">BxIIBB", 4, 10, 7, 1, 3) + b"abcd"], (2, 6)),
    "fragment far too long": ([struct.pack(">BxIIBB", 4, 10, 0xFFFFFFFF, 1, 3) + b"abcd"], (2, 6)),
    "fragment without control header": ([struct.pack(">BxIIBB", 4, 6, 1, 1, 3)], (2, 6)),
    "fragment that ends in its own header": (
        [struct.pack(">BxIIBBIBB", 4, 12, 1, 1, COMMAND, 2, 1, COMMAND)],
        (2, 6),
    ),
    "bytes behind the fragment": ([struct.pack(">BxIIBB", 4, 9, 2, 1, COMMAND) + b"abc"], (2, 6)),
    "PDU of no type": ([struct.pack(">BxI", 8, 4)], (2, 1)),
    "PDU of type zero": ([struct.pack(">BxI", 0, 4)], (2, 1)),
    "second request": ([associate_request([(1, CT, [EXPLICIT])])], (2, 2)),
    "release reply": ([struct.pack(">BxII", 6, 4, 0)], (2, 2)),
    "release of a wrong length": ([struct.pack(">BxI", 5, 8) + bytes(8)], (2, 6)),
    "command set that is none": ([data_pdu((1, COMMAND | LAST, b"nonsense"))], (2, 6)),
    "empty command set": ([data_pdu((1, COMMAND | LAST, b""))], (2, 6)),
    "command set of another group": (
        [data_pdu((1, COMMAND | LAST, struct.pack("<HHIH", 8, 0x0100, 2, 1)))],
        (2, 6),
    ),
    "command set cut off": ([data_pdu((1, COMMAND | LAST, store_request()[:-1]))], (2, 6)),
    "command field too long": (
        [data_pdu((1, COMMAND | LAST, encode_command({0x0100: b"\1\0\0\0"})))],
        (2, 6),
    ),
    "endless command set": ([data_pdu((1, COMMAND, bytes(16000)), (1, COMMAND, bytes(16000)))], (2, 6)),
    "response": ([data_pdu((1, COMMAND | LAST, encode_command({0x0100: 0x8001, 0x0900: 0})))], (2, 2)),
}


@pytest.mark.parametrize("name", ABORTS)
def test_violations_end_the_association(name: str, service: Service) -> None:
    """A-ABORT by the provider with the reason; what was being received is discarded; the server goes on."""
    said, answer = ABORTS[name]
    with service.peer() as peer:
        peer.associate([(1, CT, [EXPLICIT]), (3, MR, [EXPLICIT]), (5, "1.2.3", [EXPLICIT])])
        peer.send(*said)
        assert peer.read_abort() == answer
    eventually(service.is_idle)
    assert "committed" not in service.storage.ends
    assert "" not in service.storage.ends
    assert service.is_well()


def test_abort_reaches_a_peer_that_is_still_sending(service: Service) -> None:
    """What we have not read must not make the kernel reset the connection before the A-ABORT is read."""
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((99, COMMAND | LAST, store_request())), *data_set_pdus(bytes(20_000_000)))
        assert peer.read_abort() == (2, 6)


@pytest.mark.parametrize("cut", [3, 6, 9, 12, 40, 4000])
def test_half_a_message_then_silence(cut: int) -> None:
    """After the idle time: A-ABORT, the instance discarded, the place free again."""
    with serving(idle_timeout=SHORT) as service, service.peer() as peer:
        peer.associate()
        message = data_pdu((1, COMMAND | LAST, store_request())) + data_pdu((1, 0, bytes(5000)))
        peer.send(message[: cut if cut < 4000 else -cut])
        assert peer.read_abort() == (2, 0)
        eventually(service.is_idle)
        assert "committed" not in service.storage.ends


@pytest.mark.parametrize("how", ["abort", "close", "release"])
def test_peer_ends_in_the_midst_of_a_message(how: str, service: Service) -> None:
    """What was half received is discarded, whichever way the peer goes."""
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((1, COMMAND | LAST, store_request()), (1, 0, b"half")))
        if how == "abort":
            peer.abort()
        elif how == "close":
            peer.socket.close()
        else:
            peer.send(struct.pack(">BxII", RELEASE_RQ, 4, 0))
            peer.end_of_stream()
    eventually(service.is_idle)
    assert service.storage.ends == ["discarded"]
    assert service.is_well()


@pytest.mark.parametrize("with_data_set", [False, True])
@pytest.mark.parametrize("field", [FIND_RQ, 0x0010, 0x0021, 0x0100, 0x0130, 0x0150])
def test_other_services(field: int, with_data_set: bool, service: Service) -> None:
    """Status 0211 (unrecognized operation), the data set read and forgotten; the association goes on."""
    with service.peer() as peer:
        peer.associate()
        for _ in range(2):
            command = encode_command({2: CT, 0x0100: field, 0x0110: 9, 0x0800: 1 if with_data_set else 0x0101})
            peer.send(data_pdu((1, COMMAND | LAST, command)))
            if with_data_set:
                peer.send(*data_set_pdus(bytes(40000)))
            answer = peer.read_command()
            assert [number(answer[element]) for element in (0x0100, 0x0120, 0x0900)] == [field | 0x8000, 9, 0x0211]
        assert peer.store(b"data") == 0
        peer.release()


def test_cancel_is_ignored(service: Service) -> None:
    """There is nothing to cancel, and a C-CANCEL-RQ has no response (PS3.7 9.3.2.3)."""
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((1, COMMAND | LAST, encode_command({0x0100: 0x0FFF, 0x0120: 1}))))
        assert peer.store(b"data") == 0


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ({"sop_class": MR}, 0xA900),
        ({"sop_class": ""}, 0xA900),
        ({"sop_class": "1" * 3000}, 0xA900),
        ({"instance": ""}, 0x0117),
        ({"instance": "1.2.x"}, 0x0117),
        ({"instance": "../../etc/passwd"}, 0x0117),
        ({"instance": "1." * 33}, 0x0117),
        ({"instance": "1.2.3 1.2.4"}, 0x0117),
    ],
)
def test_requests_for_what_cannot_be(command: dict[str, Any], status: int, service: Service) -> None:
    """Refused after all of the data set was read: the next message is understood."""
    with service.peer() as peer:
        peer.associate()
        assert peer.store(bytes(50000), **command) == status
        assert peer.store(b"data") == 0
    assert [reception.content for reception in service.storage.receptions] == [b"data"]


def test_store_without_data_set(service: Service) -> None:
    """There is nothing to store: a failure, and nothing is waited for."""
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((1, COMMAND | LAST, store_request(e0800=0x0101))))
        assert peer.read_status() == 0xC000
        assert peer.store(b"data") == 0
    assert len(service.storage.receptions) == 1


@pytest.mark.parametrize("step", ["begin", "spill", "commit"])
def test_storage_refuses(step: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is the answer, after all data was read; the instance is discarded; the association goes on."""
    monkeypatch.setattr(service_module, "_SPILL", 1 << 20)
    data = bytes(3 << 20)
    with service.peer() as peer:
        peer.associate()
        service.storage.faults[step] = Refused(0xA701, "because")
        peer.send(data_pdu((1, COMMAND | LAST, store_request())), *data_set_pdus(data, fragment=100_000))
        answer = peer.read_command()
        assert number(answer[0x0900]) == 0xA701
        assert answer[0x0902].rstrip(b" \0") == b"because"
        service.storage.faults.clear()
        assert peer.store(data, fragment=100_000) == 0
        peer.release()
    assert service.storage.ends[:-1] == ([] if step == "begin" else ["discarded"])
    assert service.storage.receptions[-1].content == data


@pytest.mark.parametrize("step", ["begin", "spill", "commit"])
def test_storage_breaks(step: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is no success: a failure or the end of this association, and of this one only."""
    monkeypatch.setattr(service_module, "_SPILL", 1 << 20)
    service.storage.faults[step] = OSError(5, "Input/output error")
    with service.peer() as peer:
        peer.associate()
        with contextlib.suppress(OSError):
            peer.send(data_pdu((1, COMMAND | LAST, store_request())), *data_set_pdus(bytes(3 << 20)))
            answer = peer.read_pdu()
            assert answer is None or answer[0] == ABORT or decode_status(answer[1]) != 0
    eventually(service.is_idle)
    assert "committed" not in service.storage.ends
    assert "" not in service.storage.ends
    service.storage.faults.clear()
    assert service.is_well()


def decode_status(content: bytes) -> int:
    """The status in the content of a P-DATA-TF PDU that is a response."""
    (fragment,) = fragments(content)
    return number(decode_command(fragment.value)[0x0900])


def test_object_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A700 for what is larger, whether that shows at the end or on the way; what fits exactly is taken."""
    monkeypatch.setattr(service_module, "_SPILL", 1 << 20)
    for limit in (5000, 1_500_000):
        with serving(object_size=limit) as service, service.peer() as peer:
            peer.associate()
            assert peer.store(bytes(limit + 1), fragment=100_000) == 0xA700
            assert peer.store(bytes(4 * limit), fragment=100_000) == 0xA700
            assert peer.store(bytes(limit), fragment=100_000) == 0
            assert service.storage.ends == ["discarded", "discarded", "committed"]


def test_large_object_in_pieces(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is spilled piece by piece, to the byte, and the association's buffer stays what it is."""
    monkeypatch.setattr(service_module, "_SPILL", 2 << 20)
    data = b"".join(struct.pack("<I", i) for i in range(5 << 18))
    with service.peer() as peer:
        peer.associate()
        assert peer.store(data, fragment=131_066) == 0
        (running,) = service.server._services
        assert len(running._buffer) <= 2 << 20
        assert peer.store(b"small") == 0
    large, small = service.storage.receptions
    assert large.content == data
    assert len(large.spilled) == 2
    assert max(large.spilled) <= 2 << 20
    assert (small.content, small.spilled) == (b"small", [])


# ---------------------------------------------------------------------- many at once, and the end


def test_association_limit() -> None:
    """One more is rejected for now (2/3/2); when one has gone, the next may come."""
    with serving(associations=2) as service, service.peer() as first, service.peer() as second:
        first.associate()
        second.associate()
        with service.peer() as third:
            third.send(associate_request([(1, CT, [EXPLICIT])]))
            assert third.read_pdu() == (RJ, bytes((0, 2, 3, 2)))
        first.release()

        def is_accepted() -> bool:
            with service.peer() as peer:
                peer.send(associate_request([(1, CT, [EXPLICIT])]))
                answer = peer.read_pdu()
                return answer is not None and answer[0] == 2

        eventually(is_accepted)
        assert second.store(b"data") == 0


def test_association_limit_counts_those_being_negotiated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is being answered has its place already: the limit holds however quick the next one is."""
    negotiating, go_on = threading.Event(), threading.Event()
    accept = negotiation.accept

    def slow(*arguments: Any) -> Association:
        negotiating.set()
        assert go_on.wait(10)
        return accept(*arguments)

    monkeypatch.setattr(negotiation, "accept", slow)
    with serving(associations=1) as service, service.peer() as first, service.peer() as second:
        first.send(associate_request([(1, CT, [EXPLICIT])]))
        assert negotiating.wait(10)
        monkeypatch.setattr(negotiation, "accept", accept)
        second.send(associate_request([(1, CT, [EXPLICIT])]))
        try:
            assert second.read_pdu() == (RJ, bytes((0, 2, 3, 2)))
        finally:
            go_on.set()
        answer = first.read_pdu()
        assert answer is not None
        assert answer[0] == 2


def test_many_associations(service: Service) -> None:
    """Each has its own state: what is sent on one never shows in another."""

    def run(name: int) -> None:
        with service.peer() as peer:
            peer.associate()
            for i in range(20):
                assert peer.store(struct.pack("<II", name, i) * 5000, instance=f"1.{name}.{i}") == 0
            peer.release()

    threads = [threading.Thread(target=run, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = {reception.request.sop_instance_uid: reception.content for reception in service.storage.receptions}
    assert got == {f"1.{name}.{i}": struct.pack("<II", name, i) * 5000 for name in range(6) for i in range(20)}


def test_drain_while_idle() -> None:
    """Idle associations end at once, as does a connection that has not asked for one; nobody gets in any more."""
    service = Service(Limits())
    with service.peer() as idle, service.peer() as silent:
        idle.associate()
        assert idle.store(b"data") == 0
        begin = time.monotonic()
        ended: list[bool] = []
        thread = threading.Thread(target=lambda: ended.append(service.server.drain(10)))
        thread.start()
        assert idle.read_abort()[0] in (0, 2)
        assert silent.is_closed()
        thread.join()
        assert ended == [True]
        assert time.monotonic() - begin < 5
    with pytest.raises(ConnectionRefusedError):
        service.peer()


def test_drain_in_the_midst_of_a_message() -> None:
    """The message comes to its end and is answered; then the association is aborted."""
    service = Service(Limits())
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((1, COMMAND | LAST, store_request()), (1, 0, b"first ")))
        eventually(lambda: service.storage.receptions)
        ended: list[bool] = []
        thread = threading.Thread(target=lambda: ended.append(service.server.drain(10)))
        thread.start()
        eventually(lambda: service.server._draining)
        peer.send(data_pdu((1, LAST, b"second")))
        assert peer.read_status() == 0
        assert peer.read_abort()[0] in (0, 2)
        thread.join()
        assert ended == [True]
    assert service.storage.receptions[0].content == b"first second"


def test_drain_does_not_wait_for_ever() -> None:
    """A peer that does not go on with its message keeps nobody from stopping."""
    service = Service(Limits())
    with service.peer() as peer:
        peer.associate()
        peer.send(data_pdu((1, COMMAND | LAST, store_request()), (1, 0, b"first ")))
        eventually(lambda: service.storage.receptions)
        assert not service.server.drain(SHORT)
    eventually(service.is_idle)
    assert service.storage.ends == ["discarded"]


# ---------------------------------------------------------------------- stock requestors


def test_echoscu_and_storescu(service: Service, tmp_path: Path) -> None:
    """DCMTK's requestors, at several PDU lengths: the data set arrives as the file has it."""
    file = samples.encoded(samples.image(pixels=60_000))
    path = tmp_path / "image.dcm"
    path.write_bytes(file)
    call = ["-aec", "SCP_ANON", "127.0.0.1", str(service.port)]
    subprocess.run([require_peer("echoscu"), *call], check=True, timeout=30)
    for length in ("4096", "16384", "131072"):
        command = [require_peer("storescu"), "-R", "--max-send-pdu", length, *call, str(path)]
        subprocess.run(command, check=True, timeout=30)
    assert service.storage.ends == ["committed"] * 3
    assert {reception.content for reception in service.storage.receptions} == {file[samples.data_set_start(file) :]}


def test_accept_is_as_the_standard_has_it(service: Service) -> None:
    """The A-ASSOCIATE-AC gives back both titles, the application context, and our maximum length."""
    with service.peer() as peer:
        peer.send(associate_request([(1, CT, [EXPLICIT])], calling=b"MODALITY"))
        answer = peer.read_pdu()
        assert answer is not None
        kind, content = answer
        assert kind == 2
        assert content[:2] == b"\0\1"
        assert content[4:36] == b"SCP_ANON        MODALITY        "
        assert content[68:93] == b"\x10\0\0\x151.2.840.10008.3.1.1.1"
        assert accepted(content).maximum_length == 131072
