"""What the node counts, in memory that all its processes share: added up, it is what /metrics tells.

Every process has a row of its own, which only it writes; a sum over the rows is the node's. A row outlives its process,
so that nothing counted is lost when one dies, and the next process that gets the row goes on from there. Labels are
names from the configuration and codes of ours, never anything that a peer chose; what is not known is counted as
"other".
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from scp_anon.errors import Reason

OTHER: Final = "other"
ROWS: Final = 256  # processes at once, those that serve their last associations after a reload among them
_WIDTH: Final = 2048  # numbers in a row
_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

_cells = memoryview(mmap.mmap(-1, 8 * ROWS * _WIDTH)).cast("d")
_lock = threading.Lock()
_row = 0


class Family:
    """A metric: its name, its meaning, and what it is told apart by."""

    width = 1

    def __init__(self, name: str, text: str, **labels: Iterable[str]) -> None:
        """`labels`: name → the values that it may have, as far as they are known before there is a configuration."""
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._places: dict[tuple[str, ...], int] = {}
        FAMILIES.append(self)
        for values in product(*labels.values()):
            self.know(*values)
        self._other = self.know(*[OTHER] * len(labels)) if labels else self._places[()]

    def know(self, *values: str) -> int:
        """Have a place for these labels, in all processes that are made from now on."""
        global _used
        if values not in self._places:
            if _used + self.width > _WIDTH:
                return self._other  # of hundreds of destinations the last ones are counted together
            self._places[values] = _used
            _used += self.width
        return self._places[values]

    def samples(self) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        """Each combination of labels, with its numbers, added up over all processes."""
        for values, place in self._places.items():
            numbers = [sum(_cells[place + i :: _WIDTH]) for i in range(self.width)]
            if OTHER not in values or any(numbers):
                yield values, numbers

    def places(self) -> Iterable[int]:
        """Where in a row its numbers begin."""
        return self._places.values()

    def place(self, values: tuple[str, ...]) -> int:
        """Where this process writes what has these labels."""
        return _row + self._places.get(values, self._other)


class Counter(Family):
    """A number that only rises."""

    def add(self, *values: str, by: float = 1) -> None:
        """Count one, or `by`, of what has these labels."""
        place = self.place(values)
        with _lock:
            _cells[place] += by


class Gauge(Family):
    """A number that rises and falls; a process that dies takes its part with it."""

    def set(self, number: float, *values: str) -> None:
        """What it is in this process."""
        _cells[self.place(values)] = number


class Histogram(Family):
    """Durations in seconds, by how long they are at most; the last number is their sum."""

    bounds = _SECONDS
    width = len(_SECONDS) + 2

    def observe(self, seconds: float, *values: str) -> None:
        """Count one of this duration."""
        place = self.place(values)
        with _lock:
            _cells[place + bisect_left(_SECONDS, seconds)] += 1
            _cells[place + self.width - 1] += seconds


FAMILIES: Final[list[Family]] = []
_used = 0

PROCESSES = Gauge("scp_anon_processes", "Processes that do their work.", role=("receiver", "delivery"))
ASSOCIATIONS = Counter("scp_anon_associations", "Associations accepted.")
REJECTIONS = Counter(
    "scp_anon_rejections",
    "Connections and associations that were not let in.",
    reason=(
        "address-not-listed",
        "too-many-connections",
        "tls-handshake",
        "tls-subject",
        "invalid-request",
        "application-context-name-not-supported",
        "protocol-version-not-supported",
        "called-ae-title-not-recognized",
        "calling-ae-title-not-recognized",
        "local-limit-exceeded",
    ),
)
RECEIVED = Counter("scp_anon_instances_received", "Instances acknowledged.", route=())
RECEIVED_BYTES = Counter("scp_anon_received_bytes", "Bytes of their data sets.", route=())
REFUSED = Counter(
    "scp_anon_stores_refused",
    "Instances answered by a failure, by status.",
    status=("0110", "0117", "0124", "A700", "A900", "C000"),
)
COMMIT = Histogram("scp_anon_commit_seconds", "From the last byte of an instance to its being safe.")
DEIDENTIFIED = Counter("scp_anon_instances_deidentified", "Instances de-identified and published.", route=())
FILTERED = Counter("scp_anon_instances_filtered", "Instances dropped, as their profile says.", route=())
DEIDENTIFY = Histogram("scp_anon_deidentify_seconds", "De-identifying one instance, up to its being published.")
QUARANTINED = Counter(
    "scp_anon_instances_quarantined", "Instances set aside, by reason.", reason=[str(reason) for reason in Reason]
)
DELIVERIES = Counter(
    "scp_anon_deliveries",
    "Attempts to deliver, by destination and result: delivered, deferred, refused.",
    destination=(),
    result=("delivered", "deferred", "refused"),
)
DELIVERY = Histogram("scp_anon_delivery_seconds", "One successful delivery.", destination=())
IN_TROUBLE = Gauge(
    "scp_anon_destination_in_trouble", "1 while a destination does not take what it is sent.", destination=()
)
COMMITMENTS = Counter(
    "scp_anon_storage_commitments",
    "Instances that a destination was asked to commit to, by its answer.",
    destination=(),
    result=("committed", "failed", "unanswered"),
)
DISK_TROUBLES = Counter("scp_anon_disk_troubles", "Steps that the disk of the spool did not allow.")
PROCESS_DEATHS = Counter("scp_anon_process_deaths", "Processes that died and were started again.")
RELOADS = Counter("scp_anon_reloads", "Times that the configuration was read again.", result=("loaded", "refused"))
LOADED_AT = Gauge("scp_anon_configuration_loaded_timestamp_seconds", "When the configuration in force was read.")


def know(routes: Iterable[str], destinations: Iterable[str]) -> None:
    """Tell the routes and destinations of a configuration, before the processes are made that count by them."""
    for route in routes:
        for family in (RECEIVED, RECEIVED_BYTES, DEIDENTIFIED, FILTERED):
            family.know(route)
    for destination in destinations:
        for result in ("delivered", "deferred", "refused"):
            DELIVERIES.know(destination, result)
        for result in ("committed", "failed", "unanswered"):
            COMMITMENTS.know(destination, result)
        DELIVERY.know(destination)
        IN_TROUBLE.know(destination)


def use_row(row: int) -> None:
    """Have this process write to a row of its own from now on."""
    global _row
    _row = row % ROWS * _WIDTH


def clear_gauges(row: int) -> None:
    """The process that had a row is no more: what it was doing, it does no longer."""
    start = row % ROWS * _WIDTH
    for family in FAMILIES:
        if isinstance(family, Gauge):
            for place in family.places():
                _cells[start + place] = 0
