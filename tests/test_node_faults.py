"""What goes wrong around a node: destinations in trouble, full disks, wrong peers, wrong settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.errors import AssociationError, Rejected
from scp_anon.network import dimse, pdu
from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node, running_storescp, scp_anon, storescu
from tests.peers import free_port

WHOLE = samples.encoded(samples.image())
CT = Context(CTImageStorage, ExplicitVRLittleEndian)
LARGE = int(os.environ.get("SCP_ANON_LARGE_OBJECT", str(300 << 20)))


def write_images(folder: Path, count: int) -> list[Path]:
    """Small CT images, each another instance."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04d}.dcm" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(samples.encoded(samples.image(str(i))))
    return paths


def peer(port: int, called: str = AE_TITLE) -> Peer:
    """The node, as a sender sees it."""
    return Peer("127.0.0.1", port, called, "SENDER", timeout=10)


def store(requestor: Requestor, path: Path) -> int:
    """C-STORE of a file; returns the status."""
    return requestor.store(path, *read_meta(path))


def to_peer(port: int, title: str = "DESTINATION") -> dict[str, Any]:
    """Settings for a node that delivers to one application entity."""
    return {
        "destinations": {"peer": {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": title}},
        "routes": [{"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["peer"]}],
    }


@contextlib.contextmanager
def destination(port: int, answer: Callable[[int, evt.Event], int]) -> Iterator[list[str]]:
    """A C-STORE SCP that answers the nth request with `answer(n, event)`; yields the UIDs that it has taken."""
    taken: list[str] = []
    count = iter(range(1 << 30))

    def on_store(event: evt.Event) -> int:
        status = answer(next(count), event)
        if status in (0, 0xB000):
            taken.append(str(event.request.AffectedSOPInstanceUID))  # type: ignore[union-attr]  # a C-STORE-RQ
        return status

    entity = AE("DESTINATION")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        yield taken
    finally:
        assert server is not None
        server.shutdown()


# ---------------------------------------------------------------------- destinations


def test_destination_down_then_up(tmp_path: Path) -> None:
    """What cannot be delivered waits, also through a restart, and is delivered once the destination is there."""
    port = free_port()
    images = write_images(tmp_path / "images", 5)
    with running_node(tmp_path / "node", **to_peer(port, "STORESCP")) as node:
        assert storescu(node.port, *map(str, images)).returncode == 0
        eventually(lambda: any(event["attempt"] > 1 for event in node.events("deferred")))
        assert node.end() == 0
        before = len(node.events("deferred"))
        node.start()
        eventually(lambda: len(node.in_spool("outgoing")) == 5)  # a look in the midst of a rename sees one twice
        eventually(lambda: len(node.events("deferred")) > before)  # it has found the destination in trouble again
        with running_storescp(tmp_path / "received", port) as received:
            eventually(node.is_at_rest)
            assert len(list(received.iterdir())) == 5
        assert {event["attempt"] for event in node.events("deferred")} >= {1, 2}
        eventually(lambda: node.events("destination-recovered"))


def test_one_destination_down_does_not_delay_the_other(tmp_path: Path) -> None:
    """The folder gets its copy while the application entity is away."""
    settings = to_peer(free_port())
    settings["destinations"]["disk"] = {"type": "folder", "path": str(tmp_path / "node" / "out")}
    settings["routes"][0]["destinations"] = ["peer", "disk"]
    with running_node(tmp_path / "node", **settings) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 5))).returncode == 0
        eventually(lambda: len(node.delivered()) == 5)
        eventually(lambda: len(node.in_spool("outgoing/peer")) == 5)


@pytest.mark.parametrize("status", [0xA700, 0xA701])
def test_destination_out_of_resources_is_tried_again(status: int, tmp_path: Path) -> None:
    """A7xx is no delivery: the instance stays until it is."""
    port = free_port()
    with (
        destination(port, lambda n, event: status if n < 2 else 0) as taken,
        running_node(tmp_path / "node", **to_peer(port)) as node,
    ):
        assert storescu(node.port, str(write_images(tmp_path, 1)[0])).returncode == 0
        eventually(lambda: len(taken) == 1 and node.is_at_rest())
        assert [event["reason"] for event in node.events("deferred")] == [f"status {status:04X}H"] * 2


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_destination_with_a_warning_has_it(status: int, tmp_path: Path) -> None:
    """The warnings of C-STORE say that the instance is stored."""
    port = free_port()
    with destination(port, lambda n, event: status), running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, str(write_images(tmp_path, 1)[0])).returncode == 0
        eventually(lambda: node.events("association-ended") and node.is_at_rest())
        assert not node.in_spool("quarantine")
        assert not node.events("deferred")


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124])
def test_destination_that_refuses(status: int, tmp_path: Path) -> None:
    """A refusal for good goes to quarantine, and can be released to the same destination."""
    port = free_port()
    with (
        destination(port, lambda n, event: status if n == 0 else 0) as taken,
        running_node(tmp_path / "node", **to_peer(port)) as node,
    ):
        assert storescu(node.port, str(write_images(tmp_path, 1)[0])).returncode == 0
        eventually(lambda: node.in_spool("quarantine"))
        listed = node.command("quarantine", "list").stdout
        assert f"refused-by-destination  {status:04X}H  refused by peer" in listed
        assert node.command("quarantine", "release", "--all").stdout == "1 released\n"
        eventually(lambda: len(taken) == 1 and node.is_at_rest())


