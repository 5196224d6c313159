"""System calls of a running node that fail, one after the other: refused, or safe; and the node lives on.

strace has the nth call of a kind fail in each thread of the node; the thread of an association is a new one. By
default some calls of an instance's way fail, with SCP_ANON_INJECT=all each of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scp_anon import Deidentifier, load_key
from scp_anon.errors import AssociationError
from scp_anon.inspection import Inspection
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.strace import Call, needs_strace, read, traced
from tests.test_order import Trace

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
ALL = os.environ.get("SCP_ANON_INJECT") == "all"
LAST = 40 if ALL else 2  # that call of a kind fails last, if there are so many
FAULTS = [("fsync", "EIO"), ("rename", "EIO"), ("link", "EIO"), *[(name, "ENOSPC") for name in ("write", "writev")]]
FAULTS += [("openat", "ENOSPC")]
FAULTS += [("fsync", "ENOSPC"), ("openat", "EMFILE"), ("unlink", "EIO"), ("mkdir", "ENOSPC")] if ALL else []
STATUSES = {"EIO": 0x0110, "EMFILE": 0x0110, "ENOSPC": 0xA700}
LARGE = 9 << 20  # is not held in memory
WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "handed-over": ({"destinations": ["one"]}, 512),
    "published": ({"destinations": ["one", "two"]}, 512),
}
if ALL:
    WAYS["large"] = ({"destinations": ["one"]}, LARGE)
    WAYS["large-published"] = ({"destinations": ["one", "two"]}, LARGE)
    WAYS["at-once"] = ({"destinations": ["one"], "acknowledge": "deidentified"}, 512)
    WAYS["at-once-published"] = ({"destinations": ["one", "two"], "acknowledge": "deidentified"}, 512)

pytestmark = needs_strace


class Sent(NamedTuple):
    """An instance that was sent: what the node said, its SOP Instance UID, and that of its result."""

    status: int | None
    uid: str
    new_uid: str


class Target:
    """A node with one process, to which instances are sent while calls fail."""

    def __init__(self, node: Node, folder: Path, pixels: int) -> None:
        self.node = node
        self._path = folder / "image.dcm"
        self._pixels = pixels
        self._engine = Deidentifier(load_key(node.folder / "key"), "test", samples.PASS)
        self._numbers = itertools.count()
        self._folders = [
            Path(node.config["destinations"][name]["path"]) for name in node.config["routes"][0]["destinations"]
        ]

    def send(self) -> Sent:
        """Send another instance, of a study of its own."""
        number = next(self._numbers)
        file = samples.encoded(samples.image(str(number), f"study {number}", pixels=self._pixels))
        self._path.write_bytes(file)
        uids = samples.uid(f"instance {number}"), self._engine.deidentify(file).meta.sop_instance_uid
        try:
            with Requestor(Peer("127.0.0.1", self.node.port, AE_TITLE, "SENDER", 30), [CT]) as requestor:
                return Sent(requestor.store(self._path, *read_meta(self._path)), *uids)
        except AssociationError:
            return Sent(None, *uids)

    def is_safe(self, sent: Sent) -> bool:
        """Whether an instance is in the spool, or what was made of it is in each folder or on its way there."""
        if any(sent.uid.encode() in content for place in ("incoming", "active") for content in self._contents(place)):
            return True
        waiting = [self._contents(f"outgoing/{folder.name}") for folder in self._folders]
        return all(
            self._is_in(folder, sent) or any(sent.new_uid.encode() in content for content in contents)
            for folder, contents in zip(self._folders, waiting, strict=True)
        )

    def is_delivered(self, sent: Sent) -> bool:
        """Whether what was made of an instance is in each folder."""
        return all(self._is_in(folder, sent) for folder in self._folders)

    def check_given_up(self, trace: Trace) -> None:
        """The original was not given up before its result, and the result's name, were safe for each destination."""
        removals = [call for call in trace.calls if call.name == "unlink" and trace.place(call.path) == "active"]
        # Others were there before the trace began, to be tried again.
        commits = [move.names[1] for move in trace.moves() if trace.place(move.names[0]) == "tmp"]
        ours = {identity(path) for path in commits if trace.place(path) in ("incoming", "active")}
        for removal in [call for call in removals if identity(call.path) in ours]:
            for folder in self._folders:
                places = f"{folder}/", f"{self.node.spool}/outgoing/{folder.name}/"
                moves = [move for move in trace.moves() if move.names[1].startswith(places)]
                moves = [move for move in moves if move.thread == removal.thread]
                # An attempt that failed may have come that far too.
                *_, move = (move for move in moves if trace.is_name_synced(move, removal))
                trace.check_synced(move.names[0], move)

    def _is_in(self, folder: Path, sent: Sent) -> bool:
        return any(path.name == f"{sent.new_uid}.dcm" for path in folder.rglob("*.dcm"))

    def _contents(self, place: str) -> list[bytes]:
        contents = []
        for path in self.node.in_spool(place):
            with contextlib.suppress(FileNotFoundError):  # it has just gone on
                contents.append(path.read_bytes()[:4096])
        return contents


