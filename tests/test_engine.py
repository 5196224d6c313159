"""The engine against the oracle, on every real file and on generated data sets; and the laws that it keeps."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_files
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from scp_anon import Deidentifier, Undecodable, __version__
from scp_anon.deid.identity import Identity
from scp_anon.dicom.dictionary import dictionary
from scp_anon.filesystem import READ_LIMIT
from tests import oracle, samples
from tests.peers import corpus_files

IDENTITY = Identity(samples.KEY, "project")
ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)
METHODS = [value.encode() for value in (f"scp-anon {__version__}", "", f"key {IDENTITY.key_id}")]

# Real files that are refused, and why: a change of this list is a change of behaviour.
REFUSED = {
    "DICOMDIR": "dicomdir",
    "DICOMDIR-bigEnd": "dicomdir",
    "JLSN_RGB_ILV0.dcm": "missing-uid",
    "chrSQEncoding.dcm": "missing-uid",
    "chrSQEncoding1.dcm": "missing-uid",
    "generated_encapsulated_empty_bot_1_to_1.dcm": "missing-uid",
    "meta_missing_tsyntax.dcm": "not-dicom",
    "no_meta_group_length.dcm": "missing-uid",
}
# Real files that the strict pass does not take as they are.
NORMALISED = {
    "dx_image.dcm": "odd length",
    "rtdose_expb_1frame.dcm": "big endian",
    "MRImageStorage_ExplicitVRBigEndian.dcm": "big endian",
    "explicitBigEndian.dcm": "big endian",
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom


def real_files() -> list[Path]:
    """The corpus; where it is absent, what pydicom ships."""
    return corpus_files() or [Path(path) for path in get_testdata_files("*.dcm") if os.path.getsize(path) < 1 << 20]


def read(file: bytes) -> Dataset:
    """What pydicom reads of a DICOM file, without a look at any value."""
    return dcmread(BytesIO(file), force=True)


def expected(source: Dataset, result: Dataset) -> oracle.Plain:
    """The oracle's answer. The profile's digest, which only the engine knows, is taken from its result."""
    value = result.get_item(0x00120063).value
    methods = [method or value.split(b"\\")[-2] for method in METHODS]
    return oracle.deidentified(oracle.plain(source), IDENTITY, methods)


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_real_file_equals_the_oracle(path: Path) -> None:
    """Every element of the result, at every depth, is what the slow way gives; pixel data to the byte."""
    file = path.read_bytes()
    try:
        result = ENGINE.bytes(file)
    except Undecodable as refused:
        assert REFUSED.get(path.name) == refused.reason or not corpus_files()
        return
    assert path.name not in REFUSED
    if path.name in NORMALISED:
        assert read(result).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        return
    syntax = getattr(read(file).file_meta, "TransferSyntaxUID", None)
    assert syntax in (None, read(result).file_meta.TransferSyntaxUID)
    assert oracle.plain(read(result)) == expected(read(file), read(result))


@pytest.mark.parametrize("syntax", samples.NATIVE)
@pytest.mark.parametrize("undefined", [False, True])
def test_transfer_syntaxes_give_the_same(syntax: str, undefined: bool) -> None:
    """The result is the same data set whatever the encoding; big endian comes out as explicit VR little endian."""
    reference = oracle.plain(read(ENGINE.bytes(samples.encoded(samples.image()))))
    result = read(ENGINE.bytes(samples.encoded(samples.image(), syntax, undefined)))
    assert result.file_meta.TransferSyntaxUID == (ExplicitVRLittleEndian if syntax == ExplicitVRBigEndian else syntax)
    assert oracle.plain(result) == reference


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_nothing_of_the_canary_survives(syntax: str) -> None:
    """No identifying value, at the top, nested, private, in the preamble or File Meta Information, is in the result."""
    file = samples.encoded(samples.image(), syntax)
    assert file.count(samples.CANARY.encode()) > 15
    assert samples.CANARY.encode() not in ENGINE.bytes(file)
    assert samples.CANARY.encode() not in ENGINE.bytes(samples.encapsulated(samples.image()))


def test_encapsulated_pixel_data_is_untouched() -> None:
    """Fragments pass byte for byte."""
    file = samples.encapsulated(samples.image())
    tail = file[file.rindex(b"\xe0\x7f\x10\x00OB") :]
    assert ENGINE.bytes(file).endswith(tail)


def test_same_in_same_out_and_uids_consistent() -> None:
    """Two instances of a study keep study, series and frame of reference; references between them still match."""
    first, second = (read(ENGINE.bytes(samples.encoded(samples.image(name)))) for name in "12")
    again = Deidentifier(samples.KEY, "project", samples.PASS).bytes(samples.encoded(samples.image("1")))
    assert again == ENGINE.bytes(samples.encoded(samples.image("1")))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert first[keyword].value == second[keyword].value
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PatientID == first.PatientName == IDENTITY.pseudonym(f"id:{samples.CANARY}-ID").decode()
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_projects_and_keys_are_independent() -> None:
    """Another project, or another key, gives other UIDs and another pseudonym."""
    file = samples.encoded(samples.image())
    results = [
        read(engine.bytes(file))
        for engine in (ENGINE, Deidentifier(samples.KEY, "other"), Deidentifier(bytes(32), "project"))
    ]
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "PatientID"):
        assert len({result[keyword].value for result in results}) == 3


def test_multi_valued_and_well_known_uids() -> None:
    """Each value of a multi-valued UID is mapped; a UID with a meaning of its own is not."""
    ds = samples.image()
    ds.FailedSOPInstanceUIDList = [samples.uid("a"), samples.uid("b")]
    ds.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"
    result = read(ENGINE.bytes(samples.encoded(ds)))
    mapped = [IDENTITY.uid(samples.uid(name).encode()).decode() for name in "ab"]
    assert list(result.FailedSOPInstanceUIDList) == mapped
    assert result.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_second_pass_keeps_the_structure() -> None:
    """A de-identified instance can be de-identified again: the methods are noted once, and nothing else is added."""
    once = ENGINE.bytes(samples.encoded(samples.image()))
    twice = ENGINE.bytes(once)
    first, second = oracle.plain(read(once)), oracle.plain(read(twice))
    assert first.keys() == second.keys()
    for tag in (oracle.METHOD, oracle.METHOD_CODES):
        assert first[tag] == second[tag]


def test_earlier_methods_are_kept() -> None:
    """The methods of an earlier de-identification stay, ours come behind them, once."""
    ds = samples.image()
    ds.DeidentificationMethod = ["earlier tool"]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113999", "DCM", "Earlier"
    item.add_new(0x00091001, "LO", samples.CANARY)
    ds.DeidentificationMethodCodeSequence = Sequence([item])
    for undefined in (False, True):
        file = ENGINE.bytes(samples.encoded(ds, undefined=undefined))
        result = read(file)
        assert result.DeidentificationMethod[0] == "earlier tool"
        assert [code.CodeValue for code in result.DeidentificationMethodCodeSequence] == ["113999", "113100"]
        assert samples.CANARY.encode() not in file


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName"])
def test_patient_without_id(keyword: str) -> None:
    """Without an ID the patient is told by the name; with neither, by the study."""
    ds = samples.image()
    ds.PatientID = ""
    assert read(ENGINE.bytes(samples.encoded(ds)))[keyword].value == IDENTITY.pseudonym("name:CANARY^PÄTIENT").decode()
    ds.PatientName = ""
    nobody = IDENTITY.pseudonym(f"study:{ds.StudyInstanceUID}").decode()
    assert read(ENGINE.bytes(samples.encoded(ds)))[keyword].value == nobody


# ---------------------------------------------------------------------- every row of the table


def carrier(tag: int) -> DataElement:
    """An element of the dictionary's VR, filled with what must not survive."""
    vr = dictionary().get(tag, ("LO",))[0]  # some rows are newer than the dictionary
    values: dict[str, Any] = {
        "AS": "077Y",
        "AT": 0x00100010,
        "DA": "19691231",
        "DS": "19691231",
        "DT": "19691231101112",
        "IS": "19691231",
        "TM": "191919",
        "UI": samples.uid("carrier"),
        "SQ": Sequence([_canary_item()]),
        **dict.fromkeys(("FD", "FL"), 19691231.0),
        **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV"), 12345),
        **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL", "OV"), b"CANARYCANARYCANARYCANARY"),
        "CS": "CANARYCS",
        "UR": "urn:CANARY",
    }
    return DataElement(tag, vr, values.get(vr, "CANARY^TEXT"))


