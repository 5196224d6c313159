"""Makes docs/example.dcm, the image of the README's first five minutes: `python -m tests.example`.

A CT image of a phantom that nobody has been inside of, with all that identifies a patient filled in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_SIZE = 128
_TARGET = Path(__file__).resolve().parents[1] / "docs" / "example.dcm"
_ROOT = "2.25.31415926535897932384626433832795028841"


def phantom() -> bytes:
    """A disc of water with two inserts, in Hounsfield units + 1024."""
    y, x = np.mgrid[:_SIZE, :_SIZE] - _SIZE / 2
    image = np.zeros((_SIZE, _SIZE), dtype="<u2")
    for centre, radius, value in (((0, 0), 56, 1024), ((20, 0), 12, 1924), ((-20, 10), 9, 924)):
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = value
    return image.tobytes()


def example() -> Dataset:
    """The data set, with File Meta Information."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{_ROOT}.3"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240229"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber = "PHANTOM-0001"
    ds.Modality = "CT"
    ds.Manufacturer = "Phantom Works"
    ds.InstitutionName = "Phantom Hospital"
    ds.ReferringPhysicianName = "PHANTOM^REFERRER"
    ds.StudyDescription = "CT phantom"
    ds.PatientName = "PHANTOM^WATER"
    ds.PatientID = "PHANTOM-1"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.SliceThickness = "5"
    ds.KVP = "120"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = f"{_ROOT}.1"
    ds.SeriesInstanceUID = f"{_ROOT}.2"
    ds.StudyID = "1"
    ds.SeriesNumber = ds.AcquisitionNumber = ds.InstanceNumber = "1"
    ds.ImagePositionPatient = [-160, -160, 0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = f"{_ROOT}.4"
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = _SIZE
    ds.PixelSpacing = [2.5, 2.5]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.RescaleIntercept = "-1024"
    ds.RescaleSlope = "1"
    ds.PixelData = phantom()
    ds["PixelData"].VR = "OW"
    block = ds.private_block(0x0009, "PHANTOM WORKS", create=True)
    block.add_new(0x01, "LO", "PHANTOM^WATER")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


if __name__ == "__main__":
    example().save_as(_TARGET, enforce_file_format=True)
