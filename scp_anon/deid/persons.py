"""Names of anybody in a text that are words of the vocabulary as well: their company tells them (PS3.15 E.3.5).

A title, a role, an initial, a given name beside it, or 'for', 'from', 'by' before it makes 'Crane' or 'Long' a name.
What says the same of a region or an image stays: 'Head, Neck', 'R. knee', 'for stone protocol', 'from head to toe'.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from scp_anon.deid.line import GONE, KEEP, NAME, Line
from scp_anon.deid.vocabulary import listed, names, namesakes

_FOLLOWERS: Final = 4
_NEAR: Final = re.compile(r"[\s.,'\u2019^_=&-]{0,3}")
_APART: Final = re.compile(r"[;()\[\]|\n]| - ")
_HOUSE: Final = re.compile(r"[0-9]{1,4}|[0-9]{2,4}[a-h]")
_COMMA: Final = re.compile(r"\s?[,;^]\s?")
_DOT: Final = re.compile(r"\.[\s-]?")
_TOGETHER: Final = re.compile(r"[\s_-]")
_CALLING: Final = re.compile(r"[\s:._/=-]{1,3}")
# What an uppercase letter before or after a word often is: a side, a plane, a wave, a level of the spine.
_MEANING: Final = frozenset("abcdehiloprstvwxy")
_DEGREES: Final = frozenset("md phd rn jr dds msc".split())
_FAMILY: Final = frozenset("family familie famille familia famiglia household estate".split())
_BEHIND: Final = re.compile(r"[\s.,(]{1,3}")
_BESIDE_GIVEN: Final = re.compile(r"[\s.,;/'\u2019^_=&-]{0,3}")
_OF: Final = frozenset("of de von van av af di".split())
_TWO: Final = 2


def remove_persons(line: Line) -> None:
    """Mark titles and the names after them, 'seen by' and 'Patient:' with a name, and names told by their company."""
    if not _announcing().isdisjoint(line.folds):
        _titles(line)
    known = namesakes()
    for index, word in enumerate(line.folds):
        if word not in known or line.drop[index] == NAME or (len(word) <= _TWO and not line.raws[index].istitle()):
            continue
        if line.raws[index][-2:].lower() in ("'s", "\u2019s") and word not in listed("eponyms"):
            line.drop[index] = NAME
        elif not (_initials_before(line, index) or _initials_after(line, index) or _called(line, index)):
            _given(line, index)


@cache
def _announcing() -> frozenset[str]:
    return listed("titles") | listed("short-titles") | listed("roles") | listed("by")


def _titles(line: Line) -> None:
    titles, roles, verbs = listed("titles"), listed("roles"), listed("verbs")
    for index, word in enumerate(line.folds):
        gap = line.gap(index)
        if word in titles or (word in listed("short-titles") and _is_title(line, index, gap)):
            line.drop[index] = NAME if len(word) == 1 else GONE  # 'T.M. Long' is no Monsieur
            _follow(line, index, _may_be_name)
        elif word in roles and (":" in gap or "=" in gap) and _follow(line, index, _is_titled):
            line.drop[index] = GONE
        elif word in listed("by") and index and line.folds[index - 1] in verbs:
            found = _follow(line, index, _may_be_name)
            if found or index + 1 == len(line.raws):
                line.drop[index - 1] = line.drop[index] = GONE


def _is_title(line: Line, index: int, gap: str) -> bool:
    """Whether 'Dr' or 'MR' is a title, and not a modality."""
    raw = line.raws[index]
    after = index + 1
    if after == len(line.raws):
        return False
    is_name = _may_be_name(line, after)
    if (raw.istitle() and len(raw) > 1 and is_name) or (gap.startswith(".") and " " in gap and is_name):
        return True
    if line.folds[after] in namesakes():
        # DR LONG LEG is a radiograph; 'dr long' is a person.
        return (
            (raw.islower() and len(raw) > 1)
            or (line.folds[after] not in listed("body-parts") and not _is_attribute(line, after))
            or (index > 0 and line.folds[index - 1] in listed("leads"))
        )
    return bool(line.drop[after]) and (
        line.folds[after] in names() or (index > 0 and line.folds[index - 1] in listed("leads"))
    )


def _may_be_name(line: Line, index: int) -> bool:
    return line.raws[index][0].isupper() or line.folds[index] in namesakes()


def _is_titled(line: Line, index: int) -> bool:
    return line.raws[index].istitle() or (line.folds[index] in namesakes() and not _is_attribute(line, index))


def _follow(line: Line, index: int, first: Callable[[Line, int], bool]) -> bool:
    """The name goes that follows the title at `index`: a first word that looks like `first`, and what goes on so."""
    looks, found = first, False
    for after in range(index + 1, min(index + 1 + _FOLLOWERS, len(line.raws))):
        raw, word, gap = line.raws[after], line.folds[after], line.gap(after - 1)
        strange = line.drop[after] or len(raw) == 1 or word in listed("particles") or word in listed("honors")
        if raw[0].isdigit() or _APART.search(gap) or ("," in gap and found and not line.drop[after]):
            break
        if not (strange or looks(line, after)):
            break
        line.drop[after] = line.drop[after] or NAME
        if word not in listed("honors"):
            looks, found = _is_titlecase, True
    return found


def _is_titlecase(line: Line, index: int) -> bool:
    return line.raws[index].istitle()


@cache
def _attributes() -> frozenset[str]:
    """Words that a name-like word before them is an attribute of: 'long axis', 'stone protocol'."""
    return listed("nouns") | listed("bearers")


def _is_attribute(line: Line, index: int) -> bool:
    """Whether the word at `index` is said of the one that follows: 'for stone protocol', 'from head to toe'."""
    after = index + 1
    if after == len(line.raws) or line.drop[after] or not _TOGETHER.fullmatch(line.gap(index)):
        return False
    word = line.folds[after]
    return word in _attributes() or (
        line.folds[index] in listed("body-parts") and (len(word) > 1 or word in "lr") and not word[0].isdigit()
    )


def _initials_before(line: Line, index: int) -> bool:
    """'J. Long', 'J Long', 'J.R. Long'; but not 'L. Hand', 'T. Bone', 'a long'."""
    if index == 0 or len(line.folds[index - 1]) != 1 or not line.folds[index - 1].isalpha():
        return False
    letter, word, gap = line.folds[index - 1], line.folds[index], line.gap(index - 1)
    is_region = word in listed("body-parts")
    if _DOT.fullmatch(gap):
        found = not (letter in "lr" and (is_region or _is_attribute(line, index))) or _is_initials(line, index - 2)
    else:
        found = gap in (" ", "_", "^") and line.raws[index - 1].isupper() and letter not in _MEANING
    if not found:
        return False
    line.drop[index] = NAME
    before = index - 1
    while before >= 0 and _is_initials(line, before):
        line.drop[before] = NAME
        before -= 1
    return True


def _is_initials(line: Line, index: int) -> bool:
    return index >= 0 and line.folds[index].isalpha() and len(line.folds[index]) == 1 and len(line.gap(index)) <= _TWO


def _initials_after(line: Line, index: int) -> bool:
    """'Long, J.', 'Long J'; but not 'HEAD, C-SPINE', 'Hand L', 'Field B'."""
    after = index + 1
    if after == len(line.raws) or len(line.folds[after]) != 1 or not line.folds[after].isalpha():
        return False
    letter, gap, behind = line.folds[after], line.gap(index), line.gap(after)
    is_last = after + 1 == len(line.raws)
    follows = "" if is_last or line.drop[after + 1] else line.folds[after + 1]
    has_noun = len(follows) > 1 and follows.isalpha()
    is_region = line.folds[index] in listed("body-parts")
    if letter in "lr" and (is_region or (has_noun and follows in listed("body-parts"))):
        return False
    if _COMMA.fullmatch(gap):
        if has_noun and (behind == "-" or (letter in "ctls" and follows in ("spine", "spin", "rygg", "columna"))):
            return False
        found = behind.startswith(".") or not (letter in _MEANING and has_noun)
    else:
        found = gap in (" ", "_") and (
            (behind.startswith(".") and not behind.startswith(".0")) or (letter not in _MEANING and behind != "-")
        )
        found = found and line.raws[after].isupper()
    if found:
        line.drop[index] = NAME
        while after < len(line.raws) and _is_initials(line, after) and line.raws[after].isupper():
            line.drop[after] = NAME
            after += 1
    return found


def _called(line: Line, index: int) -> bool:
    """'for Long', 'ward of Long', 'Attn: Long', 'patient Long', 'Baby Boy Long', 'Long, MD'."""
    folds = line.folds
    if index and _CALLING.fullmatch(line.gap(index - 1)) and _announces(line, index):
        line.drop[index] = NAME
        return True
    after = index + 1
    if after < len(folds) and _is_follower(folds[after], line.gap(index)):
        line.drop[index] = line.drop[after] = NAME
        return True
    return False


def _is_follower(word: str, gap: str) -> bool:
    """Whether a word behind this gap makes the one before it a name: 'Long, MD', 'Long (RN)', 'the Long family'."""
    if word in _FAMILY:
        return gap == " "
    return _BEHIND.fullmatch(gap) is not None and (
        word in _DEGREES or ("," in gap and (word in listed("titles") or word == "dr"))
    )


def _announces(line: Line, index: int) -> bool:
    """Whether the word before the one at `index` announces a person."""
    before = line.folds[index - 1]
    back = line.folds[index - 2] if index > 1 else ""
    if before in listed("addressing") or (before in _OF and back in listed("relations")):
        line.drop[index - 1] = line.drop[index - 1] or GONE
        return True
    is_region = line.folds[index] in listed("body-parts")
    if before in listed("for"):
        return not _is_attribute(line, index) and not _is_list(line, index)
    if before in listed("verbs"):
        return not is_region and not _is_attribute(line, index)
    if before in listed("relations") or before in listed("roles"):
        return not (is_region and line.raws[index].islower()) and not _is_attribute(line, index)
    return False


def _is_list(line: Line, index: int) -> bool:
    """Whether a region follows after a comma or a slash: 'for Head, Neck and Chest'."""
    after = index + 1
    regions = listed("body-parts")
    return (
        after < len(line.raws)
        and line.folds[index] in regions
        and line.folds[after] in regions
        and line.gap(index).strip() in (",", "/", "+", "&", "")
    )


def _given(line: Line, index: int) -> None:
    """A given name beside it, or with an initial between them, makes a word a name: 'Head, Jennifer', 'Art Wood'."""
    given = listed("given-names")
    is_region = line.folds[index] in listed("body-parts") and line.raws[index].islower()
    for step in (-1, 1):
        near = index + step
        if not 0 <= near < len(line.raws) or not _BESIDE_GIVEN.fullmatch(gap := line.gap(min(index, near))):
            continue
        if is_region and (step < 0 or gap == " "):
            continue  # 'Long, Jennifer knee' is about a knee
        if (_is_initial(line, near) or line.folds[near] not in given) and 0 <= near + step < len(line.raws):
            near += step if line.drop[near] == NAME or _is_initial(line, near) else 0
        word = line.folds[near]
        both = line.raws[near].istitle() and line.raws[index].istitle() and len(word) > _TWO
        is_given = word in given or (len(word) == _TWO and line.raws[near].isupper() and line.raws[index].istitle())
        if is_given and (line.drop[near] == NAME or (line.drop[near] == KEEP and both)):
            for gone in range(min(index, near), max(index, near) + 1):
                line.drop[gone] = NAME


def _is_initial(line: Line, index: int) -> bool:
    return len(line.folds[index]) == 1 and line.folds[index].isalpha()


def remove_neighbours(line: Line, own_initials: frozenset[str]) -> None:
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
                if word not in "lr" or word in own_initials or "." in gap or "," in gap:
                    line.drop[index] = NAME
            elif word in ambiguous or word in honors:
                line.drop[index] = NAME
            elif (
                _HOUSE.fullmatch(word)
                and not {"_", "^"} & set(gap)
                and not (index < last and line.folds[index + 1] in units)
            ):
                line.drop[index] = GONE


def remove_leads(line: Line) -> None:
    """A preposition goes whose noun is gone."""
    leads = listed("leads")
    for index in range(len(line.raws) - 2, -1, -1):
        if line.drop[index + 1] and line.folds[index] in leads:
            line.drop[index] = line.drop[index] or GONE
