"""Our own check that a result is as complete an instance of its IOD as its source was.

The shipped `iod-attribute-types.csv.gz` holds the types of the attributes of PS3.15 Table E.1-1 (2026d) in every IOD of
PS3.3, © NEMA: those of Type 1, 1C, 2 and 2C, where an attribute has several the strictest. A row stands for each of its
`iods` with each of its `paths` (enclosing sequences, outermost first, joined by ">"; "." is the top level) and each of
its `tags`. It is another table than the one that the engine goes by, which has actions by innermost sequence only.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from pydicom.dataset import Dataset

from scp_anon.deid import dummies
from scp_anon.dicom.dictionary import vr_of
from scp_anon.dicom.elements import Value
from scp_anon.dicom.uids import iod_of_sop_class

TABLE: Final = Path(__file__).parents[1] / "scp_anon" / "deid" / "standard" / "iod-attribute-types.csv.gz"
_STRICTEST_FIRST: Final = ("1", "1C", "2", "2C")
# What an item of these has depends on its Value Type, of which the tables know nothing.
_BY_VALUE_TYPE: Final = 0x0040A730
# Responsible Person and Organization: Type 2C if the patient is no human, which the species tells.
_OF_ANIMALS: Final = frozenset((0x00102297, 0x00102299))
_SPECIES: Final = frozenset((0x00102201, 0x00102202))
# Table E.1-1 removes these whatever their type, and no one else's condition can be told: Scheduled Procedure Step ID
# and Requested Procedure ID, Type 1C "if the procedure was scheduled". Without them it was not.
_OF_SCHEDULED: Final = frozenset(((0x00400275, 0x00400009), (0x00400275, 0x00401001)))

# What is padded: of these a value of nothing but padding is none.
_TEXTS: Final = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())

Content: TypeAlias = "bytes | list[Plain]"
Plain: TypeAlias = dict[int, Content]
Route: TypeAlias = tuple[int, ...]
"""The tags of the enclosing sequences, outermost first."""


class Types(NamedTuple):
    """Attribute types of one IOD: by exact place, and by innermost enclosing sequence, the strictest."""

    exact: dict[tuple[Route, int], str]
    nearest: dict[tuple[int, int], str]

    def of(self, route: Route, tag: int) -> str:
        """The type of an attribute at a place, "" where the tables have none of the four."""
        if any(sequence >> 16 & 1 for sequence in route):
            return ""  # the IOD says nothing of what is in private sequences
        found = self.exact.get((route, tag), "")
        return found or (self.nearest.get((route[-1], tag), "") if route else "")

    def required(self, route: Route) -> Iterator[tuple[int, str]]:
        """The attributes that a data set at this very place has in any case, and their types."""
        for (place, tag), kind in self.exact.items():
            if place == route and place[-1:] != (_BY_VALUE_TYPE,) and kind in ("1", "2"):
                yield tag, kind


def damage(source: Dataset, result: Dataset) -> list[str]:
    """What the result lacks for its IOD that the source had: places, tags and types, never values.

    A condition of Type 1C or 2C cannot be told here: if the source had the attribute, it is taken to be met. Items are
    matched by position; a sequence that has become a dummy, or has another number of items, is checked on its own.
    """
    iod = iod_of_sop_class().get(str(source.get("SOPClassUID", "")), "")
    return list(_compared(_plain(source), _plain(result), (), types(iod))) if iod else []


@cache
def types(iod: str) -> Types:
    """The attribute types of an IOD. Raises KeyError if the tables do not know it."""
    exact = _table()[iod]
    nearest: dict[tuple[int, int], str] = {}
    for (route, tag), kind in exact.items():
        if route:
            place = route[-1], tag
            nearest[place] = min(kind, nearest.get(place, kind), key=_STRICTEST_FIRST.index)
    return Types(exact, nearest)


@cache
def _table() -> dict[str, dict[tuple[Route, int], str]]:
    """IOD → enclosing sequences and tag → type."""
    result: dict[str, dict[tuple[Route, int], str]] = {}
    text = gzip.decompress(TABLE.read_bytes()).decode("ascii")
    for row in csv.DictReader(io.StringIO(text)):
        tags = [int(tag, 16) for tag in row["tags"].split()]
        places = {(_route(path), tag): row["type"] for path in row["paths"].split() for tag in tags}
        for iod in row["iods"].split():
            result.setdefault(iod, {}).update(places)
    return result


@cache
def _route(path: str) -> Route:
    return () if path == "." else tuple(int(tag, 16) for tag in path.split(">"))


def _plain(ds: Dataset) -> Plain:
    """A data set as it was read, as plain values: pydicom has no say in what is valid."""
    content: Plain = {}
    for tag in tuple(ds.keys()):
        element = ds.get_item(tag)
        if (element.VR or vr_of(int(tag))) == "SQ":
            content[int(tag)] = [_plain(item) for item in ds[tag].value]
        else:
            content[int(tag)] = _value(int(tag), element.value)
    return content


def _value(tag: int, raw: object) -> bytes:
    """A value without its padding; what pydicom has decoded already is only asked whether there is any."""
    value = raw if isinstance(raw, bytes) else str("" if raw is None else raw).encode()
    return value.strip(b" \0\\") if vr_of(tag) in _TEXTS else value


def _compared(before: Plain, after: Plain, route: Route, known: Types) -> Iterator[str]:
    """What one data set lost, and the items of its sequences."""
    for tag, old in before.items():
        kind = "" if _is_optional(before, route, tag) else known.of(route, tag)
        if kind[:1] == "1" and old and not after.get(tag):
            yield _lost(route, tag, kind, "is empty" if tag in after else "is gone")
        elif kind[:1] == "2" and tag not in after:
            yield _lost(route, tag, kind, "is gone")
        new = after.get(tag)
        if isinstance(old, list) and isinstance(new, list):
            yield from _items(old, new, (*route, tag), known)


def _is_optional(before: Plain, route: Route, tag: int) -> bool:
    """Whether the condition of a Type 1C or 2C is known not to be met, or not to be met any longer."""
    return (tag in _OF_ANIMALS and _SPECIES.isdisjoint(before)) or (*route[-1:], tag) in _OF_SCHEDULED


def _items(old: list[Plain], new: list[Plain], route: Route, known: Types) -> Iterator[str]:
    if len(old) == len(new) and new != _dummies().get(route[-1]):
        for before, after in zip(old, new, strict=True):
            yield from _compared(before, after, route, known)
    else:
        for item in new:
            yield from _incomplete(item, route, known)


@cache
def _dummies() -> dict[int, Content]:
    """The dummies of sequences, as they are read."""
    return {tag: _as_read(tag, value) for tag, value in dummies.BY_TAG.items()}


def _as_read(tag: int, value: Value) -> Content:
    if isinstance(value, tuple):
        return [{inner: _as_read(inner, content) for inner, _, content in item} for item in value]
    return _value(tag, value)


def _incomplete(item: Plain, route: Route, known: Types) -> Iterator[str]:
    """What an item that need not have been in the source lacks."""
    for tag, kind in known.required(route):
        if tag not in item:
            yield _lost(route, tag, kind, "is missing")
        elif kind == "1" and not item[tag]:
            yield _lost(route, tag, kind, "is empty")
    for tag, content in item.items():
        for inner in content if isinstance(content, list) else ():
            yield from _incomplete(inner, (*route, tag), known)


def _lost(route: Route, tag: int, kind: str, what: str) -> str:
    place = ">".join(f"({number >> 16:04X},{number & 0xFFFF:04X})" for number in (*route, tag))
    return f"{place} of Type {kind} {what}"
