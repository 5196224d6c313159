"""Numbers of persons in a text: dates, telephone numbers, postcodes, identifiers of any country, and what is labelled.

A number in groups is somebody's, whatever separates the groups, unless each group may be a measure: a matrix, a list
of b values, angles. Patterns have bounded or possessive repetition only, so that time is linear.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import itemgetter
from typing import Final

from scp_anon.deid.line import GONE, KEEP, NAME, Line
from scp_anon.deid.vocabulary import canonical, listed

_SHORTEST: Final = 3
_FEWEST_DIGITS: Final = 7  # of a number in groups that nothing announces
_CERTAIN: Final = 9  # digits that are no measures, unless all groups may be
_FEW_OF_LETTERED: Final = 2  # digits of the shortest postcode
_FEW_OF_OWN: Final = 5  # digits of the shortest of the instance's own numbers that are looked for in groups
_MANY_ONES: Final = 7  # digits one by one
_FAR: Final = 4  # characters between two digits of one number
_LABEL_REACH: Final = 8
_DIGITS: Final = re.compile(r"[0-9]")
_DIGITS_TOGETHER: Final = re.compile(r"[0-9]+")
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
    | [0-9]{{3}}\ [0-9]{{2}}\ [0-9]{{3}}
    | [0-9]{{6}}[-+][0-9]{{4}}                                                            # persons, cards
    )(?![0-9])
    | \+[0-9][0-9\ ()./-]{{5,20}}[0-9]
    """,
    re.VERBOSE,
)
_S: Final = r"[\s._/-]?"
# Numbers of persons, of accounts, and postcodes, that have letters among them: in capitals.
_LETTERED: Final = re.compile(
    rf"""(?<![A-Z0-9])(?:
      [A-Z]{{2}}(?:{_S}[0-9]){{6}}{_S}[A-DT]                                                   # United Kingdom
    | [A-Z](?:{_S}[A-Z]){{5}}(?:{_S}[0-9]){{2}}{_S}[A-EHLMPRST](?:{_S}[0-9]){{2}}{_S}[A-Z](?:{_S}[0-9]){{3}}
      {_S}[A-Z]                                                                               # Italy
    | (?:[0-9]{_S}){{6}}[-+A-FU-Y]{_S}(?:[0-9]{_S}){{3}}[0-9A-Z]   # Finland
    | [0-9]{{6}}\ [0-9]{{3}}[A-Z]
    | [A-Z]{_S}[0-9]{{3}}{_S}[0-9]{{3}}{_S}[0-9]{{3}}                                         # Germany
    | [0-9]{{2}}{_S}[0-9]{{6}}{_S}[A-Z]{_S}[0-9]{{3}}
    | [1-478]{_S}[0-9]{{2}}{_S}[0-9]{{2}}{_S}[0-9][0-9AB]{_S}[0-9]{{3}}{_S}[0-9]{{3}}(?:{_S}[0-9]{{2}})?  # France
    | [XYZ]{_S}[0-9]{{7}}{_S}[A-Z] | [0-9]{{2}}{_S}[0-9]{{3}}{_S}[0-9]{{3}}{_S}[A-Z]           # Spain
    | [0-9]{{7}}{_S}[A-W][A-IW]?                                                              # Ireland
    | [1-9][A-Z][A-Z0-9][0-9]{_S}[A-Z][A-Z0-9][0-9]{_S}[A-Z]{{2}}[0-9]{{2}}                    # United States
    | [A-Z]{{4}}{_S}[0-9]{{4}}{_S}[0-9]{{4}} | [0-9]{{4}}{_S}[0-9]{{3}}{_S}[0-9]{{3}}{_S}[A-Z]{{2}}  # Canada
    | [A-Z]{{2}}[0-9]{{2}}(?:{_S}[A-Z]{{4}})?(?:{_S}[0-9]{{4}}){{2,7}}(?:{_S}[A-Z0-9]{{1,4}})?         # accounts
    | [A-Z]{{1,2}}[0-9](?:[A-Z0-9]\ {{1,2}}|\ {{1,2}}(?![0-9](?:ST|ND|RD|TH|PL|CH)))
      [0-9][ABD-HJLNP-UW-Z]{{2}}                                                              # postcodes
    | [AC-FHKNPRTV-Y][0-9][0-9W]\ (?=[A-Z]{{0,3}}[0-9])[0-9AC-FHKNPRTV-Y]{{4}}
    | [ABCEGHJ-NPR-TVXY][0-9][ABCEGHJ-NPR-TV-Z][\ -]?[0-9][ABCEGHJ-NPR-TV-Z][0-9]
    | (?:[0-9A-F]{{1,4}}:){{3,7}}[0-9A-F]{{1,4}}                                              # of networks
    )(?![A-Z0-9])
    """,
    re.VERBOSE,
)
_MIXED: Final = re.compile(r"[0-9][\s._/-]?[A-Za-z]|[A-Za-z][\s._/-]?[0-9]|:")
# Digits in groups, whatever separates them; a letter or two may stand before them.
_GROUPS: Final = re.compile(
    r"(?<![^\W_])(?:[A-Za-z]{1,3})?[0-9]++(?:[\s./_,:;()|*~#+\xb7-]{1,3}+[0-9]++)++(?![^\W_])"
    r"|(?<![^\W_])(?:[A-Za-z]{1,3})?[0-9]++(?:[\s./_,:;()|*~#+\xb7-]{1,3}+[0-9]++)++(?=[\s._/-]?[A-Za-z](?:[0-9]|(?![^\W_])))"
)
_GROUP: Final = re.compile(r"(?<![0-9.,])[0-9]{1,3}[.,][0-9]{1,3}(?![0-9]|[.,][0-9])|[0-9]+")
_MATRIX: Final = frozenset(
    (32, 64, 96, 128, 144, 176, 192, 224, 256, 288, 320, 352, 384, 448, 512, 576, 768, 1024, 2048)
)
_FEW: Final = 12
_TOP: Final = r"\.(?:com|org|net|edu|gov|info|eu|de|fr|no|es|uk|ch|at|se|dk|nl|be|it|pt)(?![\w-])"
_DOMAIN: Final = re.compile(rf"(?<![\w-])(?:[\w-]{{1,63}}\.){{0,4}}[\w-]{{1,63}}{_TOP}")
_TOP_LEVEL: Final = re.compile(_TOP)
_CHUNK: Final = re.compile(r"\S+")
_IDENTIFIER: Final = re.compile(r"[0-9]|[^\W\d_]+[0-9]{4}|.{4,}[0-9]")
_DAY_OR_YEAR: Final = re.compile(r"[0-9]{1,4}(?:st|nd|rd|th)?")
_RUNS_ON: Final = re.compile(r"[0-9]|(?=.*[0-9]).{4}")
_LABELLED: Final = re.compile(r"[\s.:#=_()/\u2116\xb0\xba-]{0,4}")
_NEXT_GROUP: Final = re.compile(r"[\s./_:#-]{1,3}")
_MEASURED: Final = re.compile(r"[0-9]+[.,]?[0-9]*[a-z]+[0-9]?")
_EXTENSION: Final = re.compile(r"x[0-9]{2,6}")
_CHECK: Final = re.compile(r"(?!l|r)[a-z]")


