"""What users of mmiv-center's DICOMAnonymizer find again: its table, its options, its UIDs, its mapping."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from scp_anon import Deidentifier
from scp_anon.batch.mapping import Mapping
from scp_anon.deid import load_profile
from scp_anon.deid.targets import parse_target
from scp_anon.dicom.dictionary import vr_of
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.samples import CANARY

PROJECT = "TRIAL1"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One image that has what the options are about."""
    ds = samples.image()
    ds.BodyPartExamined = "CHEST"
    ds.StudyTime = "101500.123"
    ds.AcquisitionDateTime = "20240229101500.5+0100"
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(samples.encoded(ds))
    return folder


def result(source: Path, *options: object, code: int = 0, said: str = "") -> Dataset:
    """The one output of a run with the profile mmiv."""
    out = source.with_name("out")
    key = key_file(source.parent)
    done = deid(source, "-o", out, "--key", key, "--profile", "mmiv", "--project", PROJECT, *options)
    assert done.code == code, done.said
    assert said in done.said
    if code:
        return Dataset()
    (place,) = out.rglob("*.dcm")
    return dcmread(place)


# ---------------------------------------------------------------------- its table


def test_table(source: Path) -> None:
    """As it was meant: removed is gone, dates are 42 days later, the words of options are filled in."""
    original = dcmread(source / "1.dcm")
    ds = result(source, "--patient-id", "P001", "--event", "baseline", "--site", "Bergen", "--site-id", "07")
    assert (ds.PatientID, ds.PatientName, ds.ClinicalTrialSubjectID) == ("P001", "P001", "P001")
    assert (ds.StudyDate, ds.StudyTime) == ("20240411", original.StudyTime)
    assert ds.AcquisitionDateTime == "20240411101500.5+0100"
    for keyword in ("InstitutionName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"):
        assert ds[keyword].value == PROJECT
    assert (ds.ClinicalTrialTimePointID, ds.ClinicalTrialTimePointDescription) == ("baseline", "baseline")
    for keyword in ("InstitutionAddress", "OperatorsName", "RequestAttributesSequence"):
        assert keyword not in ds
    assert ds.PatientBirthDate == ds.ReferringPhysicianName == ""
    assert ds.BodyPartExamined == "CHEST"
    assert ds.PatientIdentityRemoved == "YES"
    # It keeps more than the Basic Profile does, and so does not claim it; that tool has always written such a claim.
    assert "DeidentificationMethodCodeSequence" not in ds
    block = ds.private_block(0x0013, "CTP")
    assert [block[offset].value for offset in (0x10, 0x11, 0x12, 0x13)] == [PROJECT, PROJECT, "Bergen", "07"]
    assert [element for element in ds if element.tag.is_private and element.tag.group != 0x0013] == []


@pytest.mark.parametrize(("part", "becomes"), [(CANARY, "BODYPART"), ("MORISONSPOUCH", "MORISONSPOUCH"), ("", "")])
def test_body_part(part: str, becomes: str, source: Path) -> None:
    """A defined term of the standard stays, at every depth; what is none is BODYPART."""
    path = source / "1.dcm"
    ds = dcmread(path)
    item = Dataset()
    item.BodyPartExamined = ds.BodyPartExamined = part
    ds.ReferencedSeriesSequence = [item]
    path.write_bytes(samples.encoded(ds))
    found = result(source)
    assert found.BodyPartExamined == found.ReferencedSeriesSequence[0].BodyPartExamined == becomes


def test_profile_is_a_profile() -> None:
    """It lints, by its name, and rules on just the attributes of the table."""
    rules = load_profile("mmiv").rules
    assert len(rules) > 200
    assert {rule.action for rule in rules} == {"keep", "remove", "empty", "hash", "uid", "shift-date", "replace"}
    assert "SQ" not in {vr_of(tag) for rule in rules if rule.tag for tag in parse_target(rule.tag).tags}


def test_sequences_are_as_the_basic_profile_has_them(source: Path, tmp_path: Path) -> None:
    """By IOD, with items ruled on; nothing more of one stays than without this profile."""
    path = source / "1.dcm"
    ds = dcmread(path)
    item, code = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", CANARY
    for keyword in ("SourceImageSequence", "ReferencedPatientSequence", "AdmittingDiagnosesCodeSequence"):
        ds[keyword] = DataElement(keyword, "SQ", [item if "Code" not in keyword else code])
    path.write_bytes(samples.encoded(ds))
    found = result(source)
    basic = dcmread(BytesIO(Deidentifier(samples.KEY, PROJECT, "basic").bytes(path.read_bytes())))
    sequences = {element.keyword for element in found if element.VR == "SQ"}
    assert sequences == {element.keyword for element in basic if element.VR == "SQ"} - {
        "DeidentificationMethodCodeSequence"
    }


