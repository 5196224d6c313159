"""The rules of earlier tools in our language: exactly these rules, and a note for everything else."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scp_anon import ConfigError, Deidentifier
from scp_anon.deid import load_profile
from scp_anon.deid.explain import plain_actions
from scp_anon.deid.profile import probe
from scp_anon.exchange import KINDS, export_mmiv, import_rules, regex_tag_change, tag_change
from tests import samples
from tests.exchange import (
    DATA,
    FILES,
    META,
    OURS,
    PRIVATE,
    PSEUDONYM,
    SHIFT,
    imported,
    of,
    rules_of,
    told,
    without_rules,
)
from tests.profiles import result as result_of

NO_ROW = "must have 4 to 6 texts: group and element in hexadecimal digits, name, action, flag, createIfMissing"
SECOND_OF_CTP = '<e en="T" t="00081010" n="b">@remove()</e></script>'


# ---------------------------------------------------------------- mmiv


def test_mmiv_rules() -> None:
    """Each action of a rules.json, and nothing for what our language does not have."""
    result = imported("mmiv")
    assert without_rules(result) == {"base": "basic", "variables": {"event": "", "site": ""}}
    rules = rules_of(result)
    assert rules == [
        {"tag": "StudyDate", **SHIFT},
        {"tag": "AcquisitionDateTime", **SHIFT},
        {"tag": "StudyTime", "action": "keep"},
        {"tag": "AccessionNumber", "action": "hash"},
        {"tag": "InstitutionName", "action": "replace", "value": "{project}", "create": True},
        {
            "tag": "StudyDescription",
            "action": "regex",
            "pattern": r"^(\w+) .* (\d+)",
            "value": r"\1 \2",
            "otherwise": "empty",
        },
        {"tag": "SeriesDescription", "action": "keep"},
        {"tag": "StationName", "action": "replace", "value": "Scanner number o"},
        {"tag": "NameOfPhysiciansReadingStudy", "action": "remove"},
        {"tag": "SOPInstanceUID", "action": "uid"},
        {"tag": "FailedSOPInstanceUIDList", "action": "uid"},
        {"tag": "PatientBirthDate", "action": "empty"},
        {"tag": "PatientComments", "action": "replace", "value": "in {{braces}}"},
        {"tag": "ClinicalTrialSiteName", "action": "replace", "value": "{site}"},
        {"tag": "ClinicalTrialSubjectID", "action": "replace", "value": "{PatientID}", "create": True},
        {"tag": "ClinicalTrialTimePointID", "action": "replace", "value": "{event}", "create": True},
        {"tag": "BodyPartExamined", "action": "keep", "terms": "body-part-examined", "otherwise": "next"},
        {"tag": "BodyPartExamined", "action": "replace", "value": "BODYPART"},
        {"tag": "RadiopharmaceuticalInformationSequence", "action": "keep"},
        {"tag": "PerformedProcedureStepStartDate", **SHIFT},
        {
            "private": "CTP",
            "group": "0013",
            "element": "10",
            "vr": "LO",
            "action": "replace",
            "value": "{project}",
        },
        {"private": "MITRA OBJECT UTF8 ATTRIBUTES 1.0", "group": "0033", "element": "13", "action": "remove"},
        {"private": "SIEMENS MED PT", "group": "0071", "element": "22", "vr": "DT", **SHIFT},
    ]


@pytest.mark.parametrize("action", ["remove", "empty"])
def test_mmiv_sequences(action: str, tmp_path: Path) -> None:
    """Never removed there, nor with us by such a row: an IOD may need them. One that is kept is told so."""
    result = of("mmiv", f'[["0040","a730","ContentSequence","{action}"],["0008","1110","b","keep"]]', tmp_path)
    assert rules_of(result) == [{"tag": "ReferencedStudySequence", "action": "keep"}]
    assert any(note.startswith("row 1 ContentSequence: mmiv does not remove") for note in result.notes)
    tag_changed = tag_change(f"0040,a730={action}")
    assert tag_changed["action"] == action, "what is asked for on our own command line is done"


def test_mmiv_sequences_come_back_as_they_were(tmp_path: Path) -> None:
    """What `export` writes of sequences the Basic Profile decides of when it is imported again."""
    profile = probe(load_profile("mmiv"))
    text, _ = export_mmiv(plain_actions(profile))
    back = {rule["tag"]: rule["action"] for rule in rules_of(of("mmiv", text, tmp_path)) if "tag" in rule}
    assert not [tag for tag in ("ContentSequence", "RequestAttributesSequence") if tag in back]
    assert (back["PatientComments"], back["ContentDate"]) == ("keep", "shift-date")
    assert (back["StudyDate"], back["InstitutionName"]) == ("shift-date", "replace")


def test_mmiv_notes() -> None:
    """Everything that means something else, and everything that could not be translated, with its row."""
    assert imported("mmiv").notes == (
        "all: what has no row is left as it is by mmiv; with us the Basic Profile holds for it",
        "row 1 StudyDate, row 3 StudyTime, row 6 StudyDescription: where the attribute is missing it is not added: "
        "only a new value can be",
        "row 6 StudyDescription: no match: mmiv writes a text of its own; with us the value is emptied",
        "row 8 StationName: cut to what its VR can hold, as mmiv does",
        "row 11 FailedSOPInstanceUIDList: mmiv hashes without the project; with us UIDs are keyed by project",
        "row 12 RequestAttributesSequence: mmiv does not remove or empty a sequence but cleans its items; with us the "
        "rule is left out, and the Basic Profile holds for it",
        "row 13 PatientName, row 14 PatientID: -p is not among the rules; with us patients have the pseudonyms that "
        "patients: says",
        f"row 20 PatientIdentityRemoved: {OURS}",
        "row 24: the tag is in row 23 already, and the first one counts",
        "row 25 ProjectName: a private attribute that is missing is not added",
        "row 26 BlockOwner: a private creator: with us it stays where an attribute of its block does",
        f"row 29 Unknown, row 32 Nothing: {PRIVATE}",
        "row 30 ProcedureCodeSequence: hash: not possible with us for a value of VR SQ",
        "row 31 InstitutionalDepartmentName: regexp: has no group, and what is in the groups is the new value",
        f"row 33 SourceApplicationEntityTitle: {META}",
        "row 34 Nothing: no attribute of the dictionary: with us it is removed in any case",
        "row 35 PatientSex: replace: the value is none of VR CS",
        "hash, hashuid: new UIDs and hashes are keyed with us, and differ; uids: {scheme: mmiv} makes those that mmiv "
        "made",
        "incrementdate: -d (42 where it was not given) is not among the rules; dates: {days: N} says it, else each "
        "patient has an offset",
        "variables.event: -e is not among the rules: give it here",
        "variables.site: -s is not among the rules: give it here",
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0008,1030=Trial", {"tag": "StudyDescription", "action": "replace", "value": "Trial", "create": True}),
        ("0018,0022=FAST", {"tag": "ScanOptions", "action": "replace", "value": "FAST"}),
        ("0008,1030=keep", {"tag": "StudyDescription", "action": "keep"}),
        ("0008,1030=", {"tag": "StudyDescription", "action": "empty", "create": True}),
        ("0008,1030=hash", {"tag": "StudyDescription", "action": "hash", "create": True}),
        ("0018,1030=remove", {"tag": "ProtocolName", "action": "remove"}),
        ("0008,0022=incrementdate", {"tag": "AcquisitionDate", **SHIFT}),
        ("0040,A124=hashuid", {"tag": "UID", "action": "uid"}),
        ("0008,1010=SITENAME", {"tag": "StationName", "action": "replace", "value": "{site}"}),
        (
            "0012,0021=PROJECTNAME",
            {"tag": "ClinicalTrialProtocolName", "action": "replace", "value": "{project}", "create": True},
        ),
    ],
)
def test_tag_change(text: str, rule: dict[str, object]) -> None:
    """--tagchange is one rule; only what mmiv's own table has is added where it is missing."""
    if text.startswith("0008,1010"):
        rule = {**rule, "create": True}
    assert tag_change(text) == rule


