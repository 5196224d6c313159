"""Hostile and broken peers against a node as it runs: while each is at it, others are served, and nothing of it stays.

One node with its default processes lives through all of them, so that what little each leaves behind would add up. The
attacks are in `attacks`. With SCP_ANON_LONG=1 they go on for longer, and a table is printed of what the node held.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from scp_anon import Deidentifier, load_key
from scp_anon.errors import Rejected
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from scp_anon.network.tls import Credentials, RequestorTls
from tests import samples
from tests.attacks import ADDRESS, ATTACKS, HANDSHAKE, IDLE, OBJECT_SIZE, PER_ADDRESS, Attack, Target
from tests.harness import AE_TITLE, Node, eventually, running_node, storescu
from tests.peers import free_port
from tests.pki import Pki, made
from tests.rawpeer import COMMAND, EXPLICIT, LAST, RJ, RawPeer, associate_request, data_pdu, store_request
from tests.rawpeer import CT as CT_IMAGE

IS_LONG = os.environ.get("SCP_ANON_LONG") == "1"
CT = Context(CT_IMAGE, EXPLICIT)
ASSOCIATIONS = 32
GROWTH = 64 << 20  # bytes that a process may be larger after an attack than before the first
OVER = ("plain", "tls")


class Footprint(NamedTuple):
    """What the processes of a node hold."""

    threads: int
    descriptors: int
    memory: dict[int, int]
    """Resident, by process."""

    def row(self) -> str:
        """Cells of a table."""
        sizes = [size >> 20 for size in self.memory.values()]
        return f"{self.threads} | {self.descriptors} | {sum(sizes)} | {max(sizes)}"


@dataclass
class World:
    """The node under attack, what it held before, and images to send to it."""

    node: Node
    ports: dict[str, int]
    pki: Pki
    images: list[Path]
    new_uids: set[str]
    before: Footprint
    rows: list[str] = field(default_factory=list)

    def target(self, over: str, attack: Attack) -> Target:
        """The address that is attacked."""
        context = ssl.create_default_context(cafile=str(self.pki.ca)) if over == "tls" else None
        return Target(self.ports[over], context, attack.long_seconds if IS_LONG else attack.seconds, IS_LONG)

    def peer(self, over: str) -> Peer:
        """The same as a sender in good order sees it, from another address."""
        tls = RequestorTls(Credentials(None, None, self.pki.ca), "node") if over == "tls" else None
        return Peer("127.0.0.1", self.ports[over], AE_TITLE, "SENDER", 10, tls)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    """A node that has worked a little, so that what it makes once is there."""
    folder = tmp_path_factory.mktemp("hostile")
    pki = made(folder / "pki", "node")
    ports = {over: free_port() for over in OVER}
    listen = [
        {"address": "127.0.0.1", "port": ports["plain"]},
        {"address": "127.0.0.1", "port": ports["tls"], "tls": pki.tls("node")},
    ]
    limits = {
        "associations": ASSOCIATIONS,
        "per_address": PER_ADDRESS,
        "object_size": OBJECT_SIZE,
        "handshake_timeout": f"{HANDSHAKE}s",
        "idle_timeout": f"{IDLE}s",
    }
    images = [folder / f"{i}.dcm" for i in range(6)]
    for path in images:
        path.write_bytes(samples.encoded(samples.image(path.stem, pixels=40_000)))
    with running_node(folder / "node", listen=listen, limits=limits) as node:
        engine = Deidentifier(load_key(folder / "node" / "key"), "test", samples.PASS)
        new_uids = {engine.deidentify(path.read_bytes()).meta.sop_instance_uid for path in images}
        found = World(node, ports, pki, images, new_uids, footprint(node))
        for over in OVER:
            fill(found.target(over, ATTACKS[0]))
            # Whoever has just let go of a slot is not seen to have gone at once.
            eventually(partial(is_served, found.peer(over), images))
        eventually(lambda: (now := node.events("association-accepted")) and len(now) == ended(node))
        found.before = footprint(node)
        yield found
        assert node.end() == 0
    if IS_LONG:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            head = "| attack | over | threads | descriptors | RSS, all (MiB) | largest | sent meanwhile |\n"
            first = f"| before | | {found.before.row()} | |"
            sys.stdout.write("\n".join((f"\n{head}|---|---|---:|---:|---:|---:|---:|", first, *found.rows, "")))


def ended(node: Node) -> int:
    """How many associations have ended."""
    return len(node.events("association-ended"))


def footprint(node: Node) -> Footprint:
    """What it holds now."""
    processes = [psutil.Process(pid) for pid in node.processes()]
    return Footprint(
        sum(process.num_threads() for process in processes),
        sum(process.num_fds() for process in processes),
        {process.pid: process.memory_info().rss for process in processes},
    )


def send(peer: Peer, images: list[Path]) -> int:
    """Send images over one association; returns how many were acknowledged."""
    with Requestor(peer, [CT]) as requestor:
        statuses = [requestor.store(path, *read_meta(path)) for path in images]
    assert not any(statuses)
    return len(statuses)


def is_served(peer: Peer, images: list[Path]) -> bool:
    """Whether images can be sent: all slots may still be taken."""
    try:
        return send(peer, images) == len(images)
    except Rejected:
        return False


def send_until(peer: Peer, images: list[Path], over: threading.Event) -> int:
    """Send them again and again until it is over, at least once."""
    count = send(peer, images)
    while not over.wait(0.05):
        count += send(peer, images)
    return count


def is_filled(target: Target) -> bool:
    """Whether all associations that there may be can be had."""
    try:
        fill(target)
    except AssertionError:
        return False
    return True


def fill(target: Target) -> None:
    """Open as many associations as may be, from two addresses; one more is rejected for now (2/3/2)."""
    own = ASSOCIATIONS - PER_ADDRESS
    with contextlib.ExitStack() as stack:
        for address in [ADDRESS] * PER_ADDRESS + ["127.0.0.1"] * own:
            stack.enter_context(target.associated(address))
        one_more: RawPeer = stack.enter_context(target.connect("127.0.0.1"))
        one_more.send(associate_request([(1, CT_IMAGE, [EXPLICIT])]))
        assert one_more.read_pdu() == (RJ, struct.pack("xBBB", 2, 3, 2))


@pytest.mark.parametrize(
    ("attack", "over"),
    [
        pytest.param(attack, over, id=f"{attack.name}-{over}")
        for attack in ATTACKS
        for over in attack.over + attack.long_over * IS_LONG
    ],
)
def test_hostile_peers(attack: Attack, over: str, world: World) -> None:
    """Others' images are delivered meanwhile; slots, threads, descriptors and memory come back; no process dies."""
    node = world.node
    for path in node.delivered():
        path.unlink()
    is_over = threading.Event()
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(send_until, world.peer(over), world.images, is_over)
        by_storescu = pool.submit(storescu, world.ports["plain"], *map(str, world.images))
        try:
            attack.run(world.target(over, attack))
        finally:
            is_over.set()
        assert sent.result(30) >= len(world.images)
        assert by_storescu.result(30).returncode == 0
    eventually(lambda: world.new_uids <= {path.stem for path in node.delivered()})
    eventually(lambda: is_back(world))
    # What a flood has left in the kernel's queue is still to be accepted, and to be closed.
    eventually(lambda: is_filled(world.target(over, attack)))
    eventually(lambda: is_back(world) and node.is_at_rest(), 10)
    after = footprint(node)
    world.rows.append(f"| {attack.name} | {over} | {after.row()} | {sent.result()} |")
    assert after.memory.keys() == world.before.memory.keys(), "a process has died"
    grown = {pid: (size - world.before.memory[pid]) >> 20 for pid, size in after.memory.items()}
    assert max(grown.values()) << 20 < GROWTH, grown
    assert not node.quarantined()