def test_destination_without_a_context(tmp_path: Path) -> None:
    """A class that the destination does not take goes to quarantine; others are delivered."""
    port = free_port()
    other = tmp_path / "mr.dcm"
    other.write_bytes(samples.encoded(samples.image("mr", sop_class="1.2.840.10008.5.1.4.1.1.4")))
    with (
        destination(port, lambda n, event: 0) as taken,
        running_node(tmp_path / "node", **to_peer(port)) as node,
    ):
        assert storescu(node.port, str(other), str(write_images(tmp_path / "ct", 1)[0])).returncode == 0
        eventually(lambda: len(taken) == 1 and node.is_at_rest())
        assert "no-accepted-context" in node.command("quarantine", "list").stdout


def test_destination_that_aborts_in_mid_association(tmp_path: Path) -> None:
    """An association that ends before the reply is no delivery."""
    port = free_port()

    def answer(n: int, event: evt.Event) -> int:
        if n == 0:
            event.assoc.abort()
        return 0

    with destination(port, answer) as taken, running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 3))).returncode == 0
        eventually(lambda: len(set(taken)) == 3 and node.is_at_rest())


def test_destination_that_closes_idle_associations(tmp_path: Path) -> None:
    """The next instance goes over a new association at once, without a deferral."""
    port = free_port()
    ended = threading.Event()

    def abort(event: evt.Event) -> None:
        event.assoc.abort()
        ended.set()

    def answer(n: int, event: evt.Event) -> int:
        if n == 0:
            threading.Timer(0.2, abort, [event]).start()
        return 0

    first, second = write_images(tmp_path / "images", 2)
    with destination(port, answer) as taken, running_node(tmp_path / "node", **to_peer(port)) as node:
        assert storescu(node.port, str(first)).returncode == 0
        assert ended.wait(10)
        assert storescu(node.port, str(second)).returncode == 0
        eventually(lambda: len(taken) == 2 and node.is_at_rest())
        assert not node.events("deferred")


def test_folder_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    """A folder that cannot be written to keeps its instances waiting."""
    images = write_images(tmp_path / "images", 2)
    with running_node(tmp_path / "node") as node:
        shutil.rmtree(node.out)
        node.out.write_text("in the way")
        assert storescu(node.port, *map(str, images)).returncode == 0
        eventually(lambda: len(node.events("deferred")) > 1)
        node.out.unlink()
        eventually(lambda: len(node.delivered()) == 2 and node.is_at_rest())


# ---------------------------------------------------------------------- peers


def test_unknown_called_ae_title_is_rejected(tmp_path: Path) -> None:
    """1/1/7, before any context is negotiated."""
    with running_node(tmp_path) as node:
        with pytest.raises(Rejected) as rejected:
            Requestor(peer(node.port, "NOBODY"), [CT])
        assert (rejected.value.result, rejected.value.source, rejected.value.diagnostic) == (1, 1, 7)
        assert storescu(node.port, str(write_images(tmp_path / "i", 1)[0]), called="NOBODY").returncode != 0


def test_limit_of_associations(tmp_path: Path) -> None:
    """One more than the limit is rejected for now (2/3/2); when one has ended there is room again."""
    with running_node(tmp_path, limits={"associations": 2}) as node:
        with Requestor(peer(node.port), [CT]), Requestor(peer(node.port), [CT]):
            with pytest.raises(Rejected) as rejected:
                Requestor(peer(node.port), [CT])
            assert (rejected.value.result, rejected.value.source, rejected.value.diagnostic) == (2, 3, 2)
        eventually(lambda: len(node.events("association-ended")) == 2)
        with Requestor(peer(node.port), [CT]):
            pass


def test_instance_that_is_not_the_one_announced(tmp_path: Path) -> None:
    """A data set of another instance, or class, than the command says is refused (A900), and nothing of it stays."""
    path = write_images(tmp_path / "images", 1)[0]
    meta, start = read_meta(path)
    with running_node(tmp_path) as node, Requestor(peer(node.port), [CT]) as requestor:
        assert requestor.store(path, meta._replace(sop_instance_uid="1.2.3"), start) == 0xA900
        assert requestor.store(path, meta, start) == 0
        eventually(node.is_at_rest)
        assert len(node.delivered()) == 1


