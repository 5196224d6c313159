"""Regular expressions of profiles, and of rules that are imported: refused where a value could make them take for ever.

Python's engine tries every way in which repetitions can share a text, and nothing can stop it while it does: one value
that a peer has sent would hold a whole process. So nothing of varying length may be repeated without bound, nor
alternatives; and the more unbounded repetitions an expression has, and the more ways there are to match the rest of it,
the shorter are the texts that it is searched in. One that would be left with less than a short text is refused.

That bounds the time of one search, which fails only after it has begun at each place of the text. To replace all
matches takes no longer than two of them: the next search begins where the last match has ended, so that none of the
places is begun at more than twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from re import _constants as constants  # type: ignore[attr-defined]  # what `re` itself is made of; there is no other way
from re import _parser as parser  # type: ignore[attr-defined]  # likewise
from typing import Any, Final

from scp_anon.errors import ConfigError

# Characters of a text that is searched, by how many unbounded repetitions the expression has.
_LONGEST: Final = (1 << 20, 10_240, 1024, 256)
_LONGEST_OF_MANY: Final = 128
_SHORTEST: Final = 64  # a short text, as LO has it
_REPEATS: Final = (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT)
_FEW: Final = 10  # repetitions that are counted as ways; of more there is no bound
_COUNTLESS: Final = 1 << 40  # ways
_MOST: Final = 8  # unbounded repetitions in one expression


@dataclass(frozen=True)
class Expression:
    """A compiled expression, and how long a text may be that it is searched in."""

    pattern: re.Pattern[str]
    longest: int


def compiled(pattern: str) -> Expression:
    """Compile an expression. Raises ConfigError for what is none, and for one that may take for ever."""
    try:
        expression = re.compile(pattern)
        parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"is no regular expression: {error}") from None
    count = _unbounded(parsed)
    if count > _MOST:
        raise ConfigError(f"may take for ever: it has more than {_MOST} repetitions without a bound")
    # Each way may be tried at each place, and for each length of what has no bound.
    longest = _LONGEST[count] if count < len(_LONGEST) else _LONGEST_OF_MANY
    longest = int(longest / _ways(parsed) ** (1 / (count + 1)))
    if longest < _SHORTEST:
        raise ConfigError("may take for ever: there are too many ways in which it may match")
    return Expression(expression, longest)


def _unbounded(parsed: Any) -> int:
    """How many repetitions without a bound there are. Raises ConfigError for one of what varies in length."""
    found = 0
    for operator, argument in parsed:
        times = 1
        if operator in _REPEATS and argument[1] > _FEW:
            repeated = argument[2]
            least, most = repeated.getwidth()
            if least != most or _has_branches(repeated):
                raise ConfigError("may take for ever: it repeats, without a bound, what may match in several ways")
            found += 1
        elif operator in _REPEATS:
            times = max(argument[1], 1)  # what is in it is there as often
        elif operator is constants.GROUPREF:
            found += 1  # it compares as much as the group has matched
        for inner in _inner(argument):
            found += times * _unbounded(inner)
    return found


def _ways(parsed: Any) -> int:
    """In how many ways the alternatives and the few repetitions of an expression can be combined, at most."""
    ways = 1
    for operator, argument in parsed:
        inner = [_ways(part) for part in _inner(argument)]
        if operator is constants.BRANCH:
            ways *= sum(inner)
        else:
            one = min(prod(inner), _COUNTLESS)
            few = operator in _REPEATS and argument[1] <= _FEW
            ways *= sum(one**times for times in range(argument[0], argument[1] + 1)) if few else one
        ways = min(ways, _COUNTLESS)
    return ways


def _has_branches(parsed: Any) -> bool:
    return any(
        operator is constants.BRANCH or any(map(_has_branches, _inner(argument))) for operator, argument in parsed
    )


def _inner(argument: Any) -> list[Any]:
    """The parts of an operator's argument that are expressions themselves."""
    if isinstance(argument, parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [part for piece in argument for part in _inner(piece)]
    return []
