"""Dates by an anchor: one date of each instance becomes a given one, all others move by as many days."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import ConfigError, Deidentifier, Undecodable
from scp_anon.deid import load_profile
from scp_anon.deid.recheck import changes
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.variables import People
from tests import samples, study
from tests.deid import deid, key_file, write_tree
from tests.harness import AE_TITLE, eventually, running_node, scp_anon
from tests.profiles import ALL_FULL, MODIFIED_DATES, codes, engine, result, write_csv

BY_STUDY = {"anchor": "StudyDate"}
MODIFIED_DATES_CODE = "113107"


def dated(**values: object) -> Dataset:
    """A sample of 2024-02-29 with more dates."""
    ds = samples.image()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def remaining(by: Deidentifier, ds: Dataset) -> set[tuple[str, str]]:
    """What `verify` says of a result: kind, and the last tag of the place."""
    file = BytesIO()
    ds.save_as(file)
    meta, start = read_file_meta(file.getvalue())
    read = by.read(file.getvalue(), meta.transfer_syntax_uid, start)
    return {(each.kind, f"{each.place[-1]:08X}") for each in changes(by, read, meta.transfer_syntax_uid)}


def test_intervals_hold() -> None:
    """The anchor becomes the day; every other date, at any depth, of any VR and precision, keeps its distance."""
    inner = Dataset()
    inner.FrameAcquisitionDateTime = "20240301235959.5+0100"
    ds = dated(
        SeriesDate="20240301",
        AcquisitionDate="20240228",
        AcquisitionDateTime="202403",
        PerFrameFunctionalGroupsSequence=Sequence([inner]),
    )
    ds.add_new(0x00181200, "DA", ["20230228", "20240229"])
    new = result(ds, engine(MODIFIED_DATES, dates=BY_STUDY))
    assert (new.StudyDate, new.ContentDate, new.SeriesDate) == ("19700101", "19700101", "19700102")
    assert new.AcquisitionDate == "19691231"
    assert new.AcquisitionDateTime == "197001", "of a month its first day moves"
    assert list(new.DateOfLastCalibration) == ["19681231", "19700101"]
    assert new.PerFrameFunctionalGroupsSequence[0].FrameAcquisitionDateTime == "19700102235959.5+0100"
    assert new.StudyTime == ds.StudyTime
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
    assert MODIFIED_DATES_CODE in codes(new)


@pytest.mark.parametrize(
    ("dates", "values", "expected"),
    [
        ({"anchor": "StudyDate", "becomes": "1901-01-01"}, {}, "19010101"),
        ({"anchor": "(0008,0020)"}, {}, "19700101"),
        ({"anchor": "SeriesDate"}, {"SeriesDate": "20240228"}, "19700102"),
        ({"anchor": "AcquisitionDateTime"}, {"AcquisitionDateTime": "20240228235959+0100"}, "19700102"),
        ({"anchor": "StudyDate", "becomes": "2024-02-28"}, {}, "20240228"),
    ],
    ids=str,
)
def test_anchors(dates: dict[str, str], values: dict[str, str], expected: str) -> None:
    """Any date of the top level, and any day for it to become; time and zone do not count."""
    assert result(dated(**values), engine(MODIFIED_DATES, dates=dates)).StudyDate == expected


def test_no_state() -> None:
    """Patient, project and key do not matter: another study of the patient begins on the same day."""
    for patient, day, project in (("ONE", "20240229", "p"), ("ONE", "20110101", "p"), ("TWO", "19991231", "q")):
        new = result(dated(PatientID=patient, StudyDate=day), engine(MODIFIED_DATES, dates=BY_STUDY, project=project))
        assert new.StudyDate == "19700101"


@pytest.mark.parametrize(
    "value",
    [
        *("", "2024", "20240230", "20240229\\20240301", "20240229-", "2024022910", None),
        *("19700101", "19000101", "00010101"),  # nothing would move, or could be counted back
    ],
)
def test_without_an_anchor(value: str | None) -> None:
    """An instance whose anchor is not one day is treated as by the Basic Profile: no date or time of it stays."""
    ds = dated(SeriesDate="20240301", AcquisitionDateTime="20240301101500", SeriesTime="101500")
    del ds.StudyDate
    if value is not None:
        ds.add_new(0x00080020, "DA", "")
        ds["StudyDate"]._value = value
    by = engine(MODIFIED_DATES, dates=BY_STUDY)
    new, basic = result(ds, by), result(ds, engine())
    for keyword in ("StudyDate", "SeriesDate", "ContentDate", "AcquisitionDateTime", "StudyTime", "SeriesTime"):
        assert new.get(keyword) == basic.get(keyword), keyword
    assert new.LongitudinalTemporalInformationModified == "REMOVED"
    assert MODIFIED_DATES_CODE not in codes(new)
    assert not remaining(by, new)


def test_a_rule_without_an_anchor() -> None:
    """A rule that moves a date and cannot: the instance is quarantined, if the rule does not say otherwise."""
    rule = {"tag": "ContentDate", "action": "shift-date"}
    ds = dated(StudyDate="")
    with pytest.raises(Undecodable, match=r"rule-not-applicable \(\(0008,0023\)\)"):
        result(ds, engine(rules=[rule], dates=BY_STUDY))
    assert "ContentDate" not in result(ds, engine(rules=[{**rule, "otherwise": "remove"}], dates=BY_STUDY))
    kept = result(ds, engine(rules=[{**rule, "otherwise": "keep"}], dates=BY_STUDY))
    assert (kept.ContentDate, kept.LongitudinalTemporalInformationModified) == ("20240229", "UNMODIFIED")


def test_beyond_the_calendar() -> None:
    """A date that would be before the year 1 is none, and goes."""
    ds = dated(SeriesDate="19000101")
    new = result(ds, engine(MODIFIED_DATES, dates={"anchor": "StudyDate", "becomes": "0001-01-01"}))
    assert (new.StudyDate, "SeriesDate" in new) == ("00010101", False)


def test_verify_knows_the_day() -> None:
    """In a result the anchor is the day that it had to become; another date there was not moved by us."""
    by = engine(MODIFIED_DATES, dates=BY_STUDY)
    new = result(dated(SeriesDate="20240301"), by)
    assert not remaining(by, new)
    new.StudyDate = "20240229"
    assert remaining(by, new) == {("not-empty", "00080020")}
    new.StudyDate = "19700101"
    assert not remaining(by, new)


@pytest.mark.parametrize("options", [(MODIFIED_DATES,), (*(o for o in ALL_FULL if "dates" not in o), MODIFIED_DATES)])
def test_nothing_to_change_in_ones_own_results(options: tuple[str, ...]) -> None:
    """Of a study of all kinds of instances, and nothing is left of their originals."""
    profile = {"options": options, "dates": BY_STUDY, **samples.PASS}
    by = Deidentifier(samples.KEY, "project", profile, residual=True)
    for kind, file in study.files().items():
        new = dcmread(BytesIO(by.bytes(file)))
        assert not remaining(by, new), kind
        assert new.StudyDate == "19700101"


def test_private_dates(tmp_path: Path) -> None:
    """A private date that is safe moves as well, and goes where there is no anchor."""
    ds = dated()
    ds.private_block(0x0071, "SIEMENS MED PT", create=True).add_new(0x22, "DT", "20240301101500")
    row = {"private_creator": "SIEMENS MED PT", "group": "0071", "element_offset": "22", "vr": "DT"}
    safe = str(write_csv(tmp_path / "safe.csv", row))
    by = engine(MODIFIED_DATES, "retain-safe-private", dates=BY_STUDY, safe_private=safe)
    assert result(ds, by)[0x00711022].value == "19700102101500"
    ds.StudyDate = ""
    assert 0x00711022 not in result(ds, by)


# ---------------------------------------------------------------------- the commands, the node


def test_option(tmp_path: Path) -> None:
    """`--anchor`, in place of what the profile says of dates; `verify` by the profile that says the same."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    common = (source, "-o", out, "--key", key, "--layout", "mirror")
    done = deid(*common, "--profile", "mmiv", "--anchor", "StudyDate")
    assert done.code == 0, done.said
    assert {dcmread(path).StudyDate for path in out.rglob("*.dcm")} == {"19700101"}
    profile = tmp_path / "anchor.yaml"
    profile.write_text(f"options: [{MODIFIED_DATES}]\ndates: {{anchor: StudyDate}}\n")
    assert deid(*common, "--profile", profile).code == 0
    arguments = ("--against", source, "--mirror", "--profile", profile, "--key", key)
    checked = scp_anon("verify", str(out), *map(str, arguments))
    assert (checked.returncode, "nothing found" in checked.stdout) == (0, True), checked.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--anchor", "StudyDate"), "--anchor: nothing in this profile moves dates; add --option"),
        (("--anchor", "StudyDate", "--shift-days", "3", "--option", MODIFIED_DATES), "give one of both"),
        (("--anchor", "StudyTime", "--option", MODIFIED_DATES), "--anchor: dates.anchor: must be a date"),
    ],
)
def test_options_that_cannot_be_meant(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Exit code 2, and the option is named."""
    done = deid(write_tree(tmp_path / "in"), "-o", tmp_path / "out", "--key", key_file(tmp_path), *options)
    assert (done.code, said in done.said) == (2, True), done.said


def test_a_table_has_no_anchor() -> None:
    """Dates of a table of variables cannot move by days that each image has of its own."""
    people = People(samples.KEY, "p", load_profile({"dates": BY_STUDY}))
    with pytest.raises(ConfigError, match="they move by StudyDate of each instance"):
        people.days("somebody")


def test_on_a_node(tmp_path: Path) -> None:
    """A route's profile has it as well."""
    path = tmp_path / "profile.yaml"
    path.write_text(f"options: [{MODIFIED_DATES}]\ndates: {{anchor: StudyDate}}\npixels: pass\n")
    image = tmp_path / "image.dcm"
    image.write_bytes(samples.encoded(samples.image()))
    route = {"called_ae_title": AE_TITLE, "project": "test", "profile": str(path), "destinations": ["disk"]}
    with running_node(tmp_path / "node", routes=[route]) as node:
        assert scp_anon("send", "127.0.0.1", str(node.port), str(image)).returncode == 0
        eventually(lambda: len(node.delivered()) == 1)
        assert dcmread(node.delivered()[0]).StudyDate == "19700101"
        said = node.command("conformance").stdout
        assert "moved so that StudyDate of each instance is 1970-01-01; times of day stay" in said
