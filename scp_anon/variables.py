"""A CSV of variables, de-identified together with the images of the same people: what `scp-anon variables` does.

Fails closed: a column that nobody has named is dropped, and a row in which something cannot be read is left out, and
told by its line number. A person gets the pseudonym, and dates move by the days, that their images get.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from scp_anon.columns import Form, Line, Sheet, harmless, opened
from scp_anon.deid import ProfileFile
from scp_anon.deid.identity import Identity
from scp_anon.deid.profile import Profile
from scp_anon.errors import ConfigError, Undecodable
from scp_anon.links import Links
from scp_anon.months import Months
from scp_anon.version import VERSION

# The day first only where the month cannot be meant: of 01/02/2016 nobody can tell.
DATE_FORMATS: Final = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d.%b.%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y")

# Without the names of months, which a language of one's own replaces.
NUMERIC_FORMATS: Final = tuple(form for form in DATE_FORMATS if "%b" not in form and "%B" not in form)
_ISO: Final = "%Y-%m-%d"
_A_DATE: Final = date(2016, 1, 15)
_SEPARATED: Final = re.compile(r"[^%A-Za-z]")


class BadCell(Exception):
    """A cell that cannot be read; says why, and never what is in it."""


class People:
    """Who a person becomes: as in the images of the same key, project and profile."""

    def __init__(self, key: bytes, project: str, settings: ProfileFile, issuer: str = "") -> None:
        """`issuer`: Issuer of Patient ID, if the profile's pseudonyms count it. Raises ConfigError."""
        self._profile = Profile(settings, Identity(key, project, settings.uids.root), VERSION)
        self._issuer = issuer

    def pseudonym(self, person: str) -> str:
        """The pseudonym of whoever has this Patient ID. Raises BadCell where there is none."""
        try:
            return self._profile.patients.find(self._key(person)).decode("ascii")
        except Undecodable:
            raise BadCell("is not in the table of patients") from None

    def days(self, person: str) -> int:
        """By how many days the dates of this person are moved. Raises ConfigError where each image has its own."""
        return self._profile.offsets.of(self._key(person))

    def _key(self, person: str) -> str:
        person = person.strip()
        if not person:
            raise BadCell("is empty")
        key = self._profile.patients.key(person, self._issuer, "")
        if not key:
            raise BadCell("is a placeholder, and nobody's Patient ID")
        return key


@dataclass(frozen=True)
class Wanted:
    """What becomes of which columns, by name or number; a column that is in none of them is dropped.

    `days`: column → the one that its days are counted from. `keep` takes ranges of numbers too.
    """

    person: str
    month_year: tuple[str, ...] = ()
    days: Mapping[str, str] | None = None
    shift_date: tuple[str, ...] = ()
    serial: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    date_formats: tuple[str, ...] = DATE_FORMATS
    months: Months | None = None


Cell: TypeAlias = Callable[[list[str]], str]


class Bad(NamedTuple):
    """A row that was left out: its line, its column from 1 on (0: the row as a whole), and why."""

    line: int
    column: int
    why: str


