"""Dates whose month is written as a word of a language: the words are those of Unicode's CLDR, by Babel.

A date is a day, the name of a month and a year of four digits, in any order, and nothing else but punctuation and what
the language itself puts between them. What can be read in two ways is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Final

from scp_anon.errors import ConfigError

if TYPE_CHECKING:
    from babel import Locale

_EXTRA: Final = "pip install 'scp-anon[languages]'"
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
_WORD: Final = r"[^\W\d_]"
_TOKEN: Final = re.compile(rf"[0-9]+|{_WORD}+|[^\s.,/-]")
_ORDINAL: Final = re.compile(rf"(?<![0-9])([0-9]{{1,2}})(?:er|o|st|nd|rd|th)(?!{_WORD})")  # º is folded to o
_YEARS: Final = range(1850, 2151)  # others are of another calendar, or wrong


class Months:
    """The names of months in some languages."""

    def __init__(self, languages: Iterable[str]) -> None:
        """`languages`: as `nb` or `pt-BR`. Raises ConfigError for one that there is not, or if Babel is missing."""
        known: dict[str, set[int]] = {}
        self._fillers: set[str] = set()
        for language in languages:
            locale = _locale(language)
            names = _names(locale)
            if not names:
                raise ConfigError(f"--language: {language}: its months have no names: say --date-format")
            for name, month in names:
                known.setdefault(name, set()).add(month)
            self._fillers.update(_fillers(locale))
        # What is one month in one language and another one in another is neither.
        self._months = {name: months.pop() for name, months in known.items() if len(months) == 1}
        words = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
        self._name = re.compile(rf"(?<!{_WORD})(?:{words})(?!{_WORD})")

    def date(self, text: str) -> date | None:
        """The date that a text is; None if it is none, or cannot be told."""
        folded = _ORDINAL.sub(r"\1", _folded(text))
        found = list(self._name.finditer(folded))
        month = self._months.get(found[0][0]) if len(found) == 1 else None
        if month is None:
            return None
        day = year = ""
        for token in _TOKEN.findall(f"{folded[: found[0].start()]} {folded[found[0].end() :]}"):
            if re.fullmatch("[0-9]{1,2}", token) and not day:
                day = token
            elif re.fullmatch("[0-9]{4}", token) and not year:
                year = token
            elif token not in self._fillers:
                return None
        with suppress(ValueError):
            if int(year) in _YEARS:
                return date(int(year), month, int(day))
        return None


def _locale(language: str) -> Locale:
    try:
        from babel import Locale, UnknownLocaleError
    except ImportError:
        raise ConfigError(f"--language needs Babel: {_EXTRA}") from None
    if _LANGUAGE.fullmatch(language):
        with suppress(UnknownLocaleError, ValueError):
            return Locale.parse(language.replace("-", "_"))
    raise ConfigError(f"--language: there is no language {language}; name one as nb, de or pt-BR")


def _names(locale: Locale) -> set[tuple[str, int]]:
    """The names of the months, whole and short, as they are with a day and without; numbers are no names."""
    from babel.dates import get_month_names

    return {
        (_folded(name).strip(". "), month)
        for context in ("format", "stand-alone")
        for width in ("wide", "abbreviated")
        for month, name in get_month_names(width, context, locale).items()
        if not re.search(r"\d", name)
    }


def _fillers(locale: Locale) -> set[str]:
    """The words that the language itself puts into a date: 15 de enero de 2016."""
    quoted = re.findall("'([^']+)'", str(locale.date_formats["long"].pattern))
    return {word for text in quoted for word in re.findall(f"{_WORD}+", _folded(text))}


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("'", "\u2019")
