"""One synthetic study of one patient whose instances refer to each other in all the ways that matter.

Three CT slices and a PET slice of a frame of reference each; structure set, plan and dose; a segmentation, a
presentation state, a structured report and a registration. All is made by plain pydicom, with nothing of scp_anon.

Identifying texts hold `samples.CANARY`, but what an option may keep as it is holds `DEVICE` or `INSTITUTION`. All UIDs
of the study's own begin with `ROOT`, and all dates of its making with `YEAR`.
"""

from __future__ import annotations

from typing import Any, Final

from pydicom import uid as classes
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from tests import samples
from tests.samples import CANARY, uid

ROOT: Final = "1.2.826.0.1.3680043.10.999."
YEAR: Final = "2024"
DEVICE, INSTITUTION = "XDEVICE4711", "Xinfirmary"
# A dose is injected before midnight, and imaged after it.
INJECTED: Final = "20240228234500.500000+0100"
DISTANCES: Final = ("12.5", "7.25")
CLASSES: Final[dict[str, str]] = {
    **dict.fromkeys(("CT 1", "CT 2", "CT 3"), classes.CTImageStorage),
    "PT": classes.PositronEmissionTomographyImageStorage,
    "RTSTRUCT": classes.RTStructureSetStorage,
    "RTPLAN": classes.RTPlanStorage,
    "RTDOSE": classes.RTDoseStorage,
    "SEG": classes.SegmentationStorage,
    "PR": classes.GrayscaleSoftcopyPresentationStateStorage,
    "SR": classes.ComprehensiveSRStorage,
    "REG": classes.SpatialRegistrationStorage,
}
_SLICES: Final = ("CT 1", "CT 2", "CT 3")
_PARSED: Final = {"SQ": list, "US": int, "UL": int, "SS": int, "SL": int, "FL": float, "FD": float}
_IMAGE: Final = "SamplesPerPixel=1 PhotometricInterpretation=MONOCHROME2 Rows=4 Columns=4 PixelRepresentation=0"
_PLANE: Final = "PixelSpacing=1\\1 ImageOrientationPatient=1\\0\\0\\0\\1\\0 SliceThickness=3 Laterality="


def build() -> list[Dataset]:
    """The instances of the study, in the order of `CLASSES`."""
    others = (_pet, _structures, _plan, _dose, _segmentation, _presentation, _report, _registration)
    return [*(_slice(kind) for kind in _SLICES), *(make() for make in others)]


def files(syntax: str = classes.ExplicitVRLittleEndian) -> dict[str, bytes]:
    """The instances as DICOM files, by what they are: the keys of `CLASSES`."""
    return {kind: samples.encoded(ds, syntax) for kind, ds in zip(CLASSES, build(), strict=True)}


