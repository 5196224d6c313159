"""Rules of a profile: every action, every kind of target, every condition; first match wins, nothing fails open."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from scp_anon import Attribute, Deidentifier, Reason, Undecodable, Verdict
from scp_anon.deid.identity import Identity
from scp_anon.links import Numbers
from tests import samples
from tests.profiles import codes, encoded_result, engine, result, write_csv

IDENTITY = Identity(samples.KEY, "project")


def after(rule: dict[str, Any], ds: Dataset | None = None, **content: Any) -> Dataset:
    """The sample, or another data set, under one rule."""
    return result(ds or samples.image(), engine(rules=[rule], **content))


# ---------------------------------------------------------------------- actions


def test_keep() -> None:
    """It stays, and the claim of the Basic Profile goes."""
    ds = after({"tag": "StudyDescription", "action": "keep"})
    assert ds.StudyDescription == f"study of {samples.CANARY}"
    assert codes(ds) == []


def test_keep_of_what_stays_anyway_is_no_news() -> None:
    """An attribute that the Basic Profile keeps weakens nothing: its claim stays."""
    ds = after({"tag": "SliceThickness", "action": "keep"})
    assert ds.SliceThickness == 5
    assert codes(ds) == ["113100"]


def test_remove_empty_dummy() -> None:
    """The three plain ones."""
    assert "Manufacturer" not in after({"tag": "Manufacturer", "action": "remove"})
    assert after({"tag": "Manufacturer", "action": "empty"}).Manufacturer == ""
    assert after({"tag": "Manufacturer", "action": "dummy"}).Manufacturer == "DEIDENTIFIED"
    assert codes(after({"tag": "Manufacturer", "action": "remove"})) == ["113100"]


def test_replace_with_placeholders() -> None:
    """The project, variables of the profile, and the patient's pseudonym."""
    value = "{project} at {site}"
    ds = after({"tag": "InstitutionName", "action": "replace", "value": value}, variables={"site": "Oslo"})
    assert ds.InstitutionName == "project at Oslo"
    ds = after({"tag": "PatientName", "action": "replace", "value": "P-{PatientID}-x"})
    assert ds.PatientName == f"P-{ds.PatientID}-x"


def test_create() -> None:
    """An attribute that is missing is added at the top level, once, and not in items."""
    rule = {"tag": "ClinicalTrialProtocolID", "action": "replace", "value": "{project}", "create": True}
    source = samples.image()
    source.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    assert after(rule, source).ClinicalTrialProtocolID == "project"
    assert "ClinicalTrialProtocolID" not in after(rule, source).SharedFunctionalGroupsSequence[0]
    source.ClinicalTrialProtocolID = "other"
    assert after(rule, source).ClinicalTrialProtocolID == "project"


def test_hash() -> None:
    """Letters and digits, the same for the same value, of the length that was asked for."""
    one = after({"tag": "AccessionNumber", "action": "hash"}).AccessionNumber
    assert one == IDENTITY.hash(f"{samples.CANARY}ACC", 16).decode()
    assert len(after({"tag": "AccessionNumber", "action": "hash", "length": 8}).AccessionNumber) == 8
    empty = samples.image()
    empty.AccessionNumber = ""
    assert after({"tag": "AccessionNumber", "action": "hash"}, empty).AccessionNumber == ""


def test_uid_and_pseudonym() -> None:
    """A UID that the profile keeps, and an ID of the patient's elsewhere."""
    source = samples.image()
    source.CodingSchemeUID = "1.2.3.4"
    assert (
        after({"tag": "CodingSchemeUID", "action": "uid"}, source).CodingSchemeUID == IDENTITY.uid(b"1.2.3.4").decode()
    )
    source.ClinicalTrialSubjectID = source.PatientID
    ds = after({"tag": "ClinicalTrialSubjectID", "action": "pseudonym"}, source)
    assert ds.ClinicalTrialSubjectID == ds.PatientID


def test_shift_date() -> None:
    """Without the option, by a rule: moved by the patient's days, and said so."""
    ds = after({"tag": "StudyDate", "action": "shift-date"}, dates={"days": 1})
    assert (ds.StudyDate, ds.SeriesNumber, ds.LongitudinalTemporalInformationModified) == ("20240301", 1, "MODIFIED")
    kept = after({"tag": "StudyDate", "action": "keep"})
    assert (kept.StudyDate, kept.LongitudinalTemporalInformationModified) == ("20240229", "UNMODIFIED")