def _canary_item() -> Dataset:
    item = Dataset()
    item.PatientName = "CANARY^ITEM"
    item.TextValue = "CANARY text"
    return item


ROWS = [tag for tag in oracle.basic_profile() if tag >> 16 >= 8 and tag < 0xFFFA0000]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_every_row_of_the_table(syntax: str, nested: bool) -> None:
    """Each attribute of Table E.1-1, at the top or in a kept sequence, becomes what the oracle says."""
    assert len(ROWS) > 640
    for tag in ROWS:
        ds = samples.image(pixels=16)
        place = ds
        if nested:
            place = Dataset()
            ds.SharedFunctionalGroupsSequence = Sequence([place])
        if tag in ds and not nested and tag in (0x00080018,):
            continue
        place[tag] = carrier(tag)
        source = samples.encoded(ds, syntax)
        result = ENGINE.bytes(source)
        assert oracle.plain(read(result)) == expected(read(source), read(result)), hex(tag)
        assert b"CANARY" not in result, hex(tag)


def test_every_row_in_a_private_sequence_goes() -> None:
    """A private sequence goes with all that is in it, also as UN of undefined length."""
    item = Dataset()
    for tag in ROWS:
        item[tag] = carrier(tag)
    ds = samples.image(pixels=16)
    block = ds.private_block(0x0029, "CANARY", create=True)
    block.add_new(0x10, "SQ", Sequence([item]))
    for undefined in (False, True):
        file = samples.encoded(ds, undefined=undefined)
        assert b"CANARY" not in ENGINE.bytes(file)
        as_un = file.replace(b"\x29\x00\x10\x10SQ", b"\x29\x00\x10\x10UN")
        if not undefined:
            assert b"CANARY" not in ENGINE.bytes(as_un)