def remove_own_numbers(line: Line, numbers: frozenset[str], short: frozenset[str]) -> None:
    """Mark the instance's own `numbers`, whatever stands between their digits; `short` ones after a label only."""
    for index, key in enumerate(line.folds) if short else ():
        if canonical(key) in short and _is_called_identifier(line, index):
            line.drop[index] = GONE
    places = [match.start() for match in _DIGITS.finditer(line.plain)]
    if len(places) < _FEW_OF_OWN:
        return
    digits = "".join(line.plain[place] for place in places)
    for number in numbers:
        start = digits.find(number)
        while start >= 0:
            end = start + len(number)
            if _is_one_number(line.plain, places, start, end):
                line.remove_between(places[start], places[end - 1] + 1)
            start = digits.find(number, start + 1)


def _is_one_number(text: str, places: list[int], start: int, end: int) -> bool:
    """Whether digits in a row are one number: close together, and with no digits of another one beside them."""
    if any(later - one > _FAR + 1 for one, later in zip(places[start : end - 1], places[start + 1 : end], strict=True)):
        return False
    if end - start >= _FEWEST_DIGITS:
        return True
    first, last = places[start], places[end - 1]
    while first and text[first - 1] == "0":
        first -= 1
    return not (text[first - 1 : first].isdigit() or text[last + 1 : last + 2].isdigit())


