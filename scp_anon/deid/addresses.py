"""Addresses in a text, whole: house numbers, streets, apartments, boxes, postcodes, towns, states (PS3.15 E.3.5).

An address is known by its street, and goes on to both sides as far as its parts do; a town that the vocabulary does
not know takes its postcode with it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from scp_anon.deid.line import GONE, KEEP, NAME, Line
from scp_anon.deid.streets import (
    DIGIT,
    MEASURE,
    UNIT,
    WITHIN,
    is_house,
    is_postcode,
    leads_to_town,
    prepositions,
    street,
)
from scp_anon.deid.vocabulary import listed

_LONGEST_TAIL: Final = 24  # words
_LONGEST_TOWN: Final = 7  # words
_SUFFIX: Final = re.compile(
    r".{2,}(?:strass?e|straat|str|weg|platz|gasse|gassli|allee?|ufer|damm|chaussee|steig|stieg|pfad|ring|markt|hof|kamp|berg"
    r"|laan|plein|gracht|kade|dijk|singel|dreef|steeg|pad|plantsoen|gata|gaten|gate|gatan|gade|gaden|vei|veien|vejen|vej"
    r"|vagen|vag|vegen|veg|stien|sti|stigen|plass|plassen|plads|torget|torvet|torv|torg|bakken|backen|haugen|lia|krok"
    r"|katu|kuja|stra?ede|straedet)"
)
_STATES: Final = frozenset(
    """al ak az ar ca co ct de fl ga hi id il in ia ks ky la me md ma mi mn ms mo mt ne nv nh nj nm ny nc nd oh ok or
    pa ri sc sd tn tx ut vt va wa wv wi wy dc pr ab bc mb nb nl ns nt nu on pe qc sk yt nsw vic qld tas act""".split()
)
_FLATS: Final = frozenset("apt apartment appt appartement suite flat appartamento".split())
# What stands before a town: 'D-10115 ', '114 55 ', '1017 GC '.
_CODE_BEFORE: Final = re.compile(
    r"(?:(?<![^\W_])[A-Z]{1,3}-)?(?<![0-9])(?:[0-9]{4} ?[A-Z]{2},?|[0-9]{2,4}[ -][0-9]{2,4}|[0-9]{4,6})\s{1,2}$"
)
_SHORTEST_CODE: Final = 4
_LONGEST_CODE: Final = 14


def remove_addresses(line: Line) -> None:
    """Mark the words of every address."""
    folds, suffixed, has_digits = line.folds, set(), DIGIT.search(line.plain) is not None
    has_names = NAME in line.drop
    if has_names:
        _remove_connectors(line)
        suffixed = {i for i, word in enumerate(folds) if line.drop[i] == NAME and _SUFFIX.fullmatch(word)}
    if suffixed or not _kinds().isdisjoint(folds) or (has_digits and not prepositions().isdisjoint(folds)):
        for index, word in enumerate(folds):
            core = street(line, index, word, index in suffixed)
            if core is not None:
                _remove(line, *core)
    if has_digits and has_names:
        _remove_town_lines(line)


@cache
def _kinds() -> frozenset[str]:
    """All kinds of streets and boxes, in the plural as well: where none of these is, there is hardly an address."""
    return frozenset(word + end for word in listed("streets") for end in ("", "s"))


def _remove(line: Line, start: int, end: int) -> None:
    """A street goes, and what belongs to its address on both sides."""
    for index in range(start, end + 1):
        line.drop[index] = line.drop[index] or GONE
    while start and line.folds[start - 1] in listed("address-words") and WITHIN.fullmatch(line.gap(start - 1)):
        start -= 1
        line.drop[start] = GONE
    _remove_before(line, start)
    _remove_tail(line, end)


def _remove_before(line: Line, start: int) -> None:
    """'Apt 4, ', 'Bldg 2, ' and house numbers before a street go."""
    index = start - 1
    while index >= 0 and start - index <= 6 and WITHIN.fullmatch(line.gap(index)):
        if line.folds[index] in listed("apartments"):
            for near in range(index, start):
                line.drop[near] = line.drop[near] or GONE
            start = index
        elif not UNIT.fullmatch(line.folds[index]):
            break
        index -= 1


def _remove_tail(line: Line, end: int) -> None:
    """The rest of an address goes: number, apartment, postcode, town, state, country."""
    index, has_code, has_town = end + 1, False, False
    folds = line.folds
    stop = min(end + _LONGEST_TAIL, len(folds))
    while index < stop and (_is_within(line.gap(index - 1)) or _goes_on(line, index, has_code)):
        town = _town_before_code(line, index) if not has_code else 0
        if town:
            _mark(line, index, town)
            index, has_town = town, True
        elif not (_is_of_town(line, index) if has_code else line.drop[index] != KEEP or _is_part(line, index)):
            break
        elif is_postcode(line, index) and not has_code and not (index == end + 1 and len(folds[index]) < 4):
            last = _end_of_code(line, index)
            _mark(line, index, last + 1)
            has_town = has_town or (folds[index - 1] in _STATES and line.raws[index - 1].isupper())
            index, has_code = last + 1, True
            index = index if has_town else _remove_town(line, index)
        else:
            line.drop[index] = line.drop[index] or GONE
            index += 1


def _mark(line: Line, start: int, stop: int) -> None:
    for index in range(start, stop):
        line.drop[index] = line.drop[index] or GONE


def _is_within(gap: str) -> bool:
    return (len(gap) <= 4 and not set(gap) & set(";:]=\x7c")) or gap.strip() in (",", ".,", "")


def _goes_on(line: Line, index: int, has_code: bool) -> bool:
    """Whether the rest of an address stands behind a semicolon or a dash: a postcode, which no other word separates."""
    if has_code or line.gap(index - 1).strip() not in (";", "-", "|", "/", ":"):
        return False
    near = range(index, min(index + 4, len(line.folds)))
    code = next(
        (other for other in near if line.drop[other] == GONE and len(line.folds[other]) >= _SHORTEST_CODE), None
    )
    return code is not None and any(line.drop[other] == NAME for other in range(index, min(code + 4, len(line.folds))))


def _is_part(line: Line, index: int) -> bool:
    """Whether a word that is known is a part of an address after its street: a number, an apartment, a direction."""
    word, gap = line.folds[index], line.gap(index - 1)
    follows = line.folds[index + 1] if index + 1 < len(line.folds) else ""
    if MEASURE.fullmatch(word) or (word[0].isdigit() and ("." in word or follows in listed("units"))):
        return False
    if word in listed("town-words") and index + 1 < len(line.folds) and line.drop[index + 1] == NAME:
        return True
    if word in listed("apartments") or word in listed("address-words") or word in ("nr", "no", "num"):
        return True
    if word in _STATES and line.raws[index].isupper() and "," in gap:
        return True
    if len(word) == 1 and word.isalpha():
        return not (word in "lr" and len(follows) > 1 and follows.isalpha() and not line.drop[index + 1])
    return UNIT.fullmatch(word) is not None


def _is_of_town(line: Line, index: int) -> bool:
    """Whether a word behind the town belongs to the address: 'Cedex 04', the state, the country."""
    word = line.folds[index]
    return (
        line.drop[index] != KEEP
        or word in listed("address-words")
        or (
            len(word) == 2 and line.raws[index].isupper() and ("(" in line.gap(index - 1) or "/" in line.gap(index - 1))
        )
        or (
            word in _STATES
            and line.raws[index].isupper()
            and "," in line.gap(index - 1)
            and index + 1 == len(line.folds)
        )
        or (word.isdigit() and line.folds[index - 1] in ("cedex", "city"))
    )


def _end_of_code(line: Line, index: int) -> int:
    """The last word of a postcode: '114 55', '1017 GC', '62701-1234', 'SW1A 1AA'."""
    after = index + 1
    if after == len(line.folds):
        return index
    word, gap = line.folds[after], line.gap(index)
    is_rest = bool(re.fullmatch(r"[0-9]{2,4}", word)) and len(gap) == 1 and gap in " -"
    is_letters = len(word) == 2 and line.raws[after].isupper() and gap == " " and len(line.folds[index]) == 4
    has_town = after + 1 < len(line.folds)
    return (
        after
        if is_rest or (is_letters and has_town) or (line.drop[after] == GONE and gap == " " and len(word) < 5)
        else index
    )


def _remove_town(line: Line, index: int) -> int:
    """The town behind a postcode goes; where the next word is."""
    stop = min(index + _LONGEST_TOWN, len(line.folds))
    first = index
    while index < stop and line.gap(index - 1) in (" ", "  ", "-", ", ", "\n", "\r\n", "_", "."):
        word, raw = line.folds[index], line.raws[index]
        is_town = line.drop[index] == NAME or index == first or line.gap(index - 1) == "-"
        linked = listed("town-words") | listed("connectors")
        is_town = is_town or word in listed("ambiguous") or word in linked
        is_town = is_town or (raw[0].isupper() and line.folds[index - 1] in linked and index > first)
        if not is_town or ("," in line.gap(index - 1) and line.drop[index] != NAME):
            break
        line.drop[index] = line.drop[index] or GONE
        index += 1
    return index


def _town_before_code(line: Line, index: int) -> int:
    """The postcode that follows the town at `index` and its state, if one does: 'Head City, IL 62701'."""
    if not set(line.gap(index - 1)) & set(",;\n"):
        return 0
    for code in range(index + 1, min(index + 7, len(line.folds))):
        if not _is_within(line.gap(code - 1)):
            return 0
        word = line.folds[code]
        is_code = is_postcode(line, code) and (
            len(word) > 4 or line.folds[code - 1] in _STATES or line.drop[code] == GONE
        )
        if is_code:
            return code
        if word[0].isdigit():
            return 0
    return 0


def _remove_connectors(line: Line) -> None:
    """What joins the parts of a name goes with them: 'Xyzzy-sur-Mer', 'Xyzzy am Xyz'."""
    connectors, drop, last = listed("connectors"), line.drop, len(line.folds) - 1
    for index, word in enumerate(line.folds):
        if word not in connectors or drop[index] or not index or drop[index - 1] != NAME:
            continue
        if line.gap(index - 1) == "-" or (
            index < last and drop[index + 1] == NAME and line.gap(index) in (" ", "'", "-")
        ):
            drop[index] = NAME
            if line.gap(index) == line.gap(index - 1) == "-" and index < last:
                drop[index + 1] = NAME


def _remove_state(line: Line, index: int) -> None:
    """The state between a town and a postcode goes: 'Xyzzy, OH 09796', 'Xyzzy, ACT, 2915'."""
    after = index + 1
    if after == len(line.folds) or not index or not line.folds[after][0].isalnum():
        return
    code, gap = line.folds[after], line.gap(index)
    has_code = gap == " " and line.drop[after] == GONE and len(code) in (3, 5, 6) and bool(DIGIT.search(code))
    is_listed = re.fullmatch(r"[0-9]{4}", code) and "," in line.gap(index - 1) and gap in (" ", ", ")
    if has_code or (is_listed and line.drop[index - 1] == NAME):
        line.drop[index] = line.drop[after] = GONE


def _remove_town_lines(line: Line) -> None:
    """A postcode before a town that is not known goes, the state, and the house number behind a street of no kind."""
    folds, drop = line.folds, line.drop
    for index, word in enumerate(folds):
        if word in _FLATS and index + 1 < len(folds) and folds[index + 1][0].isdigit():
            drop[index] = drop[index + 1] = GONE
        elif word in _STATES and line.raws[index].isupper():
            _remove_state(line, index)
        if drop[index] == NAME and len(word) > 1:
            _remove_code(line, index)
            after = index + 1
            if after + 1 < len(folds) and line.gap(index) in (" ", ", ") and is_house(line, after):
                has_more = "," in line.gap(after) or UNIT.fullmatch(folds[after + 1])
                if has_more and leads_to_town(line, after):
                    _remove_tail(line, index)


def _remove_code(line: Line, town: int) -> None:
    first, linked = town, listed("town-words") | listed("connectors")
    while first and line.folds[first - 1] in linked and line.gap(first - 1) in (" ", "-"):
        first -= 1
    if not first or not line.folds[first - 1][0].isalnum():
        return
    start = line.spans[first][0]
    code = _CODE_BEFORE.search(line.plain[max(0, start - _LONGEST_CODE) : start])
    if code:
        line.remove_between(start - len(code[0]), start)
        index = _remove_town(line, first)
        stop = min(index + _LONGEST_TAIL, len(line.folds))
        while index < stop and _is_within(line.gap(index - 1)) and _is_of_town(line, index):
            line.drop[index] = line.drop[index] or GONE
            index += 1
