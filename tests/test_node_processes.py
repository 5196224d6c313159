"""A node of several processes (that die: see test_crash too): limits hold for all together, one signal drains all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from scp_anon.errors import AssociationError, Rejected
from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node, running_storescp
from tests.peers import free_port

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


def peer(node: Node) -> Peer:
    """The node as a peer."""
    return Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 30)


def images(folder: Path, count: int, pixels: int = 512) -> list[Path]:
    """So many images, each an instance of its own."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04d}.dcm").write_bytes(samples.encoded(samples.image(str(number), pixels=pixels)))
    return sorted(folder.iterdir())


def send(node: Node, files: list[Path], acknowledged: list[Path]) -> None:
    """Send files until they are all acknowledged, over as many associations as that takes."""
    left = list(files)
    while left:
        try:
            with Requestor(peer(node), [CT]) as requestor:
                while left:
                    meta, start = read_meta(left[0])
                    assert requestor.store(left[0], meta, start) == 0
                    acknowledged.append(left.pop(0))
        except AssociationError:
            time.sleep(0.05)


def route(**changes: Any) -> dict[str, Any]:
    """Settings of a route into the folder."""
    return {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["disk"], **changes}


def test_processes_by_configuration(tmp_path: Path) -> None:
    """One supervisor, so many that receive, one that delivers; or a single one for all."""
    with running_node(tmp_path / "three", processes=3) as node:
        eventually(lambda: len(node.events("process-started")) == 4)
        names = {event["process"] for event in node.events("process-started")}
        assert names == {"delivery", "receiver-1", "receiver-2", "receiver-3"}
        assert len(node.processes()) == 5
        assert node.end() == 0
    with running_node(tmp_path / "one", processes=1) as node:
        send(node, images(tmp_path / "in", 3), [])
        eventually(lambda: len(node.delivered()) == 3 and node.is_at_rest())
        assert len(node.processes()) == 1
        assert node.end() == 0


def test_delivery_that_dies_goes_on_where_it_was(tmp_path: Path) -> None:
    """What is queued for a destination, and what comes while nobody delivers, is delivered when somebody does again."""
    destinations = {
        "disk": {"type": "folder", "path": str(tmp_path / "node" / "out")},
        "other": {"type": "folder", "path": str(tmp_path / "other")},
    }
    routes = [route(destinations=list(destinations))]
    with running_node(tmp_path / "node", processes=2, destinations=destinations, routes=routes) as node:
        eventually(lambda: len(node.processes()) == 4)
        files = images(tmp_path / "in", 60)
        sender = threading.Thread(target=send, args=(node, files, []))
        sender.start()
        for round_ in range(3):
            time.sleep(0.05)
            os.kill(node.processes()[1], signal.SIGKILL)
            eventually(lambda: len(node.events("process-started")) == 4 + round_)  # noqa: B023 - called at once
        sender.join(60)
        eventually(lambda: len(node.delivered()) == 60 and node.is_at_rest())
        assert len(list((tmp_path / "other").rglob("*.dcm"))) == 60


def test_memory_stays_flat_while_a_destination_is_down(tmp_path: Path) -> None:
    """Senders are not held back by it: the queue is on the disk. When it is there, all of it is delivered."""
    port = free_port()
    destinations = {"peer": {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "STORESCP"}}
    routes = [route(destinations=["peer"])]
    files = images(tmp_path / "in", 600, pixels=40_000)
    with running_node(tmp_path / "node", processes=2, destinations=destinations, routes=routes) as node:
        send(node, files[:20], [])
        before = node.peak_memory()
        senders = [threading.Thread(target=send, args=(node, files[20 + i :: 4], [])) for i in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)
        eventually(lambda: len(node.in_spool("outgoing")) == len(files))
        grown = node.peak_memory() - before
        assert grown < 16 << 20, f"{grown >> 20} MiB for {len(files) * 40 // 1000} MB"
        with running_storescp(tmp_path / "received", port) as received:
            eventually(node.is_at_rest, 60)
            assert len(list(received.iterdir())) == len(files)


