"""Private attributes that rules give a value: written under their own tag, where they are and where they are not."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon import Deidentifier
from scp_anon.deid import load_profile
from scp_anon.errors import ConfigError
from tests import samples
from tests.samples import CANARY, KEY

CTP = {"private": "CTP", "group": "0013", "vr": "LO", "action": "replace", "create": True}
BLOCK = [{**CTP, "element": "10", "value": "{project}"}, {**CTP, "element": "xx12", "value": "{site}"}]


def private(ds: Dataset, *rules: dict[str, Any], syntax: str = ExplicitVRLittleEndian, **settings: Any) -> Dataset:
    """The private attributes of a result."""
    engine = Deidentifier(KEY, "trial", {"rules": list(rules), "variables": {"site": "Oslo"}, **settings})
    result = dcmread(BytesIO(engine.bytes(samples.encoded(ds, syntax))))
    assert min(element.tag for element in result) >= 0x00080000
    return Dataset({element.tag: element for element in result if element.tag.is_private})


@pytest.mark.parametrize("action", [{"action": "replace", "value": "{project}"}, {"action": "empty"}])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_replaced_where_it_is(action: dict[str, str], syntax: str) -> None:
    """The new value has the tag of the old one."""
    rule = {"private": "CANARY MAKER", "group": "0009", "element": "01", "vr": "LO", **action}
    found = private(samples.image(), rule, syntax=syntax)
    assert {int(element.tag) for element in found} == {0x00090010, 0x00091001}
    assert found[0x00091001].value in (action.get("value", "").format(project="trial"), b"trial ", b"", None)


def test_otherwise_where_it_is() -> None:
    """What is done instead has the tag as well."""
    rule = {"private": "CANARY MAKER", "group": "0009", "element": "01", "vr": "DA"}
    found = private(samples.image(), {**rule, "action": "shift-date", "otherwise": "empty"})
    assert found[0x00091001].value in ("", None)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("others", [{}, {"options": ["retain-safe-private"]}])
def test_block_is_written(syntax: str, others: dict[str, Any]) -> None:
    """With its creator, at the top level, whatever was there, and with nothing else in the group."""
    plain = samples.image()
    there = samples.image()
    block = there.private_block(0x0013, "CTP", create=True)
    for offset in (0x10, 0x11, 0x12):
        block.add_new(offset, "LO", CANARY)
    foreign = samples.image()
    foreign.private_block(0x0013, "OTHER", create=True).add_new(0x10, "LO", CANARY)
    foreign.private_block(0x0013, "CTP", create=True).add_new(0x10, "LO", CANARY)
    nested = samples.image()
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.private_block(0x0013, "CTP", create=True).add_new(0x10, "LO", CANARY)
    nested.ReferencedSeriesSequence = Sequence([item])
    for ds in (plain, there, foreign, nested):
        keep = {"private": "*", "action": "keep"}
        for rules in (BLOCK, [*BLOCK, keep]):
            engine = Deidentifier(KEY, "trial", {"rules": rules, "variables": {"site": "Oslo"}, **others})
            result = dcmread(BytesIO(engine.bytes(samples.encoded(ds, syntax))))
            group = {int(each.tag): each.value for each in result.group_dataset(0x0013)}
            values = {
                tag: value.decode().strip() if isinstance(value, bytes) else value for tag, value in group.items()
            }
            assert values == {0x00130010: "CTP", 0x00131010: "trial", 0x00131012: "Oslo"}
            assert all(
                element.tag.group != 0x0013 for inner in result.get("ReferencedSeriesSequence", ()) for element in inner
            )
            assert ("ReferencedSeriesSequence" in result) == (ds is nested)
            assert (0x00090010 in result) == (keep in rules)


def test_all_private() -> None:
    """`*` is every creator: all of their blocks stay, but nothing that has none."""
    ds = samples.image()
    ds.add_new(0x00111001, "LO", "stray")
    found = private(ds, {"private": "*", "action": "keep"})
    assert {int(element.tag) for element in found} == {0x00090010, 0x00091001, 0x00091002}
    assert CANARY in found[0x00091001].value
    assert "PatientName" not in found[0x00091002].value[0]
    one = private(
        ds, {"private": "*", "action": "keep"}, {"private": "CANARY MAKER", "element": "01", "action": "remove"}
    )
    assert 0x00091001 not in one


@pytest.mark.parametrize(
    "rule",
    [
        {**CTP, "element": "10", "action": "empty"},
        {**CTP, "value": "x"},
        {**CTP, "element": "10", "value": "x", "group": None},
        {**CTP, "element": "10", "value": "x", "when": {"Modality": "CT"}},
        {**CTP, "element": "10", "value": "x", "private": "OTHER"},
        {**CTP, "element": "12", "value": "x"},
        {**CTP, "element": "10", "value": "x", "private": "*", "group": "0015"},
    ],
)
def test_what_cannot_be_written(rule: dict[str, Any]) -> None:
    """A block is one creator's, and each element has one value for all."""
    with pytest.raises(ConfigError, match=r"rules\.2"):
        load_profile({"rules": [*BLOCK, rule], "variables": {"site": "x"}})
