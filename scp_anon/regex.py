"""Regular expressions of profiles, and of rules that are imported: refused where a value could make them take for ever.

Python's engine tries every way in which repetitions can share a text, and nothing can stop it while it does: one value
that a peer has sent would hold a whole process. So nothing of varying length may be repeated without bound, nor
alternatives; and the more unbounded repetitions an expression has, the shorter are the texts that it is searched in.

That bounds the time of one search, which fails only after it has begun at each place of the text. To replace all
matches takes no longer than two of them: the next search begins where the last match has ended, so that none of the
places is begun at more than twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import _constants as constants  # type: ignore[attr-defined]  # what `re` itself is made of; there is no other way
from re import _parser as parser  # type: ignore[attr-defined]  # likewise
from typing import Any, Final

from scp_anon.errors import ConfigError

# Characters of a text that is searched, by how many unbounded repetitions the expression has.
_LONGEST: Final = (1 << 20, 10_240, 1024, 256)
_LONGEST_OF_MANY: Final = 128
_REPEATS: Final = (constants.MAX_REPEAT, constants.MIN_REPEAT)
_FEW: Final = 10  # repetitions that are as good as none
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
    return Expression(expression, _LONGEST[count] if count < len(_LONGEST) else _LONGEST_OF_MANY)


def _unbounded(parsed: Any) -> int:
    """How many repetitions without a bound there are. Raises ConfigError for one of what varies in length."""
    found = 0
    for operator, argument in parsed:
        if operator in _REPEATS and argument[1] > _FEW:
            repeated = argument[2]
            least, most = repeated.getwidth()
            if least != most or _has_branches(repeated):
                raise ConfigError("may take for ever: it repeats, without a bound, what may match in several ways")
            found += 1
        for inner in _inner(argument):
            found += _unbounded(inner)
    return found


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
