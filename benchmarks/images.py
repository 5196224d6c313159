"""The images of the benchmarks: a CT of about 530 KB and an MR of about 38 KB, of 160 elements each.

They are synthetic, so that anybody can run the benchmarks, and have what costs time in real ones: identifying
attributes to replace, UIDs, a private block as scanners write it, and attributes of acquisition that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

from pydicom import dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

ELEMENTS = 160
_SIDES = {"CT": 512, "MR": 136}
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_FILLERS = {"CS": "FILLER", "DS": "1.5", "IS": "1", "LO": "filler", "SH": "filler", "US": 1, "FD": 1.5, "FL": 1.5}
_BLOCK = 255  # private elements that one private creator can have


def image(modality: str, number: int, elements: int = ELEMENTS, side: int | None = None) -> bytes:
    """A DICOM file in explicit VR little endian: a patient, a series, ordinary attributes, private ones, pixels."""
    side = side or _SIDES[modality]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = UID(_CLASSES[modality])
    ds.SOPInstanceUID = UID(_instance_uid(number))
    for keyword in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{keyword}Date", "20240229")
        setattr(ds, f"{keyword}Time", "101500.000")
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A1", modality, "Maker"
    ds.InstitutionName, ds.ReferringPhysicianName, ds.StationName = "Hospital", "Referrer^A", "STATION"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Bench", "B1", "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[modality, name]) for name in ("study", "series", "frame")
    )
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "1", "1"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = bytes(side * side * 2)
    ds["PixelData"].VR = "OW"
    _fill(ds, elements)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    target = BytesIO()
    dcmwrite(target, ds, enforce_file_format=True)
    return target.getvalue()


def write_images(folder: Path, modality: str, count: int, first: int = 0, side: int | None = None) -> None:
    """Write so many images, which differ in their SOP Instance UID; `first`: the number that they begin with."""
    folder.mkdir(parents=True)
    template = image(modality, 0, side=side)
    for number in range(first, first + count):
        file = template.replace(_instance_uid(0).encode(), _instance_uid(number).encode())
        (folder / f"{modality}{number:06d}.dcm").write_bytes(file)


def _instance_uid(number: int) -> str:
    """A UID whose length is the same for every number, so that one can be put in the place of another."""
    return f"2.25.{10**36 + number}"


def _fill(ds: Dataset, elements: int) -> None:
    """A third of what is missing as private elements; the rest attributes of acquisition, as far as there are any."""
    _add_private(ds, (elements - len(ds)) // 3)
    for tag, vr in islice(_acquisition(ds), max(elements - len(ds), 0)):
        ds.add_new(tag, vr, _FILLERS[vr])
    _add_private(ds, elements - len(ds))


def _acquisition(ds: Dataset) -> Iterator[tuple[int, str]]:
    """Attributes of the standard with a value of one kind, between identity and pixels, that `ds` has not got."""
    for tag, (vr, vm, *_) in DicomDictionary.items():
        if 0x00180000 < tag < 0x00290000 and tag >> 16 != 0x0020 and vr in _FILLERS and vm == "1" and tag not in ds:
            yield tag, vr


def _add_private(ds: Dataset, count: int) -> None:
    """Add about so many private elements, in as many blocks of one group as that takes."""
    taken = len(ds.group_dataset(0x0019)) // _BLOCK
    for i in range(count):
        if i % _BLOCK == 0:
            maker = f"MAKER BENCH {taken + i // _BLOCK}"
        ds.private_block(0x0019, maker, create=True).add_new(i % _BLOCK, "DS", "1.5")
