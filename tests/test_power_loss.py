"""A running node loses its power after any of its system calls: what it had acknowledged is there when it starts again.

The calls of one run are noted, and the disk that each of them leaves behind is made anew: see `tests.disk`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scp_anon import Deidentifier, load_key
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from scp_anon.spool import Spool
from tests import samples
from tests.disk import Disk, Tree, all_of_it, nothing_of_it, read_tree, some_of_it, write_tree
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.peers import free_port
from tests.strace import Call, command, needs_strace, read
from tests.test_order import stored

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
INSTANCES = 10
# Of each run, so many of the states have a whole node started on them.
NODES = int(os.environ.get("SCP_ANON_POWER_LOSSES", "4"))
STEP = 1 if NODES > 4 else 5  # of the calls of each run, one in so many is followed by the start of a spool

pytestmark = needs_strace


def replay(disk: Disk, calls: list[Call]) -> Iterator[Call]:
    """Each call that did something to the disk, or said something to a peer, when it has done so."""
    for call in calls:
        if not call.error and (call.name in ("sendmsg", "sendto") or apply(disk, call)):
            yield call


def apply(disk: Disk, call: Call) -> bool:
    """Do to a disk what a call did; returns whether that was anything."""
    if not disk.covers(call.path) or (call.name == "openat" and "O_CREAT" not in call.arguments):
        return False
    file = disk.live.get(call.path)
    if call.name == "openat":
        disk.create(call.path)
    elif call.name in ("write", "writev") and file is not None:
        assert len(call.content) == call.result, "the trace has not all of it"
        file.write(call.content)
    elif call.name == "sendfile" and file is not None:
        source = disk.live[call.paths[1]]
        assert source is not None
        file.write(source.content[len(file.content) :][: call.result])
    elif call.name == "fsync" and file is not None:
        file.sync()
    elif call.name == "fsync":
        disk.sync_directory(call.path)
    elif call.name == "rename":
        disk.rename(*call.names)
    elif call.name in ("link", "linkat"):
        disk.link(*call.names)
    elif call.name == "rmdir" or "AT_REMOVEDIR" in call.arguments:
        disk.remove_directory(call.path)
    elif call.name in ("unlink", "unlinkat"):
        disk.unlink(call.path)
    elif call.name in ("mkdir", "mkdirat"):
        disk.make_directory(call.path)
    else:
        return False  # the log, which the node has not opened itself
    return True


class Run:
    """A run of a node that receives some instances, and then loses its power at any moment."""

    def __init__(self, folder: Path, destinations: list[str]) -> None:
        self.destinations = destinations
        self.root = folder / "disk"
        self.trace = folder / "trace"
        self.originals = {
            samples.uid(f"instance {i}"): samples.encoded(samples.image(str(i))) for i in range(INSTANCES)
        }
        (self.root / "node").mkdir(parents=True)
        self.disk = Disk(self.root)
        node = Node(self.root / "node", **self.settings(self.root))
        node.prefix = command(self.trace)
        try:
            node.start()
            self.send(node, folder / "image.dcm")
            eventually(lambda: len(node.delivered()) == INSTANCES)
            eventually(lambda: not any(map(node.in_spool, ["incoming", "active", "outgoing/disk"])))
            pid = node.process.pid if node.process else 0
            node.end()
            eventually(lambda: re.search(rf"^{pid} +\+\+\+ exited", self.trace.read_text("ascii"), re.MULTILINE))
        finally:
            node.kill()
        engine = Deidentifier(load_key(node.folder / "key"), "test", samples.PASS)
        self.uids = {uid: engine.deidentify(file).meta.sop_instance_uid for uid, file in self.originals.items()}
        self.results = {uid: path.read_bytes() for uid in self.uids for path in node.out.rglob(f"{self.uids[uid]}.dcm")}
        assert len(self.results) == INSTANCES

    def settings(self, root: Path) -> dict[str, Any]:
        """Of the node whose disk this is; one destination is not there."""
        destinations = {
            "disk": {"type": "folder", "path": str(root / "node" / "out")},
            "down": {"type": "dicom", "host": "127.0.0.1", "port": free_port(), "called_ae_title": "DOWN"},
        }
        route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": self.destinations}
        return {"destinations": destinations, "routes": [route], "processes": 1}

    def send(self, node: Node, path: Path) -> None:
        """Send all by one association."""
        with Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 30), [CT]) as requestor:
            for file in self.originals.values():
                path.write_bytes(file)
                assert requestor.store(path, *read_meta(path)) == 0

    def check(self, tree: Tree, acknowledged: set[str]) -> None:
        """Each instance that was acknowledged is there, whole, and nothing is half there."""
        data_sets = {file[samples.data_set_start(file) :]: uid for uid, file in self.originals.items()}
        results = {file: uid for uid, file in self.results.items()}
        found: dict[str, set[str]] = {"": set(), "disk": set(), "down": set()}
        for path, content in tree.items():
            match = re.fullmatch(r"node/(?:spool/(incoming|active|quarantine|outgoing)/(?:(\w+)/)?.*|out/.*dcm)", path)
            if content is None or match is None:
                continue
            if match[1] in ("incoming", "active", "quarantine"):
                found[""].add(data_sets[content[samples.data_set_start(content) :]])
            else:
                found[match[2] or "disk"].add(results[content])
        for uid in acknowledged - found[""]:
            assert all(uid in found[destination] for destination in self.destinations), f"lost: {uid}"

    def check_spool(self, tree: Tree, acknowledged: set[str], root: Path) -> None:
        """So it is when a spool has been opened on it; and nothing half-written is left."""
        root.mkdir()
        write_tree(tree, root)
        spool = Spool(root / "node" / "spool", ["disk", "down"], durable=False)
        assert not [path for path in (root / "node" / "spool" / "tmp").rglob("*") if path.is_file()]
        spool.close()
        self.check(read_tree(root), acknowledged)

    def check_node(self, tree: Tree, acknowledged: set[str], root: Path) -> None:
        """A node that starts on it delivers what was acknowledged, and keeps what it cannot deliver yet."""
        root.mkdir()
        write_tree(tree, root)
        expected = {self.uids[uid] for uid in acknowledged}
        with running_node(root / "node", **self.settings(root)) as node:
            eventually(lambda: not any(map(node.in_spool, ["incoming", "active", "outgoing/disk", "tmp"])))
            assert expected <= {path.stem for path in node.delivered()}
            assert not node.in_spool("quarantine")
            self.check(read_tree(root), acknowledged)


@pytest.mark.parametrize("destinations", [["disk"], ["disk", "down"]], ids="-".join)
def test_power_loss_after_any_call(destinations: list[str], tmp_path: Path) -> None:
    """Whatever the disk made of what was not synced: every acknowledged instance is in the spool, or in the folder."""
    run = Run(tmp_path, destinations)
    (tmp_path / "again").mkdir()
    acknowledged: set[str] = set()
    states: list[tuple[Tree, set[str]]] = []
    for number, call in enumerate(replay(run.disk, read(run.trace))):
        if call.name in ("sendmsg", "sendto"):
            acknowledged |= {uid for uid in [stored(call.content)] if uid}
        for choose in (nothing_of_it, all_of_it, some_of_it(0x5A5A_F00D_1234_9876 >> number % 32)):
            run.check(run.disk.after_power_loss(choose), acknowledged)
        states.append((run.disk.after_power_loss(some_of_it(number * 0x9E37_79B9_7F4A_7C15)), set(acknowledged)))
    assert len(acknowledged) == INSTANCES
    assert len(states) > 10 * INSTANCES
    for number, state in enumerate(states[::STEP]):
        run.check_spool(*state, tmp_path / "again" / str(number))
    states = [(tree, some) for tree, some in states if some]
    for number in range(NODES):
        run.check_node(*states[len(states) * number // NODES], tmp_path / f"node-{number}")
