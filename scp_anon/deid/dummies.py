"""The dummies of action code D: a non-empty value, valid for its VR, that says nothing of anybody (PS3.15 E.1.1).

A value is the encoded bytes, not yet padded, or for a sequence the data sets of its items.
"""

from __future__ import annotations

from typing import Final

from scp_anon.dicom.elements import DataSet, Value

TEXT: Final = b"DEIDENTIFIED"

BY_VR: Final[dict[str, bytes]] = {
    "AE": TEXT,
    "AS": b"000D",
    "AT": bytes(4),
    "CS": TEXT,
    "DA": b"19000101",
    "DS": b"0",
    "DT": b"19000101000000",
    "FD": bytes(8),
    "FL": bytes(4),
    "IS": b"0",
    "LO": TEXT,
    "LT": TEXT,
    "OB": bytes(2),
    "OD": bytes(8),
    "OF": bytes(4),
    "OL": bytes(4),
    "OV": bytes(8),
    "OW": bytes(2),
    "PN": TEXT,
    "SH": TEXT,
    "SL": bytes(4),
    "SS": bytes(2),
    "ST": TEXT,
    "SV": bytes(8),
    "TM": b"000000",
    "UC": TEXT,
    "UL": bytes(4),
    "UN": bytes(2),
    "UR": b"urn:deidentified",
    "US": bytes(2),
    "UT": TEXT,
    "UV": bytes(8),
}


def code(value: bytes, scheme: bytes, meaning: bytes) -> DataSet:
    """A code sequence's item: Code Value, Coding Scheme Designator, Code Meaning (PS3.3 8.8)."""
    return ((0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080104, "LO", meaning))


_UNSPECIFIED: Final = code(b"DEIDENTIFIED", b"99SCPANON", b"De-identified")


def reference(sop_class_uid: bytes) -> DataSet:
    """The item of a sequence of references: to an instance that there is nowhere (PS3.3 10.8)."""
    return ((0x00081150, "UI", sop_class_uid), (0x00081155, "UI", b"2.25.0"))


# What belongs inside is Type 1 in at least one IOD, so that the item is valid where the sequence is.
BY_TAG: Final[dict[int, Value]] = {
    # Referenced Study Sequence, in the few places that need one: with the Study Instance UID that those want
    0x00081110: ((*reference(b"1.2.840.10008.3.1.2.3.1"), (0x0020000D, "UI", b"2.25.0")),),
    # Institution Code Sequence
    0x00080082: (_UNSPECIFIED,),
    # Operator Identification Sequence
    0x00081072: (
        (
            (0x00080080, "LO", TEXT),
            (0x00080082, "SQ", (_UNSPECIFIED,)),
            (0x00401101, "SQ", (_UNSPECIFIED,)),
        ),
    ),
    # Referenced Performed Procedure Step Sequence: a step of no instance
    0x00081111: (reference(b"1.2.840.10008.3.1.2.3.3"),),
    # Flow Identifier Sequence
    0x00340001: (((0x00340002, "OB", b"\0\0"),),),
    # Verifying Observer Sequence
    0x0040A073: (
        (
            (0x0040A027, "LO", TEXT),
            (0x0040A030, "DT", BY_VR["DT"]),
            (0x0040A075, "PN", TEXT),
            (0x0040A088, "SQ", ()),
        ),
    ),
    # Person Identification Code Sequence
    0x00401101: (_UNSPECIFIED,),
    # Content Sequence: one comment
    0x0040A730: (
        (
            (0x0040A010, "CS", b"CONTAINS"),
            (0x0040A040, "CS", b"TEXT"),
            (0x0040A043, "SQ", (code(b"121106", b"DCM", b"Comment"),)),
            (0x0040A160, "UT", TEXT),
        ),
    ),
    # Waveform Annotation Sequence: a text that is of no channel in particular
    0x0040B020: (((0x0040A0B0, "US", b"\1\0\0\0"), (0x00700006, "ST", TEXT)),),
    # Graphic Annotation Sequence: one point
    0x00700001: (
        (
            (0x00700002, "CS", TEXT),
            (
                0x00700009,
                "SQ",
                (
                    (
                        (0x00700005, "CS", b"PIXEL"),
                        (0x00700020, "US", b"\2\0"),
                        (0x00700021, "US", b"\1\0"),
                        (0x00700022, "FL", b"\0\0\x80\x3f\0\0\x80\x3f"),
                        (0x00700023, "CS", b"POINT"),
                        (0x00700024, "CS", b"N"),
                    ),
                ),
            ),
        ),
    ),
    # Reason for the Attribute Modification: one of its defined terms
    0x04000565: b"CORRECT",
}
