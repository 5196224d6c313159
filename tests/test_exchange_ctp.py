"""Scripts of CTP in our language: exactly these rules, and a note for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scp_anon import ConfigError
from tests.exchange import META, OURS, PRIVATE, PSEUDONYM, SHIFT, imported, of, rules_of, script, told, without_rules


def test_ctp_settings() -> None:
    """What the script says of all: dates, UIDs, patients, and what is not admitted."""
    result = imported("ctp")
    assert without_rules(result) == {
        "base": "basic",
        "options": ["retain-safe-private"],
        "dates": {"days": -3210},
        "uids": {"scheme": "keyed", "root": "1.2.840.99999.1"},
        "patients": {"scheme": "table", "file": "ptid.csv"},
        "admit": [
            {
                "when": {"all": [{"ImageType": {"exists": True}}, {"ImageType": {"matches": r"(?i)SCREEN\ SAVE"}}]},
                "then": "quarantine",
            }
        ],
    }


def test_ctp_rules() -> None:
    """Each function that means the same with us; conditions at the top level."""
    ct = {"Modality": {"matches": "^(?i:CT)$"}}
    only_ct = {**ct, "not": {"Modality": {"matches": "^(?!(?i:CT)$)"}}}
    axial = {"SeriesDescription": {"matches": "^(?:(?i:axial.+))$"}}
    only_axial = {**axial, "not": {"SeriesDescription": {"matches": "^(?!(?:(?i:axial.+))$)"}}}
    assert rules_of(imported("ctp")) == [
        {"tag": "/ImageType", "action": "keep", "when": {"not": {"ImageType": {"matches": r"(?i)SCREEN\ SAVE"}}}},
        {"tag": "InstanceCreationDate", **SHIFT},
        {"tag": "SOPInstanceUID", "action": "uid"},
        {"tag": "AccessionNumber", "action": "hash", "length": 12},
        {"tag": "InstitutionName", "action": "replace", "value": "North {{1}}"},
        {"tag": "ReferringPhysicianName", "action": "empty"},
        {"tag": "StationName", "action": "lookup", "file": "station.csv", "otherwise": "remove"},
        {
            "tag": "/StudyDescription",
            "action": "keep",
            "when": {"all": [only_ct, {"StudyDescription": {"exists": True}}]},
        },
        {
            "tag": "/StudyDescription",
            "action": "remove",
            "when": {"all": [only_ct, {"StudyDescription": {"exists": False}}]},
        },
        {"tag": "/StudyDescription", "action": "remove", "when": {"not": ct}},
        {"tag": "/SeriesDescription", "action": "keep", "when": only_axial},
        {"tag": "/SeriesDescription", "action": "replace", "value": "Removed by script", "when": {"not": axial}},
        {
            "tag": "/PhysiciansOfRecord",
            "action": "remove",
            "when": {"not": {"PhysiciansOfRecord": {"matches": r"\S"}}},
        },
        {"tag": "OperatorsName", "action": "hash"},
        {"tag": "ReferencedStudySequence", "action": "keep"},
        {"tag": "PatientName", "action": "replace", "value": "{PatientID}"},
        {"tag": "PatientID", "action": "pseudonym"},
        {"tag": "PatientComments", "action": "empty"},
        {"tag": "ClinicalTrialSubjectID", "action": "replace", "value": "{PatientID}", "create": True},
        {"tag": "ClinicalTrialSiteID", "action": "replace", "value": "7", "create": True},
        {
            "private": "CTP",
            "group": "0013",
            "element": "12",
            "vr": "LO",
            "action": "replace",
            "value": "North {{1}}",
        },
        {"private": "SIEMENS CSA HEADER", "group": "0029", "element": "10", "action": "keep"},
        {"tag": "BodyPartExamined", "action": "empty"},
        {"tag": "/StudyInstanceUID", "action": "keep"},
        {"tag": "StudyInstanceUID", "action": "uid"},
        {"tag": "HistogramSequence", "action": "remove"},
        {"tag": "ProtocolName", "action": "remove"},
        {"tag": "DeviceSerialNumber", "action": "remove"},
        {"tag": "(0018,xxxx)", "action": "keep"},
        {"tag": "(60xx,xxxx)", "action": "remove"},
    ]


def test_ctp_notes() -> None:
    """Every other function, with its element."""
    nothing = "there is nothing like it with us"
    assert imported("ctp").notes == (
        "k safeprivateelements: with us safe is what the option retain-safe-private takes for it",
        "all: what no element names is left as it is there; with us the Basic Profile holds for it",
        "all: items of sequences are left as they are there, but for @process; with us a rule holds at every depth",
        'en="F": 4 switched off, and skipped',
        "r curves: switched off, so they stay there; with us the Basic Profile removes them",
        f"(0008,0005) SpecificCharacterSet, (0012,0062) PatientIdentityRemoved: {OURS}",
        "(0008,0021) SeriesDate: @incrementdate: by other days than the first one; with us they are the same for all",
        "@hashuid: new UIDs are keyed with us, and differ",
        "@hash, @hashname, @hashptid: hashes are keyed with us, of letters and digits, and differ",
        "(0008,0081) InstitutionAddress: @NOWHERE: there is no such parameter",
        "station.csv: make it of the lookup table: CSV with the columns original, new",
        f"(0008,1048) PhysiciansOfRecord: @initials: {nothing}",
        "(0010,0010) PatientName @hashptid, (0010,0020) PatientID @lookup: with us a patient has the pseudonym that "
        "patients: says, here and elsewhere",
        "patients ptid.csv: make it of the lookup table: CSV with the columns id, pseudonym",
        f"(0010,0030) PatientBirthDate: @modifydate: {nothing}",
        f"(0010,1010) PatientAge: @round: {nothing}",
        "(0010,4000) PatientComments @blank: blanks are padding with us: the value is emptied",
        f"(0013,0010), (0029,1099): {PRIVATE}",
        "(0018,1030) ProtocolName: @date: more than one function, or text with it",
        f"(0018,1000) DeviceSerialNumber: @contents: {nothing}",
        "(0020,0010) StudyID: @hashuid: of another attribute",
        "(6000,3000): r overlays removes it, whatever its script says",
        "k 0018: keeps what no element names, also against the Basic Profile",
        "ProtocolName, DeviceSerialNumber: remove, where no other rule holds, although all of its group is kept",
    )


def test_ctp_unspecified_elements() -> None:
    """They go, group by group, but for what an instance cannot be without and what nobody may have a rule for."""
    result = imported("ctp", "ctp-unspecified.script")
    rules = rules_of(result)
    assert rules[:4] == [
        {"tag": "Modality", "action": "keep"},
        {"tag": "DataSetTrailingPadding", "action": "remove"},
        *PSEUDONYM,
    ]
    tags = {str(rule["tag"]): rule["action"] for rule in rules}
    assert tags["/(0018,xxxx)"] == "remove"
    assert tags["(0020,xxxx)"] == "keep"
    assert tags["/(0008,1xxx)"] == "remove"
    assert tags["/ImageType"] == "remove"
    for spared in ("/(0008,xxxx)", "/SOPInstanceUID", "/SOPClassUID", "/SpecificCharacterSet", "/(0028,xxxx)"):
        assert spared not in tags
    # A rule that others leave nothing to would be a fault of the profile.
    assert "/(FFFC,xxxx)" not in tags
    assert "/(0020,xxxx)" not in tags
    assert told(result, "r unspecifiedelements PatientID, r unspecifiedelements PatientName: not removed")
    assert told(result, "(0010,0020) PatientID: @truncate: there is nothing like it with us")
    assert told(result, "(0008,0060) Modality @require: a missing attribute is not added")


def test_ctp_kept_groups_keep_nothing_that_is_open(tmp_path: Path) -> None:
    """What a script says of one element, and we cannot, is not undone by its group."""
    result = script(
        '<e en="T" t="00100020" n="x">@round(this,10)</e><e en="T" t="0020000e" n="x">@truncate(this,1)</e>'
        '<e en="T" t="00204000" n="x">@time()</e><k en="T" t="10"/><k en="T" t="0020"/>',
        tmp_path,
    )
    assert rules_of(result) == [
        {"tag": "PatientID", "action": "pseudonym"},
        {"tag": "SeriesInstanceUID", "action": "uid"},
        {"tag": "ImageComments", "action": "remove"},
        {"tag": "(0010,xxxx)", "action": "keep"},
        {"tag": "(0020,xxxx)", "action": "keep"},
    ]


def test_ctp_overlays_go_also_where_their_group_is_kept(tmp_path: Path) -> None:
    """As CTP does it; curves it keeps."""
    groups = "".join(f'<k en="T" t="{group}"/>' for group in ("6000", "5000", "0009", "0002", "0006"))
    result = script(f'{groups}<r en="T" t="overlays"/><r en="T" t="curves"/><r en="T" t="others"/>', tmp_path)
    assert rules_of(result) == [
        {"tag": "(5000,xxxx)", "action": "keep"},
        {"tag": "(50xx,xxxx)", "action": "remove"},
        {"tag": "(60xx,xxxx)", "action": "remove"},
    ]
    assert told(result, "k 6000: r overlays removes it all the same")
    assert told(result, "k 0009: private")
    assert told(result, f"k 0002: {META}")
    assert told(result, "k 0006: no attribute of the dictionary")
    assert told(result, "r others: there is nothing like it")


@pytest.mark.parametrize(
    "function",
    [
        *("append", "call", "contents", "date", "dateinterval", "decrypt", "hashdate", "lowercase", "modifydate"),
        *("pathelement", "round", "skip", "time", "truncate", "uppercase", "value", "nosuch"),
    ],
)
def test_ctp_other_functions_are_noted(function: str, tmp_path: Path) -> None:
    """Nothing that we cannot say is dropped in silence."""
    result = script(f'<e en="T" t="00081030" n="StudyDescription">@{function}(this)</e>', tmp_path)
    assert rules_of(result) == []
    assert told(result, "(0008,1030) StudyDescription: ", f"@{function}", "there is nothing like it with us")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("@if(Nothing,exists){@keep()}{@remove()}", "@if(Nothing): is no attribute"),
        ("@if(this,greaterthan,5){@keep()}{@remove()}", "@if(..,greaterthan)"),
        ('@if(this,matches,".*"){@keep()}{@remove()}', "would hold for a missing attribute"),
        ('@if(this,matches,"[a-z&amp;&amp;[^b]]"){@keep()}{@remove()}', "means something else"),
        ('@if(this,equals,""){@keep()}{@remove()}', "cannot be said of this value"),
        (r'@if(this,contains,"A\\B"){@keep()}{@remove()}', "cannot be said of this value"),
        ("@if(this,exists)", "@if: has no clause"),
        ("@if(this,exists){@select(){@keep()}{@remove()}}{@keep()}", "@select: not possible here"),
        ("@select(){@keep()}", "@select: not possible here"),
        ("@keep", "a function that cannot be read"),
        ("@keep(", "a function that has no end"),
        ("@keep()@empty()", "@keep, @empty: more than one function"),
        ("@incrementdate(StudyDate,5)", "@incrementdate: of another attribute"),
        ("@hash()x", "@hash: more than one function, or text"),
        ("@lookup(this,../up)", "no file of this name"),
        ("@lookup(this,k,default,x)", "@lookup(..,default)"),
        ("@hashuid(@R,this,PatientID)", "@hashuid: of more than one attribute"),
    ],
)
def test_ctp_calls_that_differ_are_noted(code: str, why: str, tmp_path: Path) -> None:
    """A known function in a form that means something else."""
    result = script(f'<p t="R">1.2.3</p><e en="T" t="00081030" n="x">{code}</e>', tmp_path)
    assert told(result, "(0008,1030) StudyDescription: ", why)


@pytest.mark.parametrize("days", ["0", "x", "99999", ""])
def test_ctp_days_that_cannot_be(days: str, tmp_path: Path) -> None:
    """No days, or too many, are no dates: of ours."""
    result = script(f'<p t="D">{days}</p><e en="T" t="00080020" n="x">@incrementdate(this,@D)</e>', tmp_path)
    assert result.profile == {"base": "basic", "rules": []}
    assert told(result, "(0008,0020) StudyDate: @incrementdate: its days are none")


def test_ctp_quarantine_without_condition(tmp_path: Path) -> None:
    """Where the element is, the instance is held."""
    result = script('<e en="T" t="00281234" n="x">@quarantine()</e><e en="T" t="00104000">@quarantine()</e>', tmp_path)
    assert result.profile["admit"] == [{"when": {"PatientComments": {"exists": True}}, "then": "quarantine"}]
    assert told(result, "(0028,1234): @quarantine: not possible here")


def test_ctp_names_of_the_script_are_understood(tmp_path: Path) -> None:
    """Keywords of its own library are those that the script itself has, also where it is switched off."""
    result = script(
        '<e en="F" t="00081111" n="RefPPSSeq"></e>'
        '<e en="T" t="00081030" n="x">@if(RefPPSSeq,exists){@keep()}{@remove()}</e>'
        '<e en="T" t="0008103e" n="x">@if([0008,1111],exists){@keep()}{@remove()}</e>',
        tmp_path,
    )
    there = {"ReferencedPerformedProcedureStepSequence": {"exists": True}}
    assert [rule["when"] for rule in rules_of(result)[::2]] == [there, there]


def test_ctp_nested_too_deeply(tmp_path: Path) -> None:
    """Conditions within conditions have an end."""
    code = "@if(this,exists){" * 3000 + "@keep()" + "}{@remove()}" * 3000
    result = script(f'<e en="T" t="00081030" n="x">{code}</e>', tmp_path)
    assert told(result, "@if: not possible here with us")


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE script [<!ENTITY a "b">]><script/>',
        "<!doctype script><script/>",
        "<script><!ENTITY></script>",
        "<script>",
        "<other/>",
        "<script><x/></script>",
        '<script><e en="T" t="0010" n="x">@keep()</e></script>',
        '<script><e en="T" t="00100010" n="x"><b/></e></script>',
        '<script><k en="T" t="group"/></script>',
        "set.[0010,0010]PatientName=@keep()",
        "",
    ],
)
def test_ctp_malformed(text: str, tmp_path: Path) -> None:
    """What is no script, or could make the parser do more than parse."""
    with pytest.raises(ConfigError, match="rules: "):
        of("ctp", text, tmp_path)
