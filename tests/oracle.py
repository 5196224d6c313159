"""The oracle: a slow, obvious implementation of what the engine does, written from the standard's table.

It works on what pydicom reads, as plain nested lists of raw values, so that "only this changed" is judged on bytes.
Of the engine it uses the dummies, the keyed functions, and who is one patient, only.
"""

from __future__ import annotations

import csv
import gzip
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

import scp_anon
from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.identity import Identity
from scp_anon.deid.patient_keys import PatientKeys
from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.elements import DataSet, Value
from scp_anon.dicom.uids import well_known_uids

# A data set is tag → raw value without its padding, or items.
Content: TypeAlias = "bytes | list[Plain]"
Plain: TypeAlias = dict[int, "Content"]

SPECIFIC_CHARACTER_SET, PATIENT_NAME, PATIENT_ID, METHOD, METHOD_CODES = (
    0x00080005,
    0x00100010,
    0x00100020,
    0x00120063,
    0x00120064,
)
STUDY, INSTANCE = 0x0020000D, 0x00080018
REFERENCED_SERIES = 0x00081115
PRIVATE_DECLARATIONS = 0x00080300  # of what does not stay
SOP_CLASS_UID = 0x00080016  # a class of the standard stays, as all well-known UIDs do
METHOD_ITEM: Plain = {
    0x00080100: b"113100",
    0x00080102: b"DCM",
    0x00080104: b"Basic Application Confidentiality Profile",
}
STANDARD = Path(scp_anon.__file__).parent / "deid" / "standard"
_STRICTEST = {"Z/D": "D", "X/D": "D", "X/Z/D": "D", "X/Z": "Z", "X/Z/U*": "Z"}
_NOT_OF_IOD = {"Z/D": "Z", "X/D": "X", "X/Z/D": "X", "X/Z": "X", "X/Z/U*": "X"}


@cache
def basic_profile() -> dict[int, str]:
    """Tag → action code, by the shipped Table E.1-1, conditional codes by their strictest branch."""
    return {tag: _STRICTEST.get(code, code) for tag, code in table_codes().items()}


