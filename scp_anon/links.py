"""A link list: which number (of an invitation, an accession) stands for which serial, and so for which folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from scp_anon.columns import Form, opened
from scp_anon.errors import ConfigError

Matching: TypeAlias = Literal["equals", "word", "contains"]
_WORD: Final = re.compile(r"\w+")
_SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CACHED: Final = 4096


class Numbers:
    """What stands for which number, and which of the numbers a value has."""

    def __init__(self, rows: Mapping[str, str], matching: Matching) -> None:
        """`rows`: number → what stands for it. `matching`: how a number is found in a value."""
        self._rows = rows
        self._matching = matching
        # Those that are no one word are not found by looking up the words of a value.
        self._others = [key for key in rows if not _WORD.fullmatch(key)] if matching == "word" else []

    def find(self, value: str) -> str | None:
        """What the numbers of a value stand for; None where it has none, or where they stand for different things."""
        found = {self._rows[key] for key in self._keys(value.strip())}
        return found.pop() if len(found) == 1 else None

    def _keys(self, value: str) -> list[str]:
        if self._matching == "equals":
            return [value] if value in self._rows else []
        if self._matching == "contains":
            return [key for key in self._rows if key in value]
        words = [word for word in _WORD.findall(value) if word in self._rows]
        # To look for an expression in a text costs a hundred times what it does to look for a text.
        others = (key for key in self._others if key in value)
        return words + [key for key in others if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", value)]


class Links:
    """The rows of a link list, in memory. Two rows that say different things of one number are an error."""

    def __init__(self, path: Path, form: Form, number: str, serial: str, matching: Matching = "equals") -> None:
        """`number`, `serial`: columns by name or number. `matching`: how a number is found in a value.

        Raises ConfigError, which names lines and never what is in them.
        """
        found: dict[str, str] = {}
        with opened(path, form) as sheet:
            numbers, serials = sheet.column(number), sheet.column(serial)
            for line, cells in sheet.lines():
                if cells is None or len(cells) <= max(numbers, serials):
                    raise ConfigError(f"{path}:{line}: cannot be read, or has too few columns")
                key, value = cells[numbers].strip(), cells[serials].strip()
                if not key or not _SERIAL.fullmatch(value):
                    raise ConfigError(f"{path}:{line}: a number, and a serial of letters, digits and . _ - are needed")
                if found.setdefault(key, value) != value:
                    raise ConfigError(f"{path}:{line}: this number has another serial above")
        self.serial = lru_cache(_CACHED)(Numbers(found, matching).find)
        """The serial that a value leads to; None where there is none, or more than one."""