def test_same_instance_at_once(world: World) -> None:
    """Eight store the same SOP Instance UID, with two contents: each is told success, and one of them is left."""
    node = world.node
    for path in node.delivered():
        path.unlink()
    files = [samples.encoded(samples.image("contested", pixels=pixels)) for pixels in (40_000, 60_000)]
    command = store_request(instance=samples.uid("instance contested"))
    messages = [
        data_pdu((1, COMMAND | LAST, command)) + data_pdu((1, LAST, file[samples.data_set_start(file) :]))
        for file in files
    ]
    target = world.target("plain", ATTACKS[0])
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(target.associated()) for _ in range(8)]
        for _ in range(20):
            for i, peer in enumerate(peers):
                peer.send(messages[i % 2])
            assert [peer.read_status() for peer in peers] == [0] * 8
    eventually(node.is_at_rest)
    (path,) = node.delivered()
    engine = Deidentifier(load_key(node.folder / "key"), "test", samples.PASS)
    assert path.read_bytes() in [engine.deidentify(file).to_bytes() for file in files]
    assert not [path for path in node.out.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    eventually(lambda: is_back(world))


def is_back(world: World) -> bool:
    """Whether the node holds no more threads and descriptors than before."""
    now = footprint(world.node)
    return now.threads <= world.before.threads and now.descriptors <= world.before.descriptors
