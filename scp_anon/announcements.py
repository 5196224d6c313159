"""How the processes that receive tell the one that delivers what they have published, and what was reported to them.

Either only saves time. The queue is the directory, which the one that delivers looks at every second; and what it was
not told that a destination has committed to, it sends again. So nobody waits for long, and what does not fit is left.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from scp_anon.envelope import Envelope

_SEPARATOR: Final = b"/"  # in no name of a destination or an entry
_READ: Final = 1 << 16
_REPORT: Final = 1 << 20
_PATIENCE: Final = 5.0  # seconds for which there may be no room for a report

# Given who reports, a transaction, the SOP instances that are committed to, and others with their Failure Reasons.
Settle: TypeAlias = Callable[[str, str, frozenset[str], Mapping[str, int]], None]


class Announcements:
    """The pipe. It is made before the processes are, and stays when one of them dies."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)

    def tell(self, destination: str, envelope: Envelope) -> None:
        """Say that an entry is there for a destination. A line is shorter than what a pipe takes in one piece."""
        with suppress(BlockingIOError):
            os.write(self._in, b"%s/%s\n" % (destination.encode("ascii"), envelope.name.encode("ascii")))

    def listen(self, push: Callable[[str, Envelope], None]) -> None:
        """Pass on what is said, for ever: for a thread that may be left to itself."""
        rest = b""
        while told := os.read(self._out, _READ):
            *lines, rest = (rest + told).split(b"\n")
            for line in lines:
                destination, _, name = line.partition(_SEPARATOR)
                # A line that a dying reader has taken the first half of is none.
                with suppress(ValueError, KeyError):
                    push(destination.decode("ascii"), Envelope.parse(name.decode("ascii")))


class Reports:
    """A pair of sockets for reports of storage commitment, one a message. It stays when a process dies, as well."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._in.settimeout(_PATIENCE)
        self._settle: Settle = _nobody
        self._thread: threading.Thread | None = None

    def tell(self, reporter: str, transaction_uid: str, committed: Iterable[str], failed: Mapping[str, int]) -> None:
        """Say what the AE title `reporter` has reported of a transaction."""
        message = json.dumps([reporter, transaction_uid, list(committed), dict(failed)]).encode()
        with suppress(OSError):  # larger than any that answers a question of ours, or nobody listens
            self._in.send(message)

    def listen(self, settle: Settle) -> None:
        """Pass on what is said from now on, from a thread; whoever listened in this process before does no longer."""
        self._settle = settle
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while told := self._out.recv(_REPORT):
            reporter, transaction_uid, committed, failed = json.loads(told)
            self._settle(reporter, transaction_uid, frozenset(committed), failed)


def _nobody(reporter: str, transaction_uid: str, committed: frozenset[str], failed: Mapping[str, int]) -> None:
    """Nobody listens yet."""
