"""How fast instances are received, committed, de-identified and delivered to a folder, against peers in the same run.

    python -m benchmarks.receive [--rounds 3] [--seconds 1] [--files 1500] [--directory DIR] [--quick]

Every receiver is up all the time; they take turns within each round, so that whatever else the machine does meets all
of them. A round is as many files as the receiver takes in about `--seconds`, by a first round that is not counted.
The time is from the first byte until the last file is at the destination, where all are counted.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.images import write_images
from benchmarks.receivers import RECEIVERS, Running, running
from benchmarks.senders import NODELAY, STOCK, Senders

_PATIENCE: Final = 120.0
_FIRST: Final = {NODELAY: 100, STOCK: 6}  # files of the round that is not counted, over each association
_HEADER: Final = (
    "| sender | image | associations | receiver | files/s (least - most) | of storescp --fork |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Load:
    """What is sent: by which sender, of which modality, over how many associations."""

    sender: str
    modality: str
    associations: int


def send(receiver: Running, load: Load, folders: list[Path], count: int) -> float:
    """Send `count` files over each association; returns files a second, counted at the destination."""
    receiver.clear()
    expected = count * load.associations
    senders = Senders(load.sender, receiver.port, folders[: load.associations], count)
    begin = time.monotonic()
    senders.go()
    senders.wait()
    # Nobody looks while the senders are at work: on two cores a look costs what is measured.
    while (there := receiver.count()) < expected:
        if time.monotonic() > begin + _PATIENCE:
            raise SystemExit(f"{receiver.name}: {there} of {expected} files after {_PATIENCE} s")
        time.sleep(0.001)
    return expected / (time.monotonic() - begin)


def rates(receivers: list[Running], load: Load, folders: list[Path], rounds: int, seconds: float) -> list[list[float]]:
    """For each receiver the files a second of each round."""
    most = len(list(folders[0].iterdir()))
    counts = []
    for receiver in receivers:
        first = min(_FIRST[load.sender], most)
        rate = send(receiver, load, folders, first)
        counts.append(min(max(round(rate * seconds / load.associations), first), most))
    samples: list[list[float]] = [[] for _ in receivers]
    for _ in range(rounds):
        for receiver, count, sample in zip(receivers, counts, samples, strict=True):
            sample.append(send(receiver, load, folders, count))
    for receiver in receivers:
        receiver.clear()
    return samples


def table(receivers: list[Running], load: Load, samples: list[list[float]]) -> Iterable[str]:
    """The rows of one load."""
    reference = statistics.median(samples[0])
    for receiver, sample in zip(receivers, samples, strict=True):
        median = statistics.median(sample)
        yield (
            f"| {load.sender} | {load.modality} | {load.associations} | {receiver.name} "
            f"| {median:.0f} ({min(sample):.0f} - {max(sample):.0f}) | {median / reference:.2f} |\n"
        )


def main(
    rounds: Annotated[int, typer.Option(help="Rounds; the table has medians.")] = 3,
    seconds: Annotated[float, typer.Option(help="About how long a round takes.")] = 1.0,
    files: Annotated[int, typer.Option(help="Most files a round, over each association; a third as many CT.")] = 1500,
    directory: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("/dev/shm"),  # noqa: S108
    quick: Annotated[bool, typer.Option("--quick", help="One short round: whether it works, not how fast.")] = False,
) -> None:
    """Run all rounds, and print a table in Markdown."""
    if quick:
        rounds, seconds, files = 1, 0.2, 120
    sys.stdout.write(f"{os.cpu_count()} cores, {sys.platform}, Python {sys.version.split()[0]}\n\n{_HEADER}")
    with tempfile.TemporaryDirectory(dir=directory) as work, contextlib.ExitStack() as stack:
        sources: dict[str, list[Path]] = {}
        for modality, most in (("CT", max(files // 3, 1)), ("MR", files)):
            sources[modality] = [Path(work) / modality / str(i) for i in range(4)]
            for i, folder in enumerate(sources[modality]):
                write_images(folder, modality, most, first=i * most)
        receivers = [stack.enter_context(running(receiver, Path(work))) for receiver in RECEIVERS]
        for load in (Load(s, m, a) for s in (NODELAY, STOCK) for m in ("CT", "MR") for a in (1, 4)):
            samples = rates(receivers, load, sources[load.modality], rounds, seconds)
            sys.stdout.writelines(table(receivers, load, samples))
            sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
