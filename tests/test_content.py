"""Options that look into content: safe private attributes, graphics, content items of structured reports."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from tests import samples
from tests.profiles import ALL_MODIFIED, encoded_result, engine, result, write_csv

SAFE, GRAPHICS, CONTENT = engine("retain-safe-private"), engine("clean-graphics"), engine("clean-structured-content")


def private(ds: Dataset) -> dict[int, object]:
    """The private elements of a data set."""
    return {int(element.tag): element.value for element in ds if element.tag.is_private}


# ---------------------------------------------------------------------- safe private


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_safe_numbers_stay(syntax: str) -> None:
    """By creator, in whatever block, with the creator and without the rest of it."""
    ds = samples.image()
    ds.private_block(0x0019, samples.CANARY, create=True).add_new(0x23, "DS", "1.5")
    block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "2.5")
    block.add_new(0xF0, "DS", "3.5")
    new = result(ds, SAFE, syntax)
    assert set(private(new)) == {0x00190011, 0x00191123}
    assert float(new.private_block(0x0019, "GEMS_ACQU_01")[0x23].value) == 2.5


@pytest.mark.parametrize(
    ("vr", "value", "stays"),
    [
        ("DS", "1.5", True),
        ("UN", b"2.5 ", True),
        ("DS", b"CANARY", False),
        ("UN", b"CANARY", False),
        ("LO", "CANARY", False),
        ("LO", "2.5", False),
        ("OB", b"2.5 ", False),
    ],
)
def test_what_is_no_number_goes(vr: str, value: object, stays: bool) -> None:
    """Of another VR than the table's, or no number: nobody knows what it is."""
    ds = samples.image()
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, vr, value if vr != "DS" else "1")
    if vr == "DS" and isinstance(value, bytes):
        file = samples.encoded(ds).replace(b"\x19\x00\x23\x10DS\x02\x001 ", b"\x19\x00\x23\x10DS\x06\x00" + value)
        assert samples.CANARY.encode() not in SAFE.bytes(file)
        return
    assert (0x00191023 in private(result(ds, SAFE))) == stays


def test_safe_sequences_are_looked_into(tmp_path: Path) -> None:
    """Their items have blocks of their own, and identities in them go."""
    ds, inner = samples.image(), samples.image()
    block = inner.private_block(0x0021, "SIEMENS MR HEADER", create=True)
    block.add_new(0x58, "SH", "Nucleus")
    rows = [{"private_creator": "MY MAKER", "group": "0021", "element_offset": "01", "vr": "SQ"}]
    inner.private_block(0x0023, samples.CANARY, create=True).add_new(0x01, "LO", samples.CANARY)
    ds.private_block(0x0021, "MY MAKER", create=True).add_new(0x01, "SQ", Sequence([inner]))
    by = engine("retain-safe-private", safe_private=str(write_csv(tmp_path / "safe.csv", *rows)))
    file = encoded_result(ds, by)
    assert samples.CANARY.encode() not in file
    assert b"MY MAKER" in file


@pytest.mark.parametrize(
    ("status", "offsets", "kept"), [("SAFE", [], {1, 2}), ("MIXED", [2], {2}), ("UNSAFE", [1], set())]
)
def test_declarations(status: str, offsets: list[int], kept: set[int]) -> None:
    """What the instance itself declares; text is distrusted all the same."""
    ds, item = samples.image(), Dataset()
    item.PrivateGroupReference = 0x0031
    item.PrivateCreatorReference = "ANY MAKER"
    item.BlockIdentifyingInformationStatus = status
    if offsets:
        item.NonidentifyingPrivateElements = offsets
    ds.PrivateDataElementCharacteristicsSequence = Sequence([item])
    block = ds.private_block(0x0031, "ANY MAKER", create=True)
    block.add_new(1, "US", 1)
    block.add_new(2, "FD", 2.5)
    block.add_new(3, "LO", samples.CANARY)
    block.add_new(4, "OB", samples.CANARY.encode())
    new = private(result(ds, SAFE))
    assert {tag & 0xFF for tag in new if tag & 0xFFFF >= 0x1000} == kept
    assert private(result(ds, engine())) == {}


# ---------------------------------------------------------------------- graphics


