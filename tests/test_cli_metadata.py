"""`metadata`: what is in a file, whole and harmless, and a reason where that cannot be told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from scp_anon import Undecodable, header
from scp_anon.dicom.whole import read_head, read_whole
from scp_anon.errors import Reason
from scp_anon.harmless import no_formula, visible
from tests import samples
from tests.harness import scp_anon
from tests.hostile import HUGE, KINDS
from tests.peers import corpus_files

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "example.dcm"
# Real files that are none, and those with attributes that have no value of their VR.
NO_DICOM = {"meta_missing_tsyntax.dcm"}


def patient() -> Dataset:
    """The patient of the example in dicommanager's README, with what its `metadata` prints."""
    ds = samples.image()
    ds.PatientName, ds.PatientID, ds.PatientSex, ds.PatientAge = "Nordmann^Kari", "01017012345", "F", "054Y"
    ds.PatientBirthDate, ds.StudyDescription, ds.NumberOfFrames = "19700101", "CT Thorax", 1
    return ds


def written(path: Path, ds: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Path:
    """A data set as a file."""
    path.write_bytes(samples.encoded(ds, syntax))
    return path


@pytest.mark.parametrize("syntax", samples.NATIVE)
def test_what_dicommanager_prints(tmp_path: Path, syntax: str) -> None:
    """Its seven lines are there, each with tag, VR and keyword, in every native transfer syntax."""
    done = scp_anon("metadata", str(written(tmp_path / "a.dcm", patient(), syntax)))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for expected in (
        "(0010,0010) PN PatientName  Nordmann^Kari",
        "(0010,0040) CS PatientSex  F",
        "(0010,1010) AS PatientAge  054Y",
        "(0010,0030) DA PatientBirthDate  19700101",
        "(0008,1030) LO StudyDescription  CT Thorax",
        "(0028,0008) IS NumberOfFrames  1",
        f"(0002,0010) UI TransferSyntaxUID  {syntax}",
    ):
        assert expected in lines
    assert "(7FE0,0010) OW PixelData  512 bytes" in lines


def test_sequences_and_private_attributes(tmp_path: Path) -> None:
    """Items are numbered and indented, private attributes have their creator, unknown values are counted."""
    ds = samples.image()
    ds.private_block(0x0009, "CANARY MAKER").add_new(0x05, "UN", b"\1\2\3\4")
    done = scp_anon("metadata", str(written(tmp_path / "a.dcm", ds)))
    assert "(0040,0275) SQ RequestAttributesSequence  1 item\n  item 1\n" in done.stdout
    assert "\n        (0010,0010) PN PatientName  CANARY^NESTED\n" in done.stdout
    assert "(0009,0010) LO Private Creator  CANARY MAKER\n" in done.stdout
    assert "(0009,1001) LO Private tag data  CANARY private\n" in done.stdout
    assert "(0009,1005) UN -  4 bytes\n" in done.stdout


def test_values_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    """Escapes, controls, line ends and marks of direction are seen; markup is text; long values are cut."""
    ds = samples.image()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDescription = "\x1b[31mred\x07\r\n(0010,0010) PN \u202egnikam"
    ds.SeriesDescription = "[bold]:smile: [/x]"
    ds.PatientComments = "x" * 9000
    done = scp_anon("metadata", str(written(tmp_path / "a.dcm", ds)))
    assert done.returncode == 0
    assert r"StudyDescription  \x1b[31mred\x07\r\n(0010,0010) PN \u202egnikam" in done.stdout
    assert "SeriesDescription  [bold]:smile: [/x]" in done.stdout
    assert f"PatientComments  {'x' * 96}…\n" in done.stdout
    assert all(character.isprintable() or character == "\n" for character in done.stdout)


def test_json_model(tmp_path: Path) -> None:
    """As pydicom has it, which reads it again: whole texts, sequences, private attributes; of binary values a URI."""
    ds = patient()
    ds.PatientComments = "y" * 9000
    ds.add_new(0x00189073, "FD", float("nan"))
    path = written(tmp_path / "a.dcm", ds)
    done = scp_anon("metadata", str(path), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    model: dict[str, Any] = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert model["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Nordmann^Kari"}]}
    assert model["00104000"]["Value"] == ["y" * 9000]
    assert model["00091001"] == {"vr": "LO", "Value": ["CANARY private"]}
    assert model["00189073"] == {"vr": "FD", "Value": ["NaN"]}
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": "#7FE00010"}
    nested = model["00400275"]["Value"][0]["00400008"]["Value"][0]
    assert nested["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "CANARY^NESTED"}]}
    assert not any(tag.startswith("0002") for tag in model)
    del model["00189073"]
    again = Dataset.from_json(model, lambda *_: b"")
    assert again.RequestAttributesSequence[0].RequestedProcedureID == "CANARYRP"


def test_a_value_that_is_none_of_its_vr(tmp_path: Path) -> None:
    """All else is printed, and the exit code says that something is missing."""
    file = samples.encoded(samples.image(), ImplicitVRLittleEndian)
    at = file.index(b"\x18\0\x50\0")
    path = tmp_path / "a.dcm"
    path.write_bytes(file[: at + 8] + b"?%" + file[at + 10 :])
    done = scp_anon("metadata", str(path), "--json")
    assert done.returncode == 1
    assert "00180050" not in json.loads(done.stdout)
    assert "00100010" in json.loads(done.stdout)
    assert done.stderr == f"{path}: 1 attribute cannot be read\n"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"no image " * 40, "not-dicom"), (EXAMPLE.read_bytes()[:900], "truncated")]
)
def test_no_dicom(tmp_path: Path, content: bytes, reason: str) -> None:
    """Exit code 1, and the reason; wrong usage is 2."""
    path = tmp_path / "file"
    path.write_bytes(content)
    for option in ((), ("--json",)):
        done = scp_anon("metadata", str(path), *option)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{path}: {reason}")
    assert scp_anon("metadata", str(tmp_path / "missing")).returncode == 2


