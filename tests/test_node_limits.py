"""A node within limits of the system: files that may not grow, and no descriptors left."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scp_anon.errors import AssociationError
from scp_anon.network.scu import Requestor
from tests import samples
from tests.harness import Node, eventually
from tests.test_node_faults import CT, peer, store, write_images


def limited(folder: Path, *limits: str, **changes: Any) -> Node:
    """A node that is started within limits, as those of prlimit."""
    folder.mkdir()
    node = Node(folder, **changes)
    node.prefix = ["prlimit", *limits]
    return node


def test_file_that_may_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: what is too large is refused (A700), no part of it stays, and the next instance is taken."""
    large, small = tmp_path / "large.dcm", write_images(tmp_path / "images", 1)[0]
    large.write_bytes(samples.encoded(samples.image("large", pixels=20_000_000)))
    for pixels in ("spilled", "in memory"):
        if pixels == "in memory":
            large.write_bytes(samples.encoded(samples.image("large", pixels=3_000_000)))
        node = limited(tmp_path / pixels, "--fsize=1000000")
        try:
            node.start()
            with Requestor(peer(node.port), [CT]) as requestor:
                assert store(requestor, large) == 0xA700
                assert store(requestor, small) == 0
                assert store(requestor, large) == 0xA700
            eventually(lambda node=node: len(node.delivered()) == 1 and node.is_at_rest())  # type: ignore[misc]
            assert not node.events("thread-died")
            assert not node.quarantined()
        finally:
            node.kill()


def test_no_descriptors_left(tmp_path: Path) -> None:
    """RLIMIT_NOFILE: instances are refused for now, connections wait; when others have gone, all goes on."""
    images = write_images(tmp_path / "images", 8)
    node = limited(tmp_path / "node", "--nofile=48", processes=1, limits={"associations": 64, "per_address": 64})
    try:
        node.start()
        eventually(lambda: node.events("listening"))
        refused = 0
        with ExitStack() as stack:
            for _ in range(60):
                try:
                    stack.enter_context(socket.create_connection(("127.0.0.1", node.port), 5))
                except OSError:
                    break
            eventually(lambda: node.events("accept-failed"))
            try:
                with Requestor(peer(node.port)._replace(timeout=2), [CT]) as requestor:
                    refused = store(requestor, images[0])
            except AssociationError:
                refused = 1
        assert refused
        for path in images:
            with Requestor(peer(node.port), [CT]) as requestor:
                assert store(requestor, path) == 0
        eventually(lambda: len(node.delivered()) == len(images) and node.is_at_rest())
        assert not node.events("thread-died")
    finally:
        node.kill()
