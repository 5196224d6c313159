"""The envelope of an instance in the spool: all that is known of it besides its content, written in its file name.

One file is one message, and one atomic rename changes both its place and its envelope. Nothing that a peer chose gets
into a name but its AE title, and that one quoted; never a UID.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import string
import time
from functools import lru_cache
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote

SEPARATOR: Final = ","
_DETAIL_LIMIT = 32
# Two ids are never the same: by the nanosecond, by the process, and by its count.
_process = secrets.token_hex(4)
_numbers = itertools.count()
# All that is printable but the separator, the slash, and the percent sign of the quoting itself.
_UNQUOTED = "".join(set(string.punctuation) - set(",/%")) + " "
_NUMBER = "(0|[1-9][0-9]*)"
_NAME = re.compile(",".join(("([0-9a-f]{16}-[0-9a-f]+)", *["([^,]*)"] * 2, *[_NUMBER] * 2, *["([^,]*)"] * 3)))


class Envelope(NamedTuple):
    """What a file name in the spool says.

    `id` rises with the time of arrival. `route`: the called AE title. `calling`: the calling AE title. `attempt`: how
    often work on it has begun. `not_before`: milliseconds since 1970, 0 for at once. `destination`, `reason` and
    `detail` are those of an entry in quarantine: which destination refused it (empty: it is an original), and why.
    """

    id: str
    route: str
    calling: str
    attempt: int = 0
    not_before: int = 0
    destination: str = ""
    reason: str = ""
    detail: str = ""

    @classmethod
    def new(cls, route: str, calling: str) -> Self:
        """The envelope of an instance that arrives now."""
        return cls(f"{time.time_ns():016x}-{_process}{next(_numbers) & 0xFFFF:04x}", route, calling)

    @classmethod
    def parse(cls, name: str) -> Self:
        """The envelope in a file name. Raises ValueError for a name that is none of ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError("not the name of an entry")
        id_, route, calling, attempt, not_before, destination, reason, detail = match.groups()
        numbers = int(attempt), int(not_before)
        envelope = cls(id_, unquote(route), unquote(calling), *numbers, destination, reason, unquote(detail))
        if envelope.name != name:
            raise ValueError("not the name that we would have written")
        return envelope

    @property
    def name(self) -> str:
        """The file name: at most 255 bytes, as AE titles have 16 and names of destinations 48."""
        route, calling, detail = map(_quoted, (self.route, self.calling, self.detail[:_DETAIL_LIMIT]))
        numbers = f"{self.attempt}{SEPARATOR}{self.not_before}"
        return SEPARATOR.join((self.id, route, calling, numbers, self.destination, self.reason, detail))

    @property
    def arrival(self) -> float:
        """Seconds since 1970."""
        return int(self.id.partition("-")[0], 16) / 1e9


SEPARATORS: Final = len(Envelope._fields) - 1


def _in_new_process() -> None:
    # A fork has what its parent had.
    global _process
    _process = secrets.token_hex(4)


os.register_at_fork(after_in_child=_in_new_process)


@lru_cache(1024)
def _quoted(text: str) -> str:
    return quote(text, safe=_UNQUOTED)
