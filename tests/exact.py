"""What the Basic Profile makes of an encoded data set, to the byte: VRs, padding, the form of lengths, order.

`tests/oracle.py` judges what pydicom sees; this judges the encoding. Written from Table E.1-1, on the trees of
`tests/wire.py`; of the engine it uses the dummies and the keyed functions only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydicom.charset import convert_encodings, decode_bytes

from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.identity import Identity
from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.elements import DataSet, Value
from scp_anon.dicom.uids import well_known_uids
from tests.oracle import (
    INSTANCE,
    METHOD,
    METHOD_CODES,
    METHOD_ITEM,
    PATIENT_ID,
    PATIENT_NAME,
    REFERENCED_SERIES,
    SPECIFIC_CHARACTER_SET,
    STUDY,
    code_of,
    iod_of,
    key_of,
    nobody,
)
from tests.wire import IMPLICIT, Element, Elements, Item

LENGTH_TO_END = 0x00080001
REMOVED = {0x00120062: b"YES", 0x00280303: b"REMOVED"}


@dataclass(frozen=True)
class Patient:
    """What the top level says of the patient, and how to make others of it."""

    identity: Identity
    pseudonym: bytes
    terms: tuple[str, ...]
    iod: str
    enclosing: int = 0
    refers: bool = False


def deidentified(source: Elements, explicit: bool, identity: Identity, methods: tuple[bytes, ...]) -> Elements:
    """What the engine should make of the elements of an instance; `methods` are our values of (0012,0063)."""
    terms = _terms(source, ("",))
    pseudonym = _pseudonym(identity, "id", _raw(source, PATIENT_ID), terms)
    pseudonym = pseudonym or _pseudonym(identity, "name", _raw(source, PATIENT_NAME), terms)
    pseudonym = pseudonym or identity.pseudonym(nobody(_raw(source, STUDY), _raw(source, INSTANCE)))
    present = {element.tag for element in source}
    absent = [
        Element(tag, vr if explicit else IMPLICIT, value)
        for tag, vr, value in (
            (PATIENT_ID, "LO", b""),
            (0x00120062, "CS", b""),
            (METHOD, "LO", b""),
            (METHOD_CODES, "SQ", ()),
            (0x00280303, "CS", b""),
        )
        if tag not in present
    ]
    whole = tuple(sorted((*source, *absent), key=lambda element: element.tag))
    return _data_set(
        whole,
        Patient(identity, pseudonym, terms, iod_of(_raw(source, 0x00080016)), refers=REFERENCED_SERIES in present),
        methods,
    )


def _data_set(source: Elements, patient: Patient, methods: tuple[bytes, ...]) -> Elements:
    patient = replace(patient, terms=_terms(source, patient.terms))
    ruled = (_element(element, patient, methods) for element in source)
    return tuple(element for element in ruled if element is not None)


def _element(element: Element, patient: Patient, methods: tuple[bytes, ...]) -> Element | None:
    tag = element.tag
    if tag >> 16 < 8 or tag >> 16 & 1 or tag == LENGTH_TO_END or tag not in dictionary():
        return None
    code = code_of(tag, patient.iod, patient.enclosing, patient.refers)
    is_top = not patient.enclosing
    vr = dictionary()[tag][0]
    raw = element.value if isinstance(element.value, bytes) else b""
    if code == "X":
        return None
    if tag in REMOVED and is_top:
        return _constant(element, vr, REMOVED[tag])
    if tag == METHOD and is_top:
        earlier = [value.strip(b"\0 ") for value in raw.split(b"\\")] if raw else []
        return _text(element, vr, b"\\".join([*(value for value in earlier if value not in methods), *methods]))
    if tag == PATIENT_ID:
        own = _pseudonym(patient.identity, "id", raw, patient.terms)
        return _text(element, vr, own or patient.pseudonym)
    if tag == PATIENT_NAME:
        return _text(element, vr, patient.pseudonym)
    if code == "U" or (code == "D" and vr == "UI"):
        return _text(element, vr, b"\\".join(_new_uid(uid.strip(b"\0 "), patient) for uid in raw.split(b"\\")))
    if code == "D":
        return _dummy(element, vr, BY_TAG.get(tag) or BY_VR[vr])
    if code == "Z":
        return _dummy(element, vr, () if vr == "SQ" else b"")
    if isinstance(element.value, bytes):
        return element
    inside = replace(patient, enclosing=tag)
    items = tuple(Item(_data_set(item.elements, inside, methods), item.undefined) for item in element.value)
    if tag == METHOD_CODES and is_top and not any(_plain(item) == METHOD_ITEM for item in items):
        items = (*items, Item(_item(METHOD_CODE, element.vr == "SQ")))
    return replace(element, value=items)


METHOD_CODE: DataSet = tuple(
    (tag, "LO" if tag == 0x00080104 else "SH", value) for tag, value in METHOD_ITEM.items() if isinstance(value, bytes)
)


def _plain(item: Item) -> dict[int, bytes]:
    return {e.tag: e.value.rstrip(b" ") if isinstance(e.value, bytes) else b"" for e in item.elements}


def _text(element: Element, vr: str, value: bytes) -> Element:
    """The element with another value; one that was and stays empty is not touched, whatever its VR."""
    if not value and not element.value:
        return element
    return _constant(element, vr, value)


def _constant(element: Element, vr: str, value: bytes) -> Element:
    pad = b"\0" if vr in ("UI", "OB", "UN") else b" "
    return Element(element.tag, element.vr and vr, value + pad * (len(value) % 2))


def _dummy(element: Element, vr: str, value: Value) -> Element:
    if isinstance(value, bytes):
        return _constant(element, vr, value)
    explicit = element.vr != IMPLICIT
    return Element(element.tag, element.vr and vr, tuple(Item(_item(item, explicit)) for item in value))


def _item(item: DataSet, explicit: bool) -> Elements:
    return tuple(_dummy(Element(tag, vr if explicit else IMPLICIT, b""), vr, value) for tag, vr, value in item)


def _new_uid(uid: bytes, patient: Patient) -> bytes:
    return uid if not uid or uid in well_known_uids() else patient.identity.uid(uid)


def _raw(source: Elements, tag: int) -> bytes:
    value = next((element.value for element in source if element.tag == tag), b"")
    return value if isinstance(value, bytes) else b""


def _terms(source: Elements, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """An item without a Specific Character Set of its own has the one that it is in (PS3.5 7.5.3)."""
    if not any(element.tag == SPECIFIC_CHARACTER_SET for element in source):
        return inherited
    return tuple(term.strip(" \0") for term in _raw(source, SPECIFIC_CHARACTER_SET).decode("ascii").split("\\"))


def _pseudonym(identity: Identity, kind: str, raw: bytes, terms: tuple[str, ...]) -> bytes:
    raw = raw.strip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        key = key_of(kind, raw.decode("ascii"))
    else:
        key = key_of(kind, decode_bytes(raw, convert_encodings(list(terms)), set(b"^=")))
    return identity.pseudonym(key) if key else b""
