"""What cost grows with: associations, the length of a queue, the size of an instance, elements and items."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from benchmarks.chain import running as running_process
from benchmarks.engine import microseconds
from benchmarks.gateways import GATEWAYS
from benchmarks.images import image, write_images
from benchmarks.measure import usage
from benchmarks.receive import Load, rates
from benchmarks.receivers import RECEIVERS, free_port, running
from benchmarks.senders import NODELAY, Senders
from scp_anon import Deidentifier

Say = Callable[[str], object]
Series = dict[str, list[tuple[float, float]]]
"""Name of a line in a plot → its points."""

_KEY: Final = bytes(range(32))
_PATIENCE: Final = 120.0
_SENT: Final = 100_000_000  # bytes that are sent for each size, at least one instance
_OURS: Final = next(receiver for receiver in RECEIVERS if receiver.name == "ours, to folder, no fsync")


def associations(say: Say, directory: Path, rounds: int, files: int) -> Series:
    """Files a second by associations, to a folder, beside storescp."""
    receivers = (RECEIVERS[0], _OURS)
    series: Series = {receiver.name: [] for receiver in receivers}
    say("| associations | storescp --fork, MR/s | ours to folder, MR/s | ratio |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory(dir=directory) as work, ExitStack() as stack:
        folders = [Path(work) / str(i) for i in range(8)]
        for i, folder in enumerate(folders):
            write_images(folder, "MR", files // 4, first=i * files)
        up = [stack.enter_context(running(receiver, Path(work))) for receiver in receivers]
        for count in (1, 2, 4, 8):
            samples = rates(up, Load(NODELAY, "MR", count), folders, rounds, 1.0)
            peer, ours = (statistics.median(sample.rate for sample in of_one) for of_one in samples)
            for receiver, rate in zip(receivers, (peer, ours), strict=True):
                series[receiver.name].append((count, rate))
            say(f"| {count} | {peer:.0f} | {ours:.0f} | {ours / peer:.2f} |\n")
    return series


def queue(say: Say, directory: Path, most: int) -> Series:
    """Files a second of a destination that comes up, by what is queued for it; and the memory that the queue takes."""
    series: Series = {"ours": []}
    say("| queued | delivered, MR/s | CPU us a file | peak MB of a process |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        source = Path(folder) / "source"
        write_images(source, "MR", most)
        for count in (most // 100, most // 10, most):
            work = Path(tempfile.mkdtemp(dir=folder))
            (work / "out").mkdir()
            port, destination = free_port(), free_port()
            gateway = next(gateway for gateway in GATEWAYS if gateway.name == "ours, 4 associations")
            command = gateway.command(work, port, destination)
            with (work / "node.yaml").open("a", encoding="utf-8") as config:
                config.write("retry: {first: 1s, limit: 1s}\n")
            storescp = ["storescp", "--fork", "-aet", "DEST", "-od", str(work / "out"), str(destination)]
            with running_process(command, work / "log", port) as pid:
                senders = Senders(NODELAY, port, [source], count)
                senders.go()
                senders.wait()
                before = usage(pid).cpu
                with running_process(storescp, work / "storescp.log", destination, TCP_NODELAY="1"):
                    _wait(work / "out", 1)
                    begin = time.monotonic()
                    _wait(work / "out", count)
                    taken = time.monotonic() - begin
                after = usage(pid)
            series["ours"].append((count, count / taken))
            cpu = (after.cpu - before) / count * 1e6
            say(f"| {count} | {count / taken:.0f} | {cpu:.0f} | {after.peak / 1e6:.0f} |\n")
    return series


def _wait(folder: Path, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while len(os.listdir(folder)) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(os.listdir(folder))} of {count} files after {_PATIENCE} s")
        time.sleep(0.01)


def sizes(say: Say, directory: Path, sides: tuple[int, ...]) -> Series:
    """Megabytes a second by the size of an instance, beside a copy of the file; and the memory that it takes."""
    series: Series = {"ours, to folder": [], "cp": []}
    say("| size | ours to folder, MB/s | cp, MB/s | ratio | peak MB of a process | more than before |\n")
    say("|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory(dir=directory) as work, ExitStack() as stack:
        receiver = stack.enter_context(running(_OURS, Path(work)))
        start = usage(receiver.pid).peak
        for side in sides:
            folder, copy = Path(work) / f"of {side}", Path(work) / "copy"
            count = max(min(_SENT // (side * side * 2), 500), 1)
            write_images(folder, "CT", count, side=side)
            size = sum(path.stat().st_size for path in folder.iterdir()) / count
            samples = rates([receiver], Load(NODELAY, "CT", 1), [folder], 3, 60)[0]
            copied = []
            for _ in range(3):
                begin = time.monotonic()
                subprocess.run(["cp", "-r", str(folder), str(copy)], check=True)
                copied.append(size * count / (time.monotonic() - begin) / 1e6)
                shutil.rmtree(copy)
            ours = statistics.median(sample.rate for sample in samples) * size / 1e6
            cp, peak = statistics.median(copied), usage(receiver.pid).peak
            series["ours, to folder"].append((size, ours))
            series["cp"].append((size, cp))
            say(
                f"| {size / 1e6:.2f} MB | {ours:.0f} | {cp:.0f} | {ours / cp:.2f} | {peak / 1e6:.0f} "
                f"| {(peak - start) / 1e6:.0f} |\n"
            )
            shutil.rmtree(folder)
    return series


def elements(say: Say) -> Series:
    """Microseconds of the engine by elements and by items, without putting the file together."""
    engine = Deidentifier(_KEY)
    series: Series = {"elements": [], "items of a sequence": []}
    say("| what | how many | engine, us | us each |\n|---|---|---|---|\n")
    for name, counts, make in (
        ("elements", (50, 160, 500, 1_500, 5_000), _with_elements),
        ("items of a sequence", (1, 10, 100, 1_000, 10_000), _with_items),
    ):
        for count in counts:
            file = make(count)
            number = max(min(200, 20_000 // count), 3)
            (taken,) = microseconds(lambda file=file: engine.deidentify(file), number=number)  # type: ignore[misc]
            series[name].append((count, taken))
            say(f"| {name} | {count} | {taken:.0f} | {taken / count:.2f} |\n")
    return series


def _with_elements(count: int) -> bytes:
    return image("CT", 1, count, 64)


def _with_items(count: int) -> bytes:
    data_set = dcmread(BytesIO(image("MR", 1, side=64)))
    items = []
    for i in range(count):
        position, content, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, i]
        content.FrameAcquisitionDateTime = f"20240229101500.{i:06d}"
        frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([position]), Sequence([content])
        items.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = Sequence(items)
    target = BytesIO()
    dcmwrite(target, data_set)
    return target.getvalue()