def test_regex_tag_change() -> None:
    """--regtagchange: as many groups as there are, a blank between them."""
    assert regex_tag_change(r"0008,1030=(a+)-(b+)=(c)") == {
        "tag": "StudyDescription",
        "action": "regex",
        "pattern": "(a+)-(b+)=(c)",
        "value": r"\1 \2 \3",
        "otherwise": "empty",
    }
    assert regex_tag_change("0008,1030=(?i)(x)")["pattern"] == "(?i:(x))"


@pytest.mark.parametrize(
    "text",
    [
        *("", "0008,1030", "8,1030=x", "0008,103g=x", "0010,0010=x", "0010,0020=hash", "0013,1010=x", "0002,0010=x"),
        *(
            "0018,0015=BODYPART",
            "0028,0010=x",
            "0008,9999=keep",
            "0008,0020=hashuid",
            "0008,1030=a\x00b",
            "0012,0062=NO",
        ),
    ],
)
def test_tag_change_refuses(text: str) -> None:
    """What is no such option, or cannot be one rule of ours."""
    with pytest.raises(ConfigError, match="--tag-change"):
        tag_change(text)


@pytest.mark.parametrize("text", ["0008,1030=a", "0008,1030=(", "0008,1030=[[:alpha:]](a)", "0028,0010=(1)", "(a)"])
def test_regex_tag_change_refuses(text: str) -> None:
    """No group, no regular expression of ours, or no attribute for it."""
    with pytest.raises(ConfigError, match="--regex-change"):
        regex_tag_change(text)


