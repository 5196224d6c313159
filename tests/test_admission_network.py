"""Who may come in, and how much of the node one peer may hold: addresses, AE titles, limits, pace and age."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from scp_anon import config
from scp_anon.errors import AssociationError, ConfigError, Rejected
from scp_anon.network import connection as connections
from scp_anon.network import dimse, pdu
from scp_anon.network.admission import Admission
from scp_anon.network.association import Context
from scp_anon.network.occupancy import Occupancy
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor
from tests.harness import AE_TITLE, Node, eventually, running_node

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


def associate(node: Node, calling: str = "SENDER", called: str = AE_TITLE) -> Requestor:
    """An association for C-ECHO."""
    return Requestor(Peer("127.0.0.1", node.port, called, calling, 10), [VERIFICATION_CONTEXT, CT])


def route(**changes: Any) -> dict[str, Any]:
    """Settings of a route into the folder."""
    return {"called_ae_title": AE_TITLE, "project": "test", "destinations": ["disk"], **changes}


# ---------------------------------------------------------------------- the lists


@pytest.mark.parametrize(
    ("address", "is_known"),
    [
        ("10.1.2.3", True),
        ("10.2.2.3", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.2.2.3", False),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
    ],
)
def test_addresses(address: str, is_known: bool) -> None:
    """By network, of either family, also where the system writes the one as the other."""
    networks = tuple(map(ip_network, ("10.1.0.0/16", "192.0.2.7", "fe80::/10")))
    assert Admission({}, networks).knows(address) is is_known
    assert Admission({}).knows(address)


def test_titles() -> None:
    """A title that is not ours is told before one that may not call."""
    admission = Admission({"OPEN": None, "CLOSED": frozenset({"CT1"})})
    admission.check("ANYBODY", "OPEN")
    admission.check("CT1", "CLOSED")
    with pytest.raises(Rejected, match="1/1/3"):
        admission.check("CT2", "CLOSED")
    with pytest.raises(Rejected, match="1/1/7"):
        admission.check("CT1", "OTHER")


@pytest.mark.parametrize(
    "faulty",
    [
        "admission: {addresses: [10.1.2.3/16]}",
        "admission: {addresses: [hospital.example]}",
        "admission: {addresses: []}",
    ],
)
def test_addresses_that_are_none(faulty: str) -> None:
    """They are found when the configuration is read."""
    text = (
        "key: {file: k}\nspool: {path: s}\nlisten: [{port: 1}]\n"
        "routes: [{called_ae_title: A, project: p, destinations: [d]}]\n"
        "destinations: {d: {type: folder, path: f}}\n"
    )
    with pytest.raises(ConfigError, match=r"node\.yaml:6: admission\.addresses"):
        config.parse(text + faulty + "\n", "node.yaml")


def test_address_that_is_not_listed(tmp_path: Path) -> None:
    """The connection is closed before a byte is read, and a line says so; those that are listed are served."""
    with running_node(tmp_path / "closed", admission={"addresses": ["192.0.2.0/24"]}) as node:
        with pytest.raises(AssociationError):
            associate(node)
        refused = eventually(lambda: node.events("connection-refused"))
        assert [(event["address"], event["reason"]) for event in refused] == [("127.0.0.1", "address-not-listed")]
    with (
        running_node(tmp_path / "open", admission={"addresses": ["127.0.0.0/8"]}) as node,
        associate(node) as requestor,
    ):
        assert requestor.echo() == 0


def test_callers_by_route(tmp_path: Path) -> None:
    """Each route has its own list; a route without one is open."""
    routes = [route(calling_ae_titles=["CT1", "CT2"]), route(called_ae_title="OPEN")]
    with running_node(tmp_path, routes=routes) as node:
        for calling, called in (("CT1", AE_TITLE), ("CT2", AE_TITLE), ("ANYBODY", "OPEN")):
            with associate(node, calling, called) as requestor:
                assert requestor.echo() == 0
        with pytest.raises(Rejected, match="1/1/3"):
            associate(node, "CT3")
        rejected = eventually(lambda: node.events("association-rejected"))
        assert [(event["calling"], "1/1/3" in event["reason"]) for event in rejected] == [("CT3", True)]


# ---------------------------------------------------------------------- limits


def test_connections_of_one_address(tmp_path: Path) -> None:
    """One peer cannot take all places: one connection too many is closed, whichever process it comes to."""
    with running_node(tmp_path, processes=3, limits={"associations": 20, "per_address": 4}) as node:
        held = [associate(node) for _ in range(4)]
        for _ in range(3):
            with pytest.raises(AssociationError):
                associate(node)
        reasons = [event["reason"] for event in eventually(lambda: node.events("connection-refused"))]
        assert set(reasons) == {"too-many-connections"}
        held.pop().release()
        eventually(lambda: node.events("association-ended"))
        eventually(lambda: served(node))
        for requestor in held:
            requestor.release()


def served(node: Node) -> bool:
    """Whether the node takes one more association."""
    try:
        associate(node).release()
    except AssociationError:
        return False
    return True


def test_places_are_counted_over_processes() -> None:
    """Each has slots of its own; what has died gives its places back; a full process takes nobody."""
    occupancy = Occupancy(limit=3, per_address=2, slots=4, processes=2)
    one, two = occupancy.of_process(0), occupancy.of_process(1)
    first, second = one.connected("a"), two.connected("a")
    assert first is not None
    assert second is not None
    assert one.connected("a") is None
    assert not one.is_crowded()
    others = [one.connected(name) for name in "bcd"]
    assert None not in others
    assert one.connected("e") is None, "it has no slot left"
    assert one.is_crowded()
    assert two.associate(second)
    assert [one.associate(slot) for slot in (first, *others) if slot is not None] == [True, True, False, False]
    occupancy.clear(0)
    assert two.connected("a") is not None
    two.ended(second)
    assert not any(occupancy.table[:4])
    assert sum(map(bool, occupancy.table)) == 1


# ---------------------------------------------------------------------- pace and age


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time of grace to speak of."""
    monkeypatch.setattr(connections, "_GRACE", 0.3)


