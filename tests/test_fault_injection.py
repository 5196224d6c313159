"""System calls of a running node that fail, one after the other: refused, or safe; and the node lives on.

strace has the nth call of a kind fail in each thread of the node; the thread of an association is a new one. By
default some calls of an instance's way fail, with SCP_ANON_INJECT=all each of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scp_anon import Deidentifier, load_key
from scp_anon.errors import AssociationError
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node
from tests.strace import Call, needs_strace, read, traced

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
ALL = os.environ.get("SCP_ANON_INJECT") == "all"
# What fails, how, and at most how often it is called on the way of one instance.
FAULTS = {
    "fsync": ("EIO", 12),
    "rename": ("EIO", 4),
    "link": ("EIO", 4),
    "write": ("ENOSPC", 8),
    "writev": ("ENOSPC", 4),
    "openat": ("ENOSPC", 16),
    "fsync ": ("ENOSPC", 12),
}
OUT_OF_RESOURCES, PROCESSING_FAILURE = 0xA700, 0x0110

pytestmark = needs_strace


class Injected:
    """A node with one process, to which instances are sent while a call fails."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.engine = Deidentifier(load_key(node.folder / "key"), "test", samples.PASS)
        self.count = 0

    def send(self, pixels: int = 512) -> tuple[int | None, str, str]:
        """Send another instance; returns the status (None: there was none), and its old and its new UID."""
        self.count += 1
        path = self.folder / "image.dcm"
        path.write_bytes(samples.encoded(samples.image(str(self.count), f"study {self.count}", pixels=pixels)))
        uids = samples.uid(f"instance {self.count}"), self.engine.deidentify(path.read_bytes()).meta.sop_instance_uid
        try:
            with Requestor(Peer("127.0.0.1", self.node.port, AE_TITLE, "SENDER", 30), [CT]) as requestor:
                return requestor.store(path, *read_meta(path)), *uids
        except AssociationError:
            return None, *uids

    def holds(self, uid: str, new_uid: str) -> bool:
        """Whether an instance is in the spool, or in each folder."""
        for place in ("incoming", "active", "quarantine"):
            for path in self.node.in_spool(place):
                with contextlib.suppress(FileNotFoundError):  # it has just been moved
                    if uid.encode() in path.read_bytes():
                        return True
        return self.is_delivered(new_uid)

    def is_delivered(self, new_uid: str) -> bool:
        """Whether its result is in each folder."""
        folders = [Path(section["path"]) for section in self.node.config["destinations"].values()]
        return all(list(folder.rglob(f"{new_uid}.dcm")) for folder in folders)