def test_mmiv_private_value_of_another_vr(tmp_path: Path) -> None:
    """What could be no value of the attribute is noted: a profile with it would be refused."""
    result = of("mmiv", '[["0071","1022","DateTime","soon"],["0013","1010","x","soon"]]', tmp_path)
    assert [rule["private"] for rule in rules_of(result)] == ["CTP"]
    assert told(result, "row 1 DateTime: replace: the value is none of VR DT")


def test_export_mmiv() -> None:
    """Rows for what mmiv can be told; the rest is emptied there, and noted."""
    text, notes = export_mmiv(
        [
            (0x00080020, "StudyDate", "shift-date"),
            (0x0008002A, "AcquisitionDateTime", "shift-date"),
            (0x00080030, "StudyTime", "shift-date"),
            (0x00080018, "SOPInstanceUID", "uid"),
            (0x00080050, "AccessionNumber", "hash"),
            (0x00080080, "InstitutionName", "replace:{project}"),
            (0x00080081, "InstitutionAddress", "remove"),
            (0x00081030, "StudyDescription", "replace:of {project}"),
            (0x0008103E, "SeriesDescription", "replace:{{a}}"),
            (0x00081040, "InstitutionalDepartmentName", "replace:keep"),
            (0x00081010, "StationName", "dummy"),
            (0x00100020, "PatientID", "pseudonym"),
            (0x00291010, "(0029,1010)", "keep"),
        ]
    )
    assert json.loads(text) == [
        ["0008", "0020", "StudyDate", "incrementdate"],
        ["0008", "002a", "AcquisitionDateTime", "incrementdatetime"],
        ["0008", "0030", "StudyTime", "keep"],
        ["0008", "0018", "SOPInstanceUID", "hashuid+PROJECTNAME"],
        ["0008", "0050", "AccessionNumber", "hash"],
        ["0008", "0080", "InstitutionName", "ProjectName"],
        ["0008", "0081", "InstitutionAddress", "remove"],
        ["0008", "1030", "StudyDescription", "empty"],
        ["0008", "103e", "SeriesDescription", "{a}"],
        ["0008", "1040", "InstitutionalDepartmentName", "empty"],
        ["0008", "1010", "StationName", "empty"],
        ["0010", "0020", "PatientID", "Re-Mapped"],
    ]
    assert notes == (
        "all: what has no row is left as it is by mmiv",
        "uid, hash: mmiv makes them without a key",
        "StudyDescription: replace: mmiv has no placeholders within a value; exported as empty",
        "InstitutionalDepartmentName: replace: to mmiv this value is an action, or too long; exported as empty",
        "StationName: dummy: mmiv has no such action; exported as empty",
        "PatientID: mmiv always writes what -p says",
        "(0029,1010): private: mmiv cannot be told its creator, and leaves it as it is",
        "remove: mmiv of 2024-03-22 and later leaves attributes that it should remove, and all sequences",
    )
    assert export_mmiv([])[0] == "[]\n"


def test_export_and_import_agree(tmp_path: Path) -> None:
    """What mmiv can be told comes back as it was."""
    rules = [
        (0x00080020, "StudyDate", "shift-date"),
        (0x00080018, "SOPInstanceUID", "uid"),
        (0x00080050, "AccessionNumber", "hash"),
        (0x00080080, "InstitutionName", "replace:{project}"),
        (0x00081010, "StationName", "replace:{siteid}"),
        (0x00081030, "StudyDescription", "replace:{{Trial}} of 2020"),
        (0x00120040, "ClinicalTrialSubjectID", "replace:{PatientID}"),
        (0x0008103E, "SeriesDescription", "keep"),
        (0x00081040, "InstitutionalDepartmentName", "remove"),
        (0x00100030, "PatientBirthDate", "empty"),
    ]
    for as_csv in (False, True):
        back = rules_of(of("mmiv", export_mmiv(rules, as_csv)[0], tmp_path))
        found = [(rule["tag"], f"replace:{rule['value']}" if "value" in rule else rule["action"]) for rule in back]
        assert found == [(keyword, action) for _, keyword, action in rules]