def pair(timeout: float = 5) -> tuple[connections.Connection, socket.socket]:
    """Our end of a connection, and the peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return connections.Connection(ours, timeout), theirs


@pytest.mark.usefixtures("impatient")
def test_peer_that_trickles() -> None:
    """A byte now and then keeps every other time-out from going off; a message that is fast is no matter."""
    ours, theirs = pair()
    ours.set_pace(1000)
    theirs.sendall(bytes(20_000))
    ours.rest()
    ours.read_into(memoryview(bytearray(20_000)))
    ours.rest()
    with pytest.raises(AssociationError, match="too slow"):
        trickle(theirs, lambda: ours.read(1))
    ours.close()
    theirs.close()


@pytest.mark.usefixtures("impatient")
def test_silence_between_messages_is_no_slowness() -> None:
    """The clock begins with a message."""
    ours, theirs = pair()
    ours.set_pace(1000)
    for _ in range(3):
        ours.rest()
        time.sleep(0.4)
        theirs.sendall(bytes(2000))
        ours.read_into(memoryview(bytearray(2000)))
    ours.close()
    theirs.close()


def trickle(sock: socket.socket, read: Callable[[], object]) -> None:
    """Send a byte at a time, each read as it comes."""
    for _ in range(100):
        sock.sendall(b"x")
        read()
        time.sleep(0.02)


def test_association_that_is_too_old(tmp_path: Path) -> None:
    """It ends after the message that it is at, and a line says why."""
    with running_node(tmp_path, limits={"association_age": "1s"}) as node:
        requestor = associate(node)
        assert requestor.echo() == 0
        time.sleep(1.1)
        assert requestor.echo() == 0
        with pytest.raises(AssociationError):
            requestor.echo()
        requestor.abort()
        (ended,) = eventually(lambda: node.events("association-ended"))
        assert ended["reason"] == "older than the limit"


def test_a_message_does_not_outlive_its_association_for_long(tmp_path: Path) -> None:
    """One that goes on for ever, however fast, has as long again as an association may last."""
    with running_node(tmp_path, limits={"association_age": "500ms"}) as node:
        requestor = associate(node)
        connection = requestor._association.connection
        command = dimse.store_request(1, CT.abstract_syntax, "1.2.3")
        connection.send(pdu.data_header(3, pdu.COMMAND | pdu.LAST, len(command)), command)
        deadline = time.monotonic() + 10
        while not (ended := node.events("association-ended")) and time.monotonic() < deadline:
            with contextlib.suppress(AssociationError):  # it has just ended
                connection.send(pdu.data_header(3, 0, 1000), bytes(1000))
            time.sleep(0.01)
        assert [event["reason"] for event in ended] == ["the peer took too long"]
        assert node.is_at_rest()
        requestor.abort()


def test_half_a_message_is_not_for_ever(tmp_path: Path) -> None:
    """A peer that stops in the midst of a message is let go after the idle time-out; nothing of it stays."""
    with running_node(tmp_path, limits={"idle_timeout": "500ms"}) as node:
        requestor = associate(node)
        connection = requestor._association.connection
        command = dimse.store_request(1, CT.abstract_syntax, "1.2.3")
        connection.send(pdu.data_header(3, pdu.COMMAND | pdu.LAST, len(command)), command)
        connection.send(pdu.data_header(3, 0, 100), bytes(50))
        (ended,) = eventually(lambda: node.events("association-ended"))
        assert "silent" in ended["reason"]
        assert node.is_at_rest()
        requestor.abort()


# ---------------------------------------------------------------------- what is shipped


def test_shipped_production_configuration() -> None:
    """Nobody may come in who is not listed: neither by address nor by AE title."""
    shipped = config.load(Path(__file__).resolve().parents[1] / "config" / "production.yaml")
    assert shipped.admission.addresses
    assert all(route.calling_ae_titles for route in shipped.routes)
    assert not shipped.key.create
    assert shipped.spool.fsync
