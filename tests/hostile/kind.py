"""What a kind of hostile input is: a function that makes it, what is wrong with it, and how it has to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from scp_anon.errors import Reason, Undecodable
from tests.hostile.source import EXPLICIT, Source

# The reasons of which one is why it is quarantined; none of them if it is delivered, and clean.
Outcome: TypeAlias = frozenset[Reason]
Maker: TypeAlias = Callable[[Source], bytes]

KINDS: Final[dict[str, Kind]] = {}


@dataclass(frozen=True)
class Kind:
    """A kind of hostile input.

    `outcome`: how its file ends in the engine. `sent`: how its data set ends when it is sent by C-STORE, where not
    even File Meta Information is left of the file; a number is the status of a refusal.
    """

    name: str
    what: str
    make: Maker
    outcome: Outcome
    sent: Outcome | int

    def file(self) -> bytes:
        """The file."""
        return self.make(Source(self.name))

    def data_set(self) -> tuple[bytes, str]:
        """What a sender would send of the file, and its transfer syntax: all of it where it is no DICOM file."""
        file = self.file()
        try:
            meta, start = read_file_meta(file)
        except Undecodable:
            return file, EXPLICIT
        known = meta.transfer_syntax_uid in transfer_syntaxes()
        return file[start:], meta.transfer_syntax_uid if known else EXPLICIT


def kind(*reasons: Reason, sent: Reason | int | tuple[Reason, ...] | None = None) -> Callable[[Maker], Maker]:
    """Add a kind that is quarantined for one of these reasons, or delivered if there are none.

    `sent`: the same for its data set, where it is another; () if that is delivered.
    """

    def add(make: Maker) -> Maker:
        name = make.__name__.strip("_")
        over_network = frozenset(reasons)
        if sent is not None and not isinstance(sent, int):
            over_network = frozenset(sent if isinstance(sent, tuple) else (sent,))
        KINDS[name] = Kind(
            name, make.__doc__ or "", make, frozenset(reasons), sent if isinstance(sent, int) else over_network
        )
        return make

    return add


@dataclass(frozen=True)
class HugeKind:
    """A file that is huge, but for its head a hole: written to a disk, not held in memory, and never sent."""

    name: str
    what: str
    head: Maker
    size: int
    outcome: Outcome

    def write(self, path: Path) -> None:
        """Write the file, which takes no room."""
        with path.open("wb") as file:
            file.write(self.head(Source(self.name)))
            file.truncate(self.size)


HUGE: Final[dict[str, HugeKind]] = {}


def huge(size: int, *reasons: Reason) -> Callable[[Maker], Maker]:
    """Add a huge kind, which is quarantined for one of these reasons, or delivered; the function makes its head."""

    def add(make: Maker) -> Maker:
        HUGE[make.__name__] = HugeKind(make.__name__, make.__doc__ or "", make, size, frozenset(reasons))
        return make

    return add
