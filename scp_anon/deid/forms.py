"""The forms in which the identity of an instance may be written in its texts: of names, identifiers, dates, places.

All forms are folded and canonical, as `vocabulary` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Final

from scp_anon.deid.vocabulary import (
    TOKEN,
    canonical,
    fold,
    is_measure,
    joined,
    keys_of,
    listed,
    namesakes,
    pieces_of,
    vocabulary,
)

SHORTEST: Final = 3  # a part of an identifier that is shorter says nothing
LONG_ENOUGH: Final = 5  # a shorter one in several words ('1 2 3') is chance
_MANY_PARTS: Final = 6
_FEWEST_DIGITS: Final = 4  # of a number that goes wherever it is: 300 is a dose
_ROUND: Final = 50
_DATE: Final = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2})?)?")
_DIGITS: Final = re.compile(r"[0-9]")
_MANY_WORDS: Final = 4


def is_short(key: str) -> bool:
    """Whether a number is too short, or too round, to be somebody's wherever it is: a dose, a size, a b value."""
    return key.isdigit() and (len(key) < _FEWEST_DIGITS or (len(key) == _FEWEST_DIGITS and int(key) % _ROUND == 0))


def forms_of_names(values: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """Of PN values: the words that go, what they make together, and initials."""
    words: set[str] = set()
    phrases: set[str] = set()
    initials: set[str] = set()
    for name in (name for value in values for name in re.split(r"[\\=]", value)):
        components = [keys_of(component) for component in name.split("^")]
        parts = [part for component in components for part in (*component, joined(component))]
        parts = [part for part in dict.fromkeys(parts) if part and part not in listed("honors")]
        initials.update(part[0] for part in parts)
        parts = [part for part in parts if len(part) > 1]
        # Two letters alone are an operator's initials, and more often mean SE or MR.
        words.update(part for part in parts if len(part) >= SHORTEST)
        words.update(part for part in parts if len(parts) > 1 and part not in listed("particles"))
        phrases.update(part for part in parts if len(part) >= LONG_ENOUGH)
        for one, other in permutations([part for part in parts if len(part) >= SHORTEST][:_MANY_PARTS], 2):
            words.update({one + other, *(set(_short_forms(one, other)) - vocabulary().words)})
    # The possessive without an apostrophe: 'Heads'.
    words.update({word + "s" for word in words if len(word) >= SHORTEST})
    return words, phrases, initials


def _short_forms(one: str, other: str) -> Iterator[str]:
    """Two names in one word, one or both of them cut. One Elvis P. does not make a pelvis of himself."""
    yield from (one[0] + other, one + other[0])
    for letters in (3, 4):
        yield from (one[:letters] + other[:letters], one[:letters] + other[0], one[:letters] + other)
        yield one + other[:letters]


def forms_of_ids(values: Iterable[str]) -> set[str]:
    """Of identifiers: they, without separators and leading zeros; their parts, and their digits alone."""
    known = vocabulary()
    found: set[str] = set()
    for value in "\\".join(values).split("\\"):
        parts = [fold(word) for word in TOKEN.findall(value)]
        found.update({joined(map(canonical, parts)), canonical(joined(parts))})
        # A part that is a word (LUNG-0042) identifies nobody.
        found.update(canonical(part) for part in parts if _DIGITS.search(part) or part not in known.words)
        runs = [piece for part in parts for piece in pieces_of(part) if piece[0].isdigit()]
        found.update(canonical(run) for run in runs if len(run) >= _FEWEST_DIGITS)
        if len(together := canonical("".join(runs))) >= LONG_ENOUGH:
            found.add(together)
    return {key for key in found if len(key) >= SHORTEST}


def forms_of_dates(values: Iterable[str]) -> set[str]:
    """Of DA or DT values: the dates in digits, day and month, and the year."""
    found: set[str] = set()
    for match in (_DATE.match(value.strip()) for value in "\\".join(values).split("\\")):
        if match and match[1] != "0000":
            year, month, day = match[1], match[2] or "", match[3] or ""
            found.add(year)
            for y in (year, year[2:]) if day else ():
                for m, d in ((month, day), (month.lstrip("0"), day.lstrip("0"))):
                    found.update(canonical(form) for form in (y + m + d, d + m + y, m + d + y))
            if day:
                found.update(canonical(form) for form in (day + month, month + day, f"{day}.{month}", f"{month}.{day}"))
    return {form for form in found if len(form) >= SHORTEST}


def forms_of_places(values: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of places: words that the vocabulary does not know, and what all words make together.

    A phrase of words that descriptions are made of (CT Abdomen, MRI Brain) names no place; one of which a word is a
    kind of place or somebody's name does (Head Clinic), as does a long one.
    """
    known = vocabulary()
    words: set[str] = set()
    phrases: set[str] = set()
    for line in (line for value in values for line in re.split(r"[\\\r\n,;]", value)):
        parts = [fold(word) for word in TOKEN.findall(line)]
        strange = [part for part in parts if len(part) >= SHORTEST and part not in known.words]
        words.update(canonical(part) for part in strange if not is_measure(part) or is_number_of_place(part))
        if len(parts) > 1 and _names_a_place(parts, known.words):
            phrases.add(joined(map(canonical, parts)))
    return words, phrases


def is_number_of_place(part: str) -> bool:
    """Whether a number, as of a house or a postcode, says enough to go wherever it is."""
    return part.isdigit() and not is_short(canonical(part))


def _names_a_place(parts: list[str], known: frozenset[str]) -> bool:
    telling = listed("institutions") | (namesakes() - listed("body-parts"))
    return (
        len(parts) >= _MANY_WORDS
        or not telling.isdisjoint(parts)
        or any(part not in known and not is_measure(part) for part in parts)
    )


def forms_of_phones(values: Iterable[str]) -> set[str]:
    """Of telephone numbers: they, without what they begin with, and their parts."""
    found: set[str] = set()
    for value in values:
        digits = joined(_DIGITS.findall(value))
        found.update(key for key in keys_of(value) if _DIGITS.search(key) and len(key) >= SHORTEST)
        found.update(canonical(digits[start:]) for start in range(max(0, min(len(digits), 20) - LONG_ENOUGH)))
    return found
