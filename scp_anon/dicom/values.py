"""Reading a few values of an encoded data set, and no further than the last of them."""

from __future__ import annotations

from functools import cache

from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Rules
from scp_anon.dicom.uids import TransferSyntax


class _Wanted:
    """The one rule of `read_values`: this element's value is wanted."""

    descends = False


@cache
def _wanted(tags: frozenset[int]) -> Rules[_Wanted]:
    return Rules(dict.fromkeys(tags, _Wanted()), dictionary().keys() - tags, None, None)


def read_values(
    buffer: Buffer, start: int, stop: int, syntax: TransferSyntax, tags: frozenset[int]
) -> dict[int, bytes]:
    """The raw values, padding included, of those top-level elements among `tags` that the data set has.

    Reads no further than the last of them. Raises as `scan` does.
    """
    found = scan(buffer, start, stop, syntax, _wanted(tags), last_tag=max(tags))
    return {tag: bytes(buffer[value:end]) for _, tag, _, value, end, _ in found}
