"""What a process and its descendants have used: CPU time, and the most memory that one of them has had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """`cpu`: seconds, those of children that have ended included. `peak`: bytes of resident memory."""

    cpu: float
    peak: int


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


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in status else 0