def test_mmiv_csv(tmp_path: Path) -> None:
    """A row a line: quoted or not, with four or six columns, as a spreadsheet has left it, or with a comma in it."""
    result = of(
        "mmiv",
        "0008,0050,AccessionNumber,hash\r\n"
        '"0008", "1030","StudyDescription","(CT), (\\w+)","regexp","createIfMissing"\n\n'
        "8,1010,StationName,keep,,\n"
        "0008,0080,InstitutionName,PROJECTNAME,,createIfMissing,\n",
        tmp_path,
    )
    assert rules_of(result) == [
        {"tag": "AccessionNumber", "action": "hash"},
        {
            "tag": "StudyDescription",
            "action": "regex",
            "pattern": r"(CT), (\w+)",
            "value": r"\1 \2",
            "otherwise": "empty",
        },
        {"tag": "StationName", "action": "keep"},
        {"tag": "InstitutionName", "action": "replace", "value": "{project}", "create": True},
    ]


@pytest.mark.parametrize(
    "line",
    [
        *("0008", "0008,1030,a,b,c,d,e", '0008,1030,a,"b', "0008,x,a,b", "Group,Element,Name,Action", "0008;1030;a;b"),
        *('[["0008","1030","a","b"]]', "'0008,1030,a,b", "00081,1030,a,b"),
    ],
)
def test_lines_that_are_no_rows(line: str, tmp_path: Path) -> None:
    """They are told by their numbers, and the others hold; a file without any other is no table of rules."""
    result = of("mmiv", f"0008,1010,StationName,keep\n{line}\n0008,0080,InstitutionName,keep\n", tmp_path)
    assert [rule["tag"] for rule in rules_of(result)] == ["StationName", "InstitutionName"]
    assert told(result, "line 2: must have 4 to 6 texts")
    with pytest.raises(ConfigError, match=r"(line|row) 1: must have 4 to 6 texts"):
        of("mmiv", line.replace('"0008"', '"x"'), tmp_path)


# ---------------------------------------------------------------- kitware


def test_kitware_rules() -> None:
    """Each action of a dictionary; patterns last, the narrower ones first."""
    result = imported("kitware")
    assert without_rules(result) == {"base": "basic"}
    assert rules_of(result) == [
        {"tag": "/StudyDate", "action": "keep", "when": {"not": {"StudyDate": {"matches": "0701$"}}}},
        {
            "tag": "/StudyDate",
            "action": "regex",
            "pattern": "0701$",
            "value": "0000",
            "all": True,
        },
        {
            "tag": "/StudyDescription",
            "action": "keep",
            "when": {"not": {"StudyDescription": {"matches": "^([A-Z]+) .*$"}}},
        },
        {"tag": "/StudyDescription", "action": "regex", "pattern": "^([A-Z]+) .*$", "value": r"\1", "all": True},
        {"tag": "/SeriesDescription", "action": "keep", "when": {"not": {"SeriesDescription": {"matches": "(a)(b)"}}}},
        {"tag": "/SeriesDescription", "action": "regex", "pattern": "(a)(b)", "value": r"\2", "all": True},
        {"tag": "AccessionNumber", "action": "dummy"},
        {"tag": "InstitutionName", "action": "remove"},
        {"tag": "InstitutionAddress", "action": "dummy"},
        {"tag": "ReferencedPerformedProcedureStepSequence", "action": "empty"},
        {"tag": "ReferencedImageSequence", "action": "empty"},
        {"tag": "TransactionUID", "action": "uid"},
        {"tag": "SeriesDate", "action": "remove"},
        {"tag": "StudyTime", "action": "empty"},
        {"tag": "PatientName", "action": "replace", "value": "{PatientID}"},
        {"tag": "PatientID", "action": "keep"},
        {"tag": "PatientBirthDate", "action": "empty"},
        {"tag": "PatientComments", "action": "replace", "value": "none"},
        {"tag": "Occupation", "action": "empty"},
        {"tag": "StudyInstanceUID", "action": "uid"},
        {"tag": "(6000,3000)", "action": "remove"},
        {"tag": "(60xx,3000)", "action": "keep"},
        {"tag": "(60xx,xxxx)", "action": "remove"},
    ]


def test_kitware_notes() -> None:
    """What differs, and what is missing."""
    assert imported("kitware").notes == (
        "all: what has no rule falls under its own tables of PS3.15, or is left as it is; with us the Basic Profile "
        "holds",
        "all: only the top level is looked at there; with us a rule holds at every depth of sequences",
        "StudyDate, StudyDescription, SeriesDescription: regexp: at the top level only, as there; the values of one "
        "attribute each by itself",
        "ReferencedPerformedProcedureStepSequence: a sequence has no dummy with us: it is emptied",
        "SeriesDate: delete: a date becomes 00010101 there; with us it goes",
        "StudyTime, PatientBirthDate: empty: dates and numbers have a dummy value there; with us they are emptied",
        "PatientName: one value for all patients there; with us each has a pseudonym, as patients: says",
        "PatientAge: replace: the value is none of VR AS",
        "StudyID: uid: not possible with us for a value of VR SH",
        f"MediaStorageSOPInstanceUID: {META}",
        f"(0029,1010): {PRIVATE}",
        "(6000,3000): regex: not possible with us for a value of VR OB",
        "(6000,3000): remove, where no other rule holds, although all of its group is kept",
    )


