"""What a program has done and used in a round, and what a table says of its rounds.

CPU time is that of a process and its descendants, by /proc, whose clock ticks a hundred times a second. So it is taken
over all rounds together, where rates are medians.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_FEW: Final = 10  # ticks of all rounds, below which they tell little


class Usage(NamedTuple):
    """`cpu`: seconds, those of children that have ended included. `peak`: bytes of resident memory of one process."""

    cpu: float
    peak: int


class Sample(NamedTuple):
    """One round: how many files, in how many seconds, for how many CPU seconds; and the peak until then in bytes."""

    files: int
    seconds: float
    cpu: float
    peak: int

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.files / self.seconds


def usage(root: int) -> Usage:
    """Of a process and all its descendants."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue  # it has ended just now
            parents[int(name)] = int(fields[1])
            times[int(name)] = sum(map(int, fields[11:15]))
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return Usage(sum(times.get(pid, 0) for pid in family) / _TICKS, max(map(_peak, family)))


def rate(samples: Sequence[Sample]) -> float:
    """The median of files a second."""
    return statistics.median(sample.rate for sample in samples)


def spread(samples: Sequence[Sample]) -> str:
    """The median of files a second, and in brackets the least and the most."""
    rates = [sample.rate for sample in samples]
    return f"{rate(samples):.0f} ({min(rates):.0f} - {max(rates):.0f})"


def cpu(samples: Sequence[Sample]) -> float:
    """CPU seconds a file, over all rounds."""
    return sum(sample.cpu for sample in samples) / sum(sample.files for sample in samples)


def used(samples: Sequence[Sample]) -> str:
    """Two columns: CPU microseconds a file, with a tilde where ticks are too few; the most memory of one process."""
    few = sum(sample.cpu for sample in samples) * _TICKS < _FEW
    return f"{'~' if few else ''}{cpu(samples) * 1e6:.0f} | {max(sample.peak for sample in samples) / 1e6:.0f}"


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in status else 0
