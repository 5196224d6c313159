"""Which entries of one directory of the spool are due: the directory is the queue, this is our view of it.

The view is bounded: what does not fit is found again by listing the directory when the view has run empty. So is
what another process or an operator put there, within a second.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scp_anon.envelope import Envelope

_LIMIT: Final = 10_000
_LOOK_AGAIN = 1.0  # seconds between looks for what others have put into the directory


class Ready:
    """The entries of `directory` in the order in which they are due; each is taken by one thread only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._heap: list[tuple[float, Envelope]] = []
        self._taken: set[str] = set()
        self._look_at = 0.0  # when to list the directory, by the monotonic clock: at once, and then every now and then
        self._closed = False

    def push(self, envelope: Envelope) -> None:
        """Note an entry that has just been put into the directory."""
        with self._changed:
            if len(self._heap) < _LIMIT:
                heapq.heappush(self._heap, (_due(envelope), envelope))
            else:
                self._look_at = 0.0
            self._changed.notify()

    def take(self, timeout: float | None = None) -> Envelope | None:
        """Take the entry that is due first, waiting up to `timeout` seconds (None: for ever).

        Returns None if none became due, or if the queue was closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                if not self._is_due():
                    self._look()
                if self._is_due():
                    envelope = heapq.heappop(self._heap)[1]
                    if envelope.name not in self._taken:  # listed, and pushed as well
                        self._taken.add(envelope.name)
                        return envelope
                    continue
                left = _LOOK_AGAIN if deadline is None else min(deadline - time.monotonic(), _LOOK_AGAIN)
                if left <= 0:
                    return None
                if self._heap:
                    left = min(left, max(self._heap[0][1].not_before / 1000 - time.time(), 0.001))
                self._changed.wait(left)
        return None

    def waiting(self) -> list[Envelope]:
        """The entries that are next, as far as the view goes, in no particular order."""
        with self._changed:
            return [envelope for _, envelope in self._heap]

    def forget(self, envelope: Envelope) -> None:
        """The entry that was taken is no longer in hand."""
        with self._changed:
            self._taken.discard(envelope.name)

    def is_closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    def close(self) -> None:
        """Let everyone who waits go, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_due(self) -> bool:
        return bool(self._heap) and self._heap[0][1].not_before <= time.time() * 1000

    def _look(self) -> None:
        """List the directory, if it may hold what the view does not."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._heap = heapq.nsmallest(_LIMIT, ((_due(envelope), envelope) for envelope in self._list()))
        self._look_at = now + _LOOK_AGAIN if len(self._heap) < _LIMIT else 0.0

    def _list(self) -> Iterator[Envelope]:
        with os.scandir(self._directory) as names:
            for entry in names:
                try:
                    envelope = Envelope.parse(entry.name)
                except ValueError:
                    continue  # not ours: left alone
                if entry.name not in self._taken:
                    yield envelope


def _due(envelope: Envelope) -> float:
    return max(envelope.arrival, envelope.not_before / 1000)
