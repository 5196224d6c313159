"""Hours in small: a node under steady work, and what that does to memory, threads and descriptors.

    python -m tests.soak --minutes 30

Senders, over TLS and not, send instances of 30 KB at a moderate rate to a folder, to an application entity, and to
both; one sends to a destination that is down throughout, whose queue grows; one sends 500 MB about once a minute; and
associations come and go for nothing. What has been delivered is counted and deleted. What was acknowledged and in the
end is neither delivered nor queued is lost; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from scp_anon import generate_key, load_key
from scp_anon.deid.identity import Identity
from scp_anon.destinations.folder import TEMPORARIES
from scp_anon.errors import AssociationError
from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta
from scp_anon.network.tls import Credentials, RequestorTls
from tests import samples
from tests.harness import Node, eventually, running_node, running_storescp
from tests.peers import free_port
from tests.pki import Pki, made

CT: Final = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
SMALL: Final = 30_000
LARGE: Final = 500_000_000
SAMPLE_EVERY: Final = 10.0  # seconds
SETTLED: Final = 3.0  # seconds after its last change that a file which is not renamed into its place is taken as whole
# Called AE title → destinations. The destination that is down has a route of its own, with small instances only.
ROUTES: Final = {"FOLDER": ["disk"], "PEER": ["peer"], "BOTH": ["disk", "peer"], "DOWN": ["down"]}
# Called AE title, size, seconds between two instances, whether over TLS.
SENDERS: Final = (
    ("FOLDER", SMALL, 0.1, False),
    ("PEER", SMALL, 0.1, True),
    ("BOTH", SMALL, 0.1, False),
    ("BOTH", SMALL, 0.1, True),
    ("DOWN", SMALL, 0.5, True),
    ("BOTH", LARGE, 60, False),
)


class Template:
    """An image as a file, that becomes another instance when it is given another SOP Instance UID."""

    def __init__(self, path: Path, number: int, size: int) -> None:
        self.path = path
        self._number = number
        self._count = 0
        ds = samples.image(pixels=2)
        ds.SOPInstanceUID = uid = self._next_uid()
        small = samples.encoded(ds)
        head = small[:-6] + struct.pack("<I", size)  # of the pixel data, which is the last element
        path.write_bytes(head)
        os.truncate(path, len(head) + size)
        self._places = head.find(uid.encode()), head.rfind(uid.encode())
        assert self._places[0] < self._places[1]
        self._meta, self._start = read_meta(path)

    def store(self, requestor: Requestor) -> tuple[str, int]:
        """Send it as a new instance; returns that one's SOP Instance UID, and the status."""
        uid = self._next_uid()
        with self.path.open("r+b") as file:
            for place in self._places:
                os.pwrite(file.fileno(), uid.encode(), place)
        return uid, requestor.store(self.path, self._meta._replace(sop_instance_uid=uid), self._start)

    def _next_uid(self) -> str:
        self._count += 1
        return f"1.2.826.0.1.3680043.10.999.{self._number + 1}{self._count:010d}"


