"""The header of a DICOM file for people to read, or in the DICOM JSON Model (PS3.18 Annex F): what `metadata` prints.

Values are shown, but binary ones; whatever is in them does nothing to the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from scp_anon.dicom.dictionary import keyword_of, vr_of
from scp_anon.dicom.encoding import MAXIMUM_DEPTH, UNDEFINED_LENGTH
from scp_anon.errors import Reason, Undecodable
from scp_anon.harmless import visible

_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_LONGEST: Final = 96
_LONGEST_NAME: Final = 64
_NOT_READABLE: Final = "cannot be read"


class Line(NamedTuple):
    """One attribute, or the beginning of an item: how far it is indented, and what there is to say of it."""

    indent: int
    tag: str
    vr: str
    name: str
    value: str
    is_readable: bool


def lines(data_set: Dataset) -> Iterator[Line]:
    """Every attribute of a file, with those of its File Meta Information first. Raises Undecodable."""
    meta = getattr(data_set, "file_meta", None)
    if meta is not None:
        yield from _lines(meta, 0)
    yield from _lines(data_set, 0)


def _lines(data_set: Dataset, depth: int) -> Iterator[Line]:
    if depth > MAXIMUM_DEPTH:
        raise Undecodable(Reason.NESTED_TOO_DEEPLY)
    for tag in sorted(data_set.keys()):
        size = _size(data_set, tag)
        if size is not None:
            yield Line(2 * depth, _tag(tag), _vr(data_set, tag), _name(tag), size, True)
            continue
        element = _element(data_set, tag)
        if element is None:
            yield Line(2 * depth, _tag(tag), _vr(data_set, tag), _name(tag), _NOT_READABLE, False)
            continue
        name = visible(element.name, _LONGEST_NAME) if tag.is_private else _name(tag)
        yield Line(2 * depth, _tag(tag), str(element.VR), name, _shown(element), True)
        if element.VR == "SQ":
            for number, item in enumerate(element.value, 1):
                yield Line(2 * depth + 1, f"item {number}", "", "", "", True)
                yield from _lines(item, depth + 1)


def as_json(data_set: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The data set in the DICOM JSON Model, and the tags of attributes that have no value of their VR and so no place.

    Of binary values there is only that there are some: a BulkDataURI with the tag. Raises Undecodable.
    """
    faults: list[str] = []
    return _as_json(data_set, 0, faults), faults


def _as_json(data_set: Dataset, depth: int, faults: list[str]) -> dict[str, Any]:
    if depth > MAXIMUM_DEPTH:
        raise Undecodable(Reason.NESTED_TOO_DEEPLY)
    result: dict[str, Any] = {}
    for tag in sorted(data_set.keys()):
        key = f"{int(tag):08X}"
        if _size(data_set, tag) is not None:
            result[key] = {"vr": _vr(data_set, tag)}
            if _size(data_set, tag) != _bytes(0):
                result[key]["BulkDataURI"] = f"#{key}"
            continue
        element = _element(data_set, tag)
        if element is not None and element.VR == "SQ":
            items = [_as_json(item, depth + 1, faults) for item in element.value]
            result[key] = {"vr": "SQ", **({"Value": items} if items else {})}
            continue
        try:
            if element is None:
                raise ValueError
            result[key] = _finite(element.to_json_dict(_bulk_data_uri, 0))
        except Exception:  # pydicom raises whatever its parts do
            faults.append(_tag(tag))
    return result


def _bulk_data_uri(element: DataElement) -> str:
    return f"#{int(element.tag):08X}"


def _finite(value: Any) -> Any:
    """The same with words for what JSON has no numbers for (PS3.18 F.2.3)."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _vr(data_set: Dataset, tag: BaseTag) -> str:
    """The VR, as far as it can be told without a look at the value."""
    element = data_set.get_item(tag, keep_deferred=True)
    return str(element.VR or _dictionary_vr(tag) or "UN")


def _dictionary_vr(tag: BaseTag) -> str | None:
    """The VR that an attribute has in implicit VR (PS3.5 A.1), if it is in the dictionary."""
    vr = vr_of(tag)
    return "OW" if vr == "OB" and dictionary_has_tag(tag) and dictionary_VR(tag) == "OB or OW" else vr


def _size(data_set: Dataset, tag: BaseTag) -> str | None:
    """How much a binary value is, without having it read; None for one that is none."""
    element = data_set.get_item(tag, keep_deferred=True)
    vr = _vr(data_set, tag)
    # What is private, or has no VR of its own, may be known to pydicom all the same.
    if vr not in _BINARY or (vr == "UN" and (element.VR is None or _dictionary_vr(tag) not in (None, *_BINARY))):
        return None
    if isinstance(element, RawDataElement):
        if element.length != UNDEFINED_LENGTH:
            return _bytes(element.length)
        return "encapsulated" if element.value is None else f"encapsulated, {_bytes(len(element.value))}"
    value = element.value
    return _bytes(len(value)) if isinstance(value, bytes) else None


def _bytes(count: int) -> str:
    return f"{count:,} byte{'' if count == 1 else 's'}"


def _element(data_set: Dataset, tag: BaseTag) -> DataElement | None:
    """An attribute with its value; None where that is none of its VR."""
    try:
        return data_set[tag]
    except Exception:  # pydicom raises whatever its parts do
        return None


def _shown(element: DataElement) -> str:
    """A value for one line."""
    value = element.value
    if element.VR == "SQ":
        return f"{len(value)} item{'' if len(value) == 1 else 's'}"
    if isinstance(value, bytes):
        return _bytes(len(value))
    values = value if isinstance(value, MultiValue | list) else [value]
    text = "\\".join("" if each is None else _tag(each) if element.VR == "AT" else str(each) for each in values)
    return visible(text, _LONGEST)


def _name(tag: BaseTag) -> str:
    return keyword_of(tag) if vr_of(tag) else "-"


def _tag(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
