"""`verify` against whoever hides something: in a result, beside it, or in what ties results together."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from typer.testing import CliRunner

from scp_anon import Deidentifier
from scp_anon.cli import app
from scp_anon.deid import load_profile
from scp_anon.filesystem import READ_LIMIT
from scp_anon.verification import Job, verify
from scp_anon.verification.checks import Checker
from tests import samples

NAME = "Zwiebelkraut"
PASS: dict[str, Any] = {"pixels": "pass"}
NAMED = "(0010,0010)"
HEAD = "preamble or File Meta Information"
Found = set[tuple[str, str, str]]


class Case:
    """Originals and results, by our engine."""

    def __init__(self, folder: Path, profile: dict[str, Any] | None = None) -> None:
        self.originals, self.results = folder / "in", folder / "out"
        self.originals.mkdir()
        self.results.mkdir()
        self.profile = load_profile({**PASS, **(profile or {})})
        self.engine = Deidentifier(samples.KEY, "p", self.profile)

    def add(self, name: str, ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Path:
        """One more original with its result; returns that."""
        (self.originals / name).write_bytes(samples.encoded(ds, syntax))
        path = self.results / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.engine.bytes(samples.encoded(ds, syntax)))
        return path

    def job(self, against: bool = True, key: bytes | None = samples.KEY, mirror: bool = False) -> Job:
        """What is checked."""
        return Job(key, "p", self.profile, self.results, self.originals if against else None, mirror)

    def found(self, against: bool = True, key: bytes | None = samples.KEY, mirror: bool = False) -> Found:
        """Kind, path, and place or detail of each finding."""
        findings = verify(self.job(against, key, mirror), 1).findings
        return {(each.kind, each.path, each.where or each.detail) for each in findings}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """No files yet."""
    return Case(tmp_path)


def image(name: str = "1", **values: object) -> Dataset:
    """An image of somebody with a rare name."""
    ds = samples.image(name)
    ds.PatientName, ds.PatientID, ds.AccessionNumber = f"{NAME}^Anna", "HOSP-4711-X", "8231947"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 8, 8, 16, 1
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def changed(path: Path, change: Callable[[Dataset], None], syntax: UID = ExplicitVRLittleEndian) -> None:
    """Change the data set of a result."""
    ds = dcmread(path)
    change(ds)
    ds.file_meta.TransferSyntaxUID = syntax
    encoded = BytesIO()
    dcmwrite(encoded, ds, enforce_file_format=True)
    path.write_bytes(encoded.getvalue())


# ---------------------------------------------------------------------- in the data set


def of_un(ds: Dataset) -> None:
    """In a text of VR UN, which is no text of its character set."""
    ds.add_new(0x00181210, "UN", b"\1" + NAME.encode("utf-16-be"))


def of_overlay(ds: Dataset) -> None:
    """In the bits of an overlay."""
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 16)
    ds.add_new(0x60003000, "OW", NAME.encode() + bytes(4))


def of_trailing_padding(ds: Dataset) -> None:
    """In Data Set Trailing Padding."""
    ds.add_new(0xFFFCFFFC, "OB", bytes(8) + NAME.encode())


def of_icon(ds: Dataset) -> None:
    """In the pixels of an icon."""
    icon = Dataset()
    icon.add_new(0x7FE00010, "OB", NAME.encode())
    ds.IconImageSequence = [icon]


def of_values(ds: Dataset) -> None:
    """In the last of many values."""
    ds.ConvolutionKernel = ["A", "B", f"c {NAME.upper()}"]


def of_claims(ds: Dataset) -> None:
    """Among the methods of its de-identification."""
    ds.DeidentificationMethod = [*ds.DeidentificationMethod, NAME]


HIDDEN: dict[str, tuple[Callable[[Dataset], None], Found]] = {
    "UN": (of_un, {("differs", "(0018,1210)", ""), ("residual", NAMED, "(0018,1210)")}),
    "overlay": (of_overlay, {("present", "(6000,3000)", ""), ("residual", NAMED, "(6000,3000)")}),
    "trailing": (of_trailing_padding, {("residual", NAMED, "(FFFC,FFFC)")}),
    "icon": (of_icon, {("residual", NAMED, "(0088,0200)>(7FE0,0010)")}),
    "values": (of_values, {("differs", "(0018,1210)", ""), ("residual", NAMED, "(0018,1210)")}),
    "claims": (of_claims, {("differs", "(0012,0063)", ""), ("residual", NAMED, "(0012,0063)")}),
}


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=["explicit", "deflated"]
)
@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_in_the_data_set(case: Case, name: str, syntax: UID) -> None:
    """Whether it holds a value of the original or not: the engine does not give it."""
    change, expected = HIDDEN[name]
    path = case.add("1.dcm", image(), syntax)
    assert not case.found()
    changed(path, change, syntax)
    assert expected <= case.found()


def test_a_group_length(case: Case) -> None:
    """Right or wrong: we write none, as it would be wrong after any change."""
    path = case.add("1.dcm", image())
    whole = path.read_bytes()
    place = whole.index(b"\x20\0\x0d\0UI")
    path.write_bytes(whole[:place] + pack("<HH2sHI", 0x0020, 0, b"UL", 4, 1234) + whole[place:])
    assert case.found() == case.found(against=False) == {("present", "(0020,0000)", "")}


def encapsulated(fragment: bytes) -> Dataset:
    """An image of one fragment."""
    ds = image(PixelData=encapsulate([fragment]))
    ds["PixelData"].is_undefined_length = True
    return ds


def test_in_the_offset_table_and_behind_the_last_fragment(case: Case) -> None:
    """Bytes around fragments are bytes as well; behind the delimitation there must be none."""
    path = case.add("1.dcm", encapsulated(bytes(64)), JPEGBaseline8Bit)
    assert not case.found()
    whole = path.read_bytes()
    table = whole.index(b"\xfe\xff\x00\xe0\x04\x00\x00\x00")
    hidden = pack("<HHI", 0xFFFE, 0xE000, 12) + NAME.encode()
    path.write_bytes(whole[:table] + hidden + whole[table + 12 :])
    assert {("differs", "(7FE0,0010)", ""), ("residual", NAMED, "(7FE0,0010)")} <= case.found()
    path.write_bytes(whole + NAME.encode())
    assert case.found() >= {("unreadable", "", "truncated")}


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=["explicit", "deflated"]
)
def test_behind_the_data_set(case: Case, syntax: UID) -> None:
    """What is behind the last element cannot be read as one."""
    path = case.add("1.dcm", image(), syntax)
    path.write_bytes(path.read_bytes() + b"\0\0" + NAME.encode())
    assert {kind for kind, *_ in case.found()} >= {"unreadable"}


def test_in_the_preamble_and_in_file_meta_information(case: Case) -> None:
    """Of both we write little: all else is told, and what does not fit the data set."""
    path = case.add("1.dcm", image())
    ds = dcmread(path)
    ds.preamble = b"II*\0" + bytes(124)
    ds.file_meta.SourceApplicationEntityTitle = "WARD_7"
    dcmwrite(path, ds)
    expected = {("present", "preamble", ""), ("present", "(0002,0016)", "")}
    assert case.found() == case.found(against=False) == expected
    path = case.add("1.dcm", image())
    ds = dcmread(path)
    ds.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    ds.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    ds.file_meta.PrivateInformation = NAME.encode()
    dcmwrite(path, ds)
    kinds = case.found()
    assert {("inconsistent", "(0002,0003)", ""), ("present", "(0002,0102)", ""), ("residual", NAMED, HEAD)} <= kinds


def test_without_a_prefix_and_with_a_wrong_length(case: Case) -> None:
    """What stock readers do not read, or not to its end."""
    path = case.add("1.dcm", image())
    whole = path.read_bytes()
    path.write_bytes(whole[132:])
    assert case.found() == {("inconsistent", "no preamble and prefix", "")}
    path.write_bytes(whole[:140] + pack("<I", 4) + whole[144:])
    assert case.found() == {("inconsistent", "(0002,0000)", "")}


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("size", [0, 20, 140, 300, -1, -2, -40])
def test_truncated_results(case: Case, size: int) -> None:
    """Wherever a file ends too soon, what is called .dcm is no other file."""
    path = case.add("1.dcm", image())
    path.write_bytes(path.read_bytes()[:size])
    for against in (False, True):
        assert "unreadable" in {kind for kind, *_ in case.found(against)}


def test_truncated_between_elements(case: Case) -> None:
    """A result without its pixels is one that can be read, but not what the engine makes."""
    path = case.add("1.dcm", image())
    changed(path, lambda ds: ds.__delitem__("PixelData"))
    assert ("differs", "(7FE0,0010)", "") in case.found()


def test_links_and_other_files(case: Case) -> None:
    """A link to a file is looked at; one to a folder, or to nowhere, is not passed over; others are counted."""
    path = case.add("1.dcm", image())
    elsewhere = case.originals.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.dcm").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere / "2.dcm")
    (case.results / "notes").write_text("nothing")
    os.mkfifo(case.results / "pipe")
    (case.results / ".scp-anon-manifest").write_text("{}")
    report = verify(case.job(), 1)
    assert (report.results, report.others, report.findings) == (1, 1, {})
    (case.results / "folder").symlink_to(elsewhere)
    (case.results / "nowhere").symlink_to(elsewhere / "missing")
    findings = verify(case.job(), 1).findings.items()
    details = {each.detail: example for each, (_, example) in findings if each.kind == "unreadable"}
    assert details == {"Is a directory": "folder", "No such file or directory": "nowhere"}
    (case.results / "deeper").mkdir()
    hidden = case.results / "deeper" / ".scp-anon-manifest"
    hidden.write_bytes((case.originals / "1.dcm").read_bytes())
    assert ("no-original", "", "") in case.found()


@pytest.mark.parametrize("name", [f"{NAME}_Anna.dcm", "8231947.dcm", "hosp-4711-x.dcm"])
def test_names_of_files(case: Case, name: str) -> None:
    """A path tells as much as an attribute."""
    case.add(name, image())
    assert {(kind, where) for kind, _, where in case.found()} == {("residual", "name of the file or a folder")}


# ---------------------------------------------------------------------- what ties them together


def test_instances_that_are_there_twice(case: Case) -> None:
    """A second file with the UID of another; but not where the originals have it twice."""
    path = case.add("1.dcm", image())
    (case.results / "2.dcm").write_bytes(path.read_bytes())
    assert case.found() == {("duplicate", "(0008,0018)", "")} == case.found(against=False)
    (case.originals / "2.dcm").write_bytes((case.originals / "1.dcm").read_bytes())
    assert case.found() == case.found(mirror=True) == set()


def test_an_instance_in_two_studies(case: Case) -> None:
    """Each result is compared with its own original, though both have the same UID."""
    case.add("1.dcm", image())
    case.add("2.dcm", image(StudyInstanceUID="1.2.3", PatientName="Unterholz", PatientID="HOSP-4712-X"))
    assert case.found() == set()


def test_studies_of_several_patients(case: Case) -> None:
    """Which the originals tell, or else the results themselves."""
    case.add("1.dcm", image("1"))
    path = case.add("2.dcm", image("2"))
    other = case.engine.bytes(samples.encoded(image("2", PatientID="HOSP-4712-X")))
    path.write_bytes(other)
    assert case.found(against=False) == {("mixed", "(0010,0020)", "")}
    assert case.found() == {
        ("differs", "(0010,0010)", ""),
        ("differs", "(0010,0020)", ""),
        ("mixed", "(0010,0020)", ""),
    }
    path.write_bytes(case.engine.bytes(samples.encoded(image("2", StudyInstanceUID="1.2.3"))))
    assert ("mixed", "(0020,000D)", "") in case.found(against=False)
    assert ("differs", "(0020,000D)", "") in case.found()


def test_results_that_are_of_each_other(case: Case) -> None:
    """Two results at each other's places are good ones, of the wrong originals."""
    one, two = case.add("1.dcm", image("1")), case.add("2.dcm", image("2"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert ("differs", "(0008,0018)", "") in case.found(mirror=True)
    assert case.found() == set(), "by their UIDs they are where they belong"


# ---------------------------------------------------------------------- what the engine gives now


@pytest.mark.parametrize("condition", [{"StationName": "CT7"}, {"not": {"PatientSex": "F"}}])
def test_a_condition_is_asked_of_the_original(tmp_path: Path, condition: dict[str, Any]) -> None:
    """What a rule depends on need not stay: with the original it is known all the same."""
    rules = [
        {"tag": "SeriesDescription", "action": "keep", "when": condition},
        {"tag": "PatientSex", "action": "empty"},
    ]
    case = Case(tmp_path, {"rules": rules})
    path = case.add("1.dcm", image(StationName="CT7", PatientSex="M", SeriesDescription="AX"))
    assert dcmread(path).SeriesDescription == "AX"
    assert case.found() == set()
    changed(path, lambda ds: setattr(ds, "SeriesDescription", "other"))
    assert {place for _, place, _ in case.found()} == {"(0008,103E)"}


def test_what_was_only_encoded_otherwise(case: Case) -> None:
    """Other lengths, another transfer syntax and another version of ours are no difference; a pixel is."""
    ds = image()
    ds.AnatomicRegionSequence = [Dataset()]
    ds.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [Dataset()]
    path = case.add("1.dcm", ds)

    def again(result: Dataset) -> None:
        result.DeidentificationMethod = ["scp-anon 0.0.1", *result.DeidentificationMethod[1:]]
        result["AnatomicRegionSequence"].is_undefined_length = True

    changed(path, again, ImplicitVRLittleEndian)
    assert case.found() == set()
    changed(path, lambda result: setattr(result, "PixelData", b"\1" + result.PixelData[1:]))
    assert case.found() == {("differs", "(7FE0,0010)", "")}


def test_the_digest_of_another_version(case: Case) -> None:
    """It may be of the same profile; one of the same version is not."""
    path = case.add("1.dcm", image())
    version, method, key = dcmread(path).DeidentificationMethod
    changed(path, lambda ds: setattr(ds, "DeidentificationMethod", ["scp-anon 0.0.1", f"{method[:-8]}0a1b2c3d", key]))
    assert case.found() == set()
    changed(path, lambda ds: setattr(ds, "DeidentificationMethod", [version, f"{method[:-8]}0a1b2c3d", key]))
    assert case.found() == {("not-claimed", "(0012,0063)", "")}


def test_a_date_that_was_moved_by_other_days(tmp_path: Path) -> None:
    """By its form it may be right: only the original tells."""
    case = Case(tmp_path, {"options": ["retain-longitudinal-modified-dates"]})
    path = case.add("1.dcm", image())
    changed(path, lambda ds: setattr(ds, "StudyDate", "20240517"))
    assert case.found(against=False) == set()
    assert case.found() == {("differs", "(0008,0020)", "")}


def test_a_large_result(case: Case) -> None:
    """One that is not read into memory is compared as any other."""
    pixels = bytes(range(256)) * (READ_LIMIT >> 8) + bytes(512)
    path = case.add("1.dcm", image(PixelData=pixels))
    assert case.found() == set()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\1")
    assert case.found() == {("differs", "(7FE0,0010)", "")}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("result", {("unreadable", "", "too-many-attempts"), ("no-original", "", "")}),
        ("study", {("not-compared", "", "")}),
        ("original", {("no-original", "", "")}),
    ],
)
def test_a_file_that_ends_its_process(
    case: Case, monkeypatch: pytest.MonkeyPatch, method: str, expected: Found
) -> None:
    """It is told; the others are checked."""
    for number in range(5):
        case.add(f"{number}.dcm", image(str(number), StudyInstanceUID=f"1.2.{number}"))
    done = getattr(Checker, method)

    def deadly(checker: Checker, asked: Any) -> Any:
        if "3.dcm" in (asked if isinstance(asked, str) else asked[0][0]):
            os._exit(9)
        return done(checker, asked)

    deadly.__module__, deadly.__qualname__ = Checker.__module__, f"Checker.{method}"  # by which it is handed over
    monkeypatch.setattr(Checker, method, deadly)
    report = verify(case.job(), 2)
    assert {(each.kind, each.path, each.detail) for each in report.findings} == expected
    assert {example for _, example in report.findings.values()} == {"3.dcm"}


