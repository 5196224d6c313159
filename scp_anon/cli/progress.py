"""How far `deid` is, on a terminal: counts and rates, never a name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from scp_anon.batch import Census, Summary, context, uninterrupted

_EVERY: Final = 0.1  # seconds


@contextmanager
def shown(paths: list[Path], counts: Summary, sample: int | None = None) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, nothing elsewhere; gives what is to be called after each file.

    `sample`: so many are taken of each folder.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[told]}"))
    # Without a thread of its own: this process is going to be forked.
    bar = Progress(*columns, console=console, auto_refresh=False)
    with uninterrupted():
        counting = Census(paths, context(), sample)
    with closing(counting) as census, bar:
        task = bar.add_task("de-identifying", total=None, told="")
        last = 0.0

        def show() -> None:
            nonlocal last
            if (now := time.monotonic()) > last + _EVERY:
                total = census.total
                bar.update(task, completed=counts.total, total=total, told=told(counts, total), refresh=True)
                last = now

        yield show
        bar.update(task, completed=counts.total, total=counts.total, told=told(counts, counts.total), refresh=True)


def told(counts: Summary, total: int | None) -> str:
    """Done of all, files and megabytes a second, how long it will take, and how many are quarantined."""
    files, size = counts.rates()
    parts = [f"{counts.total}/{'?' if total is None else total}", f"{files:.0f} files/s", f"{size / 1e6:.0f} MB/s"]
    if total is not None and files > 0:
        left = max(total - counts.total, 0) / files
        parts.append(f"ETA {timedelta(seconds=round(left))}")
    parts.append(f"{counts.by_status['quarantined']} quarantined")
    if counts.by_status["failed"]:
        parts.append(f"{counts.by_status['failed']} failed")
    return ", ".join(parts)
