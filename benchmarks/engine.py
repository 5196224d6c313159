"""What the engine costs, in microseconds: in memory and file to file, beside a read and write, and beside pydicom."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import get_args

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from benchmarks.images import ELEMENTS, image
from scp_anon import Deidentifier
from scp_anon.deid.actions import Rule
from scp_anon.deid.settings import Option
from scp_anon.dicom.dictionary import attributes
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Rules
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntaxes

_KEY = bytes(range(32))
_ROUNDS = 7
# All but the option of full dates, which excludes that of modified ones.
ALL_MODIFIED = tuple(
    option
    for option in get_args(Option)
    if "full-dates" not in option and not option.endswith(("pixel-data", "features"))
)


def microseconds(*work: Callable[[], object], number: int = 200) -> list[float]:
    """The median time of each piece of work, in turn within each round."""
    times: list[list[float]] = [[] for _ in work]
    for _ in range(_ROUNDS):
        for samples, do in zip(times, work, strict=True):
            begin = time.perf_counter()
            for _ in range(number):
                do()
            samples.append((time.perf_counter() - begin) / number * 1e6)
    return [statistics.median(samples) for samples in times]


def with_pydicom(file: bytes) -> bytes:
    """The plain way: read, look at every element, change a few, write."""
    ds = dcmread(BytesIO(file))

    def visit(data_set: Dataset, element: object) -> None:
        if getattr(element, "VR", "") == "PN":
            element.value = "X"  # type: ignore[attr-defined]  # a data element

    ds.walk(visit)
    ds.remove_private_tags()
    target = BytesIO()
    dcmwrite(target, ds)
    return target.getvalue()


def against_peers(say: Callable[[str], object]) -> None:
    """The engine beside pydicom, in memory and from file to file."""
    engine = Deidentifier(_KEY)
    head = "engine | pydicom | ratio | file to file | read + write | ratio"
    say(f"| {ELEMENTS} elements | {head} |\n")
    say("|---|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        for modality in ("CT", "MR"):
            file = image(modality, 1)
            source.write_bytes(file)

            def file_to_file() -> None:
                target.unlink(missing_ok=True)
                engine.file(source, target)

            def floor() -> None:
                target.unlink(missing_ok=True)
                target.write_bytes(source.read_bytes())

            memory, plain, files, least = microseconds(
                lambda file=file: engine.bytes(file),  # type: ignore[misc]  # bound at once
                lambda file=file: with_pydicom(file),  # type: ignore[misc]  # likewise
                file_to_file,
                floor,
                number=60,
            )
            say(
                f"| {modality}, {len(file) // 1000} KB | {memory:.0f} us | {plain:.0f} us | {plain / memory:.0f} | "
                f"{files:.0f} us | {least:.0f} us | {files / least:.2f} |\n"
            )


def options(say: Callable[[str], object]) -> None:
    """What options cost, beside the floor: one pass over the headers, in which nobody has a rule."""
    file = image("CT", 1)
    _, start = read_file_meta(file)
    syntax = transfer_syntaxes()[EXPLICIT_VR_LITTLE_ENDIAN]
    nothing: Rules[Rule] = Rules({}, attributes().keys(), None, None)
    profiles = {"basic": (), **{option: (option,) for option in ALL_MODIFIED}, "all of these": ALL_MODIFIED}
    engines = [Deidentifier(_KEY, "", {"options": options}) for options in profiles.values()]
    floor, *taken = microseconds(
        lambda: scan(file, start, len(file), syntax, nothing),
        *(partial(engine.deidentify, file) for engine in engines),
    )
    say(f"| {ELEMENTS} elements, in memory | engine | of the floor |\n|---|---|---|\n")
    say(f"| floor | {floor:.0f} us | 1.0 |\n")
    for name, time_taken in zip(profiles, taken, strict=True):
        say(f"| {name} | {time_taken:.0f} us | {time_taken / floor:.1f} |\n")