def overlay(group: int, kind: str, data: bool = True) -> Dataset:
    """A CT with an overlay."""
    ds = samples.image()
    for element, vr, value in (
        (0x10, "US", 8),
        (0x11, "US", 8),
        (0x22, "LO", f"lung {samples.CANARY}"),
        (0x40, "CS", kind),
        (0x50, "SS", [1, 1]),
        (0x100, "US", 1),
        (0x102, "US", 0),
        (0x1500, "LO", "lung"),
    ):
        ds.add_new(group << 16 | element, vr, value)
    if data:
        ds.add_new(group << 16 | 0x3000, "OW", bytes(8))
    return ds


def test_overlays() -> None:
    """A region with data of its own stays, cleaned; what draws, or is in the pixels, goes; all without the option."""
    for group in (0x6000, 0x601E):
        kept = result(overlay(group, "R"), GRAPHICS)
        there = {int(element.tag) & 0xFFFF for element in kept if element.tag.group == group}
        assert there >= {0x10, 0x11, 0x40, 0x50, 0x100, 0x102, 0x1500, 0x3000}
        assert samples.CANARY not in str(kept)
        for other, by in (
            (overlay(group, "G"), GRAPHICS),
            (overlay(group, "R", False), GRAPHICS),
            (overlay(group, "R"), engine()),
        ):
            assert not [element for element in result(other, by) if element.tag.group == group]


def test_curves() -> None:
    """Numbers stay, sound goes."""
    ds = samples.image()
    for element, vr, value in ((0x5, "US", 2), (0x10, "US", 1), (0x3000, "OW", bytes(4)), (0x200C, "OW", b"CANARY")):
        ds.add_new(0x50020000 | element, vr, value)
    ds.add_new(0x50020022, "LO", samples.CANARY)
    new = result(ds, GRAPHICS)
    assert {int(element.tag) & 0xFFFF for element in new if element.tag.group == 0x5002} == {0x5, 0x10, 0x3000}
    assert not [element for element in result(ds, engine()) if element.tag.group == 0x5002]


def test_text_objects() -> None:
    """Annotations stay where they are; their text is cleaned, or a dummy."""
    ds, annotation = samples.image(), Dataset()
    texts = []
    for value in ("lung", samples.CANARY):
        text = Dataset()
        text.UnformattedTextValue, text.AnchorPoint = value, [1.0, 2.0]
        texts.append(text)
    annotation.TextObjectSequence = Sequence(texts)
    ds.GraphicAnnotationSequence = Sequence([annotation])
    new = result(ds, GRAPHICS).GraphicAnnotationSequence[0].TextObjectSequence
    assert [text.UnformattedTextValue for text in new] == ["lung", "DEIDENTIFIED"]
    assert all(text.AnchorPoint == [1.0, 2.0] for text in new)


# ---------------------------------------------------------------------- structured content


def code(value: str, scheme: str = "DCM", meaning: str = "meaning") -> Dataset:
    """A code."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def item(kind: str, concept: Dataset, children: tuple[Dataset, ...] = (), **values: object) -> Dataset:
    """A content item."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = "CONTAINS", kind
    ds.ConceptNameCodeSequence = Sequence([concept])
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    if children:
        ds.ContentSequence = Sequence(children)
    return ds


def report(*items: Dataset) -> Dataset:
    """A structured report."""
    ds = samples.image(sop_class="1.2.840.10008.5.1.4.1.1.88.33")
    ds.ContentSequence = Sequence(items)
    return ds


def measured(value: float) -> Dataset:
    """A number."""
    inner = Dataset()
    inner.NumericValue = value
    return item("NUM", code("121206", meaning="Distance"), MeasuredValueSequence=Sequence([inner]))