def test_processes_die_with_their_supervisor(tmp_path: Path) -> None:
    """Nobody goes on receiving when there is nobody who starts what dies; and the address is free again at once."""
    with running_node(tmp_path, processes=2) as node:
        eventually(lambda: len(node.processes()) == 4)
        _, *others = node.processes()
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGKILL)
        node.process.wait(10)
        eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and is_alive(pid) for pid in others))
        node.start()
        send(node, images(tmp_path / "in", 2), [])
        eventually(lambda: len(node.delivered()) == 2)
        assert node.end() == 0


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_signal_to_all_processes_drains_as_one(tmp_path: Path) -> None:
    """A service manager may send SIGTERM to each of them, a terminal SIGINT: it is no second signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with running_node(tmp_path / str(number), processes=2) as node:
            eventually(lambda: len(node.processes()) == 4)
            with Requestor(peer(node), [CT]):
                assert node.process is not None
                os.killpg(node.process.pid, number)
                assert node.process.wait(10) == 0
            assert not node.events("process-died")
            assert not list((node.spool / "active").iterdir())


@pytest.mark.parametrize("processes", [1, 2])
def test_signal_as_soon_as_it_listens(processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told that the node is there may end it: in good order, however far it has come."""
    # Where numpy is installed pydicom has its threads started, which live until the first fork, and take signals too.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    node = Node(tmp_path, processes=processes)
    try:
        for count in range(1, 4):
            node.start(wait=False)
            while node.log_path.read_bytes().count(b'"event": "starting"') < count:
                time.sleep(0.0005)  # what comes after this event takes milliseconds
            assert node.end() == 0
    finally:
        node.kill()


def test_signal_in_the_moment_before_the_wait() -> None:
    """It does not wait for a lock that the thread it interrupts has."""
    program = """if True:
        import signal
        from scp_anon.supervisor import Ending, handle
        ending = Ending()
        handle(signal.SIGTERM, ending.stop)
        with ending._asked._cond:
            signal.raise_signal(signal.SIGTERM)
        ending.wait()
    """
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


def test_association_limit_is_of_all_processes_together(tmp_path: Path) -> None:
    """However connections are spread over the processes; a place is free again when one of them has died."""
    with running_node(tmp_path, processes=3, limits={"associations": 5}) as node:
        eventually(lambda: len(node.processes()) == 5)
        held = [Requestor(peer(node), [VERIFICATION_CONTEXT]) for _ in range(5)]
        for _ in range(5):
            with pytest.raises(Rejected, match="2/3/2"):
                Requestor(peer(node), [VERIFICATION_CONTEXT])
        held.pop().release()
        eventually(lambda: len(node.events("association-ended")) == 1)
        held.append(Requestor(peer(node), [VERIFICATION_CONTEXT]))
        for pid in node.processes()[1:]:
            os.kill(pid, signal.SIGKILL)
        for requestor in held:
            requestor.abort()
        eventually(lambda: len(node.processes()) == 5)
        held = [Requestor(peer(node), [VERIFICATION_CONTEXT]) for _ in range(5)]
        with pytest.raises(Rejected, match="2/3/2"):
            Requestor(peer(node), [VERIFICATION_CONTEXT])
        for requestor in held:
            requestor.release()


def test_associations_go_where_there_are_fewest(tmp_path: Path) -> None:
    """Six senders are spread over three processes; the one that delivers has none."""
    with running_node(tmp_path, processes=3, operations={"port": free_port()}) as node:
        url = f"http://127.0.0.1:{node.config['operations']['port']}/metrics"
        eventually(lambda: b'scp_anon_processes{role="receiver"} 3.0' in page(url))
        held = [Requestor(peer(node), [VERIFICATION_CONTEXT]) for _ in range(6)]
        counts = sorted(connections(pid, node.port) for pid in node.processes()[1:])
        assert counts[:2] == [0, 0]  # delivery, operations
        assert counts[2] >= 1
        assert sum(counts) == 6
        for requestor in held:
            requestor.release()


def page(url: str) -> bytes:
    """What a page says; nothing where nobody answers yet."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of our own node
            return bytes(answer.read())
    except OSError:
        return b""


def connections(pid: int, port: int) -> int:
    """How many connections to this port a process has accepted."""
    inodes = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    established = [row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return sum(f"socket:[{inode}]" in inodes for inode in established)