class Sender(threading.Thread):
    """Sends one instance after the other until it is told to stop."""

    def __init__(self, peer: Peer, template: Template, pause: float, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.title = peer.called_ae_title
        self.acknowledged: list[str] = []
        self.failures: list[str] = []
        self._peer, self._template, self._pause, self._over = peer, template, pause, stop
        self.start()

    def run(self) -> None:
        """Send, a hundred over each association, as scanners have one for each study."""
        while not self._over.is_set():
            try:
                with Requestor(self._peer, [CT]) as requestor:
                    for _ in range(100):
                        uid, status = self._template.store(requestor)
                        self.failures.extend([f"{status:04X}"] if status else [])
                        self.acknowledged.extend([] if status else [uid])
                        if self._over.wait(self._pause):
                            break
            except AssociationError as error:
                self.failures.append(str(error))
                self._over.wait(1)


def churn(peers: list[Peer], stop: threading.Event) -> None:
    """Associations for a C-ECHO, and some that end without a word."""
    count = 0
    while not stop.wait(0.2):
        count += 1
        with contextlib.suppress(AssociationError):  # those who send would notice
            requestor = Requestor(peers[count % len(peers)], [VERIFICATION_CONTEXT])
            requestor.echo()
            requestor.abort() if count % 3 else requestor.release()


class Collector:
    """Counts what the destinations have, and deletes it, so that the disk does not fill."""

    def __init__(self, places: dict[str, Path]) -> None:
        self._places = places
        self.delivered: dict[str, set[str]] = {destination: set() for destination in places}
        self.again = 0

    def collect(self) -> None:
        """Look once."""
        for destination, place in self._places.items():
            for path in [path for path in place.rglob("*") if path.is_file() and path.parent.name != TEMPORARIES]:
                if time.time() - path.stat().st_mtime < SETTLED:
                    continue  # it may still be written
                uid = read_meta(path)[0].sop_instance_uid
                self.again += uid in self.delivered[destination]
                self.delivered[destination].add(uid)
                path.unlink()


class Sample(NamedTuple):
    """What the node held at one moment."""

    seconds: float
    processes: int
    total: int
    largest: int
    threads: int
    descriptors: int

    def row(self, name: str) -> str:
        """A row of the table."""
        sizes = f"{self.total >> 20} | {self.largest >> 20}"
        return f"| {name} | {self.seconds:.0f} | {self.processes} | {sizes} | {self.threads} | {self.descriptors} |\n"


def sample(node: Node, begun: float) -> Sample:
    """What it holds now."""
    processes = [psutil.Process(pid) for pid in node.processes()]
    sizes = [process.memory_info().rss for process in processes]
    return Sample(
        time.monotonic() - begun,
        len(processes),
        sum(sizes),
        max(sizes),
        sum(process.num_threads() for process in processes),
        sum(process.num_fds() for process in processes),
    )


def settings(folder: Path, pki: Pki, archive: int) -> dict[str, object]:
    """A node with all routes, that listens with and without TLS."""
    route = {"project": "test", "pixels": "pass"}
    peer = {"type": "dicom", "host": "127.0.0.1", "called_ae_title": "STORESCP"}
    return {
        "key": {"file": str(folder / "key")},
        "listen": [
            {"address": "127.0.0.1", "port": free_port()},
            {"address": "127.0.0.1", "port": free_port(), "tls": pki.tls("node")},
        ],
        "routes": [{**route, "called_ae_title": title, "destinations": names} for title, names in ROUTES.items()],
        "destinations": {
            "disk": {"type": "folder", "path": str(folder / "node" / "out")},
            "peer": {**peer, "port": archive},
            "down": {**peer, "port": free_port()},
        },
        "retry": {"first": "5s", "limit": "60s"},
        "log": {"level": "info"},
    }


def soak(folder: Path, seconds: float) -> int:
    """Run it; returns the exit code."""
    pki = made(folder / "pki", "node")
    generate_key(folder / "key")
    archive = free_port()
    configured = settings(folder, pki, archive)
    tls = RequestorTls(Credentials(None, None, pki.ca), "node")
    stop = threading.Event()
    with (
        running_storescp(folder / "archive", archive, "+B") as received,
        running_node(folder / "node", **configured) as node,
    ):
        plain, secure = (section["port"] for section in node.config["listen"])

        def peer(title: str, is_secure: bool) -> Peer:
            return Peer("127.0.0.1", secure if is_secure else plain, title, "SENDER", 120, tls if is_secure else None)

        senders = [
            Sender(peer(title, is_secure), Template(folder / f"{i}.dcm", i, size), pause, stop)
            for i, (title, size, pause, is_secure) in enumerate(SENDERS)
        ]
        churning = threading.Thread(target=churn, args=([peer("FOLDER", False), peer("FOLDER", True)], stop))
        churning.start()
        collector = Collector({"disk": node.out, "peer": received})
        begun = time.monotonic()
        taken = watch(node, collector, begun, seconds)
        stop.set()
        for thread in (*senders, churning):
            thread.join(300)
        eventually(lambda: not any(node.in_spool(place) for place in ("incoming", "active", "outgoing/peer")), 300)
        eventually(lambda: not node.in_spool("outgoing/disk"), 300)
        time.sleep(SETTLED + 1)
        collector.collect()
        taken.append(sample(node, begun))
        return report(node, senders, collector, taken, Identity(load_key(folder / "key"), "test"))


def watch(node: Node, collector: Collector, begun: float, seconds: float) -> list[Sample]:
    """Take samples, and collect what is delivered, for this time."""
    taken: list[Sample] = []
    due = begun + SAMPLE_EVERY
    while time.monotonic() - begun < seconds:
        time.sleep(1)
        collector.collect()
        if time.monotonic() >= due:
            due += SAMPLE_EVERY
            taken.append(sample(node, begun))
    return taken


def report(node: Node, senders: list[Sender], collector: Collector, taken: list[Sample], identity: Identity) -> int:
    """Tell what came of it; returns the exit code."""
    say = sys.stdout.write
    say("| | seconds | processes | RSS, all (MiB) | RSS, largest | threads | descriptors |\n")
    say("|---|---:|---:|---:|---:|---:|---:|\n")
    *steady, rest = taken
    for name, row in (("start", steady[0]), ("middle", steady[len(steady) // 2]), ("end", steady[-1])):
        say(row.row(name))
    most = Sample(*(max(column) for column in zip(*steady, strict=True)))
    say(most.row("most"))
    say(rest.row("at rest"))
    say("\n| route | destination | acknowledged | delivered | queued | lost |\n|---|---|---:|---:|---:|---:|\n")
    node.end()  # what is deferred would change its name while one looks
    # What is quarantined is under its new UID or its old one; either way it is not lost.
    kept = {read_meta(path)[0].sop_instance_uid for path in node.in_spool("quarantine")}
    all_lost = 0
    for title, destinations in ROUTES.items():
        old = [uid for sender in senders if sender.title == title for uid in sender.acknowledged]
        acknowledged = {identity.uid(uid.encode()).decode() for uid in old if uid not in kept} - kept
        for destination in destinations:
            queued = {read_meta(path)[0].sop_instance_uid for path in node.in_spool(f"outgoing/{destination}")}
            delivered = collector.delivered.get(destination, set())
            lost = len(acknowledged - delivered - queued)
            all_lost += lost
            counts = len(old), len(acknowledged & delivered), len(acknowledged & queued), lost
            say(f"| {title} | {destination} | {' | '.join(map(str, counts))} |\n")
    failures = [failure for sender in senders for failure in sender.failures]
    died = len(node.events("process-died"))
    say(f"\nlost {all_lost}, quarantined {len(kept)}, twice {collector.again}, died {died}, failures {failures[:10]}\n")
    return 1 if all_lost else 0


def main() -> int:
    """Run it by the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, help="where to work, instead of the directory for temporary files")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=arguments.folder))
    try:
        needed = 8 * LARGE + int(arguments.minutes * 60 * 2 * 2 * SMALL)  # what is queued for the one that is down
        if shutil.disk_usage(folder).free < needed:
            sys.exit(f"{folder}: less than {needed >> 20} MiB are free")
        return soak(folder, arguments.minutes * 60)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
