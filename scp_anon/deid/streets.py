"""Streets in a text: from the house number to the name, and how a postcode is told (PS3.15 E.3.5).

A kind of street stands after the name (Head Street, Kerkstraat), before it (rue de la Main, Via Mano), or there is a
preposition before the name and a house number after it (Am Stein 4).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from scp_anon.deid.line import GONE, NAME, Line
from scp_anon.deid.vocabulary import listed

_LONGEST_NAME: Final = 4  # words
DIGIT: Final = re.compile(r"[0-9]")
_HOUSE: Final = re.compile(r"[0-9]{1,5}[a-z]?|[0-9]{1,4},[0-9]{4,6}|[0-9]{1,4}(?:bis|ter|quater|er)")
UNIT: Final = re.compile(
    r"[0-9]{1,5}[a-z]{0,2}|[a-z][0-9]{3,5}|[a-z]|ii|iii|iv|vi|vii|viii|xi|xii|hs|bis|ter|quater|rd|[0-9]{1,3}(?:st|nd|rd|th|er|e)"
)
_POSTCODE: Final = re.compile(r"[0-9]{3,6}|[0-9]{4}[a-z]{2}")
MEASURE: Final = re.compile(r"[0-9]+(?:mm|cm|ml|mg|kv|kvp|ma|mas|ms|min|sec|dir|ch|hz|mhz|t)[0-9]?")
_OFTEN: Final = frozenset("st rd dr ln ct way close hill court drive lane park bridge".split())
_REPEATED: Final = ("bis", "ter", "quater")
WITHIN: Final = re.compile(r"[\s.,'\u2019#/_^-]{0,3}|,?\s?[(]|\s?[-\xb7|]\s")
_NAME_GAP: Final = re.compile(r"[\s.'\u2019_-]{1,2}|['\u2019]")
_NUMBER_GAP: Final = re.compile(r"[\s.,'#_-]{1,3}")


@cache
def prepositions() -> frozenset[str]:
    """Return the prepositions that the name of a street may begin with."""
    return frozenset("am im an auf bei hinter in unter vor zum zur ob beim op aan".split())


def street(line: Line, index: int, word: str, is_suffixed: bool) -> tuple[int, int] | None:
    """The words from the house number to the name of a street that the one at `index` is a part of."""
    if is_suffixed:
        start = index
        while start and line.gap(start - 1) in (" ", "-") and line.folds[start - 1] in listed("town-words"):
            start -= 1
        return _before(line, start, 0), index
    if word in listed("boxes"):
        return _box(line, index)
    if word in listed("streets-before") and (len(word) > 1 or line.gap(index)[:1] in (".", "/")):
        is_after = word in listed("streets-after")
        start = _before(line, index, 1) if is_after else index
        if any(other.isalpha() and other not in _REPEATED for other in line.folds[start:index]):
            return start, index
        return _named_behind(line, index) or (_named_before(line, index, word) if is_after else None)
    if word not in listed("streets-after") and word.removesuffix("s") in listed("streets-short"):
        word = word.removesuffix("s")
    if word in listed("streets-after") or word in listed("streets-short"):
        return _named_before(line, index, word)
    return _at(line, index, word) if word in prepositions() else None


def _box(line: Line, index: int) -> tuple[int, int] | None:
    """'PO Box 12', 'Postfach 12 34', 'BP 12'."""
    number = index + 1
    while number < len(line.folds) and line.folds[number] in ("nr", "no", "box", "postale", "postal", "n"):
        number += 1
    if number == len(line.folds) or not line.folds[number][0].isdigit() or len(line.gap(number - 1)) > 2:
        return None
    start, before = index, line.folds[max(0, index - 2) : index]
    if line.folds[index] in ("box", "bp", "cs", "bus"):
        is_post = before[-1:] in (["po"], ["post"], ["postal"], ["office"], ["gpo"]) or before == ["p", "o"]
        if not is_post and not leads_to_town(line, number):
            return None
        start = index - (2 if before in (["p", "o"], ["post", "office"]) else 1 if is_post else 0)
    return start, number


def leads_to_town(line: Line, index: int) -> bool:
    """Whether a postcode and a word that is not known follow."""
    after = range(index + 1, min(index + 5, len(line.folds)))
    return any(is_postcode(line, near) for near in after) and any(line.drop[near] == NAME for near in after)


def _named_behind(line: Line, index: int) -> tuple[int, int] | None:
    """'12 rue de la Main', 'Via Mano 12', 'Calle de la Mano, 12'."""
    end = index
    name = 0
    for after in range(index + 1, min(index + 2 + _LONGEST_NAME, len(line.folds))):
        if not _NAME_GAP.fullmatch(line.gap(after - 1)) and line.gap(after - 1) not in (". ", "/"):
            break
        word, raw = line.folds[after], line.raws[after]
        is_link = word in listed("particles") or word in ("d", "l", "des", "aux", "a", "dell", "della", "delle", "dei")
        if not (is_link or raw[0].isupper() or line.drop[after] == NAME or (not name and word.isalpha())):
            break
        if name and not is_link and raw.isupper() and line.drop[after] != NAME and not _has_number(line, after):
            break  # in a text of capitals one word is the name
        end = after
        name += not is_link
    start = _before(line, index, 0)
    has_number = start < index or _has_number(line, end) or (end > index and line.drop[end] == NAME)
    return (start, end) if name and (has_number or line.folds[index] in listed("streets-certain")) else None


def _has_number(line: Line, index: int) -> bool:
    """Whether a house number follows."""
    after = index + 1
    if after < len(line.folds) and line.folds[after] in ("no", "nr", "n", "num"):
        after += 1
    return after < len(line.folds) and is_house(line, after) and bool(_NUMBER_GAP.fullmatch(line.gap(after - 1)))


def is_house(line: Line, index: int) -> bool:
    """Whether the word at `index` may be a house number: no number with a unit."""
    word, follows = line.folds[index], line.folds[index + 1] if index + 1 < len(line.folds) else ""
    return bool(_HOUSE.fullmatch(word)) and not MEASURE.fullmatch(word) and follows not in listed("units")


def _named_before(line: Line, index: int, word: str) -> tuple[int, int] | None:
    """'12 N Head Street', 'Head Street 12', 'Lange Straße 5'."""
    start = _before(line, index, 1)
    if start < index - 1 and line.folds[start][0].isdigit():
        if word not in listed("streets-short") or _is_likely(line, start, index):
            return start, index
        return None
    is_joined = index > 0 and line.gap(index - 1) == "-" and line.drop[index - 1] == NAME  # Anna-Xyzzy-Ring 8
    if word in listed("streets-short") and not (is_joined and _has_number(line, index)):
        return None
    start = index
    is_strange = index > 0 and line.drop[index - 1] == NAME
    numbered = _has_number(line, index)
    if (
        index > 0
        and _NAME_GAP.fullmatch(line.gap(index - 1))
        and (is_strange or numbered or word in listed("streets-certain"))
    ):
        start = index - 1
        while start > max(0, index - 3) and (line.gap(start - 1) == "-" or _joins(line, start - 1)):
            start -= 1
    return (start, index) if start < index else None


def _joins(line: Line, index: int) -> bool:
    """Whether a word belongs to the name of a street that goes on behind it."""
    if not _NAME_GAP.fullmatch(line.gap(index)):
        return False
    word, raw = line.folds[index], line.raws[index]
    is_name = line.drop[index] == NAME or word in listed("ambiguous") or word in listed("surnames")
    is_technical = word in listed("protocol") or len(word) < 3
    return (
        is_name or (raw.istitle() and not is_technical) or raw.lower() in prepositions() or word in listed("particles")
    )


def _is_likely(line: Line, start: int, index: int) -> bool:
    """Whether a short form (St, Dr, Ct) behind a number and words is one of a street, and no modality."""
    strange = any(line.drop[near] == NAME for near in range(start, index))
    behind = line.gap(index)
    after = range(index + 1, min(index + 8, len(line.folds)))
    goes_on = any(is_postcode(line, near) for near in after) or any(
        line.folds[near] in listed("apartments") for near in after
    )
    is_titled = line.raws[index].istitle() and all(
        raw[0].isdigit() or raw[0].isupper() for raw in line.raws[start:index]
    )
    is_end = "," in behind or behind.startswith(".") or index + 1 == len(line.folds)
    return strange or goes_on or (is_titled and is_end and line.folds[index] in _OFTEN)


def _at(line: Line, index: int, word: str) -> tuple[int, int] | None:
    """'Am Stein 4', 'An der Hand 12'."""
    name = index + 1
    has_article = name < len(line.folds) and line.folds[name] in ("der", "dem", "den", "die", "de", "het")
    name += has_article
    needs_article = word in ("an", "auf", "in", "unter", "vor", "op", "aan", "bei", "hinter", "ob")
    if name >= len(line.folds) or (needs_article and not has_article) or not line.raws[name][0].isupper():
        return None
    for end in range(name, min(name + 3, len(line.folds))):
        if end > name and not line.raws[end][0].isupper():
            return None
        if not _NAME_GAP.fullmatch(line.gap(end - 1)):
            return None
        if _has_number(line, end):
            after = end + 2
            follows = line.folds[after] if after < len(line.folds) else ""
            is_address = (
                not follows
                or "," in line.gap(end + 1)
                or "\n" in line.gap(end + 1)
                or line.drop[after]
                or UNIT.fullmatch(follows)
            )
            return (index, end) if is_address or line.raws[index].istitle() else None
    return None


def _before(line: Line, index: int, words: int) -> int:
    """Where the address begins that ends at `index`: at the house number before, with up to some words between."""
    start = index
    for before in range(index - 1, max(-1, index - 2 - (_LONGEST_NAME if words else 1)), -1):
        gap = line.gap(before)
        if len(gap) > 2 or WITHIN.fullmatch(gap) is None:
            break
        if line.folds[before] in _REPEATED or (words and not line.folds[before][0].isdigit() and "," not in gap):
            continue
        is_number = line.folds[before][0].isdigit() and (is_house(line, before) or line.drop[before] == GONE)
        is_ordinal = words and re.fullmatch(r"[0-9]{1,3}(?:st|nd|rd|th)", line.folds[before])
        if is_ordinal:
            continue
        if is_number and not (words and before == index - 1 and not words):
            start = before
            while (
                start
                and line.folds[start - 1][0].isdigit()
                and line.gap(start - 1) in ("-", "/", " - ")
                and is_house(line, start - 1)
            ):
                start -= 1
        break
    return start


def is_postcode(line: Line, index: int) -> bool:
    """Whether the word at `index` may be a postcode or how one begins, behind a street."""
    word = line.folds[index]
    if _POSTCODE.fullmatch(word):
        return (
            len(word) >= 4
            or line.drop[index] == GONE
            or (
                _POSTCODE.fullmatch(line.folds[min(index + 1, len(line.folds) - 1)]) is None
                and index + 1 < len(line.folds)
                and line.folds[index + 1][:1].isdigit()
            )
        )
    return line.drop[index] == GONE and bool(DIGIT.search(word))
