"""The option Clean Descriptors (PS3.15 E.3.5): a text without what may tell who somebody is.

What goes, in this order: the instance's own identity, in whatever form it is written; every word that the vocabulary
does not know; and what looks like a date, a number or an address of anybody, or follows a title. So what stays is
known to be harmless, rather than what goes known to be harmful.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scp_anon.deid.addresses import remove_addresses
from scp_anon.deid.forms import (
    LONG_ENOUGH,
    SHORTEST,
    forms_of_dates,
    forms_of_ids,
    forms_of_names,
    forms_of_phones,
    forms_of_places,
    is_short,
)
from scp_anon.deid.line import GONE, NAME, Line
from scp_anon.deid.numerals import remove_numbers, remove_own_numbers
from scp_anon.deid.persons import remove_leads, remove_neighbours, remove_persons
from scp_anon.deid.reading import UNREADABLE
from scp_anon.deid.vocabulary import Vocabulary, canonical, joined, listed, pieces_of

_PASSES: Final = 8
_WINDOW: Final = 8  # an identifier or name is looked for in up to this many words in a row
_FEW_LETTERS: Final = 4  # of a name that is spelt letter by letter there are more
_TELLING_LETTERS: Final = 4  # of a name, within a word
_GLUED: Final = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]|[0-9][^\W\d_]|[^\W\d_][0-9]")

_OUTER: Final = re.compile(r"[()\[\]{}\"'`\u2018-\u201f\xab\xbb]|[+<>~\xb1]+\Z")
_AFTER: Final = re.compile(r"[*+%\xb0]*")  # what belongs to the word before: T2*, 100%
_BEFORE: Final = re.compile(r"[+<>~\xb1]*\Z")  # or to the word after: +C, <5
_TELLING: Final = re.compile(r".[^\W\d_]|[^\W\d_].")
_BLANKS: Final = re.compile(r"[^\S\r\n]{2,}")


@dataclass(frozen=True)
class OwnIdentity:
    """Who an instance is about and who had to do with it, in the forms in which a text is searched for it.

    `words` are single words, `phrases` several without what separates them, `places` such phrases that name no person,
    and `heads` how both begin. `initials` are the first letters of names. `numbers` are found in any groups, `short`
    ones only where a text says that they are somebody's.
    """

    words: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    initials: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    short: frozenset[str] = frozenset()


def own_identity(
    names: Iterable[str], ids: Iterable[str], dates: Iterable[str], places: Iterable[str], phones: Iterable[str]
) -> OwnIdentity:
    r"""What `clean` removes from the texts of an instance in any form, even if the vocabulary has it (PS3.15 E.3.5).

    `names` are PN values, of patient, physicians, operators; `ids` identifiers of patient, visit, order, study;
    `dates` are DA or DT values, of birth before all; `places` institutions, addresses, departments, stations; `phones`
    telephone numbers. Several values of one attribute may come in one string, with `\` between them.

    A part of a name goes whatever else it means; parts of places and identifiers that the vocabulary knows go only
    together with the others, and a number that may be a measure only where a text calls it an identifier. Never raises.
    """
    words, phrases, initials = forms_of_names(names)
    keys = forms_of_ids(ids) | forms_of_phones(phones)
    short = {key for key in keys if is_short(key)}
    numbers = forms_of_dates(dates) | (keys - short)
    place_words, place_phrases = forms_of_places(places)
    place_phrases = {key for key in place_phrases if len(key) >= LONG_ENOUGH}
    phrases |= {key for key in numbers if len(key) >= LONG_ENOUGH and not key.isdigit()}
    return OwnIdentity(
        words=frozenset(words | numbers | place_words),
        phrases=frozenset(phrases),
        initials=frozenset(initials),
        heads=frozenset(phrase[:SHORTEST] for phrase in phrases | place_phrases),
        places=frozenset(place_phrases),
        numbers=frozenset(key for key in numbers if len(key) >= LONG_ENOUGH and key.isdigit()),
        short=frozenset(short),
    )


def _scrub(line: Line, own: OwnIdentity) -> None:
    """The instance's own identity goes: single words, parts of glued ones, several in a row, and numbers in groups."""
    keys = [canonical(word) for word in line.folds]
    for index, key in enumerate(keys):
        raw = line.raws[index]
        found = key in own.words or (not key.isalnum() and joined((key,)) in own.phrases)
        if found or (_GLUED.search(raw) and not own.words.isdisjoint(map(canonical, pieces_of(raw)))):
            line.remove(index)
    if own.heads:
        rows = [[key if key.isalnum() else joined((key,)) for key in keys]]
        if "0" in line.text:  # 12-034 is 12034, for which no nought may go; 0012-34 is 1234
            rows.append([word if word.isalnum() else joined((word,)) for word in line.folds])
        for row in rows:
            _scrub_rows(line, row, own)
    if own.words and len(keys) > _FEW_LETTERS:
        _scrub_spelt(line, own)
    if own.numbers or own.short:
        remove_own_numbers(line, own.numbers, own.short)


def _scrub_spelt(line: Line, own: OwnIdentity) -> None:
    """A name that is spelt letter by letter goes: 'S.m.i.t.h'."""
    folds, start = line.folds, 0
    while start < len(folds):
        end = start
        while end < len(folds) and len(folds[end]) == 1:
            end += 1
        if end - start > _FEW_LETTERS:
            spelt = "".join(folds[start:end])
            if any(len(word) > _FEW_LETTERS and word in spelt for word in own.words):
                line.drop[start:end] = [NAME] * (end - start)
        start = end + 1


def _scrub_rows(line: Line, row: list[str], own: OwnIdentity) -> None:
    for start in range(len(row) - 1):
        together = row[start].lstrip("0")
        for end in range(start + 1, min(start + _WINDOW, len(row))):
            if len(together) >= SHORTEST and together[:SHORTEST] not in own.heads:
                break
            together += row[end]
            if together in own.phrases or together in own.places:
                is_name = together.isalpha() and together in own.phrases
                for index in range(start, end + 1):
                    line.drop[index] = NAME if is_name else line.drop[index] or GONE


def _gate(line: Line, words: Vocabulary) -> None:
    """Every word goes that is not known as it is written, and every number that is a year."""
    together = words.in_phrases(line.folds) if words.phrases else ()
    for index, word in enumerate(line.folds):
        raw = line.raws[index]
        if UNREADABLE in raw:
            line.drop[index] = NAME
            continue
        fine = line.drop[index] or word in words.words or index in together
        if not (fine or words.accepts_at(line.raws, line.folds, index)) or not words.is_as_written(raw):
            line.remove(index)
    # Where letters were lost there is a question mark: 'Schr?der' is one word.
    for index in range(len(line.raws) - 1):
        if line.gap(index) == "?" and (line.drop[index] or line.drop[index + 1]):
            line.drop[index] = line.drop[index + 1] = NAME


def _joint(runs: list[str]) -> tuple[str, str, str, str, str]:
    """What stands between two words that stay, of what stood around the words that went between them."""
    opening: list[str] = []
    closing = ""
    for mark in "".join(runs):
        if mark in "([{":
            opening.append(mark)
        elif mark in ")]}":
            closing += "" if opening and opening.pop() else mark
    # A mark that stands between a word and one that went has joined them: 'CHEST+Smith'.
    end, start = _AFTER.match(runs[0]), _BEFORE.search(runs[-1])
    first = end[0] if end and end[0] != runs[0] else ""
    last = start[0] if start and start[0] != runs[-1] else ""
    middle = _OUTER.sub("", runs[0][len(first) :]) or _OUTER.sub("", runs[-1]) or ("" if opening or closing else " ")
    return first, closing, middle, "".join(opening), last


def _rest(line: Line) -> str:
    """The words that stay, and what stood between them; an empty text if they say nothing."""
    stay = [index for index, gone in enumerate(line.drop) if not gone]
    if not any(_TELLING.search(line.folds[index]) and line.folds[index] not in listed("fillers") for index in stay):
        return ""
    parts: list[str] = []
    for before, after in zip([-1, *stay], [*stay, len(line.raws)], strict=True):
        runs = [line.gap(index) for index in range(before, after)]
        if len(runs) == 1:
            parts.append(runs[0])
        else:
            first, closing, middle, opening, last = _joint(runs)
            parts += [first + closing] * (before >= 0) + [middle] * (before >= 0 and after < len(line.raws))
            parts += [opening + last] * (after < len(line.raws))
        parts += line.raws[after : after + 1]
    return "".join(parts)


def _once(text: str, own: OwnIdentity, words: Vocabulary) -> str:
    line = Line(text)
    _scrub(line, own)
    _gate(line, words)
    remove_numbers(line)
    remove_addresses(line)
    remove_persons(line)
    if any(line.drop):
        remove_neighbours(line, own.initials)
        remove_leads(line)
        text = _rest(line)
    return _BLANKS.sub(" ", text).strip() if line.raws else ""


def clean(text: str, own: OwnIdentity, words: Vocabulary) -> str:
    """`text` without what is not known to be free of identity (PS3.15 E.3.5); empty if nothing is left that says much.

    Its words are words of `text`, in their order, with the case and the punctuation that they had; a text that needs
    no cleaning stays as it is but for its blanks. Cleaning twice changes nothing more. Never raises.
    """
    for _ in range(_PASSES):
        cleaned = _once(text, own, words)
        if cleaned == text:
            return cleaned
        text = cleaned
    # What still changes has been made to: nothing of it is worth the risk.
    return ""


def is_own(text: str, own: OwnIdentity) -> bool:
    """Whether a word of `text` belongs to the identity of the instance, or has how a word of it begins within."""
    line = Line(text)
    _scrub(line, own)
    folded = joined(map(canonical, line.folds))
    return any(line.drop) or any(len(word) >= SHORTEST and word[:_TELLING_LETTERS] in folded for word in own.words)
