"""Safe private attributes that no VR tells: sequences of defined length, and names of pulse sequences (E.3.10)."""

from __future__ import annotations

from io import BytesIO
from struct import pack

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon import Deidentifier
from tests import samples
from tests.samples import KEY

SAFE = {"options": ["retain-safe-private", "clean-descriptors"]}
PHILIPS = "Philips Imaging DD 001"
STACK = 0x5F  # Stack Sequence
ANGLE = 0x32  # FL, in its items: Stack Radial Angle


def result(ds: Dataset, syntax: str) -> Dataset:
    """The result of a file, read again."""
    return dcmread(BytesIO(Deidentifier(KEY, "trial", SAFE).bytes(samples.encoded(ds, syntax))))


def with_stack() -> Dataset:
    """An image with a safe private sequence: a number, a code, a name, and what is of no list."""
    item = Dataset()
    block = item.private_block(0x2001, PHILIPS, create=True)
    block.add_new(ANGLE, "FL", 12.5)
    block.add_new(0x36, "CS", "PARALLEL")
    block.add_new(0x90, "LO", "Quackenbush")
    block.add_new(0xF0, "LO", "Quackenbush")
    item.PatientComments = "Quackenbush"
    ds = samples.image()
    ds.PatientName = "Quackenbush^Thaddeus"
    ds.private_block(0x2001, PHILIPS, create=True).add_new(STACK, "SQ", Sequence([item]))
    return ds


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_of_any_length_stay(syntax: str, undefined: bool) -> None:
    """With the numbers in them, and without what is not known to be safe."""
    ds = with_stack()
    ds[0x2001, 0x1000 | STACK].is_undefined_length = undefined
    found = result(ds, syntax)
    content = found[0x2001, 0x1000 | STACK].value
    data = content if isinstance(content, bytes) else b""
    if not data:
        block = content[0].private_block(0x2001, PHILIPS)
        assert bytes(content[0].get_item(block.get_tag(ANGLE)).value or b"") or block[ANGLE].value == 12.5
        assert block.get_tag(0xF0) not in content[0]
        assert "PatientComments" not in content[0]
    else:  # pydicom does not read it as a sequence where no VR says so
        assert pack("<f", 12.5) in data
    assert b"Quackenbush" not in samples.encoded(found, syntax)


@pytest.mark.parametrize(
    "value",
    [
        b"Quackenbush!",
        b"\xfe\xff\x00\xe0" + pack("<I", 400) + b"Quackenbush!",  # longer than its element
        b"\xfe\xff\x00\xe0" + pack("<I", 12) + b"Quackenbush!",  # an item that holds no data set
        b"\xfe\xff\x00\xe0" + pack("<I", 0) + b"Quackenbush!",  # something behind the last item
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_is_no_sequence_goes(value: bytes, syntax: str) -> None:
    """Bytes in the place of a safe sequence that do not read as items are removed."""
    ds = samples.image()
    ds.private_block(0x2001, PHILIPS, create=True).add_new(STACK, "UN", value)
    found = result(ds, syntax)
    assert (0x2001, 0x1000 | STACK) not in found
    assert b"Quackenbush" not in samples.encoded(found, syntax)


@pytest.mark.parametrize("name", ["memp", "efgre3d", "fgre", "fse-xl", "epi2", "ssfse", "3dtof", "tof3d", "EFGRE3D"])
def test_names_of_pulse_sequences_stay(name: str) -> None:
    """No vocabulary has all of them."""
    assert sequence_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["Quackenbush", "quackTha", "tquackenbush", "jennifer", "Jennifer", "smith_1", "John Doe", "0815-4711", "x1234567"],
)
def test_a_name_of_somebody_is_no_name_of_a_pulse_sequence(name: str) -> None:
    """Nobody's name, and no number."""
    assert sequence_name(name) is None


def sequence_name(name: str) -> str | None:
    """What is left of an Internal Pulse Sequence Name."""
    ds = samples.image()
    ds.PatientName = "Quackenbush^Thaddeus"
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x9E, "LO", name)
    found = result(ds, ExplicitVRLittleEndian)
    return found[0x0019, 0x109E].value if (0x0019, 0x109E) in found else None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("201910", "201910"), ("2019", "2019"), ("20191012", "20191012"), ("201913", ""), ("0815", "")],
)
def test_dates_with_parts_missing_stay_under_full_dates(value: str, expected: str) -> None:
    """They say less than a date; what is no date does not stay."""
    ds = samples.image()
    ds.add_new(0x00080012, "DA", "20191012")
    ds[0x00080012]._value = value
    profile = {"options": ["retain-longitudinal-full-dates"]}
    engine = Deidentifier(KEY, "trial", profile)
    found = dcmread(BytesIO(engine.bytes(samples.encoded(ds, ExplicitVRLittleEndian))))
    left = str(found.get("InstanceCreationDate", ""))
    assert left == expected if expected else left != value


@pytest.mark.parametrize("species", [True, False])
def test_who_is_responsible_for_an_animal_stays_empty(species: bool) -> None:
    """Responsible Person and Organization are Type 2C: required of animals (PS3.3 C.7.1.1)."""
    ds = samples.image()
    ds.ResponsiblePerson, ds.ResponsibleOrganization = "Quackenbush^Thaddeus", "Quackenbush Farm"
    if species:
        ds.PatientSpeciesDescription = "Canine species"
    found = dcmread(BytesIO(Deidentifier(KEY, "trial", {}).bytes(samples.encoded(ds, ExplicitVRLittleEndian))))
    for keyword in ("ResponsiblePerson", "ResponsibleOrganization"):
        assert (keyword in found) is species
        assert not found.get(keyword)