def test_kitware_extra() -> None:
    """The fork's form: action, and list of tags."""
    result = imported("kitware-extra")
    assert rules_of(result) == [
        {"tag": "InstanceCreationDate", "action": "remove"},
        {"tag": "InstanceCreationTime", "action": "keep"},
        {"tag": "DateOfSecondaryCapture", "action": "remove"},
        {"tag": "ContentSequence", "action": "remove"},
        {"tag": "ProtocolName", "action": "keep"},
        {"tag": "DeviceSerialNumber", "action": "dummy"},
    ]
    assert told(result, "InstanceCreationTime: is there twice, and the last one counts")
    assert told(result, "ContentSequence: delete: the fork leaves a sequence")


def test_kitware_patterns_keep_nothing_that_is_open(tmp_path: Path) -> None:
    """A narrower pattern that we have no rule for is not undone by a wider one."""
    text = json.dumps(
        {
            "(0x6000, 0x3000, 0xFF00, 0xFFFF)": {"action": "replace_with_value", "value": "x"},
            "(0x6000, 0x0000, 0xFF00, 0x0000)": "keep",
        }
    )
    assert rules_of(of("kitware", text, tmp_path)) == [
        {"tag": "(60xx,3000)", "action": "remove"},
        {"tag": "(60xx,xxxx)", "action": "keep"},
    ]


@pytest.mark.parametrize(
    ("find", "replacement", "value"),
    [
        ("0701$", "0000", "20200701"),
        ("b+", "-", "abbbc and b"),
        ("(?i)smith|jones", "X", "to Smith and Jones."),
        (r"\d", "n", "a1b2"),
        ("(a)(b)?", r"\2-\g<1>", "a ab"),
        ("x*", "y", "axxb"),
        ("^(a)$", r"\g<0>\1", "a"),
        ("none", "X", "others"),
    ],
)
def test_kitware_regexp_replaces_the_same(find: str, replacement: str, value: str, tmp_path: Path) -> None:
    """Every match, in each value, as Python's re.sub does there; also where one value has none."""
    rule = {"action": "regexp", "find": find, "replace": replacement}
    profile = of("kitware", json.dumps({"(0x0008,0x1030)": rule, "(0x0008,0x1060)": rule}), tmp_path).profile
    source = samples.image()
    source.StudyDescription = value
    # A multi-valued one of the other values, some without a match.
    source.NameOfPhysiciansReadingStudy = [value, "zzz", value]
    made = result_of(source, Deidentifier(samples.KEY, "project", {**profile, "pixels": "pass"}))
    assert made.StudyDescription == re.sub(find, replacement, value)
    expected = [re.sub(find, replacement, each) for each in (value, "zzz", value)]
    assert [str(name) for name in made.NameOfPhysiciansReadingStudy] == expected


@pytest.mark.parametrize(
    ("find", "replacement"), [("(", "x"), ("^(a)$", r"\2"), ("a", r"\q"), ("[[a]", "b"), ("(a+)+$", "x")]
)
def test_kitware_regexp_that_differs_is_noted(find: str, replacement: str, tmp_path: Path) -> None:
    """Groups that there are not, what is no expression, and what could take for ever."""
    rule = {"action": "regexp", "find": find, "replace": replacement}
    result = of("kitware", json.dumps({"(0x0008,0x1030)": rule, "(0x0008,0x0080)": "keep"}), tmp_path)
    assert rules_of(result) == [{"tag": "InstitutionName", "action": "keep"}]
    assert told(result, "StudyDescription: regexp: is no regular expression with us, could take for ever")


# ---------------------------------------------------------------- dicom-anon