@pytest.mark.parametrize("has_manufacturer", [True, False])
def test_no_module_is_begun_with_an_institution(has_manufacturer: bool, source: Path) -> None:
    """Where there is no Manufacturer, an Institution Name would be all of General Equipment."""
    path = source / "1.dcm"
    ds = dcmread(path)
    for keyword in ("InstitutionName", *(() if has_manufacturer else ("Manufacturer",))):
        if keyword in ds:
            delattr(ds, keyword)
    path.write_bytes(samples.encoded(ds))
    assert ("InstitutionName" in result(source)) == has_manufacturer


def test_a_date_that_is_none_is_what_its_iod_needs(source: Path) -> None:
    """Emptied, or a dummy where it is of Type 1: never as it was."""
    path = source / "1.dcm"
    ds = dcmread(path)
    ds["ContentDate"] = DataElement("ContentDate", "LO", "Anna")
    ds["ContentDate"].VR = "DA"
    path.write_bytes(samples.encoded(ds))
    assert result(source).ContentDate == ""


@pytest.mark.parametrize("options", [[], ["--site", "Bergen", "--site-id", "07"]])
@pytest.mark.parametrize("patient", ["P1", ""])
def test_the_module_of_the_clinical_trial_is_whole(options: list[str], patient: str, source: Path) -> None:
    """What is of Type 1 has a value, what is of Type 2 is there; also of a patient whom nobody knows."""
    path = source / "1.dcm"
    ds = dcmread(path)
    ds.PatientID = ds.PatientName = patient
    path.write_bytes(samples.encoded(ds))
    found = result(source, *options)
    assert found.ClinicalTrialSponsorName == found.ClinicalTrialProtocolID == PROJECT
    assert found.ClinicalTrialSubjectID == found.PatientID
    assert found.PatientID
    site, number = options[1::2] or ("", "")
    assert (found.ClinicalTrialSiteName, found.ClinicalTrialSiteID) == (site, number)


# ---------------------------------------------------------------------- UIDs and hashes, bit for bit


def digits(value: bytes) -> str:
    """Their hash, written down once more: SHA-256, each nibble by this table."""
    return "".join("0123456789012345"[int(nibble, 16)] for nibble in hashlib.sha256(value).hexdigest())


def stored(value: str, pad: bytes = b"\0") -> bytes:
    """A value as it is stored, with what pads it."""
    raw = value.encode()
    return raw + pad * (len(raw) % 2)


def hexadecimal(value: bytes) -> str:
    """Their hash in the old style."""
    return hashlib.sha256(value).hexdigest()


@pytest.mark.parametrize("length", [40, 41])
@pytest.mark.parametrize(("scheme", "digits"), [("mmiv", digits), ("mmiv-old-style", hexadecimal)])
@pytest.mark.filterwarnings("ignore:.*UI:UserWarning:pydicom")  # the old style's UIDs are illegal, as pydicom says
def test_uids_of_the_tool(source: Path, length: int, scheme: str, digits: Callable[[bytes], str]) -> None:
    """Of UIDs of odd and of even length, at the top and nested; accession number and study ID as well."""
    path = source / "1.dcm"
    ds = dcmread(path)
    series = ("1.2.826." + "123456789" * 8)[:length]
    ds.SeriesInstanceUID = ds.FrameOfReferenceUID = series
    ds.AccessionNumber = "ACC1" if length % 2 else "ACC12"
    item = Dataset()
    item.ReferencedSOPClassUID = ds.SOPClassUID
    item.ReferencedSOPInstanceUID = series
    ds.ReferencedSeriesSequence = [item]
    ds.ConcatenationUID = series
    path.write_bytes(samples.encoded(ds))
    found = result(source, "--uids", scheme)

    def new(raw: bytes) -> str:
        return ("1.3.6.1.4.1.45037." + digits(raw + PROJECT.encode()))[:63]

    assert found.StudyInstanceUID == new(ds.StudyInstanceUID.encode())  # without its padding
    assert found.SeriesInstanceUID == found.FrameOfReferenceUID == new(stored(series))
    assert found.SOPInstanceUID == found.file_meta.MediaStorageSOPInstanceUID == new(stored(ds.SOPInstanceUID))
    assert found.ReferencedSeriesSequence[0].ReferencedSOPInstanceUID == new(stored(series))
    assert found.ConcatenationUID == digits(stored(series))[:64]
    assert found.AccessionNumber == digits(stored(ds.AccessionNumber, b" "))[:16]
    assert found.StudyID == digits(ds.StudyInstanceUID.encode() + PROJECT.encode())[:16]


def test_known_hash_of_nothing() -> None:
    """The constant that the tool writes for an empty accession number is what our table gives."""
    assert digits(b"")[:16] == "4310244298521214"


# ---------------------------------------------------------------------- options