# ---------------------------------------------------------------------- generated data sets

# Not those of which an instance is made, nor those whose value pydicom makes something of when it writes.
_SPECIAL = {0x00080005, 0x00280103, 0x00283002, 0x00280106, 0x00280107}
_KEPT_OR_NOT = sorted(
    tag for tag in dictionary() if 0x00080000 < tag < 0x7FE00000 and tag >> 16 != 0x0012 and tag not in _SPECIAL
)
_TEXT = st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\\^="), max_size=14)


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """Data sets of standard and private elements, with sequences in sequences."""
    ds = Dataset()
    for tag in draw(st.lists(st.sampled_from(_KEPT_OR_NOT), max_size=8, unique=True)):
        if dictionary()[tag][0] == "SQ":
            items = draw(st.lists(data_sets(depth - 1), max_size=2)) if depth else []
            ds.add_new(tag, "SQ", Sequence(items))
        else:
            ds[tag] = carrier(tag)
    if draw(st.booleans()):
        block = ds.private_block(0x0041, "MAKER", create=True)
        block.add_new(1, "LO", draw(_TEXT))
        if depth:
            block.add_new(2, "SQ", Sequence([draw(data_sets(0))]))
    return ds


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data_sets(), st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]), st.booleans(), _TEXT)
def test_generated_data_set_equals_the_oracle(ds: Dataset, syntax: str, undefined: bool, patient: str) -> None:
    """Whatever the attributes, their nesting and their encoding."""
    for tag in (0x00080005, 0x00080016, 0x00080018, 0x00100010, 0x00100020):
        ds.pop(tag, None)
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, samples.uid("generated")
    ds.PatientID = patient
    source = samples.encoded(ds, syntax, undefined)
    result = ENGINE.bytes(source)
    assert oracle.plain(read(result)) == expected(read(source), read(result))
    assert ENGINE.bytes(source) == result


# ---------------------------------------------------------------------- the public interface


def test_file_bytes_and_dataset_do_the_same(tmp_path: Path) -> None:
    """Three doors, one engine."""
    ds = samples.image()
    file = samples.encoded(ds)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(file)
    meta = ENGINE.file(source, target)
    assert target.read_bytes() == ENGINE.bytes(file)
    assert meta.sop_instance_uid == read(ENGINE.bytes(file)).SOPInstanceUID
    result = ENGINE.dataset(ds)
    assert oracle.plain(result) == oracle.plain(read(ENGINE.bytes(file)))
    del ds.file_meta
    assert ENGINE.dataset(ds).PatientID == result.PatientID
    assert ds.PatientID == f"{samples.CANARY}-ID"


def test_target_is_never_overwritten_nor_left_half_done(tmp_path: Path) -> None:
    """An existing target is an error; after a refusal there is none."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(samples.encoded(samples.image()))
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        ENGINE.file(source, target)
    assert target.read_bytes() == b"mine"
    source.write_bytes(b"no DICOM file" * 20)
    with pytest.raises(Undecodable):
        ENGINE.file(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_large_file_is_mapped_with_the_same_result(tmp_path: Path) -> None:
    """Above the limit the file is mapped and long ranges are copied by the kernel: the bytes are the same."""
    ds = samples.image(pixels=60000)
    ds.Rows, ds.PixelData = ds.Rows * 200, ds.PixelData * 200
    file = samples.encoded(ds)
    assert len(file) > READ_LIMIT
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(file)
    ENGINE.file(source, target)
    assert target.read_bytes() == ENGINE.bytes(file)