def test_content_items_by_concept() -> None:
    """Removed with all that they contain, given a dummy, kept: by Table E.3.4-1."""
    ds = report(
        item("TEXT", code("121022", meaning="Accession Number"), (measured(9),), TextValue=samples.CANARY),
        item("PNAME", code("121008", meaning="Person Observer Name"), PersonName=f"{samples.CANARY}^X"),
        item("TEXT", code("121071", meaning="Finding"), TextValue=f"lung {samples.CANARY}"),
        item("CONTAINER", code("126000"), (measured(1.5), item("UIDREF", code("112040"), UID="1.2.3.999"))),
    )
    new = result(ds, CONTENT).ContentSequence
    assert [child.ConceptNameCodeSequence[0].CodeValue for child in new] == ["121008", "121071", "126000"]
    assert new[0].PersonName == new[1].TextValue == "DEIDENTIFIED"
    number, uid = new[2].ContentSequence
    assert number.MeasuredValueSequence[0].NumericValue == 1.5
    assert uid.UID.startswith("2.25.")


def test_retired_codes_mean_the_same() -> None:
    """SNOMED CT under its earlier designators; and options decide for content items as for attributes."""
    for scheme in ("SCT", "SRT", "99SDM"):
        ds = report(item("TEXT", code("371524004", scheme, "Clinical Report"), TextValue="lung"), measured(1))
        assert len(result(ds, CONTENT).ContentSequence) == 1
        kept = result(ds, engine("clean-structured-content", "clean-descriptors")).ContentSequence
        assert kept[0].TextValue == "lung"


def test_content_items_that_the_table_does_not_have() -> None:
    """By value type: text is cleaned, names and dates are dummies, numbers stay, local codes are no names."""
    local = code("JSMITH", "99HOSP", samples.CANARY)
    ds = report(
        item("TEXT", code("1"), TextValue=samples.CANARY),
        item("PNAME", code("2"), PersonName=samples.CANARY),
        item("DATE", code("3"), Date="20240229"),
        item("CODE", code("4"), ConceptCodeSequence=Sequence([local])),
        item("CODE", code("5"), ConceptCodeSequence=Sequence([code("39607008", "SCT", "Lung")])),
        measured(2),
    )
    file = encoded_result(ds, CONTENT)
    for secret in (samples.CANARY.encode(), b"JSMITH", b"20240229"):
        assert secret not in file
    new = result(ds, CONTENT).ContentSequence
    assert len(new) == 6
    assert new[4].ConceptCodeSequence[0].CodeMeaning == "Lung"
    moved = result(ds, engine("clean-structured-content", "retain-longitudinal-modified-dates", dates={"days": 1}))
    assert moved.ContentSequence[2].Date == "20240301"


def test_content_of_every_depth_and_length() -> None:
    """Removed items leave correct lengths behind, defined or not."""
    inner = item("CONTAINER", code("9"), (item("TEXT", code("121022"), TextValue=samples.CANARY), measured(3)))
    ds = report(
        item("CONTAINER", code("8"), (inner, item("TEXT", code("121021"), TextValue=samples.CANARY))), measured(4)
    )
    for undefined in (True, False):
        file = CONTENT.bytes(samples.encoded(ds, undefined=undefined))
        assert samples.CANARY.encode() not in file
        new = dcmread(BytesIO(file)).ContentSequence
        (only,) = new[0].ContentSequence
        assert only.ContentSequence[0].MeasuredValueSequence[0].NumericValue == 3
        assert new[1].MeasuredValueSequence[0].NumericValue == 4


def test_acquisition_context_and_specimen() -> None:
    """Items of these sequences are content items as well."""
    ds, specimen = samples.image(), Dataset()
    ds.AcquisitionContextSequence = Sequence([item("TEXT", code("121071"), TextValue="lung"), measured(5)])
    step = Dataset()
    step.SpecimenPreparationStepContentItemSequence = Sequence(
        [item("TEXT", code("121041", meaning="Specimen Identifier"), TextValue=samples.CANARY), measured(6)]
    )
    specimen.SpecimenIdentifier = samples.CANARY
    specimen.SpecimenPreparationSequence = Sequence([step])
    ds.SpecimenDescriptionSequence = Sequence([specimen])
    new = result(ds, engine(*ALL_MODIFIED))
    assert [child.ValueType for child in new.AcquisitionContextSequence] == ["TEXT", "NUM"]
    (kept,) = (
        new.SpecimenDescriptionSequence[0].SpecimenPreparationSequence[0].SpecimenPreparationStepContentItemSequence
    )
    assert kept.ValueType == "NUM"
    assert samples.CANARY.encode() not in encoded_result(ds, engine("clean-structured-content"))
