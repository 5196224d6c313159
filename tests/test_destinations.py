"""Destinations that behave in every way that real ones do: nothing is lost, nobody else waits, nothing is claimed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt

from scp_anon.breaker import Breaker
from tests.harness import AE_TITLE, eventually, running_node, storescu
from tests.peers import free_port
from tests.test_node_faults import destination, to_peer, write_images

DELIVERED = [0x0000, 0xB000, 0xB006, 0xB007]
TRIED_AGAIN = [0xA700, 0xA701, 0xA7FF]
REFUSED = [
    0xA900,
    0xA9FF,
    0xC000,
    0xC123,
    0xCFFF,
    0x0110,
    0x0111,
    0x0117,
    0x0122,
    0x0124,
    0x0211,
    0x0212,
    0xB123,
    0x0001,
]


# ---------------------------------------------------------------------- statuses


@pytest.mark.parametrize("status", DELIVERED, ids=hex)
def test_stored(status: int, tmp_path: Path) -> None:
    """Success, and the three warnings of PS3.4 B.2.3, say that the instance is there."""
    port = free_port()
    with destination(port, lambda n, event: status), running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 2))).returncode == 0
        eventually(lambda: node.is_at_rest() and not node.quarantined())
        assert not node.events("deferred")


@pytest.mark.parametrize("status", TRIED_AGAIN, ids=hex)
def test_out_of_resources(status: int, tmp_path: Path) -> None:
    """Of the class A7xx: tried again until it is taken, never counted as sent."""
    port = free_port()

    def answer(n: int, event: evt.Event) -> int:
        return status if n < 2 else 0

    with destination(port, answer) as taken, running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0
        eventually(lambda: len(taken) == 1 and node.is_at_rest())
        assert [event["reason"] for event in node.events("deferred")] == [f"status {status:04X}H"] * 2


def test_refused_for_good(tmp_path: Path) -> None:
    """Every other status: to quarantine with the status, and the next instance is not held up."""
    port = free_port()
    images = write_images(tmp_path / "images", len(REFUSED) + 1)

    def answer(n: int, event: evt.Event) -> int:
        return REFUSED[n] if n < len(REFUSED) else 0

    with destination(port, answer) as taken, running_node(tmp_path / "node", **to_peer(port)) as node:
        for path in images:
            assert storescu(node.port, str(path)).returncode == 0
        eventually(lambda: len(taken) == 1 and node.is_at_rest())
        assert node.quarantined() == [("refused-by-destination", f"{status:04X}H") for status in REFUSED]
        assert not node.events("deferred")


def test_duplicate_of_an_attempt_before(tmp_path: Path) -> None:
    """Stored, but gone before the response: the second time it says 0111H, and has it."""
    port = free_port()

    def answer(n: int, event: evt.Event) -> int:
        if n == 0:
            event.assoc.abort()
        return 0x0111 if n else 0

    with destination(port, answer), running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0
        eventually(lambda: node.is_at_rest() and node.events("deferred"))
        assert not node.quarantined()


# ---------------------------------------------------------------------- connections


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that is no application entity; each connection is served in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connected, _ = listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=serve, args=(connected,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def close(connected: socket.socket) -> None:
    """Close without a word."""
    connected.close()


def say_nothing(connected: socket.socket) -> None:
    """Read, and never answer."""
    with connected:
        while connected.recv(1 << 16):
            pass


def speak_http(connected: socket.socket) -> None:
    """Answer as a web server would."""
    connected.recv(1 << 16)
    connected.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    connected.close()


def reject(connected: socket.socket) -> None:
    """A-ASSOCIATE-RJ: called AE title not recognized."""
    connected.recv(1 << 16)
    connected.sendall(b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07")
    connected.recv(1 << 16)
    connected.close()


@pytest.mark.parametrize("serve", [close, say_nothing, speak_http, reject], ids=lambda serve: serve.__name__)
def test_no_association_can_be_had(serve: Callable[[socket.socket], None], tmp_path: Path) -> None:
    """Everything stays, one instance is tried at a time, and the other destination has it all at once."""
    with listening(serve) as port:
        peer = to_peer(port)["destinations"]
        (name,) = peer
        settings: dict[str, Any] = {
            "destinations": {
                name: {**peer[name], "timeout": "500ms"},
                "disk": {"type": "folder", "path": str(tmp_path / "node" / "out")},
            },
            "routes": [
                {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": [name, "disk"]}
            ],
        }
        with running_node(tmp_path / "node", **settings) as node:
            begun = time.monotonic()
            assert storescu(node.port, *map(str, write_images(tmp_path / "images", 20))).returncode == 0
            eventually(lambda: len(node.delivered()) == 20)
            assert time.monotonic() - begun < 10
            eventually(lambda: len(node.events("deferred")) >= 2)
            eventually(lambda: len(node.in_spool("outgoing")) == 20)  # while one is renamed, a look may miss it
            assert len(node.events("destination-in-trouble")) == 1


def test_slow_destination_delays_nobody(tmp_path: Path) -> None:
    """One that takes a second for each instance; the folder has everything long before."""
    port = free_port()

    def answer(n: int, event: evt.Event) -> int:
        time.sleep(1)
        return 0

    settings = to_peer(port)
    settings["destinations"]["disk"] = {"type": "folder", "path": str(tmp_path / "node" / "out")}
    settings["routes"][0]["destinations"].append("disk")
    with destination(port, answer) as taken, running_node(tmp_path / "node", **settings) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 6))).returncode == 0
        eventually(lambda: len(node.delivered()) == 6)
        assert len(taken) < 5
        eventually(lambda: len(taken) == 6 and node.is_at_rest())


def test_one_instance_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    """The association is aborted on it again and again; all others go past it: it is no trouble of the destination."""
    port = free_port()
    bad: list[str] = []

    def answer(n: int, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]  # a C-STORE-RQ
        if n == 0:
            bad.append(uid)
        if uid in bad:
            event.assoc.abort()
        return 0

    retry = {"first": "2s", "limit": "4s"}
    with (
        destination(port, answer) as taken,
        running_node(tmp_path / "node", **{**to_peer(port), "retry": retry}) as node,
    ):
        begun = time.monotonic()
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 10))).returncode == 0
        eventually(lambda: len(set(taken) - set(bad)) == 9)
        assert time.monotonic() - begun < 2
        assert len(node.in_spool("outgoing")) == 1
        assert not node.events("destination-in-trouble")


def test_new_and_deferred_take_their_turns(tmp_path: Path) -> None:
    """What was deferred is tried when it is due, though new instances keep coming; and they do not wait for it."""
    port = free_port()
    first: list[str] = []
    order: list[str] = []

    def answer(n: int, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]  # a C-STORE-RQ
        if n == 0:
            first.append(uid)
            return 0xA700
        order.append(uid)
        time.sleep(0.05)
        return 0

    images = [str(path) for path in write_images(tmp_path / "images", 61)]
    with destination(port, answer), running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, *images[:31]).returncode == 0
        eventually(lambda: first)
        time.sleep(0.4)  # it is due now, behind those that were there before, and before those that come now
        assert storescu(node.port, *images[31:]).returncode == 0
        eventually(lambda: len(order) == 61)
        assert 0 < order.index(first[0]) <= 31


# ---------------------------------------------------------------------- the breaker


def test_breaker() -> None:
    """It opens at once for the destination's own trouble, after three failures in a row for that of instances."""
    breaker = Breaker("one")
    assert not breaker.failed(False)
    assert not breaker.failed(False)
    breaker.succeeded()
    assert not breaker.failed(False)
    assert not breaker.failed(False)
    assert breaker.failed(False)
    assert breaker.is_open
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.failed(True)
    assert breaker.failed(False)
