"""One TCP connection of an association: bytes in and out, without the stalls that stock peers suffer from.

A peer that writes each PDU in two pieces with Nagle's algorithm on waits for our acknowledgement of the first, which
the kernel would delay for 40 ms. So TCP_QUICKACK is armed before every receive (Linux forgets it), and TCP_NODELAY
keeps our own replies from waiting.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
import time
from struct import Struct
from typing import Final

from scp_anon.errors import Closed

_RECEIVE_BUFFER: Final = 1 << 18
_DIRECT: Final = 1 << 16  # a wanted piece of at least this size is received in its place, past the buffer
_IOV_MAX: Final = 512
_GRACE: Final = 30.0  # seconds that a message may take, however slow the peer is
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
_timeval = Struct("@ll").pack


class Connection:
    """A connected socket with a receive buffer. Used by one thread; `interrupt` may come from another."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        """`timeout`: seconds that one receive or send may take."""
        self._socket = sock
        self._is_secure = isinstance(sock, ssl.SSLSocket)
        self._buffer = bytearray(_RECEIVE_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._deadline: float | None = None
        self._pace = 0
        self._begun = 0.0  # when the first bytes of the present message came
        self._received = 0
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.set_timeout(timeout)

    def set_timeout(self, seconds: float) -> None:
        """Let one receive or send take this long. The kernel keeps the time: no poll goes before each call."""
        if self._is_secure:
            self._socket.settimeout(seconds)  # TLS would try again what the kernel has given up
            return
        value = _timeval(int(seconds), int(seconds % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def set_deadline(self, seconds: float | None) -> None:
        """Let all that is received from now on arrive within this time, however it trickles. None: no deadline."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def set_pace(self, bytes_per_second: int) -> None:
        """Let every message arrive at least that fast, on the whole, once half a minute has gone."""
        self._pace = bytes_per_second

    def rest(self) -> None:
        """A message has come to its end: the peer may be silent until it begins the next."""
        self._received = self._end - self._start
        self._begun = time.monotonic() if self._received else 0.0

    def read(self, size: int) -> bytes:
        """Receive exactly `size` bytes, few enough for the buffer. Raises Closed."""
        while self._end - self._start < size:
            if len(self._buffer) - self._start < size:
                self._view[: self._end - self._start] = self._view[self._start : self._end]
                self._start, self._end = 0, self._end - self._start
            self._end += self._receive(self._view[self._end :])
        start = self._start
        self._start += size
        content = bytes(self._view[start : start + size])
        if self._start == self._end:
            self._start = self._end = 0
        return content

    def read_into(self, target: memoryview) -> None:
        """Receive exactly as many bytes as `target` holds. Raises Closed."""
        buffered = min(len(target), self._end - self._start)
        target[:buffered] = self._view[self._start : self._start + buffered]
        self._start += buffered
        while buffered < len(target):
            # All that was buffered is consumed here.
            left = len(target) - buffered
            if left >= _DIRECT:
                buffered += self._receive(target[buffered:])
                continue
            self._start, self._end = 0, self._receive(self._view)
            piece = min(left, self._end)
            target[buffered : buffered + piece] = self._view[:piece]
            self._start = piece
            buffered += piece

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """Send all parts, in as few calls as can be. Raises Closed."""
        left = [memoryview(part) for part in parts if len(part)]
        first = 0
        try:
            if self._is_secure:
                self._socket.sendall(b"".join(parts))
                return
            while first < len(left):
                sent = self._socket.sendmsg(left[first : first + _IOV_MAX])
                while first < len(left) and sent >= len(left[first]):
                    sent -= len(left[first])
                    first += 1
                if sent:
                    left[first] = left[first][sent:]
        except OSError as error:
            raise Closed(f"sending failed: {_name(error)}") from None

    def has_input(self) -> bool:
        """Whether there is something to be read, or the end of the connection, without waiting for it."""
        if self._end > self._start or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return True
        look = select.poll()
        look.register(self._socket, select.POLLIN)
        return bool(look.poll(0))

    def interrupt(self) -> None:
        """Make a receive that waits, in whatever thread, see the end of the connection."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RD)  # of TCP: TLS would forget that it is TLS
        except OSError:
            return  # it is closed already

    def close(self, linger: float = 0) -> None:
        """Close the connection; `linger`: seconds to wait for the peer to close it first, as PS3.8 9.2 (Sta13) asks."""
        try:
            if linger:
                self.set_timeout(linger)
                socket.socket.shutdown(self._socket, socket.SHUT_WR)  # likewise
                deadline = time.monotonic() + linger
                # What is not read would make the kernel reset the connection, and the peer lose what we said last.
                while time.monotonic() < deadline and self._receive(self._view):
                    pass
        except (OSError, Closed):
            pass  # the peer may have closed it, or never will: it ends here all the same
        finally:
            self._socket.close()

    def _receive(self, target: memoryview) -> int:
        """Receive at least one byte; returns how many."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Closed("the peer took too long")
        try:
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            received = self._socket.recv_into(target)
        except (BlockingIOError, TimeoutError):
            raise Closed("the peer was silent for too long") from None
        except OSError as error:
            raise Closed(f"receiving failed: {_name(error)}") from None
        if not received:
            raise Closed("the peer closed the connection")
        if self._pace:
            self._check_pace(received)
        return received

    def _check_pace(self, received: int) -> None:
        now = time.monotonic()
        self._begun = self._begun or now
        self._received += received
        taken = now - self._begun
        if taken > _GRACE and self._received < self._pace * taken:
            raise Closed("the peer was too slow")


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Open a TCP connection. Raises Closed."""
    try:
        return socket.create_connection((host, port), timeout)
    except UnicodeError:
        raise Closed("cannot connect: not a host name") from None
    except OSError as error:
        raise Closed(f"cannot connect: {_name(error)}") from None


def _name(error: OSError) -> str:
    """What the system calls an error, without the addresses that its text may hold."""
    return (not isinstance(error, ssl.SSLError) and error.strerror) or type(error).__name__


assert sys.platform != "win32", "the socket timeouts used here are those of POSIX systems"
