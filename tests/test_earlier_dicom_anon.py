"""What users of dicom-anon and dicom-pseudon had, by our own commands: their documented runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydicom import dcmread
from pydicom.dataset import Dataset

from scp_anon import Deidentifier
from scp_anon.deid import load_profile
from scp_anon.destinations.fields import LayoutFields
from tests import samples
from tests.harness import scp_anon
from tests.profiles import engine, result, write_csv

# What its own tests look at, as annexe_ext.dat has it: name and tag, then the columns of 2011.
SPEC = """\
Patient's Name\t(0010,0010)
N\tY\tZ\t\t\t\t\t\t\t\t\t
Study ID\t(0020,0010)
N\tY\tZ\t\t\t\t\t\t\t\t\t
Study Description\t(0008,1030)
N\tY\tX\t\t\t\t\t\t\tC\t\t
Series Description\t(0008,103E)
N\tY\tX\t\t\t\t\t\t\tC\t\t
Modality\t(0008,0060)
N\tY\tK\t\t\t\t\t\t\t\t\t
Study Instance UID\t(0020,000D)
N\tY\tU\t\tK\t\t\t\t\t\t\t
Request Attributes Sequence\t(0040,0275)
N\tN\tX\t\t\t\t\t\t\tC\t\t
"""


def imported(kind: str, text: str, folder: Path) -> dict[str, object]:
    """The profile that `import` prints."""
    path = folder / "rules.txt"
    path.write_text(text, "utf-8")
    done = scp_anon("import", kind, str(path))
    assert done.returncode == 0, done.stderr
    profile: dict[str, object] = yaml.safe_load(done.stdout)
    return profile


def described(text: str) -> Dataset:
    """A sample with this study description, and one of the series."""
    ds = samples.image()
    ds.StudyDescription, ds.SeriesDescription = text, "neck"
    return ds


def test_profile_basic(tmp_path: Path) -> None:
    """Its own tests: the name is another, Study ID is cleaned, descriptions are gone, and so are sequences."""
    ds = result(described("NECK STUDY"), engine(**imported("dicom-anon", SPEC, tmp_path)))  # type: ignore[arg-type]  # a profile
    assert str(ds.PatientName) == ds.PatientID, "a pseudonym where it had a number in each study"
    assert ds.StudyID == "DEIDENTIFIED"
    assert not {"StudyDescription", "SeriesDescription", "RequestAttributesSequence"} & {e.keyword for e in ds}
    assert (ds.PatientIdentityRemoved, ds.Modality) == ("YES", "CT")
    assert ds.StudyInstanceUID.startswith("2.25.")


@pytest.mark.parametrize(("text", "stays"), [("Neck-study.", True), ("NECK STUDY", True), ("NECK STUDY ROE", False)])
def test_profile_clean(text: str, stays: bool, tmp_path: Path) -> None:
    """A white-listed study description stays, and no other; before the rules of the specification."""
    white = imported("dicom-anon-white-list", '{"0008,1030": ["NECK STUDY"], "0020,0062": ["L", "R"]}', tmp_path)
    spec = imported("dicom-anon", SPEC, tmp_path)
    rules = [*white["rules"], *spec["rules"]]  # type: ignore[misc]  # lists, as YAML has them
    ds = result(described(text), engine(rules=rules))
    assert ds.get("StudyDescription") == (text if stays else None)


def test_switches(tmp_path: Path) -> None:
    """-k: overlays stay; -c: the headers of Siemens; as rules, each for itself."""
    ds = samples.image()
    ds.add_new(0x60000010, "US", 1)
    ds.add_new(0x60003000, "OW", b"\0\0")
    ds.add_new(0x60004000, "LT", samples.CANARY)
    for element in (0x10, 0x20, 0x30):
        block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(element, "OB", b"CSA!")
    overlay = [{"tag": "(60xx,4000)", "action": "remove"}, {"tag": "(60xx,xxxx)", "action": "keep"}]
    csa = [
        {"private": "SIEMENS CSA HEADER", "group": "0029", "element": element, "action": "keep"}
        for element in ("10", "20")
    ]
    kept = result(ds, engine(rules=[*overlay, *csa]))
    assert [int(e.tag) for e in kept if e.tag.group in (0x29, 0x6000)] == [
        *(0x00290010, 0x00291010, 0x00291020, 0x60000010, 0x60003000)
    ]
    assert not [e for e in result(ds, engine()) if e.tag.group in (0x29, 0x6000)]


def test_pseudon_run(tmp_path: Path) -> None:
    """Links and a white list: Accession Number becomes the serial, the rest is listed, blanked or gone; <serial>/."""
    profile = imported("dicom-pseudon", "(0008, 0060)\n0020,0062\n0018,0050\n", tmp_path)
    write_csv(tmp_path / "links.csv", {"original": f"{samples.CANARY}ACC", "new": "17"})
    serial = {"tag": "AccessionNumber", "action": "lookup", "file": "links.csv"}
    profile["rules"] = [serial, *profile["rules"]]  # type: ignore[misc]  # as above
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(profile), "utf-8")
    fields = tmp_path / "fields.yaml"
    fields.write_text(
        "links: {file: links.csv, number: original, serial: new}\nfields: {Serial: {serial_of: AccessionNumber}}"
    )
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(samples.encoded(samples.image()))
    by = Deidentifier(samples.KEY, "p", load_profile(path))
    by.file(source, target)
    ds = dcmread(target)
    assert (ds.AccessionNumber, ds.Modality, ds.SliceThickness, ds.Rows) == ("17", "CT", 5, 1)
    assert ds.PixelData == samples.image().PixelData
    blanked = {element.keyword for element in ds if element.is_empty}
    assert {"StudyDate", "StudyTime", "ReferringPhysicianName", "PatientBirthDate", "SeriesNumber"} <= blanked
    assert not {"ImageType", "Manufacturer", "RequestAttributesSequence"} & {element.keyword for element in ds}
    assert samples.CANARY.encode() not in target.read_bytes()
    with by.opened(source) as made:
        place = LayoutFields("{Serial}/{SOPInstanceUID}.dcm", fields).layout_of(source).place_of(made)
    assert place == f"17/{ds.SOPInstanceUID}.dcm"
