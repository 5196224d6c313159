"""Text of others, such as values and file names, made harmless for terminals and for spreadsheets."""

from __future__ import annotations

import unicodedata
from typing import Final

_FORMULA: Final = tuple("=+-@\t\r\n")


def visible(text: str, longest: int | None = None) -> str:
    """The same text, where control characters, escapes and marks of direction are seen and do nothing.

    What is longer than `longest` characters is cut.
    """
    cut = text if longest is None or len(text) <= longest else f"{text[:longest]}…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in cut)


def no_formula(text: str) -> str:
    """The same text, which no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