def test_without_the_key_nothing_is_compared(case: Case) -> None:
    """What is left of originals is told all the same."""
    path = case.add("1.dcm", image())
    assert case.found(key=None, mirror=True) == set()
    changed(path, lambda ds: setattr(ds, "ConvolutionKernel", NAME))
    assert case.found(key=None, mirror=True) == {("residual", NAMED, "(0018,1210)")}


def test_patients_by_number(tmp_path: Path) -> None:
    """The numbers that were given are read again; none is given."""
    numbers = tmp_path / "numbers"
    case = Case(tmp_path, {"patients": {"scheme": "sequential", "file": str(numbers), "start": 7}})
    case.add("1.dcm", image())
    before = numbers.read_bytes()
    assert case.found() == set()
    case.add("2.dcm", image("2", PatientID="HOSP-4712-X"))
    numbers.write_bytes(before)
    assert ("differs", "(0010,0020)", "") not in case.found()


@pytest.mark.parametrize("processes", [1, 2])
def test_names_that_are_no_text(case: Case, processes: int) -> None:
    """Names of files may be any bytes: they are told apart, and what shows them does nothing to a terminal."""
    names = [os.fsdecode(name) for name in (b"\xff.dcm", b"\xfe.dcm", b"\x1b[2J.dcm")]
    for name in names:
        case.add(name, samples.image(name.encode("utf-8", "surrogateescape").hex()))
    assert verify(case.job(mirror=True), processes).as_json()["findings"] == []
    for name in names:
        with (case.results / name).open("ab") as file:
            file.write(b"\x10\x00\x10\x00PN\x04\x00Name")
    (case.originals / names[0]).unlink()
    report = verify(case.job(mirror=True), processes)
    assert {example for _, example in report.findings.values()} <= set(names)
    assert report.without_result == 0
    result = CliRunner().invoke(app, ["verify", str(case.results)])
    assert "\\x1b[2J.dcm" in result.output
    assert result.output.replace("\n", "").isprintable()
