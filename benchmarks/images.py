"""The images of the benchmarks: a CT of about 530 KB and an MR of about 38 KB, of 160 elements each."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

_SIDES = {"CT": 512, "MR": 128}
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_FILLERS = {"CS": "FILLER", "DS": "1.5", "IS": "1", "LO": "filler", "SH": "filler", "US": 1, "FD": 1.5, "FL": 1.5}
ELEMENTS = 160


def image(modality: str, number: int, elements: int = ELEMENTS, side: int | None = None) -> bytes:
    """A DICOM file in explicit VR little endian: a patient, a series, ordinary attributes, private ones, pixels."""
    side = side or _SIDES[modality]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = UID(_CLASSES[modality])
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[modality, str(number)])
    for keyword in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{keyword}Date", "20240229")
        setattr(ds, f"{keyword}Time", "101500.000")
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A1", modality, "Maker"
    ds.InstitutionName, ds.ReferringPhysicianName, ds.StationName = "Hospital", "Referrer^A", "STATION"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Bench", "B1", "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[modality, name]) for name in ("study", "series", "frame")
    )
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "1", str(number % 10000)
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


def _fill(ds: Dataset, elements: int) -> None:
    """A third private attributes, as scanners write them; the others of acquisition, which are kept."""
    block = ds.private_block(0x0019, "MAKER BENCH", create=True)
    for number in range((elements - len(ds)) // 3):
        block.add_new(number % 256, "DS", "1.5") if number < 256 else None
    for tag, (vr, vm, *_) in DicomDictionary.items():
        if len(ds) >= elements:
            return
        if 0x00180000 < tag < 0x00290000 and vr in _FILLERS and vm == "1" and tag not in ds and tag >> 16 != 0x0020:
            ds.add_new(tag, vr, _FILLERS[vr])


def write_images(folder: Path, modality: str, count: int) -> list[Path]:
    """Write so many images, each another instance."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{modality}{number:05d}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(image(modality, number))
    return paths
