"""Where `deid` may write what is asked for besides its outputs: a report must not replace an image, nor the key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from scp_anon import batch
from scp_anon.errors import ConfigError

STANDARD_OUTPUT: Final = Path("-")
_IDENTIFY: Final = ("--quarantine", "--report", "--mapping", "--audit", "--drift")


def check_written(
    written: Mapping[str, Path | None], paths: Iterable[Path], output: Path, read: Iterable[Path | None]
) -> None:
    """Raise ConfigError where something would be written over or into an input, over a file that is needed, or twice.

    `written`: option → where it writes. `read`: files that the run needs. What identifies must not be in `output`.
    """
    paths = list(paths)
    known = {_place(path): "a file that is needed" for path in read if path is not None}
    for option, path in written.items():
        if path is None or path == STANDARD_OUTPUT:
            continue
        for source in paths:
            batch.check_outside(source, path, "file or folder")
        if option in _IDENTIFY and batch.is_inside(path, output):
            raise ConfigError(f"{path}: what identifies must not be inside the output folder {output}")
        other = known.setdefault(_place(path), option)
        if other != option:
            raise ConfigError(f"{option}: {path}: is {other}")


def _place(path: Path) -> object:
    """What tells a file from others: by whatever name, link or hard link."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
