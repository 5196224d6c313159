"""Runs the harnesses: all, one after the other or `--jobs` at a time, or the one that is named.

    python -m tests.fuzz --runs 1000000 --jobs 2
    python -m tests.fuzz --harness engine --runs 1000
    python -m tests.fuzz --harness engine CRASH_FILE

Each begins with its seeds and what earlier runs have found to be new, in `--corpus`. A finding is a file in the same
folder; its place and the exit code say so.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Of all runs, what each harness gets: the engine is the slowest, and has the most to be found.
SHARES = {"engine": 0.25, "data_phase": 0.25, "associate": 0.15, "headers": 0.35}
LONGEST_RUN = 20  # seconds that one execution may take
LONGEST_INPUT = {"engine": 20_000, "data_phase": 20_000, "associate": 8_000, "headers": 4_000}
MEMORY = 2048  # megabytes


def fuzz(name: str, arguments: list[str]) -> None:
    """Run one harness in this process, which it ends."""
    import atheris

    warnings.simplefilter("ignore")  # of wrong input pydicom says much
    # Only what is ours is instrumented: coverage of pydicom would lead elsewhere.
    with atheris.instrument_imports(include=["scp_anon"]):
        harness = importlib.import_module(f"tests.fuzz.{name}")
    atheris.Setup([f"tests.fuzz.{name}", *arguments], harness.check)
    atheris.Fuzz()


def run(name: str, runs: int, corpus: Path) -> str:
    """Run one harness in a process of its own; returns a line on how it went."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in importlib.import_module(f"tests.fuzz.{name}").seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
    begin = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", "--harness", name, "--", str(folder), f"-runs={runs}"]
    options = [
        f"-max_len={LONGEST_INPUT[name]}",
        f"-timeout={LONGEST_RUN}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={corpus / name}-",
        "-print_final_stats=1",
    ]
    with (corpus / f"{name}.log").open("wb") as log:
        code = subprocess.run([*command, *options], stdout=log, stderr=log, check=False).returncode
    said = (corpus / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    done = next((line.split()[-1] for line in said if line.startswith("stat::number_of_executed_units")), "0")
    return f"{name}: {done} executions in {time.monotonic() - begin:.0f} s, exit code {code}"


def main() -> int:
    """Returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of all harnesses together")
    parser.add_argument("--jobs", type=int, default=1, help="harnesses at a time")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"), help="where inputs are kept")
    parser.add_argument("--harness", choices=SHARES, help="only this one")
    parser.add_argument("arguments", nargs="*", help="for libFuzzer, or inputs to try again")
    options = parser.parse_args()
    if options.harness and options.arguments:
        fuzz(options.harness, options.arguments)
        return 0
    chosen = {options.harness: 1.0} if options.harness else SHARES
    with ThreadPoolExecutor(options.jobs) as pool:
        pending = [
            pool.submit(run, name, round(share * options.runs), options.corpus) for name, share in chosen.items()
        ]
        lines = [one.result() for one in pending]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(line.endswith("exit code 0") for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
