"""The engine's output to the byte: on real files, on generated instances, and where it was once wrong."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.deid.identity import Identity
from scp_anon.dicom.dictionary import dictionary
from tests import exact, samples, trees, wire
from tests.oracle import METHOD, METHOD_CODES, PATIENT_ID
from tests.peers import corpus_files
from tests.wire import IMPLICIT, Element, Elements, Item

IDENTITY = Identity(samples.KEY, "project")
ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)

EXPLICIT_LE, IMPLICIT_LE, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
SHARED_GROUPS = 0x52009229  # a sequence that is kept
UIDS = (Element(0x00080016, "UI", trees.SOP_CLASS), Element(0x00080018, "UI", b"2.999.1\0"))
NAME = Element(0x00100010, "PN", b"CANARY")

# Real files of odd length: pydicom puts them together again, with defined lengths and the last value padded.
PADDED = ("dx_image.dcm", "ctbrain1.dcm", "ctbrain2.dcm")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # not all real files are valid, says pydicom


def part10(data_set: bytes, syntax: str) -> bytes:
    """A DICOM file with as little File Meta Information as can be."""
    value = trees.padded("UI", syntax.encode())
    meta = wire.encode((Element(0x00020010, "UI", value),))
    length = wire.encode((Element(0x00020000, "UL", len(meta).to_bytes(4, "little")),))
    return samples.CANARY.encode().ljust(128) + b"DICM" + length + meta + data_set


def explicit(*elements: Element) -> bytes:
    """A DICOM file of these elements, and the UIDs that it needs, in explicit VR little endian."""
    return part10(wire.encode(trees.in_order([*UIDS, *elements])), EXPLICIT_LE)


def data_set(file: bytes) -> tuple[bytes, str]:
    """The data set of a DICOM file, inflated, and its transfer syntax."""
    if file[128:132] != b"DICM":
        return file, EXPLICIT_LE if file[4:6].isalpha() else IMPLICIT_LE
    found = re.search(rb"\x02\x00\x10\x00UI..([0-9.]+)", file[:1024], re.DOTALL)
    assert found is not None
    syntax, body = found[1].decode(), file[samples.data_set_start(file) :]
    return (zlib.decompress(body, -15) if syntax == DEFLATED else body), syntax


def decoded(file: bytes) -> Elements:
    """The elements of a DICOM file."""
    body, syntax = data_set(file)
    return wire.decode(body, syntax != IMPLICIT_LE, ">" if syntax == BIG_ENDIAN else "<")


def assert_exact(source: Elements, result: bytes, is_explicit: bool) -> None:
    """The result is what the oracle makes of the source; the profile's digest is taken from the result."""
    found = decoded(result)
    (raw,) = (element.value for element in found if element.tag == METHOD)
    assert isinstance(raw, bytes)
    methods = tuple(raw.rstrip(b" ").split(b"\\")[-3:])
    assert found == exact.deidentified(source, is_explicit, IDENTITY, methods)


def refused(file: bytes) -> Reason | None:
    """Why a file is refused; if it is not, nothing of the canaries may be in the result."""
    try:
        result = ENGINE.bytes(file)
    except Undecodable as error:
        assert samples.CANARY not in str(error)
        return error.reason
    assert samples.CANARY.encode() not in result
    return None


def nested(*elements: Element, undefined: bool = False) -> Element:
    """A kept sequence with one item of these elements."""
    return Element(SHARED_GROUPS, "SQ", (Item(elements, undefined),), undefined)


# ---------------------------------------------------------------------- real files