def test_regex() -> None:
    """The first match, as the value says; without a match the instance goes nowhere."""
    rule = {"tag": "StudyDescription", "action": "regex", "pattern": "^(study) of", "value": r"a \1"}
    assert after(rule).StudyDescription == "a study"
    with pytest.raises(Undecodable) as raised:
        after({**rule, "pattern": "^nothing$", "value": "x"})
    assert raised.value.reason == Reason.RULE_NOT_APPLICABLE
    assert raised.value.detail == "(0008,1030)"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a 12 b 3"], ["a <12> b <3>"]),
        (["1", "none", "2 "], ["<1>", "none", "<2>"]),
        (["Ærø 1", "2 å"], ["Ærø <1>", "<2> å"]),
        (["none", "at all"], None),
        (["1" * 63], None),  # longer than its VR allows, then
    ],
)
def test_regex_of_all(values: list[str], expected: list[str] | None) -> None:
    """Every match in each value; where none of them has one, or it would be no value any more, it goes nowhere."""
    source = samples.image()
    source.SpecificCharacterSet = "ISO_IR 100"
    source.AdmittingDiagnosesDescription = values
    rule = {"tag": "AdmittingDiagnosesDescription", "action": "regex", "pattern": "[0-9]+", "value": r"<\g<0>>"}
    if expected is None:
        with pytest.raises(Undecodable):
            after({**rule, "all": True}, source)
        return
    made = after({**rule, "all": True}, source).AdmittingDiagnosesDescription
    assert (made if isinstance(made, str) else list(made)) == (expected if len(expected) > 1 else expected[0])


def test_regex_of_all_in_a_long_text() -> None:
    """A backslash separates no values there."""
    source = samples.image()
    source.PatientComments = "1\\ 2\r\n3 "
    rule = {"tag": "PatientComments", "action": "regex", "pattern": r"\d", "value": "x", "all": True}
    assert after(rule, source).PatientComments == "x\\ x\r\nx"


@pytest.mark.parametrize(("otherwise", "there"), [("remove", False), ("empty", True), ("dummy", True), ("keep", True)])
def test_otherwise(otherwise: str, there: bool) -> None:
    """What to do instead is said in so many words."""
    ds = after({"tag": "StudyDescription", "action": "regex", "pattern": "^x$", "value": "", "otherwise": otherwise})
    assert ("StudyDescription" in ds) == there


@pytest.mark.parametrize("action", ["regex", "lookup", "clean-text"])
def test_what_is_kept_after_all_is_not_claimed_to_be_clean(action: str, tmp_path: Path) -> None:
    """`otherwise: keep` keeps more than the Basic Profile does, and of a date says that it is the same."""
    table = write_csv(tmp_path / "t.csv", {"original": "x", "new": "y"})
    parameters = {"regex": {"pattern": "^x$", "value": ""}, "lookup": {"file": str(table)}, "clean-text": {}}[action]
    rule = {"tag": "StudyDescription", "action": action, **parameters, "otherwise": "keep"}
    source = samples.image()
    source.StudyDescription = "CANARY"
    ds = after(rule, source)
    assert (ds.StudyDescription, codes(ds)) == ("CANARY", [])
    if action != "clean-text":
        ds = after({**rule, "tag": "StudyDate"})
        assert (ds.StudyDate, ds.LongitudinalTemporalInformationModified) == ("20240229", "UNMODIFIED")


def test_lookup(tmp_path: Path) -> None:
    """What the table has; what it has not, goes nowhere."""
    path = write_csv(tmp_path / "t.csv", {"original": f"{samples.CANARY}ACC", "new": "NEW"})
    rule = {"tag": "AccessionNumber", "action": "lookup", "file": str(path)}
    assert after(rule).AccessionNumber == "NEW"
    source = samples.image()
    source.AccessionNumber = "unknown"
    with pytest.raises(Undecodable):
        after(rule, source)


@pytest.mark.parametrize(
    ("match", "value", "new"),
    [
        ("equals", "17", "A"),
        ("equals", "X17", None),
        ("word", "study 17, of two", "A"),
        ("word", "X17", None),
        ("word", "17 18", None),
        ("word", "17 A-1", "A"),
        ("contains", "X17/3", "A"),
        ("contains", "X118", "B"),
        ("contains", "X1718", None),
        ("contains", "X", None),
        ("contains", "17A-1", "A"),
    ],
)
def test_lookup_in_a_part(tmp_path: Path, match: str, value: str, new: str | None) -> None:
    """A number in a value, as a whole, as a word or anywhere: to one new value, or the instance goes nowhere."""
    rows = ({"original": original, "new": to} for original, to in (("17", "A"), ("18", "B"), ("A-1", "A")))
    rule = {"tag": "AccessionNumber", "action": "lookup", "file": str(write_csv(tmp_path / "t.csv", *rows))}
    source = samples.image()
    source.AccessionNumber = value
    if new is not None:
        assert after({**rule, "match": match}, source).AccessionNumber == new
        return
    with pytest.raises(Undecodable) as raised:
        after({**rule, "match": match}, source)
    assert (raised.value.reason, raised.value.detail) == (Reason.RULE_NOT_APPLICABLE, "(0008,0050)")