@pytest.mark.parametrize(
    ("data_set", "reason"),
    [
        (b"CANARY rubbish that is no data set at all" * 10, "malformed"),
        (b"", "missing-uid"),
        (WHOLE[samples.data_set_start(WHOLE) : -400], "truncated"),
    ],
)
def test_rubbish_is_kept_and_quarantined(data_set: bytes, reason: str, tmp_path: Path) -> None:
    """What cannot be read is acknowledged, as it is on disk, and set aside with a reason."""
    meta = FileMeta(CTImageStorage, samples.uid("instance 1"), ExplicitVRLittleEndian)
    head = encode_file_meta(meta)
    (tmp_path / "rubbish").write_bytes(head + data_set)
    with running_node(tmp_path) as node:
        with Requestor(peer(node.port), [CT]) as requestor:
            assert requestor.store(tmp_path / "rubbish", meta, len(head)) == 0
        (entry,) = eventually(lambda: node.in_spool("quarantine"))
        assert entry.read_bytes() == head + data_set
        assert f"  {reason}  " in node.command("quarantine", "list").stdout or reason == "malformed"
        assert not node.delivered()


def test_connection_that_breaks_in_mid_pdu_leaves_nothing(tmp_path: Path) -> None:
    """Half an instance is no instance: no file of it stays, and the next association works."""
    path = write_images(tmp_path / "images", 1)[0]
    with running_node(tmp_path) as node:
        requestor = Requestor(peer(node.port), [CT])
        command = dimse.store_request(1, CTImageStorage, samples.uid("instance 0"))
        connection = requestor._association.connection
        connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(command)), command)
        connection.send(pdu.data_header(1, 0, 60000), b"\x08\x00" * 5000)
        connection.close()
        eventually(lambda: node.events("association-ended"))
        eventually(lambda: not any(node.in_spool(place) for place in ("tmp", "incoming", "active")))
        with Requestor(peer(node.port), [CT]) as again:
            assert store(again, path) == 0
        eventually(node.delivered)


def test_peers_that_say_nothing_or_nonsense(tmp_path: Path) -> None:
    """Silent connections, health checks and HTTP do not keep others out."""
    with running_node(tmp_path, limits={"handshake_timeout": "1s"}) as node:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(20)]
        for _ in range(50):
            socket.create_connection(("127.0.0.1", node.port)).close()
        with socket.create_connection(("127.0.0.1", node.port)) as web:
            web.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert web.recv(100)[:1] in (b"\x07", b"")
        assert scp_anon("echo", "127.0.0.1", str(node.port)).returncode == 0
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""
        for connection in silent:
            connection.close()


def test_large_object_in_flat_memory(tmp_path: Path) -> None:
    """An object of hundreds of megabytes passes through the node, whose memory does not grow with it."""
    if shutil.disk_usage(tmp_path).free < 4 * LARGE:
        pytest.skip("not enough free space for the large object")
    ds = samples.image(pixels=2)
    small = samples.encoded(ds)
    head = small[: -2 - 4] + struct.pack("<I", LARGE)
    source = tmp_path / "large.dcm"
    with source.open("wb") as file:
        file.write(head)
        file.seek(len(head) + LARGE - 1)
        file.write(b"\x01")
    with running_node(tmp_path / "node") as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0
        (small_one,) = eventually(node.delivered)
        small_one.unlink()
        before = node.peak_memory()
        assert scp_anon("send", "127.0.0.1", str(node.port), str(source)).returncode == 0
        (path,) = eventually(node.delivered, timeout=120)
        assert path.stat().st_size > LARGE
        with path.open("rb") as file:
            file.seek(-LARGE, os.SEEK_END)
            assert not any(file.read(1 << 20))
            file.seek(-1, os.SEEK_END)
            assert file.read() == b"\x01"
        grown = node.peak_memory() - before
        assert grown < 64 << 20, f"{grown >> 20} MiB"


# ---------------------------------------------------------------------- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """A disk that fills up refuses with A700 and keeps no half file; when there is space again, all goes on."""
    images = [tmp_path / f"{i}.dcm" for i in range(3)]
    for i, path in enumerate(images):
        path.write_bytes(samples.encoded(samples.image(str(i), pixels=3_000_000)))
    with running_node(tmp_path / "node", spool={"path": str(small_disk / "spool"), "reserve": 0}) as node:
        node.spool = small_disk / "spool"
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(10 << 20))
        with Requestor(peer(node.port), [CT]) as requestor:
            assert store(requestor, images[0]) == 0xA700
            assert not any(node.in_spool(place) for place in ("tmp", "incoming", "active"))
            ballast.unlink()
            for path in images:
                assert store(requestor, path) in (0, 0xA700)
            eventually(node.is_at_rest)
            for path in images:
                assert store(requestor, path) == 0
                eventually(node.is_at_rest)
        assert len(node.delivered()) == 3


