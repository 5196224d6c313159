"""The files of a folder sorted into folders by the beginning of their names: what `split` does.

A file is moved by a rename, and none is ever overwritten: its new name is taken first, by an empty file that the
rename then replaces.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from scp_anon.errors import ConfigError

Fate: TypeAlias = Literal["moved", "left", "in the way", "failed"]
_TOLD: Final = 20


class Move(NamedTuple):
    """A file, the folder that it belongs to ("" for none), and what became of it."""

    name: str
    group: str
    fate: Fate


def split(folder: Path, mask: str, delimiter: str, counts: Counter[str], dry_run: bool = False) -> Iterator[Move]:
    """Move each file whose name ends in `mask` into a folder named as what is before the first `delimiter`.

    Yields the moves, and some of those that went wrong; counts all in `counts`. Files without a delimiter, and hidden
    ones, are left. Memory stays flat: the folder is read again until nothing moves. Raises ConfigError.
    """
    if not delimiter or os.sep in delimiter:
        raise ConfigError("--delimiter: must be one or more characters of a file name")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    moved = 0
    while True:
        last = moved
        others: Counter[str] = Counter()
        wrong: list[Move] = []
        for move in _pass(folder, mask, delimiter, dry_run):
            if move.fate == "moved":
                moved += 1
                yield move
            else:
                others[move.fate] += 1
                if move.fate != "left" and len(wrong) < _TOLD:
                    wrong.append(move)
        if dry_run or moved == last:
            counts.update(others, moved=moved)
            yield from wrong
            return


def _pass(folder: Path, mask: str, delimiter: str, dry_run: bool) -> Iterator[Move]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.endswith(mask) or not entry.is_file(follow_symlinks=False):
                    continue
                group, found, _ = entry.name.partition(delimiter)
                if not found or not group or group.startswith("."):
                    yield Move(entry.name, "", "left")
                    continue
                place = folder / group
                yield Move(entry.name, group, _looked(place, entry.name) if dry_run else _moved(entry, place))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def _looked(place: Path, name: str) -> Fate:
    """What would become of a file."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        return "in the way"
    return "in the way" if os.path.lexists(place / name) else "moved"


def _moved(entry: os.DirEntry[str], place: Path) -> Fate:
    """Move a file into a folder, which is made if it is missing and never a link to somewhere else."""
    target = place / entry.name
    try:
        place.mkdir(exist_ok=True)
        if place.is_symlink():
            return "in the way"
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return "in the way"
    except OSError:
        return "failed"
    try:
        os.rename(entry.path, target)
    except OSError:
        target.unlink()
        return "failed"
    return "moved"
