"""How fast instances are received, committed, de-identified and delivered to a folder, against peers in the same run.

Every receiver is up all the time; they take turns within each round, so that whatever else the machine does meets all
of them. A round is as many files as the receiver takes in about so many seconds, by a first round that is not counted.
The time is from the first byte until the last file is at the destination, where all are counted.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.images import image, write_images
from benchmarks.measure import Sample, rate, spread, usage, used
from benchmarks.processes import settle, wait_until
from benchmarks.receivers import RECEIVERS, Running, running
from benchmarks.senders import NODELAY, STOCK, Senders

_PATIENCE: Final = 60.0
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


def send(receiver: Running, load: Load, folders: list[Path], count: int) -> Sample:
    """Send `count` files over each association; they are counted at the destination, and removed."""
    expected = count * load.associations
    with Senders(load.sender, receiver.port, folders[: load.associations], count) as senders:
        before = usage(receiver.pid).cpu
        begin = time.monotonic()
        senders.go()
        senders.wait()
        # Nobody looks while the senders are at work: on two cores a look costs what is measured.
        wait_until(lambda: receiver.count() >= expected, f"all files at {receiver.name}", _PATIENCE, 0.001)
        taken = time.monotonic() - begin
        after = usage(receiver.pid)
    receiver.clear()
    return Sample(expected, taken, after.cpu - before, after.peak)


def rates(receivers: list[Running], load: Load, folders: list[Path], rounds: int, seconds: float) -> list[list[Sample]]:
    """For each receiver its rounds."""
    most = len(list(folders[0].iterdir()))
    counts = []
    for receiver in receivers:
        first = min(_FIRST[load.sender], most)
        found = send(receiver, load, folders, first).rate
        counts.append(min(max(round(found * seconds / load.associations), first), most))
    samples: list[list[Sample]] = [[] for _ in receivers]
    for _ in range(rounds):
        for receiver, count, of_one in zip(receivers, counts, samples, strict=True):
            settle(folders[0])  # what others have left to be written is not paid for here
            of_one.append(send(receiver, load, folders, count))
    return samples


def table(receivers: list[Running], load: Load, samples: list[list[Sample]]) -> Iterable[str]:
    """The rows of one load."""
    reference = rate(samples[0])
    for receiver, rounds in zip(receivers, samples, strict=True):
        yield (
            f"| {load.sender} | {load.modality} | {load.associations} | {receiver.name} "
            f"| {spread(rounds)} | {rate(rounds) / reference:.2f} | {used(rounds)} |\n"
        )


def limit(folder: Path, modality: str, threads: int, rounds: int, seconds: float) -> str:
    """How many files a second the file system takes that are each safe before the next: the limit of a commit."""
    content = image(modality, 0)
    samples = []
    for _ in range(rounds):
        settle(folder)
        with tempfile.TemporaryDirectory(dir=folder) as place, ThreadPoolExecutor(threads) as pool:
            cpu, begin = time.process_time(), time.monotonic()
            written = [pool.submit(_write, Path(place) / str(i), content, begin + seconds) for i in range(threads)]
            count = sum(each.result() for each in written)
            samples.append(Sample(count, time.monotonic() - begin, time.process_time() - cpu, 0))
    return f"| {modality} | {threads} | {spread(samples)} |\n"


def _write(folder: Path, content: bytes, end: float) -> int:
    """Commit files, as our spool does, until it is time to end; returns how many."""
    folder.mkdir()
    directory = os.open(folder, os.O_RDONLY)
    count = 0
    try:
        while time.monotonic() < end:
            draft = os.open("draft", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=directory)
            os.write(draft, content)
            os.fsync(draft)
            os.close(draft)
            os.rename("draft", str(count), src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
            count += 1
    finally:
        os.close(directory)
    return count


def receive(say: Callable[[str], object], directory: Path, rounds: int, seconds: float, files: int) -> None:
    """Run all rounds in a folder of `directory`, and say the tables."""
    say(_HEADER)
    with (
        tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as work,
        contextlib.ExitStack() as stack,
    ):
        sources: dict[str, list[Path]] = {}
        for modality, most in (("CT", max(files // 3, 1)), ("MR", files)):
            sources[modality] = [Path(work) / modality / str(i) for i in range(4)]
            for i, folder in enumerate(sources[modality]):
                write_images(folder, modality, most, first=i * most)
        receivers = [stack.enter_context(running(receiver, Path(work))) for receiver in RECEIVERS]
        for load in (Load(s, m, a) for s in (NODELAY, STOCK) for m in ("CT", "MR") for a in (1, 4)):
            for row in table(receivers, load, rates(receivers, load, sources[load.modality], rounds, seconds)):
                say(row)
        say("\nThe file system itself: write, fsync, rename, fsync of the directory, nothing else.\n\n")
        say("| image | threads | files/s (least - most) |\n|---|---|---|\n")
        for modality in ("CT", "MR"):
            for threads in (1, 4):
                say(limit(Path(work), modality, threads, rounds, seconds / 2))