class Variables:
    """Makes the new row of a row."""

    def __init__(self, sheet: Sheet, wanted: Wanted, people: People, links: Links | None) -> None:
        """Raises ConfigError for a column that there is not, or that is named twice."""
        self._sheet, self._people, self._links = sheet, people, links
        self._formats, self._months = tuple(map(_checked, wanted.date_formats)), wanted.months
        self._person = sheet.column(wanted.person)
        if wanted.serial and links is None:
            raise ConfigError("a serial needs a link list: --links")
        work: list[tuple[int, Cell]] = [(self._person, self._pseudonym)]
        work += [(i, self._month_year(i)) for i in map(sheet.column, wanted.month_year)]
        work += [(i, self._moved(i)) for i in map(sheet.column, wanted.shift_date)]
        work += [(i, self._serial(i)) for i in map(sheet.column, wanted.serial)]
        for name, since in (wanted.days or {}).items():
            i = sheet.column(name)
            work.append((i, self._days(i, sheet.column(since))))
        work += [(i, self._kept(i)) for text in wanted.keep for i in sheet.columns(text)]
        places = [place for place, _ in work]
        if twice := sorted({place + 1 for place in places if places.count(place) > 1}):
            raise ConfigError(f"column {twice[0]}: is named twice")
        self._work = sorted(work, key=lambda each: each[0])

    @property
    def names(self) -> list[str]:
        """The names of the columns that are left."""
        return [harmless(self._sheet.names[place]) for place, _ in self._work]

    def row(self, line: Line) -> list[str] | Bad:
        """The new row."""
        if line.cells is None or len(line.cells) != self._sheet.width:
            return Bad(line.number, 0, "cannot be read" if line.cells is None else "has another number of columns")
        row = []
        for place, make in self._work:
            try:
                row.append(make(line.cells))
            except BadCell as bad:
                return Bad(line.number, place + 1, str(bad))
        return row

    def _pseudonym(self, cells: list[str]) -> str:
        return self._people.pseudonym(cells[self._person])

    def _kept(self, place: int) -> Cell:
        return lambda cells: harmless(cells[place])

    def _serial(self, place: int) -> Cell:
        def make(cells: list[str]) -> str:
            found = self._links.serial(cells[place]) if self._links is not None else None
            if found is None:
                raise BadCell("has no serial in the link list")
            return found

        return make

    def _month_year(self, place: int) -> Cell:
        def make(cells: list[str]) -> str:
            found = self._date(cells[place])
            return f"{found[0].month}-{found[0].year}" if found else ""

        return make

    def _moved(self, place: int) -> Cell:
        def make(cells: list[str]) -> str:
            found = self._date(cells[place])
            if found is None:
                return ""
            try:
                moved = found[0] + timedelta(days=self._people.days(cells[self._person]))
            except OverflowError:
                raise BadCell("is no date") from None
            return moved.strftime(found[1])

        return make

    def _days(self, place: int, since: int) -> Cell:
        def make(cells: list[str]) -> str:
            last, first = self._date(cells[place]), self._date(cells[since])
            if last is None:
                return ""
            if first is None:
                raise BadCell("has no date to count its days from")
            return str((last[0] - first[0]).days)

        return make

    def _date(self, cell: str) -> tuple[date, str] | None:
        """A date, and its format; None for an empty cell. Raises BadCell."""
        text = cell.strip()
        if not text:
            return None
        for form in self._formats:
            with suppress(ValueError):
                found = datetime.strptime(text, form).date()
                # Without anything between them, digits may be those of several dates: 2016115.
                if _SEPARATED.search(form) or found.strftime(form) == text:
                    return found, form
        if self._months is not None and (named := self._months.date(text)):
            return named, _ISO
        raise BadCell("is no date of a known form")


def _checked(form: str) -> str:
    """A form of dates. Raises ConfigError for one that no date can be read by."""
    try:
        datetime.strptime(_A_DATE.strftime(form), form)
    except (ValueError, LookupError, re.error):
        raise ConfigError(f"{form!r} is no form of dates; must be as %d/%m/%Y") from None
    return form


def deidentify(
    source: Path, target: Path, form: Form, wanted: Wanted, people: People, links: Links | None, names: bool = True
) -> Iterator[Bad | None]:
    """De-identify a CSV file into a new one, which is there when the last row has been taken; None for a good row.

    `names`: whether the first line of the result names its columns, if the source's does. Raises ConfigError.
    """
    if target.exists():
        raise ConfigError(f"{target}: a file is there already")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with opened(source, form) as sheet:
            variables = Variables(sheet, wanted, people, links)
            with temporary.open("x", encoding=form.encoding, newline="") as file:
                writer = csv.writer(file, delimiter=form.delimiter, lineterminator="\n")
                if names and sheet.names:
                    writer.writerow(variables.names)
                for line in sheet.lines():
                    row = variables.row(line)
                    if isinstance(row, Bad):
                        yield row
                    else:
                        writer.writerow(row)
                        yield None
                file.flush()
                os.fsync(file.fileno())
        os.rename(temporary, target)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be made: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
