"""Fields of a layout from the original's values: a month, a serial of a link list; the earlier tools' folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from scp_anon import ConfigError, Deidentifier, Reason
from scp_anon.columns import Form
from scp_anon.destinations.fields import LayoutFields
from scp_anon.errors import Permanent
from scp_anon.links import Links, Matching
from tests import samples

LAST = "{SOPInstanceUID}.dcm"


def fields(folder: Path, text: str, template: str) -> LayoutFields:
    """The fields of a file with this text."""
    path = folder / "fields.yaml"
    path.write_text(text, "utf-8")
    return LayoutFields(template, path)


def original(folder: Path, **values: str) -> Path:
    """An original file with these values."""
    ds = samples.image()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    path = folder / "original.dcm"
    path.write_bytes(samples.encoded(ds))
    return path


def place(source: Path, by: LayoutFields) -> str:
    """Where the de-identified original goes."""
    with Deidentifier(samples.KEY, "p", samples.PASS).opened(source) as result:
        return by.layout_of(source).place_of(result)


def test_uit_folders(tmp_path: Path) -> None:
    """<pseudonym>/<M-YYYY>/: the month without a zero before it, as in the table of variables."""
    by = fields(tmp_path, "fields: {Month: {date: StudyDate}}", "{PatientID}/{Month}/" + LAST)
    source = original(tmp_path, StudyDate="20160115")
    parts = place(source, by).split("/")
    with Deidentifier(samples.KEY, "p", samples.PASS).opened(source) as result:
        pseudonym = (result.values([0x00100020]) or {})[0x00100020].decode().strip()
    assert parts[:2] == [pseudonym, "1-2016"]
    assert by.fill(original(tmp_path, StudyDate="20151231")) == "{PatientID}/12-2015/" + LAST


@pytest.mark.parametrize(("form", "expected"), [("M-YYYY", "2-2024"), ("YYYY-MM", "2024-02"), ("YYYY", "2024")])
def test_forms_of_a_month(tmp_path: Path, form: str, expected: str) -> None:
    """Of a date, of a date with a time, and of the form of ACR-NEMA."""
    by = fields(tmp_path, f"fields: {{When: {{date: AcquisitionDateTime, form: {form}}}}}", "{When}/" + LAST)
    for value in ("20240229101500", "20240229"):
        assert by.fill(original(tmp_path, AcquisitionDateTime=value)) == f"{expected}/{LAST}"


def test_pseudon_folders(tmp_path: Path) -> None:
    """<serial>/: the invitation number anywhere in Accession Number, as its LIKE."""
    (tmp_path / "links.csv").write_text("1001,S1\n1002,S2\n")
    text = (
        "links: {file: links.csv, number: '1', serial: '2', header: false, match: contains}\n"
        "fields: {Serial: {serial_of: AccessionNumber}}"
    )
    by = fields(tmp_path, text, "{Serial}/" + LAST)
    assert by.fill(original(tmp_path, AccessionNumber="HOS1001X")) == f"S1/{LAST}"
    assert place(original(tmp_path, AccessionNumber="1002"), by).startswith("S2/2.25.")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"AccessionNumber": "9999"}, Reason.AWAITING_MAPPING),
        ({"AccessionNumber": ""}, Reason.AWAITING_MAPPING),
        ({"AccessionNumber": "1001 1002"}, Reason.AWAITING_MAPPING),
        ({"AccessionNumber": "1001", "StudyDate": ""}, Reason.AWAITING_MAPPING),
    ],
)
def test_who_has_no_place_goes_nowhere(tmp_path: Path, values: dict[str, str], reason: Reason) -> None:
    """No serial, two of them, no date: quarantine, with the name of the field and without the value."""
    (tmp_path / "links.csv").write_text("number,serial\n1001,S1\n1002,S2\n")
    text = (
        "links: {file: links.csv, number: number, serial: serial}\n"
        "fields: {Serial: {serial_of: AccessionNumber}, Month: {date: StudyDate}}"
    )
    by = fields(tmp_path, text, "{Serial}/{Month}/" + LAST)
    with pytest.raises(Permanent) as raised:
        by.fill(original(tmp_path, **values))
    assert raised.value.reason == reason
    assert raised.value.detail in ("Serial", "Month")
    with pytest.raises(OSError, match="No such file"):
        by.fill(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "template", "said"),
    [
        ("fields: {}", LAST, "at least 1 item"),
        ("fields: {Month: {date: StudyDate}}", LAST, "names none of the fields"),
        ("fields: {Month: {date: StudyDat}}", "{Month}/" + LAST, "StudyDat is no attribute of the standard"),
        ("fields: {Month: {}}", "{Month}/" + LAST, "must have one of serial_of and date"),
        ("fields: {n: {date: StudyDate}}", "{n}/" + LAST, "n must be a name of your own"),
        ("fields: {Folder: {date: StudyDate}}", "{Folder}/" + LAST, "Folder must be a name of your own"),
        ("fields: {StudyDate: {date: StudyDate}}", "{StudyDate}/" + LAST, "must be a name of your own"),
        ("fields: {Serial: {serial_of: StudyID}}", "{Serial}/" + LAST, "there is no link list"),
        ("fields: {Month: {date: StudyDate}}", "{Month}/{Other}/" + LAST, "{Other} is no attribute"),
        ("fields: {Month: {date: StudyDate}}", "../{Month}/" + LAST, "must be a path inside"),
        ("fields: {Month: {date: StudyDate, form: MM}}", "{Month}/" + LAST, "Input should be"),
        ("field: {Month: {date: StudyDate}}", "{Month}/" + LAST, "unknown key"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str, template: str, said: str) -> None:
    """Told before anything is de-identified."""
    with pytest.raises(ConfigError) as raised:
        fields(tmp_path, text, template)
    assert said in str(raised.value)


# ---------------------------------------------------------------------- link lists


@pytest.mark.parametrize(
    ("matching", "value", "serial"),
    [
        ("equals", " 17 ", "A"),
        ("equals", "17b", None),
        ("word", "study 17, of two", "A"),
        ("word", "study 117", None),
        ("word", "x A-9 y", "C"),
        ("word", "xA-9", None),
        ("word", "17 18", None),
        ("word", "17 17", "A"),
        ("contains", "x17y", "A"),
        ("contains", "17-18", None),
        ("contains", "x", None),
    ],
)
def test_matching(tmp_path: Path, matching: Matching, value: str, serial: str | None) -> None:
    """A whole value, a whole word of it, or any part; where two serials could be meant, none is."""
    path = tmp_path / "links.csv"
    path.write_text("17;A\n18;B\nA-9;C\n")
    assert Links(path, Form(";", header=False), "1", "2", matching).serial(value) == serial


@pytest.mark.parametrize(
    ("rows", "line"),
    [("1,A\n1,B", 3), (",A", 2), ("1,../x", 2), ("1,.hidden", 2), ("1,", 2), ("1", 2), ('1,"A"x', 2), ("1,A\n\n2", 4)],
)
def test_faults_of_a_link_list(tmp_path: Path, rows: str, line: int) -> None:
    """Told by line, never by value."""
    path = tmp_path / "links.csv"
    path.write_text(f"number,serial\n{rows}\n")
    with pytest.raises(ConfigError) as raised:
        Links(path, Form(), "number", "serial")
    assert str(raised.value).startswith(f"{path}:{line}: ")