def test_below_the_reserve(tmp_path: Path) -> None:
    """With less free than the reserve nothing is received (A700)."""
    with running_node(tmp_path, spool={"path": str(tmp_path / "spool"), "reserve": "1000TB"}) as node:
        with Requestor(peer(node.port), [CT, VERIFICATION_CONTEXT]) as requestor:
            assert store(requestor, write_images(tmp_path / "i", 1)[0]) == 0xA700
            assert requestor.echo() == 0
        eventually(node.is_at_rest)


# ---------------------------------------------------------------------- starting and stopping


def test_sigterm_lets_a_message_come_to_its_end(tmp_path: Path) -> None:
    """The message that is being received is finished and acknowledged; then the association ends, and the exit is 0."""
    path = write_images(tmp_path / "images", 1)[0]
    meta, start = read_meta(path)
    data = path.read_bytes()[start:]
    with running_node(tmp_path) as node:
        requestor = Requestor(peer(node.port), [CT])
        connection = requestor._association.connection
        command = dimse.store_request(1, meta.sop_class_uid, meta.sop_instance_uid)
        connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(command)), command)
        connection.send(pdu.data_header(1, 0, 100), data[:100])
        time.sleep(0.3)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        eventually(lambda: node.events("draining"))
        connection.send(pdu.data_header(1, pdu.LAST, len(data) - 100), data[100:])
        assert requestor._response(1, dimse.C_STORE_RQ) == 0
        with pytest.raises(AssociationError):
            store(requestor, path)
        requestor.abort()
        assert node.process.wait(20) == 0
        node.process = None
        assert len(node.delivered()) + len(node.in_spool("incoming")) + len(node.in_spool("outgoing")) == 1


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Who does not want to wait for a slow peer says so twice."""
    with running_node(tmp_path) as node:
        requestor = Requestor(peer(node.port), [CT])
        command = dimse.store_request(1, CTImageStorage, "1.2.3")
        requestor._association.connection.send(pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(command)), command)
        time.sleep(0.3)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        eventually(lambda: node.events("draining"))
        assert node.process.poll() is None
        assert node.end() == 1
        requestor.abort()


def test_port_in_use(tmp_path: Path) -> None:
    """The setting is named, and the exit code is 2."""
    with running_node(tmp_path / "first") as first:
        (tmp_path / "second").mkdir()
        second = Node(tmp_path / "second", listen=[{"address": "127.0.0.1", "port": first.port}])
        done = second.command("serve")
        assert done.returncode == 2
        assert f"listen: 127.0.0.1:{first.port}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": {"file": "KEY"}}, "no such key; make one with: scp-anon keygen"),
        ({"colour": "blue"}, "unknown key"),
        (
            {"routes": [{"called_ae_title": "A", "project": "p", "destinations": ["x"]}]},
            "there is no destination",
        ),
        ({"destinations": {"disk": {"type": "folder", "path": "/dev/null/out"}}}, "cannot be made"),
        ({"spool": {"path": "/dev/null/spool"}}, "spool /dev/null/spool"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    """The node does not start, says why in one line, and exits with 2."""
    if changes.get("key"):
        changes = {"key": {"file": str(tmp_path / "missing")}}
    done = Node(tmp_path, **changes).command("serve")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_key_that_others_can_read(tmp_path: Path) -> None:
    """Such a key is no secret."""
    node = Node(tmp_path)
    (tmp_path / "key").write_text("00" * 32)
    (tmp_path / "key").chmod(0o644)
    done = node.command("serve")
    assert done.returncode == 2
    assert "open to others" in done.stderr


def test_orphans_of_a_removed_route(tmp_path: Path) -> None:
    """What came for a route that is gone is quarantined, and goes through when the route is back and it is released."""
    with running_node(tmp_path) as node:
        node.end(signal.SIGKILL)
        node.start()
        routes = node.config["routes"]
        node.end()
        entry = node.spool / "incoming" / "0000000000000001-00000000,GONE,SENDER,0,0,,,"
        entry.write_bytes(samples.encoded(samples.image()))
        node.start()
        eventually(lambda: node.in_spool("quarantine"))
        assert "unknown-route" in node.command("quarantine", "list").stdout
        node.end()
        node.config["routes"] = [*routes, {**routes[0], "called_ae_title": "GONE", "destinations": ["disk"]}]
        node.start()
        assert node.command("quarantine", "release", "0000000000000001").returncode == 0
        eventually(node.delivered)
