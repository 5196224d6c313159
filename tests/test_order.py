"""The order of the system calls of a running node, for every instance: what is said or given up was safe before."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.peers import free_port
from tests.rawpeer import COMMAND, DATA, LAST, decode_command, fragments, number
from tests.strace import Call, needs_strace, read, traced

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
C_STORE_RSP = 0x8001
LARGE = 9 << 20  # is not held in memory

pytestmark = needs_strace


def images(folder: Path, count: int = 10) -> list[Path]:
    """Instances to send, the last of them a large one."""
    folder.mkdir()
    paths = [folder / f"{i}.dcm" for i in range(count)]
    for i, path in enumerate(paths):
        pixels = LARGE if path == paths[-1] else 512
        path.write_bytes(samples.encoded(samples.image(str(i), pixels=pixels)))
    return paths


def send(node: Node, paths: list[Path]) -> None:
    """Send by three associations at once."""

    def store(some: list[Path]) -> None:
        with Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 30), [CT]) as requestor:
            statuses.extend(requestor.store(path, *read_meta(path)) for path in some)

    statuses: list[int] = []
    senders = [threading.Thread(target=store, args=(paths[i::3],)) for i in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [0] * len(paths)


def route(*destinations: str) -> dict[str, Any]:
    """Settings for a route to these."""
    return {
        "routes": [
            {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": list(destinations)}
        ]
    }


class Trace:
    """What a node has done, and whether its order was right."""

    def __init__(self, calls: list[Call], spool: Path) -> None:
        self.calls = [call for call in calls if not call.error]
        self.spool = str(spool)

    def place(self, path: str) -> str:
        """The place of the spool that a file is in, as "active" or "outgoing/one"; "" where it is not in the spool."""
        if not path.startswith(f"{self.spool}/") or path.startswith(f"{self.spool}/studies.sqlite"):
            return ""
        place, *between, _ = os.path.relpath(path, self.spool).split("/")
        return f"{place}/{between[0]}" if place == "outgoing" else place

    def moves(self) -> list[Call]:
        """The calls that give a file a name for good."""
        return [call for call in self.calls if call.name in ("rename", "link")]

    def check_synced(self, path: str, before: Call) -> None:
        """A file's content is on stable storage before something is done."""
        assert [call for call in self.calls if call.name == "fsync" and call.path == path and call.end < before.begin]
        writes = [call for call in self.calls if call.name in ("write", "writev", "sendfile") and call.path == path]
        synced = next(call for call in self.calls if call.name == "fsync" and call.path == path)
        assert all(call.end < synced.begin for call in writes), "written to after it was synced"

    def is_name_synced(self, move: Call, before: Call) -> bool:
        """Whether a file's new name is on stable storage before something is done."""
        directory = os.path.dirname(move.names[1])
        syncs = [call for call in self.calls if call.name == "fsync" and call.path == directory]
        return any(move.end < call.begin and call.end < before.begin for call in syncs)

    def responses(self) -> dict[str, Call]:
        """The C-STORE responses that say success, by SOP Instance UID."""
        found = {}
        for call in self.calls:
            if call.name in ("sendmsg", "sendto") and (uid := stored(call.content)):
                found[uid] = call
        return found

    def check_commits(self, count: int) -> None:
        """Each instance is on stable storage, and so is its name, before success is said."""
        responses = self.responses()
        assert len(responses) == count
        moves = [
            move
            for move in self.moves()
            if self.place(move.names[0]) == "tmp" and self.place(move.names[1]) in ("incoming", "active")
        ]
        assert len(moves) == count
        for uid, response in responses.items():
            (move,) = (move for move in moves if uid.encode() in self.written(move.names[0]))
            self.check_synced(move.names[0], move)
            assert self.is_name_synced(move, response)

    def written(self, path: str) -> bytes:
        """What was written to a draft, as far as the trace has it."""
        return b"".join(call.content for call in self.calls if call.name in ("write", "writev") and call.path == path)

    def check_removals(self, place: str, count: int, targets: set[str]) -> None:
        """Before a file of this place is removed, what was made of it is safe in each of the target directories."""
        removals = [call for call in self.calls if call.name == "unlink" and self.place(call.path) == place]
        assert len(removals) == count
        for removal in removals:
            earlier = [call for call in removals if call.thread == removal.thread and call.end < removal.begin]
            since = earlier[-1].end if earlier else -1
            moves = [
                move
                for move in self.moves()
                if move.thread == removal.thread
                and since < move.begin < removal.begin
                and self.place(move.names[1]) not in ("incoming", "active")
            ]
            assert {target for target in targets for move in moves if move.names[1].startswith(target)} == targets
            assert len(moves) == len(targets)
            for move in moves:
                if not place.startswith("outgoing") or move.name == "rename":  # else it has been synced already
                    self.check_synced(move.names[0], moves[0])
                assert self.is_name_synced(move, removal), move.names[1]