def test_clean_text() -> None:
    """As the option does, for any text."""
    source = samples.image()
    source.ManufacturerModelName = "CT CHEST for Mr Smith 01/02/2024"
    ds = after({"tag": "ManufacturerModelName", "action": "clean-text"}, source)
    assert ds.ManufacturerModelName == "CT CHEST"


# ---------------------------------------------------------------------- targets


def test_lookup_in_a_large_table() -> None:
    """Originals that are no words, such as A-17, are looked for one by one: in no more time than that needs."""
    numbers = Numbers({f"A-{number}": str(number) for number in range(50_000)}, "word")
    begin = time.monotonic()
    assert [numbers.find(f"study A-{number}, of two") for number in (1, 49_999, 50_000)] == ["1", "49999", None]
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("tag", ["Manufacturer", "(0008,0070)", "0008,0070", "(0008,007x)", "/Manufacturer"])
def test_names_of_a_tag(tag: str) -> None:
    """By keyword, by tag, by pattern, at the top level."""
    assert "Manufacturer" not in after({"tag": tag, "action": "remove"})


def test_paths() -> None:
    """Directly in a sequence, or only at the top."""
    source = samples.image()
    source.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    source.SharedFunctionalGroupsSequence[0].Manufacturer = "inner"
    ds = after({"tag": "SharedFunctionalGroupsSequence/Manufacturer", "action": "remove"}, source)
    assert "Manufacturer" in ds
    assert "Manufacturer" not in ds.SharedFunctionalGroupsSequence[0]
    ds = after({"tag": "/Manufacturer", "action": "remove"}, source)
    assert "Manufacturer" not in ds
    assert ds.SharedFunctionalGroupsSequence[0].Manufacturer == "inner"


def test_a_vr() -> None:
    """Every attribute of a VR, also those that the base keeps."""
    source = samples.image()
    source.ScheduledPerformingPhysicianName = "A^B"
    source.RTPlanLabel = "label"
    ds = after({"vr": "SH", "action": "empty"}, source)
    assert ds.RTPlanLabel == ds.AccessionNumber == ""


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_private_by_creator(syntax: str) -> None:
    """Wherever the block is, with its creator; nothing else private."""
    source = samples.image()
    for _ in range(2):
        block = source.private_block(0x0029, "MAKER A", create=True)
    block = source.private_block(0x0029, "MAKER B", create=True)
    block.add_new(0x10, "LO", "wanted")
    block.add_new(0x11, "LO", "unwanted")
    rule = {"private": "MAKER B", "group": "0029", "element": "10", "action": "keep"}
    ds = result(source, engine(rules=[rule]), syntax)
    private = {int(element.tag): element.value for element in ds if element.tag.is_private}
    assert set(private) == {0x00290011, 0x00291110}
    assert ds.private_block(0x0029, "MAKER B")[0x10].value in ("wanted", b"wanted")


def test_private_wildcards() -> None:
    """All of a creator, or all but what an earlier rule removes."""
    source = samples.image()
    block = source.private_block(0x0029, "MAKER B", create=True)
    block.add_new(0x10, "LO", "one")
    block.add_new(0x11, "LO", "two")
    rules = [{"private": "MAKER B", "element": "xx10", "action": "remove"}, {"private": "MAKER B", "action": "keep"}]
    ds = result(source, engine(rules=rules))
    assert {int(element.tag) for element in ds if element.tag.is_private} == {0x00290010, 0x00291011}


def test_items_inherit_no_private_block() -> None:
    """A block is reserved in its own data set only (PS3.5 7.8.1)."""
    source = samples.image()
    source.private_block(0x0029, "MAKER B", create=True).add_new(0x10, "LO", "one")
    inner = Dataset()
    inner.add_new(0x00291010, "LO", samples.CANARY)
    source.SharedFunctionalGroupsSequence = Sequence([inner])
    file = encoded_result(source, engine(rules=[{"private": "MAKER B", "action": "keep"}]))
    assert b"one" in file
    assert samples.CANARY.encode() not in file


# ---------------------------------------------------------------------- order and conditions


