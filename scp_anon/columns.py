"""CSV files of others: columns by name or number, any delimiter and encoding, and rows that say where they are wrong.

No message holds a value, only line and column numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from scp_anon.errors import ConfigError

Encoding: TypeAlias = Literal["utf-8", "latin-1"]
_PYTHON: Final = {"utf-8": "utf-8-sig", "latin-1": "latin-1"}
_RANGE: Final = re.compile(r"(\d+)-(\d+)")
_NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_AT_END: Final = "unexpected end of data"  # as csv says it
_ACTIVE: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Form:
    """How a CSV file is written: its delimiter, its encoding, and whether its first line names the columns."""

    delimiter: str = ","
    encoding: Encoding = "utf-8"
    header: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be."""
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
            raise ConfigError("the delimiter must be one character; a tabulator is written tab")
        if self.encoding not in _PYTHON:
            raise ConfigError(f"there is no encoding {self.encoding}; there is: {', '.join(_PYTHON)}")


class Line(NamedTuple):
    """A row: the number of its last line, and its cells; none where it cannot be read."""

    number: int
    cells: list[str] | None


class Sheet:
    """An open CSV file: the names of its columns, if it has them, and its rows."""

    def __init__(self, path: Path, rows: Iterator[Line], form: Form) -> None:
        """Raises ConfigError for a file without a row."""
        self._path = path
        self._rows = rows
        first = next(rows, Line(1, None))
        if first.cells is None:
            raise ConfigError(f"{path}:{first.number}: cannot be read as CSV in {form.encoding}")
        self.names = [name.strip() for name in first.cells] if form.header else []
        self.width = len(first.cells)
        self._first = None if form.header else first

    def lines(self) -> Iterator[Line]:
        """The rows, each once. Raises OSError."""
        if self._first is not None:
            yield self._first
        yield from self._rows

    def column(self, text: str) -> int:
        """The place of a column, from 0, by its name or its number, from 1. Raises ConfigError."""
        if self.names.count(text) == 1:
            return self.names.index(text)
        if text in self.names:
            raise ConfigError(f"{self._path}: more than one column has the name {text}: give its number")
        if text.isascii() and text.isdigit() and 1 <= int(text) <= self.width:
            return int(text) - 1
        raise ConfigError(f"{self._path}: there is no column {text}; there are {self.width}")

    def columns(self, text: str) -> list[int]:
        """The places of a column, or of those from one number to another, as 4-9. Raises ConfigError."""
        span = _RANGE.fullmatch(text)
        if span is None or text in self.names:
            return [self.column(text)]
        first, last = self.column(span[1]), self.column(span[2])
        if first > last:
            raise ConfigError(f"{self._path}: {text}: the first column comes behind the last")
        return list(range(first, last + 1))


@contextmanager
def opened(path: Path, form: Form) -> Iterator[Sheet]:
    """A CSV file, open for the time of the block.

    Raises ConfigError for one that cannot be read; its rows do, where a quote is not closed: how many are in that?
    """
    try:
        file = path.open(encoding=_PYTHON[form.encoding], errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        yield Sheet(path, _rows(path, csv.reader(file, delimiter=form.delimiter, strict=True)), form)


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[Line]:
    """Each row that is not blank. What is not of the encoding came as surrogates, and cannot be read.

    Raises ConfigError for a row that cannot be read and has more than one line: other rows are in it.
    """
    number = 0
    while True:
        first = number + 1
        cells: list[str] | None
        try:
            cells = next(reader)
            "".join(cells).encode("utf-8")
        except StopIteration:
            return
        except UnicodeEncodeError:
            cells = None
        except csv.Error as error:
            cells = None
            number = _line(reader)
            if number > first or str(error) == _AT_END:
                raise ConfigError(f"{path}:{first}: a quote is not closed, and other rows are in it") from None
        number = _line(reader)
        if cells != []:
            yield Line(number, cells)


def _line(reader: Iterator[list[str]]) -> int:
    return int(reader.line_num)  # type: ignore[attr-defined]  # of csv's reader, whose type has no name


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before it, unless it is a number."""
    text = cell.lstrip(" ")
    return f"'{cell}" if text.startswith(_ACTIVE) and not _NUMBER.fullmatch(cell.strip()) else cell