def test_dicom_anon_spec() -> None:
    """The first letter of the basic profile's column; sequences always go."""
    result = imported("dicom-anon")
    assert without_rules(result) == {"base": "basic"}
    assert rules_of(result) == [
        {"tag": "AccessionNumber", "action": "dummy"},
        {"tag": "AcquisitionDate", "action": "remove"},
        *PSEUDONYM,
        {"tag": "ContentDate", "action": "dummy"},
        {"tag": "StudyDescription", "action": "remove"},
        {"tag": "ProtocolName", "action": "replace", "value": "REDACTED"},
        {"tag": "PatientAge", "action": "dummy"},
        {"tag": "StudyInstanceUID", "action": "uid"},
        {"tag": "ReferencedImageSequence", "action": "remove"},
        {"tag": "VerifyingObserverSequence", "action": "remove"},
        {"tag": "ImageType", "action": "remove"},
        {"tag": "(60xx,3000)", "action": "remove"},
    ]
    assert result.notes == (
        "all: what is not in the file is removed there if it is text, else kept; with us the Basic Profile holds for "
        "it",
        "line 31: private attributes: removed with us, where no rule names their creator",
        "line 23: ImageType is there again below, and the last one counts",
        "line 1 AccessionNumber: D, Z: CLEANED, or a number in each study, there; with us the same dummy for all",
        "line 5 PatientID, line 7 PatientName: numbered in each study there; with us a patient has a pseudonym, as "
        "patients: says",
        "line 11 StudyDescription, line 13 ProtocolName, line 33 SeriesDescription: C: in its profile clean a value on "
        "the white list stays; import that file as well",
        "line 13 ProtocolName: R: the text is that of -f where it was not given",
        "line 15 PatientAge: R: its VR cannot hold a text of one's own; it has a dummy",
        "line 17 StudyInstanceUID, line 27 MediaStorageSOPInstanceUID: U: new UIDs are of the time of day there; with "
        "us keyed, the same for the same",
        "line 21 VerifyingObserverSequence: dicom-anon removes every sequence, and so does this rule, whatever its "
        "code",
        f"line 25 SOPClassUID: {OURS}",
        f"line 27 MediaStorageSOPInstanceUID: {META}",
        "line 29 (60xx,3000): dicom-anon cannot read a tag with x; with us it means all of these attributes",
        "line 33 SeriesDescription: nothing: is no action; must be X, K, U, D, Z or R",
    )


def test_dicom_anon_white_list() -> None:
    """A value stays if it is on the list, and so are all others of the attribute."""
    result = imported("dicom-anon-white-list")

    def kept(tag: str, *values: str) -> dict[str, object]:
        return {"tag": f"/{tag}", "action": "keep", "values": [*values], "otherwise": "next"}

    assert rules_of(result) == [
        kept("StudyDescription", "NECK STUDY", "C.T. head-1"),
        kept("ImageLaterality", "L", "R"),
        kept("SeriesDescription", "Neck  Study"),
        kept("(60xx,0022)", "A"),
    ]
    assert result.notes == (
        "all: what is not on the list falls under the spec file there; with us the Basic Profile holds",
        "all: holds at the top level only; dicom-anon removes every sequence",
        "all: holds there only for what the spec file marks C or does not have",
        "StudyDescription value 3: has neither letters nor digits",
        f"(0029,1010): {PRIVATE}",
    )


def test_dicom_pseudon_white_list() -> None:
    """All that stays: the list, the pixel module, two numbers without a value; the base deletes the rest."""
    result = imported("dicom-pseudon")
    assert without_rules(result) == {"base": "allow-list"}
    assert rules_of(result) == [
        {"tag": "Modality", "action": "keep"},
        {"tag": "SliceThickness", "action": "keep"},
        {"tag": "ImageLaterality", "action": "keep"},
        {"tag": "PatientID", "action": "pseudonym"},
        {"tag": "RequestAttributesSequence", "action": "keep"},
        {"tag": "PatientOrientation", "action": "keep"},
        {"tag": "SeriesNumber", "action": "empty"},
        {"tag": "InstanceNumber", "action": "empty"},
        *(
            {"tag": f"{color}PaletteColorLookupTable{what}", "action": "keep"}
            for what in ("Descriptor", "Data")
            for color in ("Red", "Green", "Blue")
        ),
        *({"tag": tag, "action": "keep"} for tag in ("ICCProfile", "PixelData", "(0028,00xx)", "(0028,01xx)")),
    ]
    assert told(result, "line 6 RequestAttributesSequence", "its items keep only what is on the list as well")
    assert told(result, "AccessionNumber becomes a serial")


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(
            ("mmiv", text)
            for text in ("{}", "[1]", "[[]]", '[["0008","0020","a"]]', '[["x","0020","a","b"]]', "[", "", "\n")
        ),
        *(("mmiv", text) for text in ('[["0008","0020","a",1]]', '[["0008","0020","a","b","","",""]]', '["\\ud800"]')),
        *(("kitware", text) for text in ("[]", '{"a": "keep"}', '{"(0x0008,0x0020)": "no"}', "1" * 5000, "[" * 9999)),
        *(("kitware", text) for text in ('{"(0x0008,0x0020)": {"action": "regexp", "find": "a"}}', '{"a":1,"a":2}')),
        ("kitware", '{"(0x0008,0x0020)": {"action": "keep", "find": "a"}}'),
        ("kitware", '{"(0x00,0x0020)": "keep"}'),
        ("kitware", '{"(0x0008,0x0020,0xF,0x1)": "keep"}'),
        *(
            ("kitware-extra", text)
            for text in ("[]", '{"regexp": []}', '{"keep": 1}', '{"keep": [1]}', '{"keep": [["a"]]}')
        ),
        *(("dicom-anon", text) for text in ("", "Name", "Name\t(0008,0020)\n", "Name\tTag\nN\tN\tX\n", "a\n\n\nb")),
        *(("dicom-pseudon", text) for text in ("", "\n", "name\n", "0008,00")),
        *(("dicom-anon-white-list", text) for text in ("[]", '{"a": []}', '{"0008,1030": "a"}', '{"0008,1030": [1]}')),
    ],
)
def test_malformed(kind: str, text: str, tmp_path: Path) -> None:
    """An error names the file."""
    with pytest.raises(ConfigError) as raised:
        of(kind, text, tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'rules'}: ")