def test_first_match_wins() -> None:
    """Rules before options before base."""
    rules = [
        {"tag": "StudyDescription", "when": {"Modality": "MR"}, "action": "replace", "value": "MR"},
        {"tag": "StudyDescription", "when": {"Modality": "CT"}, "action": "replace", "value": "CT"},
        {"tag": "StudyDescription", "action": "replace", "value": "neither"},
    ]
    assert result(samples.image(), engine("clean-descriptors", rules=rules)).StudyDescription == "CT"
    other = samples.image()
    other.Modality = "PT"
    assert result(other, engine(rules=rules)).StudyDescription == "neither"


@pytest.mark.parametrize(
    ("when", "meets"),
    [
        ({"Modality": "CT"}, True),
        ({"Modality": {"equals": "MR"}}, False),
        ({"Modality": {"in": ["MR", "CT"]}}, True),
        ({"Modality": "CT", "Manufacturer": "Other"}, False),
        ({"ImageType": {"matches": "^AXI"}}, True),
        ({"ImageType": "DERIVED"}, False),
        ({"BodyPartExamined": {"exists": False}}, True),
        ({"PatientComments": {"exists": True}}, True),
        ({"SliceThickness": {"less": 6}}, True),
        ({"SliceThickness": {"greater": 5}}, False),
        ({"Columns": {"greater": 255, "less": 257}}, True),
        ({"Rows": 1}, True),
        ({"StudyInstanceUID": {"matches": r"^1\.2\.826\."}}, True),
        ({"any": [{"Modality": "MR"}, {"Manufacturer": "Maker"}]}, True),
        ({"all": [{"Modality": "CT"}, {"not": {"Manufacturer": "Maker"}}]}, False),
        ({"not": {"Modality": "CT"}}, False),
        ({"CallingAETitle": "SCANNER"}, True),
        ({"CalledAETitle": {"in": ["A", "B"]}}, False),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.1"}, True),
        ({"PatientName": {"matches": "PÄTIENT"}}, True),
    ],
)
def test_conditions(when: dict[str, object], meets: bool) -> None:
    """On attributes of the top level that are kept, removed or replaced; on what the node knows."""
    by = engine(rules=[{"tag": "Manufacturer", "when": when, "action": "empty"}])
    assert (result(samples.image(), by, CallingAETitle="SCANNER").Manufacturer == "") == meets


def test_conditions_do_not_change_what_they_look_at() -> None:
    """An attribute that a condition needs is kept, removed or replaced as ever."""
    rule = {"tag": "Manufacturer", "when": {"PatientComments": {"exists": True}, "Columns": 256}, "action": "empty"}
    plain = result(samples.image(), engine())
    ds = after(rule)
    plain.Manufacturer = ""
    del plain.DeidentificationMethod, ds.DeidentificationMethod
    assert ds == plain


def test_private_attributes_that_are_removed_leave_no_creator_behind() -> None:
    """It would be told of by `verify`, as it goes with the last attribute of its block; and it may be any text."""
    source = samples.image()
    block = source.private_block(0x0021, "OTHER", create=True)
    block.add_new(0x01, "LO", samples.CANARY)
    rules = [{"private": "OTHER", "group": "0021", "element": "01", "action": "remove"}]
    assert (0x0021, 0x0010) not in result(source, engine(rules=rules))
    declared = Dataset()
    declared.PrivateGroupReference, declared.PrivateCreatorReference = 0x0021, "OTHER"
    declared.BlockIdentifyingInformationStatus = "SAFE"
    source.PrivateDataElementCharacteristicsSequence = Sequence([declared])
    block.add_new(0x02, "DS", "1.5")
    ds = result(source, engine("retain-safe-private", rules=rules))
    assert [element.tag for element in ds if element.tag.group == 0x0021] == [0x00210010, 0x00211002]


# ---------------------------------------------------------------------- functions


def test_functions() -> None:
    """A function sees the attribute, at any depth, and says what becomes of it."""
    seen: list[Attribute] = []

    def describe(attribute: Attribute) -> str | Verdict:
        seen.append(attribute)
        return "described" if attribute.value else Verdict.REMOVE

    by = Deidentifier(samples.KEY, "project", "basic", {"StudyDescription": describe, "Rows": lambda _: b"\2\0"})
    ds = by.dataset(samples.image())
    assert ds.StudyDescription == "described"
    assert ds.Rows == 2
    (attribute,) = seen
    assert (attribute.keyword, attribute.vr, attribute.path) == ("StudyDescription", "LO", ())
    assert attribute.value == f"study of {samples.CANARY}"
    assert attribute.patient == ds.PatientID
    assert codes(ds) == []


def test_a_function_that_raises_lets_nothing_out() -> None:
    """What it raises, its caller sees; a node quarantines."""

    def fail(attribute: Attribute) -> str:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Deidentifier(samples.KEY, "project", "basic", {"StudyDescription": fail}).dataset(samples.image())
