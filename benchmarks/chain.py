"""The full chain: sender → gateway → C-STORE to a storescp, where the files are counted; first byte to last file."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.gateways import GATEWAYS, Gateway
from benchmarks.images import write_images
from benchmarks.measure import usage
from benchmarks.receivers import ROOT, free_port
from benchmarks.senders import NODELAY, Senders, answers

_PATIENCE: Final = 180.0
_HEADER: Final = (
    "| image | associations | gateway | files/s (least - most) | of Orthanc | CPU us | peak MB |\n"
    "|---|---|---|---|---|---|---|\n"
)


class Sample(NamedTuple):
    """One round: files a second, CPU seconds of the gateway a file, its peak memory in bytes."""

    rate: float
    cpu: float
    peak: int


@contextlib.contextmanager
def running(command: list[str], log: Path, port: int, **environment: str) -> Iterator[int]:
    """A process that runs, and answers at a port, for the time of the block; yields its process ID."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + 30
        while not answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{command[0]} does not answer: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def once(gateway: Gateway, folders: list[Path], count: int, work: Path) -> Sample:
    """Send `count` files from each folder through a gateway that is new."""
    folder = Path(tempfile.mkdtemp(dir=work))
    out = folder / "out"
    out.mkdir()
    port, destination = free_port(), free_port()
    storescp = ["storescp", "--fork", "-aet", "DEST", "-od", str(out), str(destination)]
    expected = count * len(folders)
    try:
        with (
            running(storescp, folder / "storescp.log", destination, TCP_NODELAY="1"),
            # Orthanc sends by DCMTK, which the same variable keeps from stalling.
            running(gateway.command(folder, port, destination), folder / "gateway.log", port, TCP_NODELAY="1") as pid,
        ):
            senders = Senders(NODELAY, port, folders, count)
            before = usage(pid).cpu
            begin = time.monotonic()
            senders.go()
            senders.wait()
            while (there := len(os.listdir(out))) < expected:
                if time.monotonic() > begin + _PATIENCE:
                    raise SystemExit(f"{gateway.name}: {there} of {expected} files after {_PATIENCE} s")
                time.sleep(0.005)
            taken = time.monotonic() - begin
            after = usage(pid)
            return Sample(expected / taken, (after.cpu - before) / expected, after.peak)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _patiently(gateway: Gateway, folders: list[Path], count: int, work: Path) -> Sample:
    """As `once`; a gateway that refuses an instance, as some do now and then, gets another go."""
    for _ in range(2):
        with contextlib.suppress(SystemExit):
            return once(gateway, folders, count, work)
    return once(gateway, folders, count, work)


def chain(say: Callable[[str], object], directory: Path, rounds: int, files: int) -> None:
    """Say the table; `files`: MR a round, a third as many CT, and a third of that for slow gateways."""
    say(_HEADER)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        work = Path(folder)
        for modality, most in (("CT", max(files // 3, 4)), ("MR", files)):
            folders = [work / modality / str(i) for i in range(4)]
            for i, source in enumerate(folders):
                write_images(source, modality, most, first=i * most)
            for associations in (1, 4):
                samples: dict[str, list[Sample]] = {gateway.name: [] for gateway in GATEWAYS}
                for _ in range(rounds):
                    for gateway in GATEWAYS:
                        count = max((most // 3 if gateway.is_slow else most) // associations, 1)
                        samples[gateway.name].append(_patiently(gateway, folders[:associations], count, work))
                reference = statistics.median(sample.rate for sample in samples[GATEWAYS[0].name])
                for name, of_gateway in samples.items():
                    rates = [sample.rate for sample in of_gateway]
                    median = statistics.median(rates)
                    cpu = statistics.median(sample.cpu for sample in of_gateway) * 1e6
                    peak = max(sample.peak for sample in of_gateway) / 1e6
                    say(
                        f"| {modality} | {associations} | {name} | {median:.0f} ({min(rates):.0f} - {max(rates):.0f}) "
                        f"| {median / reference:.1f} | {cpu:.0f} | {peak:.0f} |\n"
                    )
