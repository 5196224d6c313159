"""`scp-anon deid` on folders of files, beside `cp -r` and a read and write by pydicom; the page cache is warm.

python -m benchmarks.batch IN OUT
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from pydicom import dcmread

from benchmarks.images import write_images
from benchmarks.measure import Sample, cpu, rate, spread, used
from benchmarks.processes import ROOT, NotMeasured, settle

_HEADER: Final = (
    "| image | files | program | files/s (least - most) | of cp -r | CPU us | peak MB | CPU, of cp -r's |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


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
    """Run a program, count its files, and remove them."""
    settle(out.parent)  # what others have left to be written is not paid for here
    begin = time.monotonic()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    try:
        _, status, resources = os.wait4(process.pid, 0)  # with those of its children, if it has waited for them
        taken = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        there = sum(len(names) for _, _, names in os.walk(out))
        if process.returncode or there != count:
            raise NotMeasured(f"{' '.join(command[:4])}: exit code {process.returncode}, {there} of {count} files")
        return Sample(count, taken, resources.ru_utime + resources.ru_stime, resources.ru_maxrss * 1024)
    finally:
        if process.returncode is None:  # it is too late for it
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(out, ignore_errors=True)


def batch(say: Callable[[str], object], directory: Path, rounds: int, files: int) -> None:
    """Say the table, for so many MR and 2/5 as many CT."""
    say(_HEADER)
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        key = work / "key"
        keygen = [sys.executable, "-m", "scp_anon", "keygen", str(key)]
        subprocess.run(keygen, cwd=ROOT, check=True, capture_output=True, timeout=60)
        for modality, count in (("CT", max(files * 2 // 5, 1)), ("MR", files)):
            source = work / modality
            write_images(source, modality, count)
            samples: dict[str, list[Sample]] = {}
            for _ in range(rounds):
                for name, command in commands(source, work / "out", key).items():
                    samples.setdefault(name, []).append(once(command, work / "out", count))
            copied = samples["cp -r"]
            for name, of_one in samples.items():
                say(
                    f"| {modality} | {count} | {name} | {spread(of_one)} | {rate(of_one) / rate(copied):.2f} "
                    f"| {used(of_one)} | {cpu(of_one) / max(cpu(copied), 1e-9):.1f} |\n"
                )
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
