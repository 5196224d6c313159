"""How fast instances are received, committed, de-identified and delivered to a folder, against peers in the same run.

Every receiver is up all the time; they take turns within each round, so that whatever else the machine does meets all
of them. A round is as many files as the receiver takes in about `--seconds`, by a first round that is not counted.
The time is from the first byte until the last file is at the destination, where all are counted.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.images import write_images
from benchmarks.measure import usage
from benchmarks.receivers import RECEIVERS, Running, running
from benchmarks.senders import NODELAY, STOCK, Senders

_PATIENCE: Final = 120.0
_FIRST: Final = {NODELAY: 100, STOCK: 6}  # files of the round that is not counted, over each association
_HEADER: Final = (
    "| sender | image | associations | receiver | files/s (least - most) | of storescp | CPU us | peak MB |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Load:
    """What is sent: by which sender, of which modality, over how many associations."""

    sender: str
    modality: str
    associations: int


class Sample(NamedTuple):
    """One round: files a second, and CPU seconds of the receiver a file."""

    rate: float
    cpu: float


def send(receiver: Running, load: Load, folders: list[Path], count: int) -> Sample:
    """Send `count` files over each association; they are counted at the destination."""
    receiver.clear()
    expected = count * load.associations
    senders = Senders(load.sender, receiver.port, folders[: load.associations], count)
    before = usage(receiver.pid).cpu
    begin = time.monotonic()
    senders.go()
    senders.wait()
    # Nobody looks while the senders are at work: on two cores a look costs what is measured.
    while (there := receiver.count()) < expected:
        if time.monotonic() > begin + _PATIENCE:
            raise SystemExit(f"{receiver.name}: {there} of {expected} files after {_PATIENCE} s")
        time.sleep(0.001)
    taken = time.monotonic() - begin
    return Sample(expected / taken, (usage(receiver.pid).cpu - before) / expected)


def rates(receivers: list[Running], load: Load, folders: list[Path], rounds: int, seconds: float) -> list[list[Sample]]:
    """For each receiver its rounds."""
    most = len(list(folders[0].iterdir()))
    counts = []
    for receiver in receivers:
        first = min(_FIRST[load.sender], most)
        rate = send(receiver, load, folders, first).rate
        counts.append(min(max(round(rate * seconds / load.associations), first), most))
    samples: list[list[Sample]] = [[] for _ in receivers]
    for _ in range(rounds):
        for receiver, count, sample in zip(receivers, counts, samples, strict=True):
            sample.append(send(receiver, load, folders, count))
    for receiver in receivers:
        receiver.clear()
    return samples


def table(receivers: list[Running], load: Load, samples: list[list[Sample]]) -> Iterable[str]:
    """The rows of one load."""
    reference = statistics.median(sample.rate for sample in samples[0])
    for receiver, rounds in zip(receivers, samples, strict=True):
        of_rounds = [sample.rate for sample in rounds]
        median = statistics.median(of_rounds)
        cpu = statistics.median(sample.cpu for sample in rounds)
        yield (
            f"| {load.sender} | {load.modality} | {load.associations} | {receiver.name} "
            f"| {median:.0f} ({min(of_rounds):.0f} - {max(of_rounds):.0f}) | {median / reference:.2f} "
            f"| {cpu * 1e6:.0f} | {usage(receiver.pid).peak / 1e6:.0f} |\n"
        )


def receive(say: Callable[[str], object], directory: Path, rounds: int, seconds: float, files: int) -> None:
    """Run all rounds in a folder of `directory`, and say the table."""
    say(_HEADER)
    with tempfile.TemporaryDirectory(dir=directory) as work, contextlib.ExitStack() as stack:
        sources: dict[str, list[Path]] = {}
        for modality, most in (("CT", max(files // 3, 1)), ("MR", files)):
            sources[modality] = [Path(work) / modality / str(i) for i in range(4)]
            for i, folder in enumerate(sources[modality]):
                write_images(folder, modality, most, first=i * most)
        receivers = [stack.enter_context(running(receiver, Path(work))) for receiver in RECEIVERS]
        for load in (Load(s, m, a) for s in (NODELAY, STOCK) for m in ("CT", "MR") for a in (1, 4)):
            for row in table(receivers, load, rates(receivers, load, sources[load.modality], rounds, seconds)):
                say(row)
