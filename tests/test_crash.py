"""kill -9, again and again: what was acknowledged is delivered, byte for byte what the engine makes of it.

Each round has a node with its default processes, four senders, a folder and an application entity that comes and goes.
While they send, the whole node is killed, or one process of it; senders send again what was not acknowledged. Then the
node is killed once more, and nothing that was acknowledged may be missing from what lies on the disk; then it works off
what it has. `make crash` has two hundred rounds.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from scp_anon import Deidentifier, generate_key, load_key
from scp_anon.destinations.folder import TEMPORARIES
from scp_anon.dicom.part10 import FileMeta
from scp_anon.errors import AssociationError
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from scp_anon.network.tls import Credentials, RequestorTls
from tests import samples
from tests.harness import Node, eventually
from tests.peers import free_port
from tests.pki import Pki, made

ROUNDS = int(os.environ.get("SCP_ANON_CRASH_ROUNDS", "10"))
CT = Context(CTImageStorage, ExplicitVRLittleEndian)
# Called AE title → when success is said, and the destinations: all ways that an instance can take.
ROUTES = {
    "COMMITTED": ("committed", ["disk", "peer"]),
    "COMMITTED_DISK": ("committed", ["disk"]),
    "RESULT": ("deidentified", ["disk", "peer"]),
    "RESULT_DISK": ("deidentified", ["disk"]),
}
# Bytes of pixel data: the last is more than the node keeps in memory.
SIZES = (512, 40_000, 512, 530_000, 512, 40_000, 512, 2_000_000, 512, 40_000, 512, 9 << 20)


class Image(NamedTuple):
    """A file to send, and what has to become of it."""

    path: Path
    meta: FileMeta
    start: int
    new_uid: str
    golden: bytes

    def __repr__(self) -> str:
        return self.path.name  # megabytes of it would hide what failed


@dataclass
class World:
    """What all rounds have in common, and what came of them."""

    key: Path
    pki: Pki
    images: dict[str, list[Image]]
    figures: Counter[str] = field(default_factory=Counter)


class Archive:
    """An application entity to deliver to, that can be up or down; and how often it has taken which data set."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: Counter[tuple[str, bytes]] = Counter()
        self._entity = AE("ARCHIVE")
        self._entity.maximum_pdu_size = 1 << 17
        self._entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        self._server: Any = None

    def up(self) -> None:
        """Be there."""
        if self._server is None:
            address = "127.0.0.1", self.port
            self._server = self._entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)])

    def down(self) -> None:
        """Be gone, in the midst of whatever it is."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def toggle(self) -> None:
        """Be what it is not."""
        self.up() if self._server is None else self.down()

    def _take(self, event: evt.Event) -> int:
        request = event.request
        self.taken[str(request.AffectedSOPInstanceUID), request.DataSet.getvalue()] += 1  # type: ignore[union-attr]  # a C-STORE-RQ
        return 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    """Four senders' images, each with what the engine makes of it. Tells the figures at the end, if it may."""
    folder = tmp_path_factory.mktemp("crash")
    generate_key(folder / "key")
    deidentifier = Deidentifier(load_key(folder / "key"), "test", samples.PASS)
    images = {
        title: [image(folder / f"{title}-{i}.dcm", size, deidentifier) for i, size in enumerate(SIZES)]
        for title in ROUTES
    }
    found = World(folder / "key", made(folder / "pki", "node"), images)
    yield found
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if ROUNDS > 10 else contextlib.nullcontext():
        told = ", ".join(f"{name} {count}" for name, count in sorted(found.figures.items()))
        sys.stdout.write(f"\n{told}\n")


def image(path: Path, size: int, deidentifier: Deidentifier) -> Image:
    """An image, written to `path`."""
    file = samples.encoded(samples.image(path.stem, pixels=size))
    path.write_bytes(file)
    result = deidentifier.deidentify(file)
    return Image(path, *read_meta(path), result.meta.sop_instance_uid, result.to_bytes())


def crashing_node(folder: Path, world: World, archive: Archive) -> tuple[Node, int]:
    """A node with all routes, and the port on which it listens behind TLS."""
    folder.mkdir()
    secure = free_port()
    routes = [
        {
            "called_ae_title": title,
            "project": "test",
            "pixels": "pass",
            "acknowledge": acknowledge,
            "destinations": destinations,
        }
        for title, (acknowledge, destinations) in ROUTES.items()
    ]
    peer = {"type": "dicom", "host": "127.0.0.1", "port": archive.port, "called_ae_title": "ARCHIVE"}
    node = Node(
        folder,
        key={"file": str(world.key)},
        routes=routes,
        destinations={"disk": {"type": "folder", "path": str(folder / "out")}, "peer": peer},
    )
    node.config["listen"].append({"address": "127.0.0.1", "port": secure, "tls": world.pki.tls("node")})
    return node, secure


