"""`verify`: folders of results, by themselves and against their originals. Kinds and tags are told, never a value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests import samples, study
from tests.command import scp_anon
from tests.peers import corpus_files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom

COMMON = ("--pixels", "pass", "--project", "p")


class Folder:
    """Originals, their results, and what is said of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.originals, self.results, self.key = path / "in", path / "out", path / "key"
        self.originals.mkdir()
        scp_anon("keygen", str(self.key))

    def original(self, name: str, file: bytes) -> None:
        """Put one more original in."""
        (self.originals / name).write_bytes(file)

    def deidentify(self, *options: str) -> None:
        """Make the results, at the places of the originals."""
        command = ["deid", str(self.originals), "-o", str(self.results), "--layout", "mirror", "--key", str(self.key)]
        assert "delivered" in scp_anon(*command, *COMMON, *options).stdout

    def change(self, name: str, **values: Any) -> None:
        """Change attributes of a result; None deletes one."""
        path = self.results / name
        ds = dcmread(path)
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        ds.save_as(path)

    def verify(self, *options: str, code: int = 1) -> dict[str, Any]:
        """The report; and that it exits so, and holds no value."""
        done = scp_anon("verify", str(self.results), "--key", str(self.key), *COMMON, "--json", *options)
        assert done.returncode == code, done.stdout + done.stderr
        assert samples.CANARY not in done.stdout + done.stderr
        (report,) = json.loads(done.stdout).values()
        assert isinstance(report, dict)
        return report

    def found(self, *options: str) -> set[tuple[str, str, str]]:
        """Kind, path and place of what is found against the originals."""
        findings = self.verify("--against", str(self.originals), *options)["findings"]
        return {(finding["kind"], finding["path"], finding["where"]) for finding in findings}

    def is_clean(self, *options: str) -> dict[str, Any]:
        """Nothing is found; returns the report."""
        report = self.verify("--against", str(self.originals), *options, code=0)
        assert report["findings"] == []
        return report


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A study of instances that refer to each other, not yet de-identified."""
    made = Folder(tmp_path)
    for kind, file in study.files().items():
        made.original(f"{kind}.dcm", file)
    return made


# ---------------------------------------------------------------------- clean


@pytest.mark.parametrize("options", [(), ("--option", "retain-uids"), ("--option", "clean-descriptors")], ids=" ".join)
def test_what_we_have_made_is_clean(folder: Folder, options: tuple[str, ...]) -> None:
    """Real files and a study, with several processes: nothing is found, and everything was looked at."""
    for number, path in enumerate(corpus_files()):
        folder.original(f"corpus-{number}.dcm", path.read_bytes())
    folder.deidentify(*options)
    results = len(list(folder.results.glob("*.dcm")))
    report = folder.is_clean(*options, "--mirror", "--processes", "2")
    assert report["results"] == results
    assert report["originals_without_result"] == report["originals"] - results


def test_by_the_key(folder: Folder) -> None:
    """In another layout a result is found by its new SOP Instance UID."""
    folder.deidentify("--layout", "{SOPInstanceUID}.dcm")
    assert folder.is_clean()["originals_without_result"] == 0
    (folder.originals / "CT 1.dcm").unlink()
    assert {kind for kind, *_ in folder.found()} == {"no-original"}


def test_the_table(folder: Folder) -> None:
    """For people: kinds, tags, counts, and one file."""
    folder.deidentify()
    for name in ("CT 1.dcm", "CT 2.dcm"):
        folder.change(name, PatientAddress="Zwiebelkraut street")
    done = scp_anon("verify", str(folder.results), "--key", str(folder.key), *COMMON)
    assert done.returncode == 1
    (row,) = (line.split() for line in done.stdout.splitlines() if line.strip().startswith("present"))
    assert row == ["present", "(0010,1040)", "2", "CT", "1.dcm"]
    assert "Zwiebelkraut" not in done.stdout


# ---------------------------------------------------------------------- residuals


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_name_in_a_result(folder: Folder, syntax: str) -> None:
    """Wherever it is: in a text, an item, a private value; in each transfer syntax."""
    ds = samples.image()
    ds.PatientName = "Zwiebelkraut^Anna"
    folder.original("image.dcm", samples.encoded(ds, syntax))
    folder.deidentify()
    result = dcmread(folder.results / "image.dcm")
    result.ConvolutionKernel = "of ZWIEBELKRAUT"
    result.private_block(0x0029, "MAKER", create=True).add_new(0x10, "OB", b"\1" + "Zwiebelkraut".encode("utf-16-be"))
    item = Dataset()
    item.ReceiveCoilName = "zwiebelkraut"
    result.AnatomicRegionSequence = [item]
    (folder.results / "image.dcm").write_bytes(samples.encoded(result, syntax))
    expected = {"(0018,1210)", "(0029,1010)", "(0008,2218)>(0018,1250)"}
    assert {where for kind, path, where in folder.found() if path == "(0010,0010)"} == expected


def test_beside_and_behind_the_pixels(folder: Folder) -> None:
    """All bytes count: of pixels, of the preamble, and of File Meta Information."""
    ds = samples.image(pixels=1 << 20)
    ds.PatientName = "Zwiebelkraut^Anna"
    folder.original("image.dcm", samples.encoded(ds))
    folder.deidentify()
    path = folder.results / "image.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-14] + b"Zwiebelkraut\0\0")
    assert ("residual", "(0010,0010)", "(7FE0,0010)") in folder.found()
    path.write_bytes(b"Zwiebelkraut" + whole[12:])
    assert ("residual", "(0010,0010)", "preamble or File Meta Information") in folder.found()


def test_values_of_the_whole_study(folder: Folder) -> None:
    """A value of one instance is no less one in the result of another; of another study it says nothing."""
    for name, study_of in (("one", "A"), ("two", "A"), ("three", "B")):
        ds = samples.image(name, study_of)
        ds.PatientName = {"one": "Zwiebelkraut", "two": "", "three": "Unterholz"}[name]
        folder.original(f"{name}.dcm", samples.encoded(ds))
    folder.deidentify()
    folder.change("two.dcm", ConvolutionKernel="zwiebelkraut")
    folder.change("three.dcm", ConvolutionKernel="zwiebelkraut")
    findings = folder.verify("--against", str(folder.originals))["findings"]
    findings = [each for each in findings if each["kind"] == "residual"]
    assert [(each["path"], each["count"], each["example"]) for each in findings] == [("(0010,0010)", 1, "two.dcm")]


# ---------------------------------------------------------------------- references and IODs


def test_references_that_lead_nowhere(folder: Folder) -> None:
    """An instance that is missing is told where others refer to it; what was never there is not."""
    folder.deidentify()
    (folder.results / "CT 1.dcm").unlink()
    kinds = {kind for kind, *_ in folder.found()}
    assert kinds == {"unresolved"}
    for path in folder.results.iterdir():
        if path.name != "SR.dcm":
            path.unlink()
    (folder.originals / "CT 1.dcm").unlink()
    report = folder.verify("--against", str(folder.originals))
    assert all(finding["example"] == "SR.dcm" for finding in report["findings"])


def test_references_that_were_left_alone(folder: Folder) -> None:
    """The UIDs of instances are new, that of a reference to one of them is not."""
    folder.deidentify()
    ds = dcmread(folder.results / "PR.dcm")
    reference = ds.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    reference.ReferencedSOPInstanceUID = samples.uid("CT 1")
    ds.save_as(folder.results / "PR.dcm")
    place = "(0008,1115)>(0008,1140)>(0008,1155)"
    found = {(kind, path) for kind, path, _ in folder.found()}
    assert {("unresolved", place), ("not-replaced", place)} <= found
    assert "residual" in {kind for kind, _ in found}


def test_attributes_that_an_iod_needs(folder: Folder) -> None:
    """Told against the original only where that had them; by itself, what every instance has to have."""
    ds = samples.image()
    del ds.StudyID
    folder.original("image.dcm", samples.encoded(ds))
    folder.deidentify()
    assert folder.is_clean()
    alone = [(each["kind"], each["path"], each["detail"]) for each in folder.verify()["findings"]]
    assert alone == [("missing", "(0020,0010)", "Type 2")]
    folder.change("CT 1.dcm", PatientSex=None, FrameOfReferenceUID="")
    assert {(kind, path) for kind, path, _ in folder.found()} == {("missing", "(0010,0040)"), ("empty", "(0020,0052)")}


# ---------------------------------------------------------------------- what cannot be checked


def test_what_cannot_be_read(folder: Folder) -> None:
    """A damaged result and a DICOMDIR are told; other files are counted."""
    folder.deidentify()
    whole = (folder.results / "CT 1.dcm").read_bytes()
    (folder.results / "CT 1.dcm").write_bytes(whole[:-5])
    (folder.results / "notes.txt").write_text("nothing")
    report = folder.verify("--against", str(folder.originals))
    assert report["others"] == 1
    kinds = {each["kind"]: each["detail"] for each in report["findings"]}
    assert kinds["unreadable"] == "truncated"


def test_wrong_usage(folder: Folder, tmp_path: Path) -> None:
    """No such folder, and no way to tell which result is whose."""
    assert scp_anon("verify", str(tmp_path / "missing")).returncode == 2
    assert scp_anon("verify", str(folder.originals), "--against", str(tmp_path / "missing")).returncode == 2
    done = scp_anon("verify", str(folder.originals), "--against", str(folder.originals), folder=tmp_path)
    assert done.returncode == 2
    assert "--mirror" in done.stderr
    assert not (tmp_path / "var").exists(), "a new key would be of no use"


def test_without_a_key(folder: Folder, tmp_path: Path) -> None:
    """Results can be checked by whoever gets them."""
    folder.deidentify()
    done = scp_anon("verify", str(folder.results), *COMMON, folder=tmp_path)
    assert (done.returncode, "nothing found" in done.stdout) == (0, True), done.stdout


def test_originals_and_results_stay_as_they_are(folder: Folder) -> None:
    """Nothing is written beside them."""
    folder.deidentify()
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    folder.is_clean()
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
