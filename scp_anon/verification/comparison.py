"""Where a result is not what the engine makes of its original now: the same in gives the same out.

Compared are values, not bytes: what has only been encoded otherwise since (other lengths, padding, transfer syntax) is
the same. Which tool and which version has made it may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Final, NamedTuple

from scp_anon.deid.digest import without_digest
from scp_anon.deid.profile import DEIDENTIFICATION_METHOD
from scp_anon.deid.recheck import VERSION
from scp_anon.deid.residual import Place, Spliced
from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.walk import PIXELS, FoundElement, elements, written_vr
from scp_anon.filesystem import READ_LIMIT, mapped, write_all

BINARY: Final = frozenset("OB OD OF OL OV OW UN".split())
_CHUNK: Final = 1 << 20
_PADDING: Final = b" \0"


class Encoded(NamedTuple):
    """An encoded data set: of `buffer`, from `start` on."""

    buffer: Buffer
    start: int
    explicit: bool


class _Data(NamedTuple):
    """The elements of one data set, by their tags."""

    buffer: Buffer
    explicit: bool
    elements: dict[int, FoundElement]

    @classmethod
    def of(cls, buffer: Buffer, explicit: bool, found: list[FoundElement]) -> _Data:
        return cls(buffer, explicit, {tag: element for element in found for tag in element[1:2]})


def differences(spliced: Spliced, result: Encoded) -> list[Place]:
    """The places where a result differs from what its original becomes. Raises Irregular or Undecodable."""
    explicit = not spliced.syntax.implicit_vr
    if explicit == result.explicit and _is_whole(spliced, result):
        return []
    with _joined(spliced) as buffer:
        wanted = _Data.of(buffer, explicit, elements(buffer, 0, len(buffer), explicit))
        found = elements(result.buffer, result.start, len(result.buffer), result.explicit)
        return list(_differ(wanted, _Data.of(result.buffer, result.explicit, found), ()))


def _is_whole(spliced: Spliced, result: Encoded) -> bool:
    """Whether they are the same, byte for byte."""
    content = memoryview(result.buffer)
    position = result.start
    for part in spliced.parts():
        if not _is_equal(memoryview(part), content[position : position + len(part)]):
            return False
        position += len(part)
    return position == len(content)


@contextmanager
def _joined(spliced: Spliced) -> Iterator[Buffer]:
    """What an original becomes, as one: a large one is on the disk."""
    if sum(map(len, spliced.parts())) <= READ_LIMIT:
        yield b"".join(spliced.parts())
        return
    with TemporaryFile() as file:
        write_all(file.fileno(), list(spliced.parts()))
        yield mapped(file.fileno())


def _differ(wanted: _Data, found: _Data, path: Place) -> Iterator[Place]:
    for tag in sorted(wanted.elements.keys() | found.elements.keys()):
        one, two = wanted.elements.get(tag), found.elements.get(tag)
        place = (*path, tag)
        if one is None or two is None:
            yield place
            continue
        first, second = one[5], two[5]
        if first is not None and second is not None and len(first.items) == len(second.items):
            for item, other in zip(first.items, second.items, strict=True):
                inside = _Data.of(wanted.buffer, first.explicit, item.found)
                yield from _differ(inside, _Data.of(found.buffer, second.explicit, other.found), place)
        elif first is not None or second is not None or not _is_same(wanted, one, found, two):
            yield place


def _is_same(wanted: _Data, one: FoundElement, found: _Data, two: FoundElement) -> bool:
    """Whether two elements have the same value, but for its padding."""
    first, second = (memoryview(data.buffer)[each[3] : each[4]] for data, each in ((wanted, one), (found, two)))
    _, tag, begin, *_ = one
    if tag in PIXELS or written_vr(wanted.buffer, tag, begin, wanted.explicit) in BINARY:
        shorter = min(len(first), len(second))
        rest = bytes(first[shorter : shorter + 2]) + bytes(second[shorter : shorter + 2])
        return rest in (b"", b"\0", b" ") and _is_equal(first[:shorter], second[:shorter])
    values = bytes(first).strip(_PADDING), bytes(second).strip(_PADDING)
    if tag == DEIDENTIFICATION_METHOD:
        return _methods(*values) == _methods(values[1], values[0])
    return values[0] == values[1]


def _is_equal(one: memoryview, two: memoryview) -> bool:
    """Compare bytes, many at a time: a view is compared byte by byte."""
    size = len(one)
    if size != len(two):
        return False
    return all(bytes(one[at : at + _CHUNK]) == bytes(two[at : at + _CHUNK]) for at in range(0, size, _CHUNK))


def _methods(value: bytes, other: bytes) -> list[bytes]:
    """The parts of (0012,0063) that have to be the same: no version, and no digest of a profile by another version."""
    parts = value.split(b"\\")
    is_same_version = set(filter(_is_version, parts)) == set(filter(_is_version, other.split(b"\\")))
    return [part if is_same_version else without_digest(part) for part in parts if not _is_version(part)]


def _is_version(part: bytes) -> bool:
    return part.startswith(VERSION)
