"""What becomes of the attributes of real files: kept, changed, emptied, removed, added, by the Basic Profile.

python -m benchmarks.corpus FOLDER > docs/corpus.md
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from scp_anon import Deidentifier, Undecodable
from scp_anon.deid.difference import differences

_KEY = bytes(range(32))
_FATES = ("kept", "changed", "emptied", "removed", "added")
_INTRODUCTION = """\
# What becomes of real files

Attributes of each file of the test corpus, those in items included, by the Basic Profile with `pixels: pass`; what is
inside a sequence that is removed counts with it. `-`: the file is refused, for the reason given. Written by
`python -m benchmarks.corpus`.

"""


def counts(path: Path, engine: Deidentifier) -> Counter[str] | str:
    """How many attributes of a file have which fate, or why it is refused."""
    original = path.read_bytes()
    try:
        result = engine.bytes(original)
    except Undecodable as error:
        return str(error.reason)
    return Counter(each.fate for each in differences(original, result))


def rows(folder: Path) -> Iterator[str]:
    """A row for each file."""
    engine = Deidentifier(_KEY, "", {"pixels": "pass"})
    total: Counter[str] = Counter()
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name):
        if path.parent == folder or path.parent.name == "LICENSES":
            continue
        found = counts(path, engine)
        if isinstance(found, str):
            yield f"| {path.name} | {' | '.join('-' * len(_FATES))} | {found} |"
        else:
            total += found
            yield f"| {path.name} | {' | '.join(str(found[fate]) for fate in _FATES)} | |"
    yield f"| **all** | {' | '.join(f'**{total[fate]}**' for fate in _FATES)} | |"


def main(folder: Annotated[Path, typer.Argument(help="Folders of DICOM files.", exists=True)]) -> None:
    """Print the table, as Markdown."""
    warnings.simplefilter("ignore")  # pydicom has something to say of most real files
    sys.stdout.write(f"{_INTRODUCTION}| file | {' | '.join(_FATES)} | refused |\n|---|{'---|' * (len(_FATES) + 1)}\n")
    for row in rows(folder):
        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    typer.run(main)
