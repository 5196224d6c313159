"""What de-identification has changed in a file, attribute by attribute: for people to look at, and to count."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Literal, NamedTuple, TypeAlias

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from scp_anon.dicom.dictionary import keyword_of

Fate: TypeAlias = Literal["kept", "changed", "emptied", "removed", "added"]


class Difference(NamedTuple):
    """One attribute before and after; `path` names the sequences and items that it is in."""

    path: str
    tag: str
    keyword: str
    vr: str
    fate: Fate
    before: str
    after: str


def differences(before: bytes, after: bytes) -> Iterator[Difference]:
    """Every attribute of either of two DICOM files, in the order of tags. Raises what pydicom raises."""
    yield from _between(dcmread(BytesIO(before), force=True), dcmread(BytesIO(after), force=True), "")


def _between(before: Dataset, after: Dataset, path: str) -> Iterator[Difference]:
    # The result declares what a missing or misspelt character set of the original means.
    is_implicit, is_little_endian = before.original_encoding
    before.set_original_encoding(is_implicit, is_little_endian, after.original_character_set)
    for tag in sorted({*before.keys(), *after.keys()}):
        old, new = before.get(tag), after.get(tag)
        present = old if old is not None else new
        assert isinstance(present, DataElement)
        if old is None or new is None:
            fate: Fate = "removed" if new is None else "added"
        else:
            fate = "kept" if _shape(old) == _shape(new) else "changed" if _shape(new) else "emptied"
        number = int(tag)
        name = f"({number >> 16:04X},{number & 0xFFFF:04X})"
        yield Difference(path, name, keyword_of(number), str(present.VR), fate, _text(old), _text(new))
        if present.VR == "SQ" and old is not None and new is not None:
            for i, (first, second) in enumerate(zip(old.value, new.value, strict=False)):
                yield from _between(first, second, f"{path}{keyword_of(number)}[{i}]/")


def _shape(element: DataElement) -> object:
    return len(element.value) if element.VR == "SQ" else (element.value if element.value is not None else "")


def _text(element: DataElement | None) -> str:
    if element is None:
        return ""
    return f"{len(element.value)} item(s)" if element.VR == "SQ" else str(element.repval)
