"""Instances of a series are read faster once the engine has seen one: what it has seen has no influence on results."""

from __future__ import annotations

from functools import cache
from itertools import islice

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import Deidentifier, Undecodable
from scp_anon.deid.actions import Rule
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Rules
from scp_anon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntaxes
from tests import samples

FILLERS = {"CS": "FILLER", "DS": "1.5", "IS": "1", "LO": "filler", "SH": "filler", "US": 1, "FD": 1.5, "FL": 1.5}
SEEN, FRESH = (Deidentifier(samples.KEY, "", samples.PASS) for _ in range(2))


@cache
def instance() -> bytes:
    """An image with many attributes that pass, some of them in items, and many private ones."""
    ds = samples.image()
    item = Dataset()
    acquisition = (
        (tag, vr)
        for tag, (vr, vm, *_) in DicomDictionary.items()
        if 0x00180000 < tag < 0x00290000 and tag >> 16 != 0x0020 and vr in FILLERS and vm == "1"
    )
    for tag, vr in islice(acquisition, 150):
        for data_set in (ds, item):
            if tag not in data_set:
                data_set.add_new(tag, vr, FILLERS[vr])
    ds.SharedFunctionalGroupsSequence = Sequence([item, item])
    for group in (0x0019, 0x0029):
        block = ds.private_block(group, samples.CANARY, create=True)
        for i in range(100):
            block.add_new(i, "LO", f"{samples.CANARY} {i}")
    return samples.encoded(ds)


def result(engine: Deidentifier, file: bytes) -> bytes | str:
    """The result, or why there is none."""
    try:
        return engine.bytes(file)
    except Undecodable as undecodable:
        return str(undecodable)


def stretches(engine: Deidentifier) -> int:
    """How many stretches the engine remembers."""
    rules = engine.profile.rules
    return len(rules.passed) + len(rules.removed)


@st.composite
def variations(draw: st.DrawFn) -> bytes:
    """The instance with a few bytes changed, left out or repeated: in values, lengths, VRs or tags."""
    file = bytearray(instance())
    start = samples.data_set_start(bytes(file))
    for _ in range(draw(st.integers(1, 3))):
        pos = draw(st.integers(start, len(file) - 600))
        size = draw(st.sampled_from((0, 1, 2, 8, 12, 16)))
        how = draw(st.sampled_from(("change", "leave out", "repeat")))
        piece = file[pos : pos + size]
        if how == "change":
            file[pos] = draw(st.integers(0, 255))
        elif how == "leave out":
            del file[pos : pos + size]
        else:
            file[pos:pos] = piece
    return bytes(file)


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(variations())
def test_what_came_before_has_no_influence(file: bytes) -> None:
    """The result, or the refusal, is that of an engine that has seen nothing, whatever the other has seen."""
    SEEN.bytes(instance())
    FRESH.profile.rules.passed.clear()
    FRESH.profile.rules.removed.clear()
    assert result(SEEN, file) == result(FRESH, file)
    assert result(SEEN, instance()) == result(FRESH, instance())


def test_stretches_are_remembered() -> None:
    """They are used at all, for what passes and what is removed; and they are bounded, in size and number."""
    engine = Deidentifier(samples.KEY, "", samples.PASS)
    first = engine.bytes(instance())
    rules = engine.profile.rules
    assert len(rules.passed) > 5
    assert len(rules.removed) > 5
    known = stretches(engine)
    assert engine.bytes(instance()) == first
    assert stretches(engine) == known
    assert all(len(stretch.content) == stretch.size < 1024 for stretch in rules.passed.values())
    assert samples.CANARY.encode() not in b"".join(stretch.content for stretch in rules.passed.values())


def test_stretch_does_not_reach_past_an_item() -> None:
    """The same bytes may be the end of one item, and a part of a longer stretch elsewhere."""
    long = Dataset()
    for tag, (vr, vm, *_) in DicomDictionary.items():
        if 0x00180000 < tag < 0x00190000 and vr == "DS" and vm == "1":
            long.add_new(tag, "DS", "1.5")
    syntax = transfer_syntaxes()[EXPLICIT_VR_LITTLE_ENDIAN]
    tail = samples.encoded_data_set(long)
    rules: Rules[Rule] = Rules({}, {element.tag for element in long}, None, None)
    assert scan(tail, 0, len(tail), syntax, rules) == []
    assert rules.passed
    for stop in range(0, len(tail), 12):
        assert scan(tail, 0, stop, syntax, rules) == [], "ends with an element, whatever comes behind it"