def test_options(source: Path) -> None:
    """Days, changes of tags, regular expressions: before all rules of the profile."""
    ds = result(
        *(source, "--shift-days", "-7", "--tag-change", "0008,1030=keep", "--tag-change", "0008,1010=SITENAME"),
        *("--tag-change", "0008,0080=other", "--regex-change", "0008,0070=^(M)ak(er)", "--site", "Oslo"),
    )
    assert ds.StudyDate == "20240222"
    assert ds.StudyDescription == f"study of {CANARY}"
    assert (ds.StationName, ds.InstitutionName, ds.Manufacturer) == ("Oslo", "other", "M er")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shift-days", "0"], "--shift-days: days: 0 would leave every date as it is"),
        (["--uids", "random"], "--uids: Input should be 'keyed' or 'mmiv'"),
        (["--patient-id", ""], "--patient-id: String should have"),
        (["--tag-change", "0010,0010=x"], "--tag-change PatientName"),
        (["--tag-change", "nonsense"], "--tag-change: must be"),
        (["--regex-change", "0008,1030=("], "--regex-change StudyDescription"),
        (["--tag-change", "0008,0018=x"], "--tag-change SOPInstanceUID"),
        (["--by-series", "--layout", "mirror"], "--by-series is a layout"),
        (["--profile", "basic", "--shift-days", "3"], "nothing in this profile moves dates"),
        (["--profile", "basic", "--site", "x"], "--site: this profile has no variable site"),
    ],
)
def test_options_that_cannot_be_meant(options: list[str], said: str, source: Path) -> None:
    """Exit code 2, and the option is named."""
    result(source, *options, code=2, said=said)


def test_names(tmp_path: Path) -> None:
    """By series, with the modality before; another project is another copy."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    seen: set[str] = set()
    for project in ("one", "two"):
        out = tmp_path / project
        options = ("--profile", "mmiv", "--project", project, "--by-series")
        assert deid(source, "-o", out, "--key", key, *options).code == 0
        for place in tree(out):
            ds = dcmread(out / place)
            assert place == f"{ds.SeriesInstanceUID}/CT.{ds.SOPInstanceUID}.dcm"
        assert seen.isdisjoint(tree(out))
        seen |= tree(out).keys()


# ---------------------------------------------------------------------- mapping.json


def mapping(path: Path) -> dict[str, dict[str, str]]:
    """A mapping, as mmiv's."""
    content: dict[str, dict[str, str]] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize("options", [[], ["--option", "retain-uids"], ["--uids", "mmiv"], ["--uids", "mmiv-old-style"]])
def test_mapping(options: list[str], tmp_path: Path) -> None:
    """Old → new Study and Series UIDs of all instances, in any encoding; for its owner's eyes only."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    for name, syntax in (("implicit", ImplicitVRLittleEndian), ("big", ExplicitVRBigEndian)):
        file = samples.encoded(samples.image(name, study=f"study {name}"), syntax)
        (source / f"{name}.dcm").write_bytes(file)
    expected: dict[str, Any] = {"SeriesInstanceUID": {}, "StudyInstanceUID": {}}
    path, out = tmp_path / "mapping.json", tmp_path / "out"
    assert deid(source, "-o", out, "--key", key, "--mapping", path, "--layout", "mirror", *options).code == 0
    for place in tree(out):
        old, new = dcmread(source / place), dcmread(out / place)
        for keyword, pairs in expected.items():
            pairs[old[keyword].value] = new[keyword].value
    assert mapping(path) == expected
    assert len(expected["StudyInstanceUID"]) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.with_name("mapping.json.part").exists()


def test_mapping_of_a_resumed_run(tmp_path: Path) -> None:
    """It has what was found before as well, whether that run has come to its end or not."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in", patients=1)
    path, part = tmp_path / "mapping.json", tmp_path / "mapping.json.part"
    common = (source, "-o", tmp_path / "out", "--key", key, "--mapping", path, "--resume")
    assert deid(*common).code == 0
    first = mapping(path)
    path.unlink()
    lines = [json.dumps([kind, old, new]) for kind, pairs in first.items() for old, new in pairs.items()]
    part.write_text("\n".join(lines) + '\n["StudyInst')
    other = samples.encoded(samples.image("other", study="other"))
    (source / "other.dcm").write_bytes(other)
    assert deid(*common).code == 0
    second = mapping(path)
    assert all(first[kind].items() < second[kind].items() for kind in first)
    assert deid(*common).said == "4 skipped\n"
    assert mapping(path) == second
    path.write_text("[")
    assert (deid(*common).code, path.read_text()) == (2, "[")


def test_mapping_cut_off_twice(tmp_path: Path) -> None:
    """What is appended behind half a line is not lost."""
    path, part = tmp_path / "mapping.json", tmp_path / "mapping.json.part"
    part.write_text('["StudyInstanceUID", "1", "2"]\n["StudyInst')
    for old in ("3", "5"):
        again = Mapping(path, True)
        again.add("StudyInstanceUID", old, f"{old}4")
        again.sync()
        again.close()
    last = Mapping(path, True)
    last.finish()
    last.close()
    assert mapping(path)["StudyInstanceUID"] == {"1": "2", "3": "34", "5": "54"}


def test_where_a_mapping_must_not_be(tmp_path: Path) -> None:
    """Not among what is passed on."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    done = deid(source, "-o", tmp_path / "out", "--key", key, "--mapping", tmp_path / "out" / "mapping.json")
    assert (done.code, "must not be inside the output" in done.said) == (2, True)
