"""What an option cleans is promised for all that it names: a rule that keeps more takes the claim away."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import Attribute, Deidentifier, Verdict
from scp_anon.deid.explain import explain
from scp_anon.deid.lint import load_profile, with_changes
from scp_anon.deid.profile import probe
from scp_anon.deid.recheck import changes
from scp_anon.dicom.part10 import read_file_meta
from tests import samples
from tests.profiles import codes, encoded_result, engine

DESCRIPTORS, CONTENT, GRAPHICS = "clean-descriptors", "clean-structured-content", "clean-graphics"
MODIFIED, SAFE, CHARACTERISTICS = (
    "retain-longitudinal-modified-dates",
    "retain-safe-private",
    "retain-patient-characteristics",
)
CODES = {
    DESCRIPTORS: "113105",
    CONTENT: "113104",
    GRAPHICS: "113103",
    MODIFIED: "113107",
    SAFE: "113111",
    CHARACTERISTICS: "113108",
}


def item(**values: object) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def source() -> Dataset:
    """A data set in which each of the options cleans more than one attribute."""
    ds = samples.image()
    ds.StudyDescription, ds.SeriesDescription, ds.PatientComments = "CT CHEST", "CHEST", "CT of Anna Berg"
    ds.Allergies, ds.PatientAge, ds.StudyDate, ds.StudyTime = "none", "042Y", "20200102", "101112"
    ds.TimezoneOffsetFromUTC = "+0100"
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "1.5")
    ds.private_block(0x0021, "OTHER", create=True).add_new(0x01, "LO", "whatever")
    local = item(CodeValue="L1", CodingSchemeDesignator="99OURS", CodeMeaning="Anna")
    ds.ReasonForRequestedProcedureCodeSequence = Sequence([local])
    ds.AcquisitionContextSequence = Sequence([item(ValueType="TEXT", TextValue="CT CHEST")])
    text = item(UnformattedTextValue="CT")
    ds.GraphicAnnotationSequence = Sequence([item(GraphicLayer="LAYER", TextObjectSequence=Sequence([text]))])
    ds.add_new(0x60003000, "OW", b"\0\0")
    ds.add_new(0x60000040, "CS", "R")
    ds.add_new(0x60000022, "LO", "anything")
    return ds


def remaining(by: Deidentifier, file: bytes) -> list[str]:
    """What `verify` would say of a file that it knows the profile of."""
    meta, start = read_file_meta(file)
    read = by.read(file, meta.transfer_syntax_uid, start)
    return [change.kind for change in changes(by, read, meta.transfer_syntax_uid)]


def claimed(option: str, *rules: dict[str, Any], ds: Dataset | None = None) -> bool:
    """Whether the option is claimed under these rules; the recheck of the result agrees."""
    by = engine(option, rules=list(rules))
    file = encoded_result(ds or source(), by)
    assert not set(remaining(by, file)) - {"present" if any("when" in rule for rule in rules) else ""}
    return CODES[option] in codes(dcmread(BytesIO(file)))


@pytest.mark.parametrize("option", CODES)
def test_an_option_is_claimed_without_rules_and_with_stricter_ones(option: str) -> None:
    """To remove, empty or replace is more than was promised."""
    assert claimed(option)
    stricter = (
        {"tag": "PatientComments", "action": "remove"},
        {"tag": "SeriesDescription", "action": "empty"},
        {"tag": "StudyDescription", "action": "replace", "value": "x"},
        {"tag": "Allergies", "action": "hash"},
        {"tag": "AcquisitionTime", "action": "remove"},
        {"tag": "(60xx,0022)", "action": "remove"},
        {"private": "OTHER", "action": "remove"},
    )
    assert claimed(option, *stricter)


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "a text kept": (DESCRIPTORS, {"tag": "PatientComments", "action": "keep"}),
    "by its VR": (DESCRIPTORS, {"vr": "LT", "action": "keep"}),
    "on a list": (DESCRIPTORS, {"tag": "SeriesDescription", "action": "keep", "values": ["chest"]}),
    "what a pattern leaves": (
        DESCRIPTORS,
        {"tag": "PatientComments", "action": "regex", "pattern": "(.+)", "value": "\\1"},
    ),
    "what cannot be changed": (
        DESCRIPTORS,
        {"tag": "PatientComments", "action": "regex", "pattern": "x{9}", "value": "", "otherwise": "keep"},
    ),
    "a local code's meaning": (DESCRIPTORS, {"tag": "CodeMeaning", "action": "keep"}),
    "by the rule behind": (
        DESCRIPTORS,
        {"tag": "SeriesDescription", "action": "keep", "values": ["chest"], "otherwise": "next"},
    ),
    "content items": (CONTENT, {"tag": "AcquisitionContextSequence", "action": "keep"}),
    "a text of an overlay": (GRAPHICS, {"tag": "(60xx,0022)", "action": "keep"}),
    "a text of an annotation": (GRAPHICS, {"tag": "UnformattedTextValue", "action": "keep"}),
    "a date": (MODIFIED, {"tag": "StudyDate", "action": "keep"}),
    "a private attribute": (SAFE, {"private": "OTHER", "action": "keep"}),
    "a text of characteristics": (CHARACTERISTICS, {"tag": "Allergies", "action": "keep"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_option_is_not_claimed_where_a_rule_keeps_more(case: str) -> None:
    """Although all the rest was cleaned; and only in instances that have such an attribute."""
    option, rule = BROKEN[case]
    assert not claimed(option, rule)
    assert claimed(option, {**rule, "when": {"Modality": "XX"}})


def test_all_private_attributes_kept() -> None:
    """As `--keep-private` has it."""
    assert not claimed(SAFE, {"private": "*", "action": "keep"})


def test_only_in_instances_that_have_it() -> None:
    """A rule that has found nothing has kept nothing; so has one whose list the value is not on."""
    ds = source()
    del ds.PatientComments
    assert claimed(DESCRIPTORS, {"tag": "PatientComments", "action": "keep"}, ds=ds)
    for otherwise in ("remove", "next"):
        rule = {"tag": "SeriesDescription", "action": "keep", "values": ["head"], "otherwise": otherwise}
        assert claimed(DESCRIPTORS, rule)


HELD: dict[str, tuple[str, dict[str, Any]]] = {
    "the same cleaning": (DESCRIPTORS, {"tag": "PatientComments", "action": "clean-text", "otherwise": "empty"}),
    "the same days": (MODIFIED, {"tag": "StudyDate", "action": "shift-date"}),
    "a time of day": (MODIFIED, {"tag": "StudyTime", "action": "keep"}),
    "a time zone": (MODIFIED, {"tag": "TimezoneOffsetFromUTC", "action": "keep"}),
    "a sequence, whose items are ruled on": (
        DESCRIPTORS,
        {"tag": "ReasonForRequestedProcedureCodeSequence", "action": "keep"},
    ),
    "nothing of the option": (DESCRIPTORS, {"tag": "InstitutionName", "action": "keep"}),
    "nothing of any": (DESCRIPTORS, {"tag": "SliceThickness", "action": "keep"}),
}


@pytest.mark.parametrize("case", HELD)
def test_a_rule_that_does_as_the_option_does_breaks_nothing(case: str) -> None:
    """The claim stays."""
    assert claimed(*HELD[case])


def test_what_is_no_time_is_more_than_the_option_keeps() -> None:
    """The option keeps times of day, and no text in their place."""
    ds = source()
    ds["StudyTime"]._value = "Anna Berg"
    assert claimed(MODIFIED, ds=ds)
    assert not claimed(MODIFIED, {"tag": "StudyTime", "action": "keep"}, ds=ds)


@pytest.mark.parametrize("option", [DESCRIPTORS, GRAPHICS])
def test_the_profile_mmiv_keeps_texts(option: str) -> None:
    """Its Patient Comments stay as they are, so that Clean Descriptors is not claimed; it has no rule for graphics."""
    by = Deidentifier(samples.KEY, "project", with_changes(load_profile("mmiv"), [option], "pass"))
    file = encoded_result(source(), by)
    assert dcmread(BytesIO(file)).PatientComments == source().PatientComments
    assert (CODES[option] in codes(dcmread(BytesIO(file)))) == (option == GRAPHICS)
    assert "not-claimed" not in remaining(by, file)


def said(verdict: Verdict | str) -> Callable[[Attribute], str | bytes | Verdict]:
    """A function that always says the same."""
    return lambda attribute: verdict


@pytest.mark.parametrize(("verdict", "expected"), [(Verdict.KEEP, False), ("text", False), (Verdict.REMOVE, True)])
def test_functions_of_the_caller(verdict: Verdict | str, expected: bool) -> None:
    """Nobody knows what they have left of the original, unless they say that nothing is."""
    profile = {"options": [DESCRIPTORS], "pixels": "pass"}
    by = Deidentifier(samples.KEY, "project", profile, rules={"PatientComments": said(verdict)})
    assert (CODES[DESCRIPTORS] in codes(dcmread(BytesIO(encoded_result(source(), by))))) is expected


def test_explain_tells_of_it(tmp_path: Path) -> None:
    """By the option; and says nothing of a rule that breaks none."""
    rules = [{"tag": "PatientComments", "action": "keep"}, {"tag": "Allergies", "action": "remove"}]
    profile = probe(load_profile({"options": [DESCRIPTORS, GRAPHICS], "rules": rules}))
    told = explain(profile, "PatientComments")
    assert told == [
        "(0010,4000) PatientComments LT: kept; rule 1; may keep more than clean-descriptors, which is not claimed then"
    ]
    assert explain(profile, "Allergies") == ["(0010,2110) Allergies LO: removed; rule 2"]