@pytest.mark.filterwarnings("ignore")  # as the command line has it
@pytest.mark.parametrize("path", corpus_files(), ids=lambda path: path.name)
def test_real_files(path: Path) -> None:
    """Every attribute that pydicom finds is listed, and is in the JSON model; texts are printable."""
    if path.name in NO_DICOM:
        with pytest.raises(Undecodable):
            read_whole(path)
        return
    lines = list(header.lines(read_whole(path)))
    model, faults = header.as_json(read_whole(path))
    assert not faults
    assert all(line.is_readable and visible(line.value) == line.value for line in lines)
    json.dumps(model, allow_nan=False)
    ds = dcmread(path, force=True)
    assert {f"{int(tag):08X}" for tag in ds.keys()} == set(model)  # noqa: SIM118 - a data set iterates over elements
    top = Counter(line.tag for line in lines if line.indent == 0 and not line.tag.startswith("(0002"))
    assert top == Counter(f"({tag[:4]},{tag[4:]})" for tag in model)


QUICK = [kind for kind in KINDS.values() if not any(word in kind.name for word in ("million", "thousand", "bomb"))]


@pytest.mark.filterwarnings("ignore")  # likewise
@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_hostile_files(kind: Any, tmp_path: Path) -> None:
    """Shown or refused with a reason, as text and as JSON; nothing else is ever raised."""
    path = tmp_path / "file"
    path.write_bytes(kind.file())
    try:
        lines = list(header.lines(read_whole(path)))
        assert all((line.name + line.value + line.tag).isprintable() or visible(line.value) for line in lines)
        json.dumps(header.as_json(read_whole(path))[0], allow_nan=False)
    except Undecodable as refused:
        assert refused.reason in Reason
    try:
        read_head(path, frozenset((0x00100010, 0x00100020)))
    except Undecodable as refused:
        assert refused.reason in Reason


@pytest.mark.parametrize("name", ["deflate_bomb_of_items", "deflate_bomb_out_of_order", "million_names", *HUGE])
def test_huge_and_endless_files(name: str, tmp_path: Path) -> None:
    """By the command, in a process of its own: it ends, with 0 or with 1 and a reason, and never with a traceback."""
    path = tmp_path / name
    if name in HUGE:
        HUGE[name].write(path)
    else:
        path.write_bytes(KINDS[name].file())
    done = scp_anon("metadata", str(path))
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or done.stderr.startswith(f"{path}: ")


def test_a_deflated_file_and_a_big_endian_one_have_the_same_values(tmp_path: Path) -> None:
    """What has to be inflated or swapped first reads as the rest does."""
    shown = []
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        ds = patient()
        ds.remove_private_tags()
        ds.ReferencedStudySequence = Sequence([])
        path = written(tmp_path / "a.dcm", ds, syntax)
        shown.append([line for line in header.lines(read_whole(path)) if line.vr and not line.tag.startswith("(0002")])
    assert shown[0] == shown[1]
    assert shown[1] == shown[2]


def test_harmless() -> None:
    """Letters of all scripts stay; what cannot be seen is spelled out; formulas are none."""
    assert visible("Müller^山田 太郎　x") == "Müller^山田 太郎　x"
    assert visible("a\x00\x9b\udcff\u2028") == r"a\x00\x9b\udcff\u2028"
    assert visible("abcdef", 3) == "abc…"
    for text in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1"):
        assert no_formula(text) == f"'{text}"
    assert no_formula("a=1") == "a=1"
