"""From outgoing to the destinations: the fourth hop. One sender a destination, so that none waits for another.

A sender has a thread for each association that it may have with its destination.

What was delivered leaves the queue: at once, or when the destination has committed to it (`settlement`). A transient
failure defers the entry, for 30 s at first, then twice as long each time up to an hour, with jitter; the number of
attempts and the time are in its file name, and so survive a restart. Deferred entries and new ones are tried in the
order in which they are due.
A destination that is in trouble (`breaker`) is tried with one entry at a time, and 30 s pass before the next: so it is
noticed soon enough when it is there again, and when an operator has made an entry due.
A permanent failure goes to quarantine.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from scp_anon import log, metrics
from scp_anon.breaker import Breaker
from scp_anon.destinations import Destination
from scp_anon.errors import Permanent, Reason, Transient
from scp_anon.places import Entry
from scp_anon.settlement import Settlement
from scp_anon.spool import Spool

_UPCOMING: Final = 500


@dataclass(frozen=True)
class BackOff:
    """How long to wait after a failure, in seconds: `first`, doubled with each attempt, at most `limit`."""

    first: float = 30
    limit: float = 3600

    def delay(self, attempt: int) -> float:
        """The wait after the attempt of this number, from 1 on: up to a quarter less, so that retries spread out."""
        return float(min(self.first * 2 ** min(attempt - 1, 30), self.limit)) * random.uniform(0.75, 1)  # noqa: S311 - no secret


class Line(NamedTuple):
    """One association with a destination, and how what is sent over it is settled."""

    place: Destination
    settlement: Settlement


class Sender:
    """Delivers what is queued for one destination."""

    def __init__(self, spool: Spool, name: str, lines: Sequence[Line], back_off: BackOff) -> None:
        """`lines`: one for each association with the destination."""
        self._spool = spool
        self._name = name
        self._back_off = back_off
        self._breaker = Breaker(name)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(line,), name=f"sender-{name}", daemon=True) for line in lines
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more after what is being sent."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for what is being sent, after the spool's queues are closed; returns whether it ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, line: Line) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    with self._breaker.turn if self._breaker.is_open else nullcontext():
                        self._next(line)
                except OSError as error:
                    # The spool's own disk is in trouble: what is queued is where it was, and the sender must live on.
                    log.error("disk-trouble", destination=self._name, detail=type(error).__name__)
                    metrics.DISK_TROUBLES.add()
                    self._stopping.wait(self._back_off.first)
                except Exception as error:
                    # A fault of ours, and none of an instance's: the queue must not stand still for it.
                    log.error("unexpected-error", destination=self._name, detail=type(error).__name__)
                    self._stopping.wait(self._back_off.first)
        finally:
            line.place.close()

    def _next(self, line: Line) -> None:
        """Deliver the next entry, if there is one in time. Raises OSError for trouble with the spool's own disk."""
        entry = self._spool.depart(self._name, line.settlement.patience())
        if entry is None:
            line.settlement.idle()
        elif self._stopping.is_set():
            self._spool.hand_back(self._name, entry)
        else:
            try:
                self._send(entry, line)
            except Exception:
                self._spool.hand_back(self._name, entry)
                raise

    def _send(self, entry: Entry, line: Line) -> None:
        begun = time.perf_counter()
        try:
            line.place.deliver(entry.path, self._upcoming, again=entry.envelope.attempt > 0)
        except Transient as transient:
            self._defer(entry, transient)
        except Permanent as permanent:
            self._quarantine(entry, permanent.reason, permanent.detail)
        except OSError:
            raise
        except Exception as error:
            # A fault of ours. The instance is safe where it is; the message may hold a value, so its type is told.
            self._quarantine(entry, Reason.UNEXPECTED_ERROR, type(error).__name__)
        else:
            metrics.DELIVERY.observe(time.perf_counter() - begun, self._name)
            self._breaker.succeeded()
            line.settlement.delivered(entry)

    def _defer(self, entry: Entry, why: Transient) -> None:
        attempt = entry.envelope.attempt + 1
        log.warning("deferred", destination=self._name, entry=entry.envelope.id, attempt=attempt, reason=str(why))
        metrics.DELIVERIES.add(self._name, "deferred")
        self._spool.defer(self._name, entry, self._back_off.delay(attempt))
        if self._breaker.failed(why.of_destination):
            self._stopping.wait(self._back_off.delay(1))

    def _quarantine(self, entry: Entry, reason: Reason, detail: str) -> None:
        log.warning("quarantined", destination=self._name, entry=entry.envelope.id, reason=reason, detail=detail)
        self._spool.quarantine(entry, reason, detail, destination=self._name)
        metrics.DELIVERIES.add(self._name, "refused")

    def _upcoming(self) -> Iterator[str]:
        return islice(self._spool.upcoming(self._name), _UPCOMING)
