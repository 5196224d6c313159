"""Routes that acknowledge when the result is safe: the original is never written, unless it cannot be de-identified."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.strace import needs_strace, read, traced

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
LARGE = 12 << 20


def settings(**changes: Any) -> dict[str, Any]:
    """A node whose only route acknowledges results."""
    route = {
        "called_ae_title": AE_TITLE,
        "project": "test",
        "pixels": "pass",
        "destinations": ["disk"],
        "acknowledge": "deidentified",
        **changes,
    }
    return {"routes": [route], "processes": 1}


def store(node: Node, path: Path) -> int:
    """The status of one C-STORE."""
    meta, start = read_meta(path)
    with Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 30), [CT]) as requestor:
        return requestor.store(path, meta, start)


def written(folder: Path, file: bytes) -> Path:
    """A file to send."""
    path = folder / "image.dcm"
    path.write_bytes(file)
    return path


@needs_strace
def test_result_is_safe_before_the_reply_and_the_original_is_nowhere(tmp_path: Path) -> None:
    """In this order: fsync the result, rename it, fsync its directory, reply; no write holds an original value."""
    path = written(tmp_path, samples.encoded(samples.image()))
    with running_node(tmp_path / "node", **settings()) as node:
        assert store(node, path) == 0  # makes the directories
        with traced(node, tmp_path / "trace"):
            assert store(node, path) == 0
            eventually(lambda: len(node.events("association-ended")) == 2)
        calls = read(tmp_path / "trace")
        order = [call.name for call in calls if call.name in ("fsync", "rename", "sendmsg")]
        # The first of the association is the A-ASSOCIATE-AC.
        assert order[:5] == ["sendmsg", "fsync", "rename", "fsync", "sendmsg"]
        (file,) = node.delivered()
        assert [call.names[1] for call in calls if call.name == "rename"] == [str(file)]
        writes = [call.content for call in calls if "write" in call.name]
        assert any(b"DICM" in content for content in writes)
        assert not any(samples.CANARY.encode() in content for content in writes)


def test_what_cannot_be_deidentified_is_kept(tmp_path: Path) -> None:
    """It is acknowledged when it is safe, and then quarantined, as on every other route."""
    with running_node(tmp_path / "node", **settings(profile=str(profile(tmp_path)), pixels=None)) as node:
        ds = samples.image()
        ds.BurnedInAnnotation = "YES"
        assert store(node, written(tmp_path, samples.encoded(ds))) == 0
        eventually(node.quarantined)
        assert [reason for reason, _ in node.quarantined()] == ["pixels-may-identify"]
        (entry,) = node.in_spool("quarantine")
        assert entry.read_bytes().endswith(samples.encoded(ds)[-512:])
        ds = samples.image()
        ds.Modality = "OT"
        assert store(node, written(tmp_path, samples.encoded(ds))) == 0
        eventually(lambda: node.events("filtered"))
        ds.Modality = "MR"
        assert store(node, written(tmp_path, samples.encoded(ds))) == 0x0124
        eventually(lambda: not any(node.in_spool(place) for place in ("tmp", "incoming", "active", "outgoing")))
        assert not node.delivered()


def profile(folder: Path) -> Path:
    """A profile that drops one modality, and refuses another."""
    path = folder / "profile.yaml"
    path.write_text("admit:\n  - {when: {Modality: OT}, then: filter}\n  - {when: {Modality: MR}, then: refuse}\n")
    return path


def test_large_instances_and_several_destinations(tmp_path: Path) -> None:
    """What does not fit into memory is spilled; and results are queued where there is something to send to."""
    destinations = {
        "disk": {"type": "folder", "path": str(tmp_path / "node" / "out")},
        "other": {"type": "folder", "path": str(tmp_path / "other")},
    }
    changes = settings(destinations=list(destinations))
    with running_node(tmp_path / "node", destinations=destinations, **changes) as node:
        assert store(node, written(tmp_path, samples.encoded(samples.image("1")))) == 0
        assert store(node, written(tmp_path, samples.encoded(samples.image("2", pixels=LARGE)))) == 0
        eventually(lambda: len(node.delivered()) == 2 and node.is_at_rest())
        assert len(list((tmp_path / "other").rglob("*.dcm"))) == 2


def test_disk_trouble_is_a_failure(tmp_path: Path) -> None:
    """Without room for the result, success is not said, and the sender keeps the instance."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        spool = {"path": str(small / "spool"), "reserve": 0}
        with running_node(tmp_path / "node", spool=spool, **settings()) as node:
            assert store(node, written(tmp_path, samples.encoded(samples.image(pixels=3 << 20)))) == 0xA700
            assert store(node, written(tmp_path, samples.encoded(samples.image()))) == 0
            eventually(lambda: len(node.delivered()) == 1)
            eventually(lambda: [path.name for path in small.rglob("*") if path.is_file()] == ["studies.sqlite"])
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
