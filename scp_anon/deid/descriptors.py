"""The option Clean Descriptors (PS3.15 E.3.5): a text without what may tell who somebody is.

What goes, in this order: the instance's own identity, in whatever form it is written; every word that the vocabulary
does not know; and what looks like a date, a number or an address of anybody, or follows a title. So what stays is
known to be harmless, rather than what goes known to be harmful.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from scp_anon.deid.reading import UNREADABLE
from scp_anon.deid.vocabulary import (
    TOKEN,
    Vocabulary,
    canonical,
    fold,
    forms_of_dates,
    forms_of_ids,
    forms_of_names,
    forms_of_phones,
    forms_of_places,
    joined,
    listed,
    names,
    pieces_of,
)

_PASSES: Final = 8
_WINDOW: Final = 8  # an identifier or name is looked for in up to this many words in a row
_LONG_ENOUGH: Final = 5  # a shorter identifier in several words (1 2 3) is chance
_SHORTEST: Final = 3  # a part of an identifier that is shorter says nothing
_FOLLOWERS: Final = 4
_DIGITS: Final = re.compile(r"[0-9]")
_GLUED: Final = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]|[0-9][^\W\d_]|[^\W\d_][0-9]")

KEEP, GONE, NAME = 0, 1, 2  # NAME: is gone, and may be a part of a name

_DAY: Final = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH: Final = r"(?:0?[1-9]|1[0-2])"
_YEAR: Final = r"(?:19|20)[0-9]{2}"
_NUMBERS: Final = re.compile(
    rf"""(?=[0-9(])(?<![0-9])(?<![0-9][.,])(?:
      {_YEAR}(?P<a>[-/._\ ]){_MONTH}(?P=a){_DAY}                                        # dates
    | [0-9]{{1,2}}(?P<b>[-/._]\ ?|\ )[0-9]{{1,2}}(?P=b){_YEAR}
    | [0-9]{{1,2}}(?P<c>[-/.])[0-9]{{1,2}}(?P=c)[0-9]{{2}}
    | {_MONTH}[-/]{_YEAR} | {_YEAR}[-/]{_MONTH} | (?:0[1-9]|1[0-2])\.{_YEAR}
    | [0-3][0-9]\.[01][0-9]\.(?=\s|$)
    | [0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9])?(?:\ ?[AaPp]\.?[Mm]\b\.?)?                    # times of day
    | [0-2]?[0-9]h[0-5][0-9] | [01]?[0-9]\ ?[AaPp][Mm]\b
    | [0-9]{{1,39}}(?:\.[0-9]{{1,39}}){{3,}}                                              # UIDs, IP addresses
    | \(?0[1-9][0-9]{{0,4}}\)?[\ /.-]{{1,2}}[0-9][0-9\ /.-]{{3,15}}[0-9]                    # telephones
    | \([0-9]{{2,5}}\)\ ?[0-9][0-9\ ./-]{{3,15}}[0-9]
    | (?:[2-9][0-9]{{2}}(?P<d>[-.\ ])[0-9]{{3}}(?P=d)|[2-9][0-9]{{2}}(?P<f>-))(?![0-9]{{2}}00)[0-9]{{4}}
    | [0-9]{{2}}(?:\ [0-9]{{2}}){{3,4}} | [0-9]{{3}}\ [0-9]{{2}}\ [0-9]{{3}}
    | [0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}} | [0-9]{{6}}[-+][0-9]{{4}}                          # persons, cards
    | [0-9]{{4}}(?P<e>[-\ ])[0-9]{{4}}(?P=e)[0-9]{{4}}
    | [12]\ [0-9]{{2}}\ [0-9]{{2}}\ [0-9][0-9AB]\ [0-9]{{3}}\ [0-9]{{3}}(?:\ [0-9]{{2}})?
    )(?![0-9])
    | \+[0-9][0-9\ ()./-]{{5,20}}[0-9]
    | \b[A-Z]{{1,2}}[0-9][A-Z0-9]?\ (?![0-9](?:ST|ND|RD|TH))[0-9][ABD-HJLNP-UW-Z]{{2}}\b          # postcodes
    | \b[A-Z][0-9][A-Z]\ ?[0-9][A-Z][0-9]\b
    | \b(?:[0-9A-Fa-f]{{1,4}}:){{3,7}}[0-9A-Fa-f]{{1,4}}
    """,
    re.VERBOSE,
)
_TOP: Final = r"\.(?:com|org|net|edu|gov|info|eu|de|fr|no|es|uk|ch|at|se|dk|nl|be|it|pt)(?![\w-])"
_DOMAIN: Final = re.compile(rf"(?<![\w-])(?:[\w-]{{1,63}}\.){{0,4}}[\w-]{{1,63}}{_TOP}")
_TOP_LEVEL: Final = re.compile(_TOP)
_CHUNK: Final = re.compile(r"\S+")
_NEAR: Final = re.compile(r"[ .,'\u2019^_=&-]{0,3}")
_APART: Final = re.compile(r"[;()\[\]|\n]| - ")
_IDENTIFIER: Final = re.compile(r"[0-9]|[^\W\d_]+[0-9]{4}|.{4,}[0-9]")
_HOUSE: Final = re.compile(r"[0-9]{1,4}|[0-9]{2,4}[a-h]")
_DAY_OR_YEAR: Final = re.compile(r"[0-9]{1,4}(?:st|nd|rd|th)?")
_RUNS_ON: Final = re.compile(r"[0-9]|(?=.*[0-9]).{4}")
_LABELLED: Final = re.compile(r"[ .:#=_-]{0,3}")
_OUTER: Final = re.compile(r"[()\[\]{}\"'`\u2018-\u201f\xab\xbb]|[+<>~\xb1]+\Z")
_AFTER: Final = re.compile(r"[*+%\xb0]*")  # what belongs to the word before: T2*, 100%
_BEFORE: Final = re.compile(r"[+<>~\xb1]*\Z")  # or to the word after: +C, <5
_TELLING: Final = re.compile(r".[^\W\d_]|[^\W\d_].")
_BLANKS: Final = re.compile(r"[^\S\r\n]{2,}")


@dataclass(frozen=True)
class OwnIdentity:
    """Who an instance is about and who had to do with it, in the forms in which a text is searched for it.

    `words` are single words, `phrases` several without what separates them, and `heads` how these begin; `initials`
    are the first letters of names.
    """

    words: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    initials: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()


def own_identity(
    names: Iterable[str], ids: Iterable[str], dates: Iterable[str], places: Iterable[str], phones: Iterable[str]
) -> OwnIdentity:
    r"""What `clean` removes from the texts of an instance in any form, even if the vocabulary has it (PS3.15 E.3.5).

    `names` are PN values, of patient, physicians, operators; `ids` identifiers of patient, visit, order, study;
    `dates` are DA or DT values, of birth before all; `places` institutions, addresses, departments, stations; `phones`
    telephone numbers. Several values of one attribute may come in one string, with `\` between them.

    A part of a name goes whatever else it means; parts of places and identifiers that the vocabulary knows go only
    together with the others. Never raises.
    """
    words, phrases, initials = forms_of_names(names)
    numbers = forms_of_ids(ids) | forms_of_dates(dates) | forms_of_phones(phones)
    place_words, place_phrases = forms_of_places(places)
    phrases |= {key for key in (*numbers, *place_phrases) if len(key) >= _LONG_ENOUGH}
    heads = frozenset(phrase[:_SHORTEST] for phrase in phrases)
    return OwnIdentity(frozenset(words | numbers | place_words), frozenset(phrases), frozenset(initials), heads)


class _Line:
    """A text in words, and what becomes of each: `drop` holds KEEP, GONE or NAME."""

    __slots__ = ("drop", "folds", "raws", "spans", "text")

    def __init__(self, text: str) -> None:
        found = list(TOKEN.finditer(text))
        self.text = text
        self.raws = [match[0] for match in found]
        self.spans = [match.span() for match in found]
        self.folds = [fold(raw) for raw in self.raws]
        self.drop = [KEEP] * len(found)

    def gap(self, index: int) -> str:
        """What is between the word at `index` and the next one."""
        spans = self.spans
        start = spans[index][1] if index >= 0 else 0
        return self.text[start : spans[index + 1][0]] if index + 1 < len(spans) else self.text[start:]

    def remove(self, index: int) -> None:
        """The word at `index` goes; letters alone may be a name."""
        self.drop[index] = NAME if self.folds[index].isalpha() and len(self.folds[index]) > 1 else GONE

    def remove_between(self, start: int, end: int) -> None:
        """The words go that are, even partly, in this part of the text; they are no names."""
        for index in range(bisect_right(self.spans, start, key=itemgetter(1)), len(self.spans)):
            if self.spans[index][0] >= end:
                break
            self.drop[index] = self.drop[index] or GONE


def _scrub(line: _Line, own: OwnIdentity) -> None:
    """The instance's own identity goes: single words, parts of glued ones, and several in a row."""
    keys = [canonical(word) for word in line.folds]
    for index, key in enumerate(keys):
        raw = line.raws[index]
        found = key in own.words or (not key.isalnum() and joined((key,)) in own.phrases)
        if found or (_GLUED.search(raw) and not own.words.isdisjoint(map(canonical, pieces_of(raw)))):
            line.remove(index)
    if own.heads:
        plain = [key if key.isalnum() else joined((key,)) for key in keys]
        _scrub_rows(line, plain, own)
        if "0" in line.text:  # 12-034 is 12034, for which no nought may go; 0012-34 is 1234
            _scrub_rows(line, [word if word.isalnum() else joined((word,)) for word in line.folds], own)


def _scrub_rows(line: _Line, row: list[str], own: OwnIdentity) -> None:
    for start in range(len(row) - 1):
        together = row[start].lstrip("0")
        for end in range(start + 1, min(start + _WINDOW, len(row))):
            if len(together) >= _SHORTEST and together[:_SHORTEST] not in own.heads:
                break
            together += row[end]
            if together in own.phrases:
                for index in range(start, end + 1):
                    line.drop[index] = NAME if together.isalpha() else GONE


def _gate(line: _Line, words: Vocabulary) -> None:
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


def _patterns(line: _Line) -> None:
    """Dates, times, telephone numbers, postcodes, addresses of the network, and labelled or long identifiers go."""
    text = line.text
    if _DIGITS.search(text):
        listing = not listed("valued").isdisjoint(line.folds)
        for match in _NUMBERS.finditer(text):
            if not (listing and (match["d"] or match["f"])):
                line.remove_between(*match.span())
        _labelled(line)
    if "@" in text or "://" in text or "www." in text.lower():
        for match in _CHUNK.finditer(text):
            if any(mark in match[0].lower() for mark in ("@", "://", "www.")):
                line.remove_between(*match.span())
    if _TOP_LEVEL.search(text):
        for match in _DOMAIN.finditer(text):
            line.remove_between(*match.span())


def _labelled(line: _Line) -> None:
    """What follows 'MRN', 'No.' or '#' goes with it; a number next to a month, and to the rest of an identifier."""
    labels, months, folds = listed("id-labels"), listed("months"), line.folds
    last = len(folds) - 1
    for index, word in enumerate(folds):
        if (
            word in labels
            and index < last
            and _IDENTIFIER.match(folds[index + 1])
            and _LABELLED.fullmatch(line.gap(index))
        ):
            line.drop[index] = line.drop[index + 1] = GONE
        elif word[0].isdigit() and len(word) >= _SHORTEST and line.gap(index - 1).endswith("#"):
            line.drop[index] = GONE
        elif word in months:
            for step in (-1, 1):
                near = index + step * (1 + (0 < index < last and folds[index + step] in ("of", "de", "the")))
                if 0 <= near <= last and _DAY_OR_YEAR.fullmatch(folds[near]):
                    line.drop[index] = line.drop[near] = GONE
    for step in (1, -1):
        for index in range(last) if step > 0 else range(last - 1, -1, -1):
            one, other = (index, index + 1) if step > 0 else (index + 1, index)
            if line.drop[one] == GONE and line.gap(index) in ("-", "/", ".") and _RUNS_ON.match(folds[other]):
                line.drop[other] = GONE


def _titles(line: _Line) -> None:
    """Titles, and names that follow them, go; and so do 'seen by' and 'Patient:' with a name."""
    titles, roles, verbs = listed("titles"), listed("roles"), listed("verbs")
    for index, word in enumerate(line.folds):
        gap = line.gap(index)
        if word in titles or (word in listed("short-titles") and _is_title(line, index, gap)):
            line.drop[index] = GONE
            _follow(line, index, _is_capital)
        elif word in roles and (":" in gap or "=" in gap) and _follow(line, index, str.istitle):
            line.drop[index] = GONE
        elif word in listed("by") and index and line.folds[index - 1] in verbs:
            found = _follow(line, index, _is_capital)
            if found or index + 1 == len(line.raws):
                line.drop[index - 1] = line.drop[index] = GONE


def _is_title(line: _Line, index: int, gap: str) -> bool:
    """Whether 'Dr' or 'MR' is a title, and not a modality."""
    raw = line.raws[index]
    after = index + 1
    if after == len(line.raws):
        return False
    if (raw.istitle() and len(raw) > 1) or (gap.startswith(".") and " " in gap and _is_capital(line.raws[after])):
        return True
    strange = bool(line.drop[after]) or line.folds[after] in listed("ambiguous")
    return strange and (line.folds[after] in names() or (index > 0 and line.folds[index - 1] in listed("leads")))


def _is_capital(raw: str) -> bool:
    return raw[0].isupper()


def _follow(line: _Line, index: int, first: Callable[[str], bool]) -> bool:
    """The name goes that follows the title at `index`: a first word that looks like `first`, and what goes on so."""
    looks, found = first, False
    for after in range(index + 1, min(index + 1 + _FOLLOWERS, len(line.raws))):
        raw, word, gap = line.raws[after], line.folds[after], line.gap(after - 1)
        strange = line.drop[after] or len(raw) == 1 or word in listed("particles") or word in listed("honors")
        if raw[0].isdigit() or _APART.search(gap) or ("," in gap and found and not line.drop[after]):
            break
        if not (strange or looks(raw)):
            break
        line.drop[after] = line.drop[after] or NAME
        if word not in listed("honors"):
            looks, found = str.istitle, True
    return found


def _neighbours(line: _Line, own: OwnIdentity) -> None:
    """Next to a word that goes and may be a name, initials, second names, house numbers and postcodes go."""
    ambiguous, units, last = listed("ambiguous"), listed("units"), len(line.raws) - 1
    honors = listed("honors") - listed("short-titles")  # next to what may be no name, MR is a modality
    for step in (1, -1):
        for index in range(last + 1) if step > 0 else range(last, -1, -1):
            name = index - step
            if line.drop[index] or not 0 <= name <= last or line.drop[name] != NAME:
                continue
            word, gap = line.folds[index], line.gap(min(index, name))
            if not _NEAR.fullmatch(gap):
                continue
            if len(word) == 1 and word.isalpha():
                if word not in "lr" or word in own.initials or "." in gap or "," in gap:
                    line.drop[index] = NAME
            elif word in ambiguous or word in honors:
                line.drop[index] = NAME
            elif (
                _HOUSE.fullmatch(word)
                and not {"_", "^"} & set(gap)
                and not (index < last and line.folds[index + 1] in units)
            ):
                line.drop[index] = GONE


def _leads(line: _Line) -> None:
    """A preposition goes whose noun is gone."""
    leads = listed("leads")
    for index in range(len(line.raws) - 2, -1, -1):
        if line.drop[index + 1] and line.folds[index] in leads:
            line.drop[index] = line.drop[index] or GONE


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


def _rest(line: _Line) -> str:
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
    line = _Line(text)
    _scrub(line, own)
    _gate(line, words)
    _patterns(line)
    _titles(line)
    if any(line.drop):
        _neighbours(line, own)
        _leads(line)
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
