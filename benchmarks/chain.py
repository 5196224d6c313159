"""The full chain: sender → gateway → C-STORE to a destination, where the files are counted; first byte to last file."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.destinations import Destination, Orthanc, Storescp
from benchmarks.gateways import GATEWAYS, OURS, OURS_4, Gateway
from benchmarks.images import write_images
from benchmarks.measure import Sample, rate, spread, usage, used
from benchmarks.processes import NO_STALL, NotMeasured, free_port, running, wait_until
from benchmarks.senders import NODELAY, Senders

_PATIENCE: Final = 60.0
_PAUSE: Final = 0.01
_HEADER: Final = (
    "| image | associations | {what} | files/s (least - most) | of {reference} | CPU us | peak MB |\n"
    "|---|---|---|---|---|---|---|\n"
)

Samples = dict[str, list[Sample]]
Make = Callable[[Path], Destination]


@contextlib.contextmanager
def sources(directory: Path, most: dict[str, int]) -> Iterator[tuple[Path, dict[str, list[Path]]]]:
    """A folder to work in, and for each modality four folders of so many files each."""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as work:
        folders = {modality: [Path(work) / modality / str(i) for i in range(4)] for modality in most}
        for modality, count in most.items():
            for i, folder in enumerate(folders[modality]):
                write_images(folder, modality, count, first=i * count)
        yield Path(work), folders


def once(gateway: Gateway | None, make: Make, folders: list[Path], count: int, work: Path) -> Sample:
    """Send `count` files from each folder through a gateway that is new, or without one, to a destination that is."""
    folder = Path(tempfile.mkdtemp(dir=work))
    expected = count * len(folders)
    try:
        with contextlib.ExitStack() as stack:
            destination = make(folder)
            port = destination.port
            pid = stack.enter_context(running(destination.command, folder / "destination.log", port, **NO_STALL))
            if gateway is not None:
                port = free_port()
                # Orthanc sends by DCMTK, which the same variable keeps from stalling.
                command = gateway.command(folder, port, destination.port)
                pid = stack.enter_context(running(command, folder / "gateway.log", port, **NO_STALL))
            senders = stack.enter_context(Senders(NODELAY, port, folders, count))
            before = usage(pid).cpu
            begin = time.monotonic()
            senders.go()
            senders.wait()
            wait_until(lambda: destination.count() >= expected, "all files at the destination", _PATIENCE, _PAUSE)
            taken = time.monotonic() - begin
            after = usage(pid)
            return Sample(expected, taken, after.cpu - before, after.peak)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def patiently(gateway: Gateway, folders: list[Path], count: int, work: Path, failures: list[str]) -> Sample | None:
    """As `once`, to a storescp. A peer that fails, as some do now and then, gets another go; ours does not."""
    for _ in range(1 if gateway.is_ours else 3):
        try:
            return once(gateway, Storescp, folders, count, work)
        except NotMeasured as error:
            failures.append(f"{gateway.name}: {error}")
    return None


def rows(samples: Samples, modality: str, associations: int) -> Iterator[str]:
    """The rows of a table, whose reference is the first that has been measured."""
    measured = [of_one for of_one in samples.values() if of_one]
    for name, of_one in samples.items():
        start = f"| {modality} | {associations} | {name} "
        if of_one:
            yield f"{start}| {spread(of_one)} | {rate(of_one) / rate(measured[0]):.1f} | {used(of_one)} |\n"
        else:
            yield f"{start}| failed | | | |\n"


def chain(say: Callable[[str], object], directory: Path, rounds: int, files: int) -> None:
    """Say the table of gateways to a storescp; `files`: MR a round, a third as many CT, and less for slow ones."""
    say(_HEADER.format(what="gateway", reference="Orthanc"))
    failures: list[str] = []
    most = {"CT": max(files // 3, 4), "MR": files}
    with sources(directory, most) as (work, folders):
        for modality, associations in ((modality, n) for modality in most for n in (1, 4)):
            samples: Samples = {gateway.name: [] for gateway in GATEWAYS}
            for _ in range(rounds):
                for gateway in GATEWAYS:
                    count = max(round(most[modality] * gateway.share / associations), 1)
                    sample = patiently(gateway, folders[modality][:associations], count, work, failures)
                    samples[gateway.name] += [sample] if sample else []
            for row in rows(samples, modality, associations):
                say(row)
    for failure in failures:
        say(f"\nA round failed: {failure}.\n")


def to_orthanc(say: Callable[[str], object], directory: Path, rounds: int, files: int) -> None:
    """Say the table of our node in front of an Orthanc, beside the Orthanc alone: who is the limit."""
    say(_HEADER.format(what="what", reference="Orthanc"))
    ways = {"straight to Orthanc": None, "ours → Orthanc": OURS, "ours, 4 associations → Orthanc": OURS_4}
    most = {"CT": max(files // 3, 4), "MR": files}
    with sources(directory, most) as (work, folders):
        for modality, associations in ((modality, n) for modality in most for n in (1, 4)):
            samples: Samples = {name: [] for name in ways}
            for _ in range(rounds):
                for name, gateway in ways.items():
                    count = max(most[modality] // associations, 1)
                    samples[name].append(once(gateway, Orthanc, folders[modality][:associations], count, work))
            for row in rows(samples, modality, associations):
                say(row)