@cache
def table_codes() -> dict[int, str]:
    """Tag → action code, by the shipped Table E.1-1."""
    with (STANDARD / "ps3.15-table-E.1-1.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not set("XG") & set(row["tag"])]
    with (STANDARD.parent / "unlisted.csv").open(encoding="utf-8", newline="") as file:
        rows += [{"tag": row["tag"], "basic_profile": row["code"]} for row in csv.DictReader(file)]
    return {_tag(row["tag"]): row["basic_profile"] for row in rows}


@cache
def _iod_actions() -> dict[tuple[int, int, str], str]:
    """(tag, innermost enclosing sequence, IOD or "*") → action, by the shipped table."""
    with gzip.open(STANDARD / "iod-actions.csv.gz", "rt", encoding="ascii", newline="") as file:
        return {
            (_tag(row["tag"]), _tag(row["enclosing_sequence"] or "(0000,0000)"), iod): row["action"]
            for row in csv.DictReader(file)
            for iod in row["iods"].split()
        }


def code_of(tag: int, iod: str, enclosing: int, refers: bool = False) -> str:
    """The Basic Profile's action code for an attribute in an IOD, directly in a sequence, or 0 for the top level.

    `refers`: there is a Referenced Series Sequence at the top level, which says that there are references.
    """
    code = "X" if tag == PRIVATE_DECLARATIONS else table_codes().get(tag, "K")
    if not iod:
        return _STRICTEST.get(code, code)
    actions = _iod_actions()
    found = actions.get((tag, enclosing, iod)) or actions.get((tag, enclosing, "*"))
    if code == "X/Z/U*" and found in ("Z", "U*"):
        return "K"  # references: the items stay, with new UIDs
    if code == "X/Z/U*" and refers and not enclosing:
        return "K"
    return found or _NOT_OF_IOD.get(code, code)


def iod_of(sop_class_uid: bytes) -> str:
    """The IOD of a SOP class, "" where the tables have none."""
    with (STANDARD.parents[1] / "dicom" / "storage-sop-classes.csv").open(encoding="utf-8", newline="") as file:
        iods = {row["uid"].encode(): row["iod"] for row in csv.DictReader(file)}
    return iods.get(sop_class_uid.strip(b"\0 "), "")


def _tag(text: str) -> int:
    return int(text[1:5] + text[6:10], 16)


def plain(source: Dataset) -> Plain:
    """What pydicom read of a data set, as raw values and items."""
    content: Plain = {}
    # All at once, as a look into a sequence makes pydicom decode other elements too.
    elements = {tag: source.get_item(tag, keep_deferred=True) for tag in source.keys()}  # noqa: SIM118 - not a dict
    for tag, element in elements.items():
        vr = element.VR or dictionary().get(int(tag), ("UN",))[0]
        if vr == "SQ":
            content[int(tag)] = [plain(item) for item in source[tag].value]
        elif isinstance(element, RawDataElement):
            content[int(tag)] = unpadded(int(tag), element.value or b"")
        else:
            # pydicom decodes Specific Character Set as it reads.
            assert tag == SPECIFIC_CHARACTER_SET, (tag, element)
            terms = element.value if isinstance(element.value, str | None) else "\\".join(element.value)
            content[int(tag)] = (terms or "").encode("ascii")
    return content


def unpadded(tag: int, value: bytes) -> bytes:
    """A value without the one pad byte that it may have: text as well as UIDs."""
    return value.rstrip(b" \0") if dictionary().get(tag, ("OB",))[0] not in ("OB", "OW", "UN") else value


def deidentified(source: Plain, identity: Identity, methods: list[bytes]) -> Plain:
    """What the engine should make of an instance; `methods` are our values of (0012,0063)."""
    terms = _raw(source, SPECIFIC_CHARACTER_SET).decode("latin-1").split("\\")
    patient = _pseudonym(identity, "id", _raw(source, PATIENT_ID), terms)
    patient = patient or _pseudonym(identity, "name", _raw(source, PATIENT_NAME), terms)
    patient = patient or identity.pseudonym(nobody(_raw(source, STUDY), _raw(source, INSTANCE)))
    source = {PATIENT_ID: b"", **source}
    iod = iod_of(_raw(source, 0x00080016))
    result = _data_set(source, identity, patient, terms, iod, 0)
    earlier = [value.strip(b" \0") for value in _raw(source, METHOD).split(b"\\") if value]
    result[METHOD] = b"\\".join([value for value in earlier if value not in methods] + methods)
    codes = result.setdefault(METHOD_CODES, [])
    assert isinstance(codes, list)
    if METHOD_ITEM not in codes:
        codes.append(METHOD_ITEM)
    result[0x00120062] = b"YES"
    result[0x00280303] = b"REMOVED"
    return result


def _data_set(source: Plain, identity: Identity, patient: bytes, terms: list[str], iod: str, enclosing: int) -> Plain:
    result: Plain = {}
    for tag, value in source.items():
        group = tag >> 16
        if group % 2 or group < 8 or tag == 0x00080001 or tag not in dictionary():
            continue  # private, command or file meta, length to end, unknown: curves, overlays and group lengths too
        action = code_of(tag, iod, enclosing, REFERENCED_SERIES in source)
        vr = dictionary()[tag][0]
        if action == "X":
            continue
        if tag == PATIENT_ID:
            result[tag] = _pseudonym(identity, "id", _raw(source, tag), terms) or patient
        elif tag == PATIENT_NAME:
            result[tag] = patient
        elif action == "U" or (action == "D" and vr == "UI") or tag == SOP_CLASS_UID:
            result[tag] = b"\\".join(_new_uid(uid.strip(b"\0 "), identity) for uid in _raw(source, tag).split(b"\\"))
        elif action == "Z":
            result[tag] = _dummy(tag, () if vr == "SQ" else b"")
        elif action == "D":
            result[tag] = _dummy(tag, BY_TAG.get(tag) or BY_VR[vr])
        elif isinstance(value, list):
            result[tag] = [_data_set(item, identity, patient, terms, iod, tag) for item in value]
        else:
            result[tag] = value
    return result


def _dummy(tag: int, value: Value) -> Content:
    return [_item(item) for item in value] if isinstance(value, tuple) else unpadded(tag, value)


def _item(item: DataSet) -> Plain:
    return {tag: _dummy(tag, value) for tag, _, value in item}


def _new_uid(uid: bytes, identity: Identity) -> bytes:
    return uid if not uid or uid in well_known_uids() else identity.uid(uid)


def nobody(study: bytes, instance: bytes) -> str:
    """The key of a patient whom an instance does not name."""
    study, instance = study.strip(b"\0 "), instance.strip(b"\0 ")
    return f"study:{study.decode('ascii')}" if study else f"instance:{instance.decode('ascii')}"


def key_of(kind: str, text: str) -> str:
    """The key of a patient by ID or name, "" for what names nobody; test_patients judges what does."""
    return PatientKeys().key(text if kind == "id" else "", "", text if kind == "name" else "")


def _pseudonym(identity: Identity, kind: str, raw: bytes, terms: list[str]) -> bytes:
    raw = raw.strip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        key = key_of(kind, raw.decode("ascii"))
    else:
        key = key_of(kind, decode_bytes(raw, convert_encodings(terms), set(b"^=")))
    return identity.pseudonym(key) if key else b""


def _raw(source: Plain, tag: int) -> bytes:
    value = source.get(tag, b"")
    assert isinstance(value, bytes)
    return value