NO_TAG = "is no tag; write it as (0xgggg, 0xeeee), or as a list of both"
KEPT = [{"tag": "Manufacturer", "action": "keep"}, {"tag": "StationName", "action": "remove"}]


@pytest.mark.parametrize(
    ("kind", "before", "entry", "after", "said"),
    [
        *(
            ("mmiv", '[["0008","0070","a","keep"],', entry, ',["0008","1010","b","remove"]]', f"row 2: {NO_ROW}")
            for entry in ("1", "null", "[]", '["0008"]', '["x","1","a","b"]', '["1","1","a",2]', '{"a": 1, "a": 2}')
        ),
        *(
            ("kitware", '{"(0x0008,0x0070)": "keep",', entry, ',"(0x0008,0x1010)": "delete"}', said)
            for entry, said in (
                ('"x": "keep"', f"'x': {NO_TAG}"),
                ('"": null', f"'': {NO_TAG}"),
                ('"0008,0080": "no"', "'0008,0080': must have one of the actions keep, "),
                ('"0008,0080": {}', "'0008,0080': must have one of the actions keep, "),
                ('"0008,0080": {"action": ["keep"]}', "'0008,0080': must have one of the actions keep, "),
                ('"0008,0080": {"action": "regexp", "find": 1}', "'0008,0080': regexp must have the texts: find, "),
            )
        ),
        *(
            ("kitware-extra", '{"keep": [["0008", "0070"]],', entry, ',"delete": [["0008", "1010"]]}', said)
            for entry, said in (
                ('"no": []', "'no': there is no such action"),
                ('"empty": 1', "empty: must be a list of tags"),
                ('"empty": [1]', f"empty tag 1: {NO_TAG}"),
                ('"empty": [["0008", "0080", 1]]', f"empty tag 1: {NO_TAG}"),
                ('"empty": [["0008"]]', f"empty tag 1: {NO_TAG}"),
            )
        ),
        *(
            ("dicom-anon", "M\t(0008,0070)\nN\tY\tK\n", entry, "S\t(0008,1010)\nN\tY\tX\n", said)
            for entry, said in (
                ("Name\n", "line 3: must be the name of an attribute"),
                ("I\t(0008,0080)\n", "line 3: the second line of the attribute, its columns, is missing"),
            )
        ),
        *(
            ("ctp", '<script><e en="T" t="00080070" n="a">@keep()</e>', entry, SECOND_OF_CTP, said)
            for entry, said in (
                ("<x/>", "<x>: must be p, e, k or r, with text only"),
                ('<e en="T" t="0008" n="x">@keep()</e>', "e t='0008': is no tag"),
                ('<e en="T" n="x">@keep()</e>', "e t='': is no tag"),
                ('<e en="T" t="00080080" n="x"><b/></e>', "<e> 00080080: must be p, e, k or r"),
                ('<k en="T" t="group"/>', "k t='group': is no group"),
            )
        ),
    ],
)
def test_one_entry_that_cannot_be_read(
    kind: str, before: str, entry: str, after: str, said: str, tmp_path: Path
) -> None:
    """It is told by its place, and those before and behind it hold."""
    result = of(kind, before + entry + after, tmp_path)
    assert rules_of(result) == KEPT
    (unread,) = result.unread
    assert unread.startswith(said)
    assert unread in result.notes


