"""Whether a destination is tried at all: not while it is known to be in trouble, but for one attempt now and then."""

from __future__ import annotations

import threading
from typing import Final

from scp_anon import log, metrics

# So many failures in a row are the destination's, not the instances'.
_FAILURES: Final = 3


class Breaker:
    """Opens when no association can be had, or when one instance after the other fails; closes with a success."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._failures = 0
        self.is_open = False
        # Of the one that tries while it is open: there is one attempt at a time.
        self.turn = threading.Lock()

    def succeeded(self) -> None:
        """The destination has taken an instance."""
        with self._lock:
            self._failures = 0
            was_open, self.is_open = self.is_open, False
            if was_open:
                log.event("destination-recovered", destination=self._destination)
                metrics.IN_TROUBLE.set(0, self._destination)

    def failed(self, of_destination: bool) -> bool:
        """The destination has not taken an instance; returns whether it is in trouble."""
        with self._lock:
            self._failures += 1
            was_open = self.is_open
            self.is_open = was_open or of_destination or self._failures >= _FAILURES
            if self.is_open and not was_open:
                log.warning("destination-in-trouble", destination=self._destination)
                metrics.IN_TROUBLE.set(1, self._destination)
            return self.is_open
