"""A pipe by which the processes that receive tell the one that delivers what they have published.

It only saves time: the queue is the directory, which the one that delivers looks at every second. So nobody waits for
room in the pipe, and what does not fit is not told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from scp_anon.envelope import Envelope

_SEPARATOR: Final = b"/"  # in no name of a destination or an entry
_READ: Final = 1 << 16


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
