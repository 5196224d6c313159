"""How many associations there are in all processes of a node, so that a limit holds for them together.

A table in memory that every process has: two numbers for each, which only that one writes. A lock on a file without a
name makes it one step to look and to take a place; the kernel gives it up for a process that dies with it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import threading
from struct import Struct

_row = Struct("=II")  # connections, and those of them that are associations


class Occupancy:
    """The table. It is made before the processes are."""

    def __init__(self, limit: int, processes: int = 1) -> None:
        """`limit`: of associations in all processes together."""
        self.limit = limit
        self._table = mmap.mmap(-1, _row.size * processes)
        self._lock = _nameless() if processes > 1 else None

    def of_process(self, number: int) -> OwnOccupancy:
        """The part that a process has; for use in that process only."""
        return OwnOccupancy(self, number)

    def clear(self, number: int) -> None:
        """A process has died, and its associations with it."""
        self.write(number, 0, 0)

    def read(self) -> list[tuple[int, int]]:
        """Connections and associations of each process."""
        return [(connections, associations) for connections, associations in _row.iter_unpack(self._table)]

    def write(self, number: int, connections: int, associations: int) -> None:
        """Note what a process has."""
        _row.pack_into(self._table, number * _row.size, connections, associations)

    def lock(self) -> None:
        """Keep other processes from taking a place."""
        if self._lock is not None:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Let them."""
        if self._lock is not None:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


class OwnOccupancy:
    """What one process has of the table. Safe to share between its threads."""

    def __init__(self, occupancy: Occupancy, number: int) -> None:
        self._all = occupancy
        self._number = number
        self._lock = threading.Lock()
        self._connections = self._associations = 0

    def connected(self) -> None:
        """A connection has come."""
        with self._lock:
            self._connections += 1
            self._note()

    def associate(self) -> bool:
        """Make a connection an association, if the limit allows; returns whether it does."""
        with self._lock:
            self._all.lock()
            try:
                if sum(associations for _, associations in self._all.read()) >= self._all.limit:
                    return False
                self._associations += 1
                self._note()
                return True
            finally:
                self._all.unlock()

    def ended(self, was_association: bool) -> None:
        """A connection has ended."""
        with self._lock:
            self._connections -= 1
            self._associations -= was_association
            self._note()

    def is_crowded(self) -> bool:
        """Whether another process has fewer connections than this one."""
        return self._connections > min(connections for connections, _ in self._all.read())

    def _note(self) -> None:
        self._all.write(self._number, self._connections, self._associations)


def _nameless() -> int:
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor
