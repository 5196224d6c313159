"""Values of an original that its result still holds: found wherever and however they are written, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.deid.needles import Needle, needles
from scp_anon.deid.residual import Sought
from tests import samples, study
from tests.peers import corpus_files

# All that the Basic Profile would remove with them, so that what is planted can be a residual at all.
KEEP = {"rules": [{"private": "MAKER", "action": "keep"}], **samples.PASS}
GATE = Deidentifier(samples.KEY, "project", KEEP, residual=True)
NAME = "Zwiebelkraut"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
OPTIONS: tuple[list[str], ...] = (
    [],
    ["retain-safe-private", "retain-device-identity"],
    ["retain-uids", "retain-longitudinal-full-dates"],
    ["retain-longitudinal-modified-dates", "retain-institution-identity", "retain-patient-characteristics"],
    ["clean-descriptors", "clean-structured-content", "clean-graphics"],
)


def patient(**values: object) -> Dataset:
    """An image of somebody with a rare name."""
    ds = samples.image()
    ds.PatientName = f"{NAME}^Hjördis"
    ds.PatientID = "HOSP-4711-X"
    ds.PatientBirthDate = "19530417"
    ds.AccessionNumber = "8231947"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def private(value: bytes | str, vr: str = "OB") -> Dataset:
    """The same with a private attribute, which the profile keeps."""
    ds = patient()
    ds.private_block(0x0029, "MAKER", create=True).add_new(0x10, vr, value)
    return ds


def detail(ds: Dataset, syntax: str = ExplicitVRLittleEndian, engine: Deidentifier = GATE) -> str:
    """Of what attribute of the original its result holds a value; "" for none."""
    try:
        engine.bytes(samples.encoded(ds, syntax))
    except Undecodable as undecodable:
        assert undecodable.reason == Reason.RESIDUAL_VALUE
        return undecodable.detail
    return ""


# ---------------------------------------------------------------------- what is found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_name_in_a_private_binary_value(syntax: str) -> None:
    """In each transfer syntax; the detail is where the original had it, and no value."""
    assert detail(private(b"\1\2" + NAME.encode() + b"\3\4"), syntax) == "(0010,0010)"
    assert detail(private(b"\1\2nothing here\3\4"), syntax) == ""


@pytest.mark.parametrize(
    ("written", "attribute"),
    [
        ("zwiebelkraut", "(0010,0010)"),
        ("ZWIEBELKRAUT^HJORDIS", "(0010,0010)"),
        ("file_Zwiebelkraut1953.img", "(0010,0010)"),
        ("HJOERDIS", "(0010,0010)"),
        ("hosp-4711-x", "(0010,0020)"),
        ("born 17.04.1953", "(0010,0030)"),
        ("1953-04-17", "(0010,0030)"),
        ("04/17/1953", "(0010,0030)"),
        ("19530417101500", "(0010,0030)"),
        ("acc=8231947;", "(0008,0050)"),
        (samples.uid("study") + ".dcm", "(0008,1110)>(0008,1155)"),
    ],
)
def test_other_ways_to_write_it(written: str, attribute: str) -> None:
    """Case, accents, glued words, dates as people write them, and UIDs in file names."""
    assert detail(private(written, "LO" if len(written) <= 64 else "LT")) == attribute


@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be", "utf-8"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower], ids=["as it is", "upper", "lower"])
def test_names_of_ascii_in_any_encoding(encoding: str, change: Callable[[str], str]) -> None:
    """Whatever the vendor's software writes its texts in."""
    assert detail(private(b"\x07\x09" + change(NAME).encode(encoding) + b"\xfe\xff")) == "(0010,0010)"


@pytest.mark.parametrize(
    ("terms", "name", "encodings"),
    [
        ("ISO_IR 100", "Gödecke", ["latin-1", "utf-8", "utf-16-le", "utf-16-be", "iso8859-2", "cp1252"]),
        ("ISO_IR 144", "Люксембург", ["iso8859-5", "utf-8", "utf-16-le", "cp1251", "gb18030", "shift_jis"]),
        ("ISO_IR 192", "山田", ["utf-8", "utf-16-le", "utf-16-be", "shift_jis", "gb18030", "iso2022_jp"]),
        ("\\ISO 2022 IR 149", "김희중", ["euc_kr", "utf-8", "utf-16-be"]),
        ("ISO_IR 127", "قباني", ["iso8859-6", "utf-8", "utf-16-le"]),
        ("ISO_IR 192", "Διονυσιος", ["iso8859-7", "utf-8", "utf-16-le"]),
    ],
)
def test_names_of_other_letters(terms: str, name: str, encodings: list[str]) -> None:
    """In the character set of the original, and in every other one that has them."""
    ds = private(b"")
    ds.SpecificCharacterSet = terms.split("\\")
    ds.PatientName = name
    for encoding in encodings:
        ds[0x00291010].value = b"\1\2" + name.encode(encoding) + b"\3"
        assert detail(ds) == "(0010,0010)", encoding


def test_in_nested_sequences() -> None:
    """However deep the original had it, and however deep the result has it."""
    inner = Dataset()
    inner.PatientName = "Unterholz^Anna"
    item = Dataset()
    item.ScheduledProtocolCodeSequence = Sequence([inner])
    ds = patient(RequestAttributesSequence=Sequence([item]))
    kept = Dataset()
    kept.CodeMeaning = "seen by unterholz"
    ds.AnatomicRegionSequence = Sequence([kept])
    assert detail(ds) == "", "code meanings are shared with names, as the page says"
    kept.CodeMeaning, kept.ReceiveCoilName = "Abdomen", "of unterholz"
    assert detail(ds) == "(0040,0275)>..>(0010,0010)"


def test_in_a_document() -> None:
    """The text of an encapsulated document is looked at, whatever its size."""
    profile = {"rules": [{"tag": "EncapsulatedDocument", "action": "keep"}], **samples.PASS}
    engine = Deidentifier(samples.KEY, "", profile, residual=True)
    ds = patient(SOPClassUID=EncapsulatedPDFStorage, MIMETypeOfEncapsulatedDocument="text/plain")
    del ds.PixelData
    ds.EncapsulatedDocument = bytes(200_000) + f"Patient: {NAME}, 17.04.1953".encode() + bytes(100_001)
    assert detail(ds, engine=engine) == "(0010,0010)"
    ds.EncapsulatedDocument = bytes(300_000)
    assert detail(ds, engine=engine) == ""


def test_behind_the_pixels_of_a_small_image() -> None:
    """Pixels of up to 64 KiB are looked at; longer ones are not, where a delivery waits."""
    for size, found in ((2048, "(0010,0010)"), (1 << 17, "")):
        ds = patient()
        ds.PixelData = bytes(size) + NAME.encode()
        assert detail(ds) == found


def test_a_rule_that_does_not_clean_enough() -> None:
    """What a rule of the project writes is looked at as well."""
    rules = [{"tag": "StudyDescription", "action": "regex", "pattern": "of (.*)", "value": "\\1"}]
    engine = Deidentifier(samples.KEY, "", {"rules": rules, **samples.PASS}, residual=True)
    assert detail(patient(StudyDescription=f"images of {NAME}"), engine=engine) == "(0010,0010)"
    assert detail(patient(StudyDescription="images of the head"), engine=engine) == ""


# ---------------------------------------------------------------------- what is no residual


# Of escape sequences that no character set has: we go on, by the bytes.
@pytest.mark.filterwarnings("ignore:Found unknown escape sequence")
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_real_files_and_a_study_have_none(options: list[str]) -> None:
    """No false alarm, with any option: what we deliver of the corpus holds none of its originals' values."""
    profile = {**samples.PASS, "options": options}
    gate = Deidentifier(samples.KEY, "project", profile, residual=True)
    plain = Deidentifier(samples.KEY, "project", profile)
    checked = 0
    for file in (*(path.read_bytes() for path in corpus_files()), *study.files().values()):
        try:
            expected = plain.bytes(file)
        except Undecodable:
            continue
        assert gate.bytes(file) == expected
        checked += 1
    assert checked > 5


def test_what_stays_by_right() -> None:
    """Equipment and codes that share a name, dates that are kept, what a rule writes, and short values."""
    ds = patient(PatientName="Siemens^Lee", Manufacturer="SIEMENS", PatientSex="F", PatientBirthDate="20240229")
    profile = {
        "options": ["retain-longitudinal-full-dates"],
        "rules": [{"tag": "InstitutionName", "action": "replace", "value": "Zwiebelkraut Clinic"}],
        **samples.PASS,
    }
    ds.InstitutionName = NAME
    assert detail(ds, engine=Deidentifier(samples.KEY, "", profile, residual=True)) == ""


def test_dates_that_are_moved_to_others_of_the_original() -> None:
    """By chance a moved date may be another date of the original."""
    profile = {"options": ["retain-longitudinal-modified-dates"], "dates": {"days": 1}, **samples.PASS}
    engine = Deidentifier(samples.KEY, "", profile, residual=True)
    assert detail(patient(StudyDate="20240228", SeriesDate="20240229"), engine=engine) == ""


def test_chance_in_pixels_is_no_residual() -> None:
    """Random bytes hold no words of six letters, whatever their number; four letters do not count there."""
    content = random.Random(1).randbytes(4 << 20)  # noqa: S311 - nothing secret
    sought = Sought(needles(0x00100010, "PN", b"Meyr^Ilse=Zwiebelkraut^Bo", b""))
    assert not sought.found(content, kind="pixels")
    assert {hit.content for hit in sought.found(content + b" zwiebelkraut ", kind="pixels")} == {b"zwiebelkraut"}


@pytest.mark.parametrize("place", [0, 1, (1 << 20) - 6, (1 << 20) - 1, 1 << 20, (3 << 20) - 20])
def test_wherever_in_a_long_value(place: int) -> None:
    """No word is lost between the pieces in which long values are looked at."""
    content = bytearray(3 << 20)
    content[place : place + 12] = b"zwiebelkraut"
    assert Sought((Needle("word", b"zwiebelkraut"),)).found(bytes(content), kind="pixels")


def test_short_names_only_as_words() -> None:
    """A name of four or five letters is found as a word of its own, not in another word."""
    sought = Sought((Needle("word", b"lane"),))
    assert sought.found(b"for Lane, John")
    assert not sought.found(b"a plane, planes")


# ---------------------------------------------------------------------- what a value is known by


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00100040, "CS", "F"),
        (0x00101030, "DS", "70.5"),
        (0x00200013, "IS", "123456"),
        (0x00100010, "PN", "Li^X"),
        (0x00100010, "PN", "XXXXXXXX^XXXX"),
        (0x00081030, "LO", "Thorax ap"),
        (0x00080016, "UI", CTImageStorage),
        (0x00080020, "DA", "19000101"),
        (0x00080030, "TM", "101500"),
        (0x00291010, "OB", "\x00\x01\x02binary"),
    ],
)
def test_what_everybody_has_is_not_looked_for(tag: int, vr: str, value: str) -> None:
    """Codes, measures, short names, words of the vocabulary, classes and dummies."""
    assert needles(tag, vr, value.encode(), b"") == ()