class Sender(threading.Thread):
    """Sends images until every one has been acknowledged, over as many associations as that takes."""

    def __init__(self, peer: Peer, images: list[Image]) -> None:
        super().__init__(daemon=True)
        self._peer = peer
        self._left = list(images)
        self.acknowledged: list[Image] = []
        self.refused: list[int] = []
        self._given_up = threading.Event()
        self.start()

    def run(self) -> None:
        """Send."""
        while self._left and not self._given_up.is_set():
            try:
                with Requestor(self._peer, [CT]) as requestor:
                    while self._left:
                        self._send(requestor, self._left[0])
            except AssociationError:
                time.sleep(0.05)

    def _send(self, requestor: Requestor, image: Image) -> None:
        status = requestor.store(image.path, image.meta, image.start)
        if status:
            self.refused.append(status)
        else:
            self.acknowledged.append(image)
            del self._left[0]

    def finish(self) -> None:
        """Wait until it has sent everything."""
        self.join(60)
        self._given_up.set()
        assert not self._left, f"{len(self._left)} could not be sent; refused: {self.refused}"


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_nothing_acknowledged_is_lost(round_: int, world: World, tmp_path: Path) -> None:
    """Neither when the whole node is killed, nor when one of its processes is: at no moment, on no route."""
    chance = random.Random(round_)  # noqa: S311 - no secret
    archive = Archive()
    node, secure = crashing_node(tmp_path / "node", world, archive)
    tls = RequestorTls(Credentials(None, None, world.pki.ca), "node")
    try:
        if chance.random() < 0.7:
            archive.up()
        node.start()
        senders = [
            Sender(
                peer(secure, title, tls) if (i + round_) % 2 else peer(node.port, title, None),
                images,
            )
            for i, (title, images) in enumerate(world.images.items())
        ]
        for _ in range(2):
            time.sleep(chance.uniform(0.02, 0.6))
            kill_something(node, chance, world.figures)
            if chance.random() < 0.3:
                archive.toggle()
        for sender in senders:
            sender.finish()
        acknowledged = [(title, image) for title, images in world.images.items() for image in images]
        node.kill()
        lost = missing(acknowledged, node, archive)
        assert not lost, "at the kill"
        archive.up()
        node.start()
        eventually(node.is_at_rest)
        release(node, world.figures)
        node.kill()
        lost = missing(acknowledged, node, archive)
        assert not lost, "on the way to the destinations"
        check_delivered(acknowledged, node, archive)
        world.figures["rounds"] += 1
        world.figures["acknowledged"] += len(acknowledged)
        world.figures["delivered"] += len(node.delivered()) + len(archive.taken)
        world.figures["lost"] += 0  # each of them has failed the round
        world.figures["duplicates"] += archive.taken.total() - len(archive.taken)
        world.figures["temporary files left in the folder"] += len(list((node.out / TEMPORARIES).glob("*")))
    finally:
        node.kill()
        archive.down()
    shutil.rmtree(tmp_path / "node")  # hundreds of rounds would fill the disk


def peer(port: int, title: str, tls: RequestorTls | None) -> Peer:
    """The node as a sender sees it, for one of its routes."""
    return Peer("127.0.0.1", port, title, "SENDER", 10, tls)


def kill_something(node: Node, chance: random.Random, figures: Counter[str]) -> None:
    """The whole node, which is then started again, or one process of it, which it has to start again by itself."""
    running = node.processes()
    whole, *others = running
    victim = whole if chance.random() < 0.4 or not others else chance.choice(running)
    if victim == whole:
        figures["kills of a whole node"] += 1
        node.kill() if chance.random() < 0.7 else node.end(signal.SIGKILL)  # the others die of that
        node.start()
        return
    figures["kills of one process"] += 1
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in (now := node.processes()) and len(now) >= len(running))
    assert "signal 9" in [event["detail"] for event in node.events("process-died")]


def release(node: Node, figures: Counter[str]) -> None:
    """Let what was in hand at three kills, and so was set aside as if it were the cause of them, be tried once more."""
    reasons = [reason for reason, _ in node.quarantined()]
    figures["set aside by three kills"] += len(reasons)
    if reasons:
        assert set(reasons) == {"too-many-attempts"}
        assert node.command("quarantine", "release", "--all").returncode == 0
        eventually(lambda: node.is_at_rest() and not node.quarantined())


def missing(acknowledged: list[tuple[str, Image]], node: Node, archive: Archive) -> list[str]:
    """What a destination neither has nor will get: route, destination and file of each."""
    originals = {uid for place in ("incoming", "active", "quarantine") for uid in uids(node, place)}
    has = {
        "disk": {path.stem for path in node.delivered()} | uids(node, "outgoing/disk"),
        "peer": {uid for uid, _ in archive.taken} | uids(node, "outgoing/peer"),
    }
    return [
        f"{title} {destination} {image.path.name}"
        for title, image in acknowledged
        for destination in ROUTES[title][1]
        if image.new_uid not in has[destination] and image.meta.sop_instance_uid not in originals
    ]


def uids(node: Node, place: str) -> set[str]:
    """The SOP Instance UIDs of what lies in a place of the spool."""
    return {read_meta(path)[0].sop_instance_uid for path in node.in_spool(place)}


def check_delivered(acknowledged: list[tuple[str, Image]], node: Node, archive: Archive) -> None:
    """Each destination has what it should have, to the byte, and nothing else."""
    golden = {image.new_uid: image.golden for _, image in acknowledged}
    assert {path.stem: path.read_bytes() for path in node.delivered()} == golden
    expected = {
        (image.new_uid, image.golden[samples.data_set_start(image.golden) :])
        for title, image in acknowledged
        if "peer" in ROUTES[title][1]
    }
    assert set(archive.taken) == expected
