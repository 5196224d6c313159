"""Where de-identified instances go. Given the path of one, a destination returns once it is safe there, or raises.

A destination is anything with the methods of `Destination`: `Transient` says try again later, `Permanent` says never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol


class Destination(Protocol):
    """One place to deliver to. Used by one thread."""

    def deliver(self, path: str, upcoming: Callable[[], Iterable[str]], again: bool = False) -> None:
        """Deliver the DICOM file at `path`. Raises Transient or Permanent.

        `upcoming` gives files that are likely to be next, for what can be prepared for them as well. `again`: this was
        tried before, and it may be there already.
        """

    def idle(self) -> None:
        """There is nothing to deliver at present: let go of what need not be held."""

    def close(self) -> None:
        """There will be nothing more."""