def stored(content: bytes) -> str:
    """The SOP Instance UID of a C-STORE response that says success; "" for any other bytes."""
    if content[:1] != bytes([DATA]):
        return ""
    for fragment in fragments(content[6:]):
        if fragment.control == COMMAND | LAST:
            command = decode_command(fragment.value)
            if number(command[0x0100]) == C_STORE_RSP and number(command[0x0900]) == 0:
                return command[0x1000].decode().rstrip("\0")
    return ""


def trace_of(folder: Path, count: int = 10, **changes: Any) -> Trace:
    """What a node does with so many instances."""
    paths = images(folder / "images", count)
    with running_node(folder / "node", **changes) as node:
        with traced(node, folder / "trace"):
            send(node, paths)
            busy = [f"outgoing/{name}" for name in node.config["destinations"] if name != "down"]
            eventually(lambda: not any(map(node.in_spool, ["incoming", "active", *busy])))
        return Trace(read(folder / "trace"), node.spool)


@contextlib.contextmanager
def another_file_system(folder: Path) -> Iterator[Path]:
    """A directory that no file of this folder can be moved to."""
    memory = Path("/dev/shm")  # noqa: S108 - the only other file system that a machine is sure to have
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        yield Path(other)


@pytest.mark.parametrize("processes", [{}, {"processes": 1}], ids=["several", "one"])
def test_folder_on_the_file_system_of_the_spool(processes: dict[str, int], tmp_path: Path) -> None:
    """The result is moved into the folder, and its name synced, before the original goes."""
    trace = trace_of(tmp_path, **processes)
    trace.check_commits(10)
    trace.check_removals("active", 10, {str(tmp_path / "node" / "out")})


def test_folder_on_another_file_system(tmp_path: Path) -> None:
    """The result is queued, and copied: the copy and its name are synced before the result goes."""
    with another_file_system(tmp_path) as other:
        trace = trace_of(tmp_path, destinations={"disk": {"type": "folder", "path": str(other)}})
        trace.check_commits(10)
        trace.check_removals("active", 10, {str(tmp_path / "node" / "spool" / "outgoing" / "disk")})
        trace.check_removals("outgoing/disk", 10, {str(other)})
        assert sum(call.name == "sendfile" for call in trace.calls) >= 10


def test_several_destinations(tmp_path: Path) -> None:
    """The result is queued for each before the original goes, and leaves each queue when it is safe there."""
    destinations = {
        "down": {"type": "dicom", "host": "127.0.0.1", "port": free_port(), "called_ae_title": "DOWN"},
        **{name: {"type": "folder", "path": str(tmp_path / name)} for name in ("one", "two")},
    }
    trace = trace_of(tmp_path, destinations=destinations, **route(*destinations))
    trace.check_commits(10)
    outgoing = tmp_path / "node" / "spool" / "outgoing"
    trace.check_removals("active", 10, {str(outgoing / name) for name in destinations})
    for name in ("one", "two"):
        trace.check_removals(f"outgoing/{name}", 10, {str(tmp_path / name)})


def test_a_node_without_fsync_fails(tmp_path: Path) -> None:
    """These tests can fail: the setting that gives the promise up is seen."""
    spool = {"path": str(tmp_path / "node" / "spool"), "reserve": 0, "fsync": False}
    trace = trace_of(tmp_path, count=2, spool=spool)
    with pytest.raises(AssertionError):
        trace.check_commits(2)
    with pytest.raises(AssertionError):
        trace.check_removals("active", 2, {str(tmp_path / "node" / "out")})
