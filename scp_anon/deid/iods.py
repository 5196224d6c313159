"""What an instance lacks for its IOD of the attributes that de-identification touches (PS3.3, PS3.5 7.4).

Type 1 must be there with a value, Type 2 must be there. Whether the condition of Type 1C or 2C is met cannot be told
here: it is, if the original had the attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, Literal, NamedTuple, TypeAlias

from scp_anon.deid import dummies
from scp_anon.deid.tables import Route, iod_types
from scp_anon.dicom.dictionary import vr_of
from scp_anon.dicom.elements import Value
from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.uids import iod_of_sop_class
from scp_anon.dicom.walk import FoundElement

Loss: TypeAlias = Literal["missing", "empty"]
Content: TypeAlias = "bytes | list[Plain]"
Plain: TypeAlias = dict[int, Content]

_STRICTEST_FIRST: Final = ("1", "1C", "2", "2C")
_SOP_CLASS_UID: Final = 0x00080016
# What an item of it has depends on its Value Type, of which the table knows nothing.
_BY_VALUE_TYPE: Final = 0x0040A730
# Responsible Person and Organization: Type 2C if the patient is no human, which the species tells.
_OF_ANIMALS: Final = frozenset((0x00102297, 0x00102299))
_SPECIES: Final = frozenset((0x00102201, 0x00102202))
# Scheduled Procedure Step ID and Requested Procedure ID, Type 1C "if the procedure was scheduled": without them it was
# not, and Table E.1-1 removes them whatever their type.
_OF_SCHEDULED: Final = frozenset(((0x00400275, 0x00400009), (0x00400275, 0x00401001)))
# Of the modules Patient, General Study, General Series and SOP Common (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.12.1).
_MANDATORY: Final = frozenset(
    (
        *(0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x0020000D, 0x00080020, 0x00080030, 0x00080090),
        *(0x00200010, 0x00080050, 0x0020000E, 0x00080016, 0x00080018),
    )
)
# What is padded: of these a value of nothing but padding is none.
_TEXTS: Final = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
# Of longer values only that they are there is of interest.
_LONGEST: Final = 1 << 10


class Damage(NamedTuple):
    """An attribute that is missing, or empty, and its type."""

    loss: Loss
    type: str
    place: Route


class Types(NamedTuple):
    """Attribute types of one IOD: by exact place, and by innermost enclosing sequence, the strictest."""

    exact: dict[tuple[Route, int], str]
    nearest: dict[tuple[int, int], str]

    def of(self, route: Route, tag: int) -> str:
        """The type of an attribute at a place, "" where the table has none of the four."""
        if any(sequence >> 16 & 1 for sequence in route):
            return ""  # the IOD says nothing of what is in private sequences
        found = self.exact.get((route, tag), "")
        return found or (self.nearest.get((route[-1], tag), "") if route else "")

    def required(self, route: Route) -> Iterator[tuple[int, str]]:
        """The attributes that a data set at this very place has in any case, and their types."""
        if route[-1:] == (_BY_VALUE_TYPE,):
            return
        for (place, tag), kind in self.exact.items():
            if place == route and kind in ("1", "2"):
                yield tag, kind


def plain(found: list[FoundElement], buffer: Buffer) -> Plain:
    """What a data set holds, as plain values; long ones are cut."""
    content: Plain = {}
    for _, tag, _, value, end, sequence in found:
        if sequence is not None:
            content[tag] = [plain(item.found, buffer) for item in sequence.items]
        elif vr_of(tag) == "SQ" and end == value:
            content[tag] = []
        else:
            content[tag] = _value(tag, bytes(buffer[value : min(end, value + _LONGEST)]))
    return content


def damage(result: Plain, original: Plain | None = None) -> list[Damage]:
    """What a result lacks for its IOD that its original had.

    Items are matched by position; a sequence that has become a dummy, or has another number of items, is looked at
    without the original. Where there is no original at all it is what is Type 1 and empty, and what is missing of those
    modules that are mandatory wherever they are used; which others an instance should have, nothing tells.
    """
    sop_class = result.get(_SOP_CLASS_UID, b"")
    iod = iod_of_sop_class().get(sop_class.decode("ascii", "replace") if isinstance(sop_class, bytes) else "", "")
    if iod not in iod_types():
        return []
    known = _types(iod)
    return list(_alone(result, (), known) if original is None else _compared(original, result, (), known))


@cache
def _types(iod: str) -> Types:
    exact = iod_types()[iod]
    nearest: dict[tuple[int, int], str] = {}
    for (route, tag), kind in exact.items():
        if route:
            place = route[-1], tag
            nearest[place] = min(kind, nearest.get(place, kind), key=_STRICTEST_FIRST.index)
    return Types(exact, nearest)


def _value(tag: int, value: bytes) -> bytes:
    return value.strip(b" \0\\") if vr_of(tag) in _TEXTS else value


def _compared(before: Plain, after: Plain, route: Route, known: Types) -> Iterator[Damage]:
    """What one data set lost, and the items of its sequences."""
    for tag, old in before.items():
        kind = "" if _is_optional(before, route, tag) else known.of(route, tag)
        if kind and tag not in after and (old or kind[:1] == "2"):
            yield Damage("missing", kind, (*route, tag))
        elif kind[:1] == "1" and old and not after.get(tag):
            yield Damage("empty", kind, (*route, tag))
        new = after.get(tag)
        if isinstance(old, list) and isinstance(new, list):
            yield from _items(old, new, (*route, tag), known)


def _is_optional(before: Plain, route: Route, tag: int) -> bool:
    """Whether the condition of a Type 1C or 2C is known not to be met, or not to be met any longer."""
    return (tag in _OF_ANIMALS and _SPECIES.isdisjoint(before)) or (*route[-1:], tag) in _OF_SCHEDULED


def _items(old: list[Plain], new: list[Plain], route: Route, known: Types) -> Iterator[Damage]:
    if len(old) == len(new) and new != _dummies().get(route[-1]):
        for before, after in zip(old, new, strict=True):
            yield from _compared(before, after, route, known)
    else:
        for item in new:
            yield from _incomplete(item, route, known)


def _alone(data_set: Plain, route: Route, known: Types) -> Iterator[Damage]:
    """What is wrong with a data set, whatever its original was."""
    if not route:
        for tag, kind in known.required(()):
            if tag in _MANDATORY and tag not in data_set:
                yield Damage("missing", kind, (tag,))
    for tag, content in data_set.items():
        if not content and known.of(route, tag) == "1":
            yield Damage("empty", "1", (*route, tag))
        for inner in content if isinstance(content, list) else ():
            yield from _alone(inner, (*route, tag), known)


def _incomplete(data_set: Plain, route: Route, known: Types) -> Iterator[Damage]:
    """What a data set lacks that it has to have in any case."""
    for tag, kind in known.required(route):
        if tag not in data_set:
            yield Damage("missing", kind, (*route, tag))
        elif kind == "1" and not data_set[tag]:
            yield Damage("empty", kind, (*route, tag))
    for tag, content in data_set.items():
        for inner in content if isinstance(content, list) else ():
            yield from _incomplete(inner, (*route, tag), known)


@cache
def _dummies() -> dict[int, Content]:
    """The dummies of sequences, as they are read."""
    return {tag: _as_read(tag, value) for tag, value in dummies.BY_TAG.items()}


def _as_read(tag: int, value: Value) -> Content:
    if isinstance(value, tuple):
        return [{inner: _as_read(inner, content) for inner, _, content in item} for item in value]
    return _value(tag, value)
