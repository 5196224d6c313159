"""A text in words, and what becomes of each word, for the steps of Clean Descriptors (PS3.15 E.3.5)."""

from __future__ import annotations

import sys
import unicodedata
from bisect import bisect_right
from functools import cache
from operator import itemgetter
from typing import Final

from scp_anon.deid.vocabulary import TOKEN, fold

KEEP, GONE, NAME = 0, 1, 2  # NAME: the word goes, and may be a part of a name

_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad"


@cache
def _plain() -> dict[int, str]:
    """Digits, blanks and dashes of Unicode → those of ASCII, character by character."""
    table = {ord(dash): "-" for dash in _DASHES}
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        if character.isspace():
            table[code] = " "
        elif (digit := unicodedata.digit(character, None)) is not None:
            table[code] = str(digit)
    return table


class Line:
    """A text in words, and what becomes of each: `drop` holds KEEP, GONE or NAME.

    `plain` is the text with ASCII digits, blanks and dashes in the place of others; it is as long as the text.
    """

    __slots__ = ("drop", "folds", "plain", "raws", "spans", "text")

    def __init__(self, text: str) -> None:
        found = list(TOKEN.finditer(text))
        self.text = text
        self.plain = text if text.isascii() else text.translate(_plain())
        self.raws = [match[0] for match in found]
        self.spans = [match.span() for match in found]
        self.folds = [fold(raw) for raw in self.raws]
        self.drop = [KEEP] * len(found)

    def gap(self, index: int) -> str:
        """Return what is between the word at `index` and the next one."""
        spans = self.spans
        start = spans[index][1] if index >= 0 else 0
        return self.text[start : spans[index + 1][0]] if index + 1 < len(spans) else self.text[start:]

    def remove(self, index: int) -> None:
        """Mark the word at `index`: letters alone may be a name."""
        self.drop[index] = NAME if self.folds[index].isalpha() and len(self.folds[index]) > 1 else GONE

    def remove_between(self, start: int, end: int) -> None:
        """Mark the words that are, even partly, in this part of the text; they are no names."""
        for index in range(bisect_right(self.spans, start, key=itemgetter(1)), len(self.spans)):
            if self.spans[index][0] >= end:
                break
            self.drop[index] = self.drop[index] or GONE
