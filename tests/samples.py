"""Synthetic data sets for the tests, with canaries where a patient would be identified."""

from __future__ import annotations

import zlib
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    generate_uid,
)

KEY = bytes(range(32))
CANARY = "CANARY"
# The Basic Profile, for tests whose images are not all of a kind that may pass.
PASS = {"pixels": "pass"}
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def uid(name: str) -> str:
    """A UID that is always the same for a name."""
    return str(generate_uid(prefix="1.2.826.0.1.3680043.10.999.", entropy_srcs=[name]))


def image(name: str = "1", study: str = "study", sop_class: str = CTImageStorage, pixels: int = 512) -> Dataset:
    """A small image whose identifying attributes all hold the canary, at the top, nested, and in private blocks."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid(f"instance {name}")
    ds.StudyDate = ds.ContentDate = ds.SeriesDate = "20240229"
    ds.StudyTime = ds.ContentTime = "101500.123"
    ds.AccessionNumber = f"{CANARY}ACC"
    ds.Modality = "MR" if sop_class == MRImageStorage else "CT"
    ds.Manufacturer = "Maker"
    ds.InstitutionName = f"{CANARY} Hospital"
    ds.InstitutionAddress = f"{CANARY} street"
    ds.ReferringPhysicianName = f"{CANARY}^REFERRER"
    ds.StudyDescription = f"study of {CANARY}"
    ds.OperatorsName = [f"{CANARY}^ONE", f"{CANARY}^TWO"]
    ds.PatientName = f"{CANARY}^PÄTIENT"
    ds.PatientID = f"{CANARY}-ID"
    ds.PatientBirthDate = "19691231"
    ds.PatientSex = "F"
    ds.PatientComments = f"comment on {CANARY}"
    ds.SliceThickness = "5"
    ds.DeviceSerialNumber = f"{CANARY}SN"
    ds.StudyInstanceUID = uid(study)
    ds.SeriesInstanceUID = uid(f"{study} series")
    ds.FrameOfReferenceUID = uid(f"{study} frame")
    ds.StudyID = f"{CANARY}STUDY"
    ds.SeriesNumber = ds.InstanceNumber = "1"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Columns = min(pixels // 2, 1024)
    ds.Rows = pixels // 2 // ds.Columns
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.RequestAttributesSequence = Sequence([_request()])
    ds.ReferencedStudySequence = Sequence([_reference(study)])
    block = ds.private_block(0x0009, "CANARY MAKER", create=True)
    block.add_new(0x01, "LO", f"{CANARY} private")
    block.add_new(0x02, "SQ", Sequence([_request()]))
    ds.PixelData = bytes(i % 251 for i in range(pixels))
    ds["PixelData"].VR = "OW"
    return ds


def encoded(ds: Dataset, syntax: str = ExplicitVRLittleEndian, undefined: bool = False) -> bytes:
    """The data set as a DICOM file in a native transfer syntax, sequences of undefined length if asked for."""
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.SourceApplicationEntityTitle = CANARY
    if syntax == ExplicitVRBigEndian and "PixelData" in ds:
        ds.PixelData = _swapped(ds.PixelData)
    target = BytesIO()
    dcmwrite(target, ds, enforce_file_format=True)
    if syntax == ExplicitVRBigEndian and "PixelData" in ds:
        ds.PixelData = _swapped(ds.PixelData)
    return CANARY.encode().ljust(128, b"\0") + target.getvalue()[128:]


def encapsulated(ds: Dataset, fragments: int = 3) -> bytes:
    """The data set as a DICOM file with encapsulated pixel data: the fragments are no JPEG, which nobody here minds."""
    plain = encoded(ds, ExplicitVRLittleEndian)
    head = plain[: plain.rindex(b"\xe0\x7f\x10\x00OW")]
    old, new = _ui(ExplicitVRLittleEndian), _ui(JPEGBaseline8Bit)
    length = data_set_start(plain) - 144 + len(new) - len(old)
    head = head[:140] + length.to_bytes(4, "little") + head[144:].replace(old, new, 1)
    items = b"".join(b"\xfe\xff\x00\xe0" + (4).to_bytes(4, "little") + bytes([i] * 4) for i in range(fragments))
    tail = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" + items
    return head + tail + b"\xfe\xff\xdd\xe0\0\0\0\0"


def with_data_set(file: bytes, data_set: bytes) -> bytes:
    """The head of a DICOM file, up to its data set, with another data set behind it."""
    return file[: data_set_start(file)] + data_set


def data_set_start(file: bytes) -> int:
    """Where the data set of a DICOM file with a File Meta Information Group Length begins."""
    return 144 + int.from_bytes(file[140:144], "little")


def deflated(data_set: bytes) -> bytes:
    """A deflated data set."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data_set) + stream.flush()


def _request() -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = f"{CANARY}RP"
    item.ScheduledProcedureStepDescription = f"step of {CANARY}"
    item.ReferencedSOPInstanceUID = uid("referenced")
    inner = Dataset()
    inner.PatientName = f"{CANARY}^NESTED"
    inner.CodeMeaning = "meaning"
    item.ScheduledProtocolCodeSequence = Sequence([inner])
    return item


def _reference(study: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CTImageStorage
    item.ReferencedSOPInstanceUID = uid(study)
    return item


def _swapped(words: bytes) -> bytes:
    swapped = bytearray(words)
    swapped[0::2], swapped[1::2] = words[1::2], words[0::2]
    return bytes(swapped)


def _ui(value: str) -> bytes:
    raw = value.encode()
    raw += b"\0" * (len(raw) % 2)
    return b"\x02\x00\x10\x00UI" + len(raw).to_bytes(2, "little") + raw


def encoded_data_set(ds: Dataset) -> bytes:
    """A data set alone, in explicit VR little endian."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, ds)
    return target.getvalue()