@pytest.mark.parametrize("path", corpus_files(), ids=lambda path: path.name)
def test_real_file_to_the_byte(path: Path) -> None:
    """All that is not ruled on is byte for byte what it was: VRs, padding, order, the form of lengths, pixel data."""
    file = path.read_bytes()
    try:
        result = ENGINE.bytes(file)
    except Undecodable:
        pytest.skip("refused: see test_engine.REFUSED")
    source, syntax = decoded(file), data_set(file)[1]
    if path.name in PADDED:
        source = tuple(defined(element) for element in source)
    assert_exact(source, result, syntax != IMPLICIT_LE)
    assert data_set(result)[1] == (EXPLICIT_LE if syntax == BIG_ENDIAN else syntax)


def defined(element: Element) -> Element:
    """The element as normalising leaves it: sequences of defined length, values of even length."""
    if isinstance(element.value, bytes):
        value = element.value
        return Element(element.tag, element.vr, value + b"\0" * (len(value) % 2), element.undefined)
    items = tuple(Item(tuple(map(defined, item.elements))) for item in element.value)
    return Element(element.tag, element.vr, items)


# ---------------------------------------------------------------------- generated instances


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(lambda vr: st.tuples(st.just(vr), trees.instances(vr))))
def test_generated_instance_to_the_byte(case: tuple[bool, Elements]) -> None:
    """Whatever the elements, their VRs, nesting and lengths: exact, without a canary, and so once more."""
    is_explicit, source = case
    encoded = wire.encode(source)
    assert wire.decode(encoded, is_explicit) == source
    result = ENGINE.bytes(part10(encoded, EXPLICIT_LE if is_explicit else IMPLICIT_LE))
    assert_exact(source, result, is_explicit)
    assert samples.CANARY.encode() not in result
    assert trees.UID_CANARY not in result
    again = ENGINE.bytes(result)
    assert_exact(decoded(result), again, is_explicit)
    assert shape(decoded(again)) == shape(decoded(result))


def shape(elements: Elements) -> list[object]:
    """The tags of a data set, at every depth."""
    return [(e.tag, [] if isinstance(e.value, bytes) else [shape(item.elements) for item in e.value]) for e in elements]


@pytest.mark.parametrize("is_explicit", [True, False])
def test_every_attribute_that_is_kept(is_explicit: bool) -> None:
    """The keep list is exact: every attribute of the dictionary without a rule passes, byte for byte."""
    assert len(trees.KEPT) > 3800
    source = [Element(e.tag, e.vr if is_explicit else IMPLICIT, e.value) for e in UIDS]
    for tag in trees.KEPT:
        vr = dictionary()[tag][0]
        value = () if vr == "SQ" else b"1234567 "
        source.append(Element(tag, vr if is_explicit else IMPLICIT, value))
    elements = trees.in_order(source)
    result = ENGINE.bytes(part10(wire.encode(elements), EXPLICIT_LE if is_explicit else IMPLICIT_LE))
    assert_exact(elements, result, is_explicit)
    assert {e.tag for e in decoded(result)} == {e.tag for e in source} | {
        0x00100020,
        0x00120062,
        0x00120063,
        0x00120064,
        0x00280303,
    }


# ---------------------------------------------------------------------- what once went wrong, or nearly


@pytest.mark.parametrize(
    ("vr", "value", "undefined"),
    [
        ("UI", b"CANARY", False),
        ("LT", b"CANARY", False),
        ("SQ", (Item((NAME,)),), False),
        ("SQ", (Item((NAME,), True),), True),
        ("UN", (Item((Element(0x00100010, IMPLICIT, b"CANARY"),)),), True),
    ],
)
def test_nested_sop_class_uid_is_no_hiding_place(vr: str, value: bytes | tuple[Item, ...], undefined: bool) -> None:
    """SOP Class UID in an item is a UID that has a meaning, or it is not passed on."""
    refused(explicit(nested(Element(0x00080016, vr, value, undefined))))


def test_several_sop_instance_uids_are_refused() -> None:
    """SOP Instance UID is one value (PS3.6): with two the instance has no name."""
    assert refused(explicit(Element(0x00080018, "UI", b"2.999.1\\2.999.2 "))) is not None


