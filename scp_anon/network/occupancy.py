"""Which connections there are in all processes of a node, so that limits hold for them together.

A table in memory that every process has, with slots for each, which only that one writes: who the connection is from,
as a hash, and whether it is an association. A lock on a file without a name makes it one step to look and to take a
place; the kernel gives it up for a process that dies with it.

A node that is reloaded has a new table, which counts the connections in those before it as well, until they have ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Final

_WORD: Final = 8
_ASSOCIATION: Final = 1 << 63


class Occupancy:
    """The table. It is made before the processes are."""

    def __init__(
        self, limit: int, per_address: int, slots: int, processes: int = 1, earlier: Occupancy | None = None
    ) -> None:
        """`limit`: of associations, `per_address`: of connections from one address, in all processes together.

        `slots`: connections that one process can have. `earlier`: what is in that table counts, too.
        """
        self.limit, self.per_address, self.slots = limit, per_address, slots
        self.table = memoryview(mmap.mmap(-1, _WORD * slots * processes)).cast("Q")
        self._earlier = [table for table in earlier._tables() if any(table)] if earlier is not None else []
        self._lock = _nameless() if processes > 1 else None
        if self._lock is not None:
            weakref.finalize(self, os.close, self._lock)

    def of_process(self, number: int) -> OwnOccupancy:
        """The part that a process has; for use in that process only."""
        return OwnOccupancy(self, number)

    def clear(self, number: int) -> None:
        """A process has died, and its connections with it."""
        for slot in range(number * self.slots, (number + 1) * self.slots):
            self.table[slot] = 0

    def connections(self, who: int) -> int:
        """How many connections an address has, by its hash; for use while `locked`."""
        return sum(word & ~_ASSOCIATION == who for word in chain.from_iterable(self._tables()))

    def associations(self) -> int:
        """How many connections are associations; for use while `locked`."""
        return sum(word >= _ASSOCIATION for word in chain.from_iterable(self._tables()))

    def _tables(self) -> list[memoryview[int]]:
        return [self.table, *self._earlier]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else takes a place for the time of the block."""
        if self._lock is not None:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if self._lock is not None:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)


class OwnOccupancy:
    """What one process has of the table. Safe to share between its threads."""

    def __init__(self, occupancy: Occupancy, number: int) -> None:
        self._all = occupancy
        self._lock = threading.Lock()
        self._slots = range(number * occupancy.slots, (number + 1) * occupancy.slots)
        self._free = list(self._slots)

    def connected(self, address: str) -> int | None:
        """Take a slot for a connection; None if its address has as many as it may, or all slots are taken."""
        who = _hash(address)
        with self._lock, self._all.locked():
            if not self._free or self._all.connections(who) >= self._all.per_address:
                return None
            slot = self._free.pop()
            self._all.table[slot] = who
            return slot

    def associate(self, slot: int) -> bool:
        """Make a connection an association, if the limit allows; returns whether it does."""
        with self._lock, self._all.locked():
            if self._all.associations() >= self._all.limit:
                return False
            self._all.table[slot] |= _ASSOCIATION
            return True

    def ended(self, slot: int) -> None:
        """A connection has ended."""
        with self._lock:
            self._all.table[slot] = 0
            self._free.append(slot)

    def is_crowded(self) -> bool:
        """Whether another process has fewer connections than this one."""
        table, slots = self._all.table, self._all.slots
        taken = [sum(map(bool, table[start : start + slots])) for start in range(0, len(table), slots)]
        return taken[self._slots.start // slots] > min(taken)


def _hash(address: str) -> int:
    """A number for an address, which is not 0."""
    digest = hashlib.blake2b(address.encode("ascii", "replace"), digest_size=_WORD).digest()
    return int.from_bytes(digest, "big") & ~_ASSOCIATION | 1


def _nameless() -> int:
    """The descriptor of a file that nobody else can open."""
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor
