"""All benchmarks: tables as Markdown, and plots beside them.

python -m benchmarks [--quick] [--only NAME] [--rounds 3] [--directory DIR] [--disk DIR] [--output docs/performance.md]
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks import engine, growth
from benchmarks.batch import batch, memory
from benchmarks.chain import chain
from benchmarks.plots import plot
from benchmarks.receive import receive

_INTRODUCTION: Final = """\
# Performance

Written by `make bench`; what is measured, and how to read it, is in benchmarks/README.md. Quote the ratios: machines
such as this one are noisy. {cores} cores, {system}, Python {python}; senders and receivers are all on it.
"""

Say = Callable[[str], object]


class Report:
    """What has been said so far: on the terminal at once, and in a file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._said: list[str] = []

    def say(self, text: str) -> None:
        """Say it."""
        sys.stdout.write(text)
        sys.stdout.flush()
        self._said.append(text)
        if self.path is not None:
            self.path.write_text("".join(self._said), encoding="utf-8")

    def plot(self, name: str, series: growth.Series, x: str, y: str) -> None:
        """Put a plot beside the file."""
        if self.path is not None:
            picture = self.path.with_name(f"{self.path.stem}-{name}.png")
            plot(picture, series, x, y, name)
            self.say(f"\n![{name}]({picture.name})\n")


def sections(
    report: Report, directory: Path, disk: Path, rounds: int, quick: bool
) -> Iterator[tuple[str, str, Callable[[Say], object]]]:
    """Name and title of each section, and what says it."""
    files, seconds = (60, 0.2) if quick else (1500, 1.0)
    sides = (128, 512, 2048) if quick else (128, 512, 2048, 8192, 16384)
    most = 1000 if quick else 10_000

    def grow(name: str, series: growth.Series, x: str, y: str) -> None:
        report.plot(name, series, x, y)

    yield "engine", "The engine", engine.against_peers
    yield "options", "What options cost", engine.options
    yield "elements", "Elements and items", lambda say: grow("elements", growth.elements(say), "how many", "us")
    yield "receive", "Receiving", lambda say: receive(say, directory, rounds, seconds, files)
    yield "disk", "Receiving, on a disk", lambda say: receive(say, disk, rounds, seconds, files)
    yield "chain", "The full chain", lambda say: chain(say, directory, rounds, files)
    many = (100, 1000) if quick else (10_000, 100_000)

    def folders(say: Say) -> None:
        batch(say, directory, rounds, files * 10 // 3)
        memory(say, directory, many)

    yield "batch", "Folders of files", folders
    yield (
        "associations",
        "Associations",
        lambda say: grow("associations", growth.associations(say, directory, rounds, files), "associations", "MR/s"),
    )
    yield "queue", "A queue", lambda say: grow("queue", growth.queue(say, directory, most), "queued", "MR/s")
    yield "sizes", "Large instances", lambda say: grow("sizes", growth.sizes(say, directory, sides), "bytes", "MB/s")


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Whether it works, not how fast.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Sections to run; all without it.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; the tables have medians.")] = 3,
    directory: Annotated[Path, typer.Option(help="In memory.")] = Path("/dev/shm"),  # noqa: S108
    disk: Annotated[Path, typer.Option(help="On a disk.")] = Path("var"),
    output: Annotated[Path | None, typer.Option(help="A Markdown file to write; plots go beside it.")] = None,
) -> None:
    """Run all benchmarks, or some."""
    report = Report(output)
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    report.say(_INTRODUCTION.format(cores=os.cpu_count(), system=system, python=platform.python_version()))
    disk.mkdir(parents=True, exist_ok=True)
    for name, title, measure in sections(report, directory, disk, 1 if quick else rounds, quick):
        if not only or name in only:
            report.say(f"\n## {title}\n\n")
            measure(report.say)


if __name__ == "__main__":
    typer.run(main)
