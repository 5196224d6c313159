"""A socket that has received some bytes, and then the peer's end of it; and a storage in memory."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from scp_anon.errors import Refused
from scp_anon.network.storage import StoreRequest


class FakeSocket(socket.socket):
    """Gives what it was made of in pieces, and keeps what is sent."""

    def __init__(self, received: bytes, pieces: Sequence[int] = (1 << 20,)) -> None:
        """`pieces`: the sizes of what one call receives, again and again."""
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = memoryview(received)
        self._pieces = pieces
        self._calls = 0
        self.sent = bytearray()

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """At least a byte, as long as there are any."""
        piece = self._received[: min(max(self._pieces[self._calls % len(self._pieces)], 1), len(buffer))]
        self._calls += 1
        self._received = self._received[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def sendmsg(self, buffers: Any, *more: Any) -> int:
        """Take it all."""
        content = b"".join(buffers)
        self.sent += content
        return len(content)

    def setsockopt(self, *options: Any) -> None:
        """Nothing: these are options of TCP."""


class MemoryStorage:
    """Notes what was stored, and that each reception ends, and ends once."""

    def __init__(self) -> None:
        self.open = 0
        self.stored: list[tuple[StoreRequest, bytes]] = []

    def receive(self, request: StoreRequest) -> Receiving:
        """Begin to receive; some are refused."""
        if request.sop_instance_uid.endswith("13"):
            raise Refused(0xA700, "out of room")
        self.open += 1
        return Receiving(self, request)


class Receiving:
    """One instance on its way."""

    def __init__(self, storage: MemoryStorage, request: StoreRequest) -> None:
        self._storage = storage
        self._request = request
        self._content = b""
        self._ended = False

    def spill(self, part: memoryview) -> None:
        """Take a part."""
        assert not self._ended
        self._content += bytes(part)

    def commit(self, rest: memoryview) -> None:
        """Take the rest; some are refused."""
        assert not self._ended
        if self._request.sop_instance_uid.endswith("17"):
            raise Refused(0xA900, "not wanted")
        self._end()
        self._storage.stored.append((self._request, self._content + bytes(rest)))

    def discard(self) -> None:
        """Forget it."""
        self._end()

    def proceed(self, rest: memoryview) -> None:
        """Only what has been committed goes on."""
        assert self._ended

    def _end(self) -> None:
        assert not self._ended
        self._ended = True
        self._storage.open -= 1