def identity(path: str) -> str:
    """What stays the same in the names of an entry."""
    return Path(path).name.partition(",")[0]


def check_synced_once(calls: list[Call]) -> None:
    """No file is synced again after an fsync of it has failed: it would succeed over lost data."""
    failed: set[str] = set()
    for call in calls:
        is_file = "/spool/tmp/" in call.path or call.path.endswith(".tmp")
        if call.name == "fsync" and is_file:
            assert call.path not in failed
            if call.error:
                failed.add(call.path)


@pytest.mark.parametrize("way", WAYS)
def test_calls_that_fail(way: str, tmp_path: Path) -> None:
    """Success is said only of what is safe; no draft stays, no file is synced twice; the next instance is delivered."""
    changes, pixels = WAYS[way]
    route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", **changes}
    destinations = {name: {"type": "folder", "path": str(tmp_path / name)} for name in ("one", "two")}
    settings = {"routes": [route], "destinations": destinations, "processes": 1, "workers": 8}
    passed = 0
    acknowledged: list[Sent] = []
    with running_node(tmp_path / "node", **settings) as node:
        target = Target(node, tmp_path, pixels)
        for call, error in FAULTS:
            for nth in range(1, LAST + 1):
                trace = tmp_path / f"{call}-{error}-{nth}"
                with traced(node, trace, f"--inject={call}:error={error}:when={nth}"):
                    sent = target.send()
                    if not sent.status:
                        with contextlib.suppress(AssertionError):  # it may have to wait for longer
                            eventually(partial(target.is_delivered, sent), 0.5 if ALL else 0.2)
                calls = read(trace)
                if not any(call.injected for call in calls):
                    break
                where = f"{call} {nth} {error}: {sent}"
                assert sent.status in (0, STATUSES[error]), where
                assert sent.status or eventually(partial(target.is_safe, sent)), where
                check_synced_once(calls)
                if not sent.status and route.get("acknowledge") != "deidentified":
                    Trace(calls, node.spool).check_commits(1)
                if not sent.status:  # else it is the refused instance that goes
                    target.check_given_up(Trace(calls, node.spool))
                if call != "unlink":  # what cannot be removed is swept at the next start
                    eventually(lambda: not node.in_spool("tmp"))
                after = target.send()
                assert after.status == 0, where
                eventually(partial(target.is_delivered, after))
                assert node.process is not None
                assert node.process.poll() is None
                acknowledged += [one for one in (sent, after) if one.status == 0]
                passed += 1
        (tmp_path / "points").write_text(str(passed))
        eventually(lambda: retried(node) and node.is_at_rest())
        assert all(target.is_delivered(sent) for sent in acknowledged)
        assert not node.events("thread-died")
    assert passed >= 2 * (len(FAULTS) - 1)


def retried(node: Node) -> bool:
    """Have everything that waits be tried again now."""
    inspection = Inspection(node.spool)
    for _, entry in inspection.queued():
        if entry.envelope.not_before:
            with contextlib.suppress(FileNotFoundError):  # it has just gone on
                inspection.retry(entry)
    return True