def item(words: str = "", **values: Any) -> Dataset:
    """A data set of `Keyword=value` words (nothing is no items), and of values by keyword, data sets for sequences."""
    ds = Dataset()
    for word in words.split():
        keyword, _, text = word.partition("=")
        parse = _PARSED.get(dictionary_VR(keyword), str)
        parts = [parse(part) for part in text.split("\\")]
        setattr(ds, keyword, parts if len(parts) > 1 else parts[0])
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """The item of a code sequence."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


# ---------------------------------------------------------------------- what all of them have


def _instance(kind: str, words: str, pixels: tuple[int, int] | None = None, **values: Any) -> Dataset:
    modality, _, number = kind.partition(" ")
    ds = item(SpecificCharacterSet="ISO_IR 100", SOPClassUID=CLASSES[kind])
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(kind), uid("study"), uid(f"series {modality}")
    ds.Modality, ds.InstanceNumber, ds.PositionReferenceIndicator = modality, number or "1", ""
    ds.update(item("StudyDate=20240228 StudyTime=231500 SeriesDate=20240229 SeriesTime=003000 SeriesNumber=1"))
    ds.update(item("InstanceCreationDate=20240302 Manufacturer=Maker ManufacturerModelName=Model SoftwareVersions=1"))
    ds.update(item(f"InstitutionName={INSTITUTION} StationName={DEVICE} DeviceSerialNumber={DEVICE}"))
    ds.update(_identity())
    ds.update(item(words, **values))
    if pixels:
        ds.update(_pixels(*pixels))
    ds.private_block(0x0009, "CANARY MAKER", create=True).add_new(0x01, "LO", f"{CANARY} private")
    return ds


def _identity() -> Dataset:
    request = item(f"RequestedProcedureID={CANARY}RP ScheduledProcedureStepID={CANARY}SPS")
    request.StudyInstanceUID, request.ScheduledProcedureStepDescription = uid("study"), f"step of {CANARY}"
    return item(
        f"PatientID={CANARY}-ID PatientBirthDate=19691231 PatientSex=F PatientAge=054Y PatientWeight=61 "
        f"AccessionNumber={CANARY}ACC StudyID={CANARY}STUDY ReferringPhysicianName={CANARY}^REFERRER "
        f"OperatorsName={CANARY}^ONE\\{CANARY}^TWO PerformingPhysicianName={CANARY}^PERFORMER",
        PatientName=f"{CANARY}^PÄTIENT",
        PatientComments=f"comment on {CANARY}",
        AdditionalPatientHistory=f"history of {CANARY}",
        OtherPatientIDsSequence=[item(f"PatientID={CANARY}-OTHER TypeOfPatientID=TEXT")],
        StudyDescription=f"CT chest of {CANARY}",
        SeriesDescription=f"series for Dr. {CANARY}",
        RequestAttributesSequence=[request],
    )


def _pixels(bits: int, frames: int) -> Dataset:
    data = bytes(number % 251 for number in range(16 * frames * bits // 8))
    return item(f"{_IMAGE} BitsAllocated={bits} BitsStored={bits} HighBit={bits - 1}", PixelData=data)


def _reference(kind: str, purpose: tuple[str, str] | None = None) -> Dataset:
    """A reference to an instance of the study."""
    ds = item(ReferencedSOPClassUID=CLASSES[kind], ReferencedSOPInstanceUID=uid(kind))
    if purpose is not None:
        ds.PurposeOfReferenceCodeSequence = [code(*purpose)]
    return ds


def _series(kinds: tuple[str, ...], sequence: str) -> Dataset:
    """References to instances of one series, in a sequence of this keyword."""
    modality = kinds[0].split()[0]
    return item(f"SeriesInstanceUID={uid(f'series {modality}')}", **{sequence: [_reference(kind) for kind in kinds]})


# ---------------------------------------------------------------------- images


def _slice(kind: str) -> Dataset:
    number = int(kind[-1])
    ds = _instance(
        kind,
        "ImageType=ORIGINAL\\PRIMARY\\AXIAL AcquisitionDate=20240228 AcquisitionTime=231600 AcquisitionNumber=1 "
        "AcquisitionDateTime=20240228231600 KVP=120 RescaleIntercept=0 RescaleSlope=1 ContentDate=20240229 "
        f"PatientPosition=HFS ContentTime=00010{number} {_PLANE} ImagePositionPatient=0\\0\\{3 * number}",
        pixels=(16, 1),
        FrameOfReferenceUID=uid("frame CT"),
    )
    if number > 1:
        ds.ReferencedImageSequence = [_reference("CT 1", ("121311", "Localizer"))]
    return ds


def _pet() -> Dataset:
    injected = item(
        f"Radiopharmaceutical=FDG RadiopharmaceuticalStartTime=234500.5 RadiopharmaceuticalStartDateTime={INJECTED} "
        "RadiopharmaceuticalStopDateTime=20240228234530+0100 RadionuclideTotalDose=4.0E8 "
        "RadionuclideHalfLife=6586.2 RadionuclidePositronFraction=0.97",
        RadionuclideCodeSequence=[code("77004003", "^18^Fluorine", "SCT")],
    )
    return _instance(
        "PT",
        "ImageType=ORIGINAL\\PRIMARY AcquisitionDate=20240229 AcquisitionTime=004500.25 ContentDate=20240301 "
        "ImageIndex=1 ContentTime=120000 Units=BQML CountsSource=EMISSION SeriesType=STATIC\\IMAGE NumberOfSlices=1 "
        "CorrectedImage=DECY\\ATTN DecayCorrection=START CollimatorType=NONE FrameReferenceTime=0 DecayFactor=1 "
        f"ActualFrameDuration=1000 RescaleIntercept=0 RescaleSlope=1 {_PLANE} ImagePositionPatient=0\\0\\3",
        pixels=(16, 1),
        FrameOfReferenceUID=uid("frame PT"),
        RadiopharmaceuticalInformationSequence=[injected],
        PatientOrientationCodeSequence=[code("102538003", "recumbent", "SCT")],
        PatientGantryRelationshipCodeSequence=[code("102540008", "headfirst", "SCT")],
    )


def _segmentation() -> Dataset:
    organization = {"DimensionOrganizationUID": uid("dimensions")}
    index = item(DimensionIndexPointer=0x00200032, FunctionalGroupPointer=0x00209113, **organization)
    segment = item(
        "SegmentNumber=1 SegmentLabel=lesion SegmentAlgorithmType=MANUAL TrackingID=lesion",
        SegmentedPropertyCategoryCodeSequence=[code("49755003", "Morphologically abnormal structure", "SCT")],
        SegmentedPropertyTypeCodeSequence=[code("52988006", "Lesion", "SCT")],
        TrackingUID=uid("tracked lesion"),
    )
    shared = item(
        PixelMeasuresSequence=[item("PixelSpacing=1\\1 SliceThickness=3")],
        PlaneOrientationSequence=[item("ImageOrientationPatient=1\\0\\0\\0\\1\\0")],
        SegmentIdentificationSequence=[item("ReferencedSegmentNumber=1")],
    )
    return _instance(
        "SEG",
        "ImageType=DERIVED\\PRIMARY ContentDate=20240301 ContentTime=130000 NumberOfFrames=3 SegmentationType=BINARY "
        f"ContentLabel=LESIONS ContentDescription=lesions ContentCreatorName={CANARY}^CREATOR LossyImageCompression=00",
        pixels=(1, 3),
        FrameOfReferenceUID=uid("frame CT"),
        ReferencedSeriesSequence=[_series(_SLICES, "ReferencedInstanceSequence")],
        DimensionOrganizationSequence=[item(**organization)],
        DimensionIndexSequence=[index],
        SegmentSequence=[segment],
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[_frame(kind) for kind in _SLICES],
    )


def _frame(kind: str) -> Dataset:
    """What a segmentation says of the frame that was made from a slice."""
    number = int(kind[-1])
    source = _reference(kind, ("121322", "Source image"))
    derived = item(DerivationCodeSequence=[code("113076", "Segmentation")], SourceImageSequence=[source])
    return item(
        DerivationImageSequence=[derived],
        FrameContentSequence=[item(DimensionIndexValues=number)],
        PlanePositionSequence=[item(f"ImagePositionPatient=0\\0\\{3 * number}")],
    )


# ---------------------------------------------------------------------- radiotherapy, registration


def _structures() -> Dataset:
    frame = uid("frame CT")
    referenced = item(
        "ReferencedSOPClassUID=1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=uid("study"),
        RTReferencedSeriesSequence=[_series(_SLICES, "ContourImageSequence")],
    )
    region = item("ROINumber=1 ROIGenerationAlgorithm=MANUAL", ReferencedFrameOfReferenceUID=frame)
    region.ROIName = f"lesion of {CANARY}"
    observed = item(f"ObservationNumber=1 ReferencedROINumber=1 RTROIInterpretedType=GTV ROIInterpreter={CANARY}^INT")
    return _instance(
        "RTSTRUCT",
        "StructureSetDate=20240301 StructureSetTime=140000 ApprovalStatus=UNAPPROVED",
        FrameOfReferenceUID=frame,
        StructureSetLabel=f"{CANARY} SET",
        StructureSetName=f"lesions of {CANARY}",
        StructureSetDescription=f"drawn by {CANARY}",
        ReferencedFrameOfReferenceSequence=[item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[referenced])],
        StructureSetROISequence=[region],
        ROIContourSequence=[item("ReferencedROINumber=1", ContourSequence=[_contour(kind) for kind in _SLICES])],
        RTROIObservationsSequence=[observed],
    )


def _contour(kind: str) -> Dataset:
    z = 3 * int(kind[-1])
    data = f"ContourGeometricType=CLOSED_PLANAR NumberOfContourPoints=3 ContourData=0\\0\\{z}\\1\\0\\{z}\\1\\1\\{z}"
    return item(data, ContourImageSequence=[_reference(kind)])


def _plan() -> Dataset:
    dose = item(
        "DoseReferenceNumber=1 DoseReferenceStructureType=SITE DoseReferenceType=TARGET",
        DoseReferenceUID=uid("dose reference"),
        DoseReferenceDescription=f"dose for {CANARY}",
    )
    fractions = "FractionGroupNumber=1 NumberOfFractionsPlanned=5 NumberOfBeams=0 NumberOfBrachyApplicationSetups=0"
    return _instance(
        "RTPLAN",
        "RTPlanDate=20240305 RTPlanTime=150000 RTPlanGeometry=PATIENT ApprovalStatus=APPROVED "
        f"ReviewDate=20240306 ReviewTime=160000 ReviewerName={CANARY}^REVIEWER",
        FrameOfReferenceUID=uid("frame CT"),
        RTPlanLabel=f"{CANARY} PLAN",
        DoseReferenceSequence=[dose],
        FractionGroupSequence=[item(fractions)],
        ReferencedStructureSetSequence=[_reference("RTSTRUCT")],
    )


def _dose() -> Dataset:
    return _instance(
        "RTDOSE",
        "DoseUnits=GY DoseType=PHYSICAL DoseSummationType=PLAN NumberOfFrames=2 GridFrameOffsetVector=0\\3 "
        f"DoseGridScaling=0.001 {_PLANE} ImagePositionPatient=0\\0\\3",
        pixels=(16, 2),
        FrameOfReferenceUID=uid("frame CT"),
        FrameIncrementPointer=0x3004000C,
        ReferencedRTPlanSequence=[_reference("RTPLAN")],
        ReferencedStructureSetSequence=[_reference("RTSTRUCT")],
    )


def _registration() -> Dataset:
    identity = "\\".join("1000010000100001")
    rigid = item(f"FrameOfReferenceTransformationMatrixType=RIGID FrameOfReferenceTransformationMatrix={identity}")
    matrix = item(RegistrationTypeCodeSequence=[code("125025", "Visual Alignment")], MatrixSequence=[rigid])
    registered = [
        item(
            FrameOfReferenceUID=uid(frame),
            ReferencedImageSequence=[_reference(kind) for kind in kinds],
            MatrixRegistrationSequence=[matrix],
        )
        for frame, kinds in (("frame CT", _SLICES), ("frame PT", ("PT",)))
    ]
    return _instance(
        "REG",
        "ContentDate=20240302 ContentTime=170000 ContentLabel=REGISTRATION ContentDescription= "
        f"ContentCreatorName={CANARY}^CREATOR",
        FrameOfReferenceUID=uid("frame CT"),
        RegistrationSequence=registered,
        ReferencedSeriesSequence=[_series(kinds, "ReferencedInstanceSequence") for kinds in (_SLICES, ("PT",))],
    )


# ---------------------------------------------------------------------- presentation state


def _presentation() -> Dataset:
    references = [_reference(kind) for kind in _SLICES]
    area = item("DisplayedAreaTopLeftHandCorner=1\\1 DisplayedAreaBottomRightHandCorner=4\\4")
    area.ReferencedImageSequence = references
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    texts = [
        item(
            "BoundingBoxAnnotationUnits=PIXEL BoundingBoxTopLeftHandCorner=1\\1 BoundingBoxBottomRightHandCorner=3\\2 "
            "BoundingBoxTextHorizontalJustification=LEFT",
            UnformattedTextValue=text,
        )
        for text in (f"lesion of {CANARY}", CANARY, "lesion")
    ]
    drawn = item(
        "GraphicAnnotationUnits=PIXEL GraphicDimensions=2 NumberOfGraphicPoints=2 GraphicData=1\\1\\2.5\\3 "
        "GraphicType=POLYLINE GraphicFilled=N"
    )
    annotation = item("GraphicLayer=LESIONS", TextObjectSequence=texts, GraphicObjectSequence=[drawn])
    annotation.ReferencedImageSequence = references[:1]
    return _instance(
        "PR",
        "PresentationCreationDate=20240301 PresentationCreationTime=180000 PresentationLUTShape=IDENTITY "
        f"ContentLabel=LESIONS ContentDescription=lesions ContentCreatorName={CANARY}^CREATOR",
        ReferencedSeriesSequence=[_series(_SLICES, "ReferencedImageSequence")],
        DisplayedAreaSelectionSequence=[area],
        GraphicLayerSequence=[item("GraphicLayer=LESIONS GraphicLayerOrder=1")],
        GraphicAnnotationSequence=[annotation],
    )


# ---------------------------------------------------------------------- structured report


def _report() -> Dataset:
    evidence = item(
        StudyInstanceUID=uid("study"),
        ReferencedSeriesSequence=[
            _series(_SLICES, "ReferencedSOPSequence"),
            _series(("SEG",), "ReferencedSOPSequence"),
        ],
    )
    verifier = item(f"VerificationDateTime=20240302120000 VerifyingObserverName={CANARY}^VERIFIER")
    verifier.update(item(f"VerifyingOrganization={INSTITUTION} VerifyingObserverIdentificationCodeSequence="))
    request = item(
        f"AccessionNumber={CANARY}ACC RequestedProcedureID={CANARY}RP PlacerOrderNumberImagingServiceRequest= "
        "FillerOrderNumberImagingServiceRequest= ReferencedStudySequence= RequestedProcedureCodeSequence=",
        StudyInstanceUID=uid("study"),
        RequestedProcedureDescription=f"chest of {CANARY}",
    )
    return _instance(
        "SR",
        "ContentDate=20240302 ContentTime=110000 CompletionFlag=COMPLETE VerificationFlag=VERIFIED "
        "ValueType=CONTAINER ContinuityOfContent=SEPARATE ReferencedPerformedProcedureStepSequence= "
        "PerformedProcedureCodeSequence=",
        VerifyingObserverSequence=[verifier],
        ReferencedRequestSequence=[request],
        CurrentRequestedProcedureEvidenceSequence=[evidence],
        ConceptNameCodeSequence=[code("126000", "Imaging Measurement Report")],
        ContentTemplateSequence=[item("MappingResource=DCMR TemplateIdentifier=1500")],
        ContentSequence=_content(),
    )


def _node(kind: str, relationship: str, name: Dataset | None, *children: Dataset, **values: Any) -> Dataset:
    """A content item."""
    ds = item(f"ValueType={kind}", RelationshipType=relationship, **values)
    if name is not None:
        ds.ConceptNameCodeSequence = [name]
    if children:
        ds.ContentSequence = list(children)
    return ds


def _content() -> list[Dataset]:
    observer, finding = code("121008", "Person Observer Name"), code("121071", "Finding")
    illustrated = code("121080", "Best illustration of finding")
    group = _node(
        "CONTAINER",
        "CONTAINS",
        code("125007", "Measurement Group"),
        _node("TEXT", "HAS OBS CONTEXT", code("112039", "Tracking Identifier"), TextValue=f"lesion of {CANARY}"),
        _node("UIDREF", "HAS OBS CONTEXT", code("112040", "Tracking Unique Identifier"), UID=uid("tracked lesion")),
        *(_distance(kind, value) for kind, value in zip(_SLICES, DISTANCES, strict=False)),
        _node("DATETIME", "HAS OBS CONTEXT", code("111526", "DateTime Started"), DateTime="20240302103000"),
        ContinuityOfContent="SEPARATE",
    )
    return [
        _node("PNAME", "HAS OBS CONTEXT", observer, PersonName=f"{CANARY}^OBSERVER"),
        _node("TEXT", "CONTAINS", finding, TextValue=f"lesion, seen by Dr. {CANARY} in the lung"),
        _node("CONTAINER", "CONTAINS", code("126010", "Imaging Measurements"), group, ContinuityOfContent="SEPARATE"),
        # Removed unless UIDs are retained; last, so that the others stay where they are.
        _node("IMAGE", "CONTAINS", illustrated, ReferencedSOPSequence=[_reference("CT 3")]),
    ]


def _distance(kind: str, value: str) -> Dataset:
    """A distance, measured between two points of an image."""
    image = _node("IMAGE", "SELECTED FROM", None, ReferencedSOPSequence=[_reference(kind)])
    points = _node("SCOORD", "INFERRED FROM", code("111030", "Image Region"), image)
    points.update(item("GraphicData=1\\1\\2.5\\3 GraphicType=POLYLINE"))
    measured = item(NumericValue=value, MeasurementUnitsCodeSequence=[code("mm", "millimeter", "UCUM")])
    length = code("410668003", "Length", "SCT")
    return _node("NUM", "CONTAINS", length, points, MeasuredValueSequence=[measured])