def test_four_bytes_of_a_delimitation_say_nothing() -> None:
    """Delimitations have the length zero, and reserved bytes are zero: else their bytes would pass unruled."""
    file = explicit(nested(undefined=True))
    start = file.rindex(b"\xfe\xff\x0d\xe0\0\0\0\0")
    for place in (start + 4, start + 12):
        marked = file[:place] + b"CANA" + file[place + 4 :]
        assert b"CANA" not in ENGINE.bytes(marked)
    reserved = file.replace(b"\x00\x52\x29\x92SQ\0\0", b"\x00\x52\x29\x92SQCA")
    assert b"SQCA" in reserved
    assert b"SQCA" not in ENGINE.bytes(reserved)
    fragments = Element(0x7FE00010, "OB", b"\xfe\xff\x00\xe0\0\0\0\0", True)
    file = part10(wire.encode((*UIDS, fragments)), "1.2.840.10008.1.2.4.50")
    assert b"CANA" not in ENGINE.bytes(file[:-4] + b"CANA")


def test_our_code_in_what_is_removed_does_not_count() -> None:
    """The claim of a de-identification must be in the result, not in a private sequence of the original."""
    code = (
        Element(0x00080100, "SH", b"113100"),
        Element(0x00080102, "SH", b"DCM "),
        Element(0x00080104, "LO", b"Basic Application Confidentiality Profile "),
    )
    earlier = Item((Element(0x00080100, "SH", b"OTHER "), Element(0x00291001, "SQ", (Item(code),))))
    result = ENGINE.bytes(explicit(Element(METHOD_CODES, "SQ", (earlier,))))
    (codes,) = (element.value for element in decoded(result) if element.tag == METHOD_CODES)
    assert codes == (Item((Element(0x00080100, "SH", b"OTHER "),)), Item(code))


@pytest.mark.parametrize(
    ("term", "codec"), [(b"ISO_IR 100", "latin-1"), (b"ISO_IR 192", "utf-8"), (b"GB18030 ", "gb18030")]
)
def test_an_item_has_its_own_character_set(term: bytes, codec: str) -> None:
    """A Patient ID is the same patient's whatever its item's Specific Character Set (PS3.5 7.5.3)."""
    own = Element(0x00080005, "CS", term)
    value = trees.padded("LO", "MÜLLER-ÄÖ".encode(codec))
    inner = nested(own, Element(PATIENT_ID, "LO", value), nested(Element(PATIENT_ID, "LO", value)))
    top = Element(PATIENT_ID, "LO", trees.padded("LO", "MÜLLER-ÄÖ".encode()))
    source = trees.in_order([*UIDS, Element(0x00080005, "CS", b"ISO_IR 192"), top, inner])
    result = ENGINE.bytes(part10(wire.encode(source), EXPLICIT_LE))
    assert_exact(source, result, True)
    assert result.count(IDENTITY.pseudonym("id:MÜLLER-ÄÖ")) == 3


@pytest.mark.parametrize("term", [b"ISO_IR 192", b"GB18030 ", b"\\ISO 2022 IR 87 "])
def test_bytes_that_are_no_text_still_tell_patients_apart(term: bytes) -> None:
    """What a character set does not define is not replaced by one and the same character."""
    lead = b"\x1b$B" if b"87" in term else b""
    ids = {
        ENGINE.bytes(explicit(Element(0x00080005, "CS", term), Element(PATIENT_ID, "LO", lead + b"A" + last)))
        for last in (b"\xff\xfe\xff", b"\xff\xfd\xff")
    }
    assert len(ids) == 2


def test_sequence_of_items_in_another_encoding_is_refused() -> None:
    """UN of a known sequence whose items are explicit VR cannot be looked into: refused, not passed."""
    item = wire.encode((Element(SHARED_GROUPS, "SQ", (Item((NAME,)),)),))[12:]
    assert refused(explicit(Element(SHARED_GROUPS, "UN", item))) is not None