@pytest.mark.parametrize(
    ("kind", "text", "rules"),
    [
        ("dicom-pseudon", "0008,0070\nname\n0008,1010\n", ["Manufacturer", "StationName"]),
        ("dicom-anon-white-list", '{"x": [], "0008,0070": ["a"]}', ["/Manufacturer"]),
        ("dicom-anon-white-list", '{"0008,0070": ["a"], "0008,0080": 1}', ["/Manufacturer"]),
    ],
)
def test_one_entry_of_a_white_list(kind: str, text: str, rules: list[str], tmp_path: Path) -> None:
    """The same of what may stay: then it goes."""
    result = of(kind, text, tmp_path)
    assert [rule["tag"] for rule in rules_of(result)][: len(rules)] == rules
    assert len(result.unread) == 1


def test_keys_that_are_there_twice(tmp_path: Path) -> None:
    """As in the tools, the last one counts; it is noted."""
    for kind, text, key in (
        ("kitware", '{"0008,1010": "keep", "0008,1010": "delete"}', "'0008,1010'"),
        ("kitware", '{"0008,1010": "keep", "(0008,1010)": "delete"}', "StationName"),
        ("kitware-extra", '{"delete": [["0008", "0080"]], "delete": [["0008", "1010"]]}', "'delete'"),
    ):
        result = of(kind, text, tmp_path)
        assert rules_of(result) == [{"tag": "StationName", "action": "remove"}]
        assert told(result, f"{key}: is there twice, and the last one counts")
        assert not result.unread
    result = of("dicom-anon-white-list", '{"0008,1030": ["a"], "(0008,1030)": ["b"]}', tmp_path)
    assert [rule["values"] for rule in rules_of(result)] == [["b"]]
    assert told(result, "StudyDescription: is there twice, and the last one counts")


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable(kind: str, tmp_path: Path) -> None:
    """No file, a folder, or no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(ConfigError) as raised:
            import_rules(kind, path)
        assert str(raised.value).startswith(f"{path}: ")


def test_too_large(tmp_path: Path) -> None:
    """More than any tool's rules are."""
    with pytest.raises(ConfigError, match="rules: larger than"):
        of("mmiv", " " * ((1 << 22) + 1), tmp_path)


def test_many_faults(tmp_path: Path) -> None:
    """Each has its line, and the time grows with how many there are, not with their square."""
    begin = time.monotonic()
    result = of("dicom-pseudon", "0008,0050\n" + "x\n" * 100_000, tmp_path)
    assert len(result.unread) == 100_000
    assert time.monotonic() - begin < 20


def test_unknown_kind(tmp_path: Path) -> None:
    """There are these kinds only."""
    assert set(KINDS) == set(FILES)
    with pytest.raises(ConfigError, match="unknown kind 'other'; there is: mmiv, kitware"):
        import_rules("other", tmp_path)


def test_a_mark_of_byte_order_is_no_fault(tmp_path: Path) -> None:
    """Editors of some systems write one."""
    assert rules_of(of("kitware", '\ufeff{"(0x0008,0x1030)": "keep"}', tmp_path)) == [
        {"tag": "StudyDescription", "action": "keep"}
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_profiles_are_yaml_without_anchors(kind: str) -> None:
    """A profile can be written as it is, and is what it was when it is read."""
    profile = imported(kind).profile
    text = yaml.safe_dump(profile, sort_keys=False)
    assert "&id" not in text
    assert yaml.safe_load(text) == profile


@pytest.mark.parametrize("kind", KINDS)
def test_notes_are_lines(kind: str) -> None:
    """One line each, of which none is there twice."""
    notes = imported(kind).notes
    assert len(set(notes)) == len(notes)
    assert all(note == " ".join(note.split()) and ": " in note for note in notes)


SCRAPS = st.sampled_from(
    [*'{}[]()<>"@\\,:x\n\t\x00', "0x", "@if(", "@keep()", "60xx", "(?", "null", "&", "\u20ac", "9" * 40]
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_damaged_files_are_told_apart_or_read(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a file holds, it is imported as something that YAML can hold, or refused with its name."""
    text = (DATA / FILES[kind]).read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(SCRAPS | st.text(max_size=3)) + text[start + data.draw(st.integers(0, 12)) :]
    path = tmp_path_factory.getbasetemp() / f"damaged-{kind}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        result = import_rules(kind, path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert yaml.safe_load(yaml.safe_dump(result.profile)) == result.profile
        assert all("\n" not in entry for entry in result.unread)
        assert all("\n" not in note for note in result.notes)


@given(text=st.text(max_size=30) | st.from_regex(r"0008,1030=.{0,20}", fullmatch=True))
def test_changes_are_rules_or_refused(text: str) -> None:
    """An option of a command line is a rule, or an error."""
    for change in (tag_change, regex_tag_change):
        try:
            rule = change(text)
        except ConfigError:
            continue
        assert yaml.safe_load(yaml.safe_dump(rule)) == rule