def _is_called_identifier(line: Line, index: int) -> bool:
    """Whether a short number is all there is, or follows what an identifier follows."""
    before = line.folds[index - 1] if index else ""
    return len(line.folds) == 1 or before in listed("id-labels") or before in listed("roles") or before in _SUBJECTS


_SUBJECTS: Final = frozenset("subject subj sub participant volunteer proband probe record phantom".split())


def remove_numbers(line: Line) -> None:
    """Mark dates, times, telephone numbers, postcodes, network addresses, and identifiers, labelled or in groups."""
    digits = len(_DIGITS.findall(line.plain))
    if digits:
        _remove_formed(line, digits)
        _remove_labelled(line)
        _remove_dated(line)
        if any(line.drop):
            _remove_what_runs_on(line)
    _remove_links(line)


def _remove_formed(line: Line, digits: int) -> None:
    """What has the form of a date, a time, a postcode or somebody's number, in a text of so many digits, goes."""
    text = line.plain
    is_listing = not listed("valued").isdisjoint(line.folds)
    for match in _NUMBERS.finditer(text):
        if not (is_listing and (match["d"] or match["f"])):
            line.remove_between(*match.span())
    if digits >= _FEW_OF_LETTERED and _MIXED.search(text):
        capitals = text.upper()
        for match in _LETTERED.finditer(capitals if len(capitals) == len(text) else text):
            if not _is_listing(match[0]):
                line.remove_between(*match.span())
    for match in _GROUPS.finditer(text) if digits >= _FEWEST_DIGITS else ():
        if _is_of_person(match[0], _is_after_valued(line, match.start())):
            line.remove_between(*match.span())


def _remove_links(line: Line) -> None:
    """Addresses of the network and of mail go."""
    text = line.text
    if "@" in text or "://" in text or "www." in text.lower():
        for match in _CHUNK.finditer(text):
            if any(mark in match[0].lower() for mark in ("@", "://", "www.")):
                line.remove_between(*match.span())
    if _TOP_LEVEL.search(text):
        for match in _DOMAIN.finditer(text):
            line.remove_between(*match.span())


def _is_listing(text: str) -> bool:
    """Whether digits with letters among them are measures in a row: 'T1 256 320 192'."""
    groups = _DIGITS_TOGETHER.findall(text)
    return (
        sum(map(len, groups)) >= _CERTAIN
        and all(map(_may_be_measure, groups))
        and len(max(groups, key=len)) <= _SHORTEST + 1
    )


def _is_after_valued(line: Line, start: int) -> bool:
    """Whether what is here follows, or begins with, a word that values follow: 'b 50 400 800', 'b50_400_800'."""
    valued = listed("valued")
    index = bisect_right(line.spans, start, key=itemgetter(1))
    before = line.folds[index - 1] if index else ""
    return before in valued or (index < len(line.folds) and line.folds[index].rstrip("0123456789") in valued)


