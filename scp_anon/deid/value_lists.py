"""Actions by lists of values: one that is looked up, one that may stay if it is among those that may."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from scp_anon.deid import text
from scp_anon.deid.actions import Rule, Unfit, encoded
from scp_anon.deid.instance import SINGLE, Scope
from scp_anon.dicom.elements import Value
from scp_anon.links import Matching, Numbers

# Of these a value on a list of allowed ones is the same with other case, blanks and punctuation.
_LOOSE: Final = frozenset("CS LO LT PN SH ST UC UT".split())
_CACHED: Final = 1 << 12
_UNCOUNTED: Final = re.compile(r"[\s\-_,.]")


def looked_up(vr: str, rows: Mapping[str, str], matching: Matching = "equals") -> Rule:
    """What a table has for the value, or for what is in it: one thing, or it is unfit."""
    find = lru_cache(_CACHED)(Numbers(rows, matching).find)

    def act(scope: Scope, value: bytes) -> Value:
        new = find(text.decode(value, scope.character_sets))
        if new is None:
            raise Unfit
        return encoded(new, vr, scope)

    known = frozenset(rows.values())
    return Rule(vr, act, made=lambda scope, value: text.decode(value, scope.character_sets) in known)


def kept_if_among(vr: str, values: Iterable[str]) -> Rule:
    """The value stays, if each of its parts is one of these; of texts, case, blanks and - _ , . do not count."""
    allowed = frozenset(_comparable(vr, value) for value in values)
    is_single = vr in SINGLE

    def act(scope: Scope, value: bytes) -> Value:
        decoded = text.decode(value, scope.character_sets)
        parts = [decoded] if is_single else decoded.split("\\")
        if decoded and not all(_comparable(vr, part) in allowed for part in parts):
            raise Unfit
        return value

    return Rule(vr, act)


def _comparable(vr: str, value: str) -> str:
    return _UNCOUNTED.sub("", value).casefold() if vr in _LOOSE else value.strip(" \0")
