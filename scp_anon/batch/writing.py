"""Files that a run writes besides its outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from scp_anon.errors import ConfigError


def open_private(path: Path, what: str, mode: str = "w") -> IO[str]:
    """Open a file for its owner's eyes only, as it names sources or has their values. Raises ConfigError."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode == "a" else os.O_TRUNC)
    try:
        descriptor = os.open(path, flags, 0o600)
        if os.path.isfile(path):
            os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, mode, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the {what} cannot be written: {error.strerror}") from None


def write_whole(path: Path, content: Iterable[str], what: str, mode: int = 0o666) -> None:
    """Write a file aside, and rename it over an earlier one. Raises ConfigError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.writelines(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ConfigError(f"{path}: the {what} cannot be written: {error.strerror}") from None