def _is_of_person(text: str, is_listing: bool) -> bool:
    groups = _GROUP.findall(text.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
    lengths = [len(group) for group in groups]
    if sum(map(str.isdigit, text)) < _FEWEST_DIGITS:
        return False
    is_measured = all(map(_may_be_measure, groups))
    if is_listing and (is_measured or _ascends(groups)):
        return False
    if max(lengths) == 1:
        return len(groups) >= _MANY_ONES and not _ascends(groups)
    is_random = sum(lengths) >= _CERTAIN and not (_ascends(groups) or _ascends(groups[::-1]) or _are_sizes(groups))
    return lengths == [3, 2, 4] or not is_measured or is_random


def _are_sizes(groups: list[str]) -> bool:
    return all("." in group or "," in group or int(group) <= _FEW or int(group) in _MATRIX for group in groups)


def _ascends(groups: list[str]) -> bool:
    values = [float(group.replace(",", ".")) for group in groups if len(group) <= _CERTAIN]
    return len(values) == len(groups) and values == sorted(values) and values[-1] <= 10_000


def _may_be_measure(group: str) -> bool:
    """Whether one of several numbers may be a measure: small, round, of a matrix, or a decimal fraction."""
    whole, _, fraction = group.replace(",", ".").partition(".")
    if fraction:
        return len(whole) < _SHORTEST or len(fraction) < _SHORTEST
    if len(whole) > _SHORTEST + 1 or (whole[0] == "0" and len(whole) > 1):
        return False
    value = int(whole)
    return value <= _FEW or value in _MATRIX or value % (50 if value >= 1000 else 5) == 0


def _remove_labelled(line: Line) -> None:
    """What follows 'MRN', 'No.' or '#' goes with it, all of its groups."""
    labels, folds = listed("id-labels"), line.folds
    last = len(folds) - 1
    for index, word in enumerate(folds):
        if word in labels and index < last and _LABELLED.fullmatch(line.gap(index)):
            first = index + 1
            while first < last and folds[first] in labels and _LABELLED.fullmatch(line.gap(first)):
                first += 1
            # The letters that an identifier begins with: 'MRN P 123'.
            initial = first < last and len(folds[first]) <= _SHORTEST and folds[first].isalpha()
            initial = initial and _LABELLED.fullmatch(line.gap(first)) is not None
            number = first + 1 if initial and folds[first + 1][0].isdigit() else first
            if _IDENTIFIER.match(folds[number]):
                for gone in range(index, number + 1):
                    line.drop[gone] = GONE
                _remove_groups(line, number)
        elif word[0].isdigit() and len(word) >= _SHORTEST and line.gap(index - 1).endswith("#"):
            line.drop[index] = GONE
            _remove_groups(line, index)


def _remove_groups(line: Line, index: int) -> None:
    """The groups that follow the one at `index` go: digits, single letters, and what has both."""
    folds = line.folds
    for after in range(index + 1, min(index + _LABEL_REACH, len(folds))):
        word, follows = folds[after], folds[after + 1] if after + 1 < len(folds) else ""
        if not _NEXT_GROUP.fullmatch(line.gap(after - 1)) or line.raws[after][1:2] == "/":
            break
        if word.isdigit():
            if follows in listed("units") or (
                len(word) == 1 and follows.isalpha() and len(follows) > 1 and line.gap(after) == " "
            ):
                break
        elif not (_CHECK.fullmatch(word) and not follows.isalpha()) and (
            not _DIGITS.search(word) or _MEASURED.fullmatch(word) or "." in word or "," in word
        ):
            break
        line.drop[after] = GONE


def _remove_dated(line: Line) -> None:
    """The name of a month goes with the number next to it."""
    folds, months = line.folds, listed("months")
    if months.isdisjoint(folds):
        return
    last = len(folds) - 1
    for index, word in enumerate(folds):
        for step in (-1, 1) if word in months else ():
            near = index + step * (1 + (0 < index < last and folds[index + step] in ("of", "de", "the")))
            if 0 <= near <= last and _DAY_OR_YEAR.fullmatch(folds[near]):
                line.drop[index] = line.drop[near] = GONE


def _remove_what_runs_on(line: Line) -> None:
    """The rest of an identifier goes, and the single letter at its end."""
    last = len(line.folds) - 1
    for step in (1, -1):
        for index in range(last) if step > 0 else range(last - 1, -1, -1):
            one, other = (index, index + 1) if step > 0 else (index + 1, index)
            if line.drop[other] != KEEP or not _is_gone(line, one):
                continue
            if _belongs(line.gap(index), line.folds[one], line.folds[other]):
                line.drop[other] = GONE


def _is_gone(line: Line, index: int) -> bool:
    """Whether a number goes, or the letters in the middle of one."""
    return line.drop[index] == GONE or (
        line.drop[index] == NAME and len(line.raws[index]) <= _SHORTEST and line.raws[index].isupper()
    )


def _belongs(gap: str, number: str, other: str) -> bool:
    """Whether `other` is the rest of a number that goes: behind a mark, or an extension of a telephone."""
    if gap in ("-", "/", ".", "\u2013", "_") and _RUNS_ON.match(other):
        return gap != "_" or not (_MEASURED.fullmatch(other) or (other.isdigit() and _may_be_measure(other)))
    is_long = len(number) >= _FEWEST_DIGITS or number.isdigit()
    return (is_long and gap in ("-", "/", ".") and _CHECK.fullmatch(other) is not None) or (
        number.isdigit() and gap == " " and _EXTENSION.fullmatch(other) is not None
    )
