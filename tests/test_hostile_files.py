"""Every hostile kind, by the engine and through a node: delivered clean, or quarantined with its reason; never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from scp_anon import load_key
from scp_anon.deid.identity import Identity
from tests import rawpeer
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.hostile import HUGE, KINDS, HugeKind, Kind
from tests.hostile.__main__ import fault
from tests.hostile.canary import is_in
from tests.hostile.source import EXPLICIT, Source, element
from tests.rawpeer import RawPeer

MEMORY = 1 << 30
ROOT = Path(__file__).resolve().parents[1]

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What became of each kind in the engine, in one process that lives through all of them."""
    command = [sys.executable, "-m", "tests.hostile", str(tmp_path_factory.mktemp("huge"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, cwd=ROOT)
    assert not is_in(done.stderr.encode())
    return {row["kind"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("kind", [*KINDS.values(), *HUGE.values()], ids=lambda kind: str(kind.name))
def test_engine(kind: Kind | HugeKind, report: dict[str, Row]) -> None:
    """As the kind says: well-formed and without the name, or refused for its reason; in bounded time and memory."""
    row = report[kind.name]
    assert not row["wrong"]
    assert row["reason"] in kind.outcome or (row["reason"] is None and not kind.outcome)
    assert row["memory"] < MEMORY


def test_there_are_many_and_each_says_what_is_wrong() -> None:
    """A kind without a canary, or without a word on what it is, would show nothing."""
    assert len(KINDS) + len(HUGE) >= 60
    words = [kind.what for kind in KINDS.values()] + [kind.what for kind in HUGE.values()]
    assert all(words)
    assert len(set(words)) == len(words)
    assert sum(not kind.outcome for kind in KINDS.values()) > 60
    without = [
        kind.name for kind in KINDS.values() if kind.make.__module__ != "tests.hostile.volume" and has_no_name(kind)
    ]
    assert set(without) <= {"empty_file", "one_byte", "zeros"}


@pytest.fixture(scope="module")
def quiet_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of one process, in a folder that has nothing beside it."""
    folder = tmp_path_factory.mktemp("quiet") / "node"
    with running_node(folder, processes=1) as node:
        eventually(lambda: (node.spool / "quarantine").is_dir())
        yield node


def has_no_name(kind: Kind) -> bool:
    """Whether no canary is to be seen in a kind; it cannot be in one that is compressed."""
    return not is_in(kind.file()) and not any(word in kind.name for word in ("deflate", "zip"))


def test_through_a_node(tmp_path: Path) -> None:
    """All by C-STORE: each is delivered clean, quarantined with its reason, or refused; the same processes live."""
    with running_node(tmp_path / "node", processes=2) as node:
        eventually(lambda: len(node.processes()) == 4)  # the supervisor, two that receive, and one that delivers
        before = node.processes()
        with ThreadPoolExecutor(os.cpu_count() or 2) as senders:
            statuses = dict(zip(KINDS, senders.map(send, [node] * len(KINDS), range(len(KINDS))), strict=True))
        refused = {name: kind.sent for name, kind in KINDS.items() if isinstance(kind.sent, int)}
        assert {name: status for name, status in statuses.items() if status} == refused
        eventually(node.is_at_rest, 120)
        assert node.processes() == before
        assert not node.events("thread-died")
        assert node.peak_memory() < MEMORY
        assert reasons_that_differ(node) == {}
        assert {path.stem for path in node.delivered()} == expected(node)
        assert node.end() == 0
        for path in node.delivered():
            assert fault(path.read_bytes()) == "", path
        assert not is_in(node.log_path.read_bytes())
        names = [path.name for place in ("out", "spool") for path in (node.folder / place).rglob("*")]
        assert not is_in("\n".join(names).encode())


def send(node: Node, number: int) -> int:
    """C-STORE of a kind's data set, over an association whose calling AE title is its number; returns the status."""
    kind = list(KINDS.values())[number]
    data_set, syntax = kind.data_set()
    with RawPeer(node.port, 120) as peer:
        peer.associate([(1, rawpeer.CT, [syntax])], called=AE_TITLE.encode(), calling=b"KIND%d" % number)
        status = peer.store(data_set, fragment=100_000, instance=Source(kind.name).uid)
        peer.release()
    return status


def reasons_that_differ(node: Node) -> dict[str, tuple[str | None, list[str]]]:
    """Of those that were taken, the kinds that ended otherwise than they say, with the reason and those expected."""
    found = {
        int(parts[2].removeprefix("KIND")): parts[-2]
        for parts in (path.name.split(",") for path in node.in_spool("quarantine"))
    }
    return {
        kind.name: (reason, sorted(kind.sent))
        for number, kind in enumerate(KINDS.values())
        if not isinstance(kind.sent, int)
        and not ((reason := found.get(number)) in kind.sent or (reason is None and not kind.sent))
    }


def expected(node: Node) -> set[str]:
    """The new SOP Instance UIDs of the kinds that are delivered."""
    identity = Identity(load_key(node.folder / "key"), "test")
    return {
        identity.uid(Source(name).uid.encode()).decode() for name, kind in KINDS.items() if kind.sent == frozenset()
    }


def _directories(node: Node) -> set[Path]:
    """The directories of a node, but those of its processes, which may come up later."""
    found = {path for path in node.folder.rglob("*") if path.is_dir()}
    return {path for path in found if path.parent.name not in ("active", "tmp")}


@pytest.mark.parametrize(
    "title",
    [
        b"../../out",
        b"/etc/passwd",
        b"a,b,c,,",
        b"A\0B\0../x",
        b"\x1b[31m\r\n",
        b"..",
        b"\xff\xfe",
        b"\0" * 16,
        b"%2F..",
    ],
)
def test_ae_titles_are_no_paths(title: bytes, quiet_node: Node) -> None:
    """An AE title that a peer chooses is a name in the spool, quoted, or the association is refused."""
    node = quiet_node
    name = title.hex()
    before = _directories(node)
    status = None
    with RawPeer(node.port) as peer:
        peer.send(rawpeer.associate_request([(1, rawpeer.CT, [EXPLICIT])], called=AE_TITLE.encode(), calling=title))
        answer = peer.read_pdu()
        assert answer is not None
        assert answer[0] in (rawpeer.AC, rawpeer.RJ, rawpeer.ABORT)
        if answer[0] == rawpeer.AC:
            source = Source(name)
            status = peer.store(source.put(element(0x00080005, "CS", b"ISO_IR 999")).data_set(), instance=source.uid)
            peer.release()
    with RawPeer(node.port) as peer:
        peer.send(rawpeer.associate_request([(1, rawpeer.CT, [EXPLICIT])], called=title, calling=b"SENDER"))
        assert (peer.read_pdu() or (0,))[0] in (rawpeer.RJ, rawpeer.ABORT)
    if status is not None:
        assert status == 0
        eventually(lambda: len(node.events("quarantined")) == len(node.in_spool("quarantine")) and node.is_at_rest())
    assert _directories(node) == before
    assert {path.name for path in node.folder.parent.iterdir()} == {node.folder.name}
    assert all(line.isascii() and line.isprintable() for line in node.log_path.read_text(encoding="utf-8").splitlines())
