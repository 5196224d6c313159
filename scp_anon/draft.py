"""A file that is being written, under a name that nobody looks for."""

from __future__ import annotations

import contextlib
import os
from typing import Self

from scp_anon.filesystem import Bytes, write_all
from scp_anon.sealing import Seal


class Draft:
    """A file in tmp that is being written; gone at the end of its `with` block unless it was committed or published."""

    def __init__(self, path: str, mode: int, seal: Seal | None = None) -> None:
        """`seal`: seals what is written."""
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._writer = seal.writer() if seal is not None else None

    def write(self, *parts: Bytes) -> None:
        """Append the parts. Raises OSError."""
        write_all(self.descriptor, list(self._writer.sealed(parts)) if self._writer is not None else parts)

    def finish(self) -> None:
        """There is nothing more to be written. Raises OSError."""
        if self._writer is not None:
            write_all(self.descriptor, [self._writer.last()])

    def __enter__(self) -> Self:
        return self

    def move(self, target: str) -> None:
        """Give the file its name for good. Raises OSError."""
        os.rename(self.path, target)
        self.path = ""

    def __exit__(self, *exception: object) -> None:
        os.close(self.descriptor)
        if self.path:
            with contextlib.suppress(OSError):  # what stays is swept at the next start
                os.unlink(self.path)
