"""`scp-anon deid` on folders of files, beside `cp -r` and a read and write by pydicom; the page cache is warm.

python -m benchmarks.batch IN OUT
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from pydicom import dcmread

from benchmarks.images import image, write_images
from benchmarks.measure import usage
from benchmarks.receivers import ROOT
from scp_anon.batch.manifest import NAME

_HEADER: Final = (
    "| image | files | program | files/s (least - most) | CPU us a file | of cp -r's |\n|---|---|---|---|---|---|\n"
)

_MEMORY_HEADER: Final = "\n| files in one folder | files/s | peak MB of a process |\n|---|---|---|\n"
_LINKS: Final = 20_000  # that one file can have on any file system
_SIDE: Final = 64
_LOOK: Final = 0.2  # seconds


class Sample(NamedTuple):
    """One round: files a second, and CPU seconds a file."""

    rate: float
    cpu: float


def commands(source: Path, out: Path, key: Path) -> dict[str, list[str]]:
    """The programs."""
    deid = [sys.executable, "-m", "scp_anon", "deid", str(source), "-o", str(out), "--key", str(key), "--processes"]
    return {
        "cp -r": ["cp", "-r", str(source), str(out)],
        "deid, 1 process": [*deid, "1"],
        "deid, 2 processes": [*deid, "2"],
        "pydicom, 2 processes": [sys.executable, "-m", "benchmarks.batch", str(source), str(out)],
    }


def once(command: list[str], out: Path, count: int) -> Sample:
    """Run a program, and count its files."""
    shutil.rmtree(out, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    taken = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    there = sum(name != NAME for _, _, names in os.walk(out) for name in names)
    if there != count:
        raise SystemExit(f"{command[:4]}: {there} of {count} files")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(count / taken, cpu / count)


def batch(say: Callable[[str], object], directory: Path, rounds: int, files: int) -> None:
    """Say the table, for so many MR and 2/5 as many CT."""
    say(_HEADER)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        work = Path(folder)
        key = work / "key"
        keygen = [sys.executable, "-m", "scp_anon", "keygen", str(key)]
        subprocess.run(keygen, cwd=ROOT, check=True, capture_output=True)
        for modality, count in (("CT", max(files * 2 // 5, 1)), ("MR", files)):
            source = work / modality
            write_images(source, modality, count)
            samples: dict[str, list[Sample]] = {}
            for _ in range(rounds):
                for name, command in commands(source, work / "out", key).items():
                    samples.setdefault(name, []).append(once(command, work / "out", count))
            floor = statistics.median(sample.cpu for sample in samples["cp -r"])
            for name, of_program in samples.items():
                rates = [sample.rate for sample in of_program]
                cpu = statistics.median(sample.cpu for sample in of_program)
                say(
                    f"| {modality} | {count} | {name} | {statistics.median(rates):.0f} "
                    f"({min(rates):.0f} - {max(rates):.0f}) | {cpu * 1e6:.0f} | {cpu / floor:.1f} |\n"
                )
            shutil.rmtree(source)


def memory(say: Callable[[str], object], directory: Path, counts: tuple[int, ...]) -> None:
    """Say how much memory a run of `deid` has at its peak, by the number of files, which are links to a few."""
    say(_MEMORY_HEADER)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        work = Path(folder)
        key = work / "key"
        subprocess.run([sys.executable, "-m", "scp_anon", "keygen", str(key)], cwd=ROOT, check=True)
        for count in counts:
            source = work / f"of {count}"
            source.mkdir()
            for number in range(count):
                if number % _LINKS == 0:
                    original = work / f"{count} {number}"
                    original.write_bytes(image("MR", number, side=_SIDE))
                os.link(original, source / f"{number:08}.dcm")
            command = commands(source, work / "out", key)["deid, 2 processes"]
            begin, peak = time.monotonic(), 0
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
                while process.poll() is None:
                    peak = max(peak, usage(process.pid).peak)
                    time.sleep(_LOOK)
            taken = time.monotonic() - begin
            say(f"| {count} | {count / taken:.0f} | {peak / 1e6:.0f} |\n")
            shutil.rmtree(source)


def _with_pydicom(source: str, target: str) -> None:
    data_set = dcmread(source)
    data_set.PatientName = data_set.PatientID = "ANONYMOUS"
    data_set.remove_private_tags()
    data_set.save_as(target, enforce_file_format=True)


def main(source: Path, out: Path) -> None:
    """The plain way: read with pydicom, change a little, write."""
    out.mkdir()
    paths = sorted(source.iterdir())
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_with_pydicom, map(str, paths), [str(out / path.name) for path in paths], chunksize=32))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
