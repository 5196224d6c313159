"""What we rely on of pynetdicom and of pydicom's internals, a test for each: what an upgrade breaks shows here."""

from __future__ import annotations

import ast
import codecs
import logging
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.datadict import add_dict_entries, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.sequence import Sequence
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from scp_anon.network import negotiation
from tests import rawpeer
from tests.rawpeer import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION

# What the tests below hold to its contract. Whoever imports more, adds a test.
HELD = {
    "pydicom.dcmread",
    "pydicom.dcmwrite",
    "pydicom._dicom_dict.DicomDictionary",
    "pydicom._dicom_dict.RepeatersDictionary",
    "pydicom._private_dict.private_dictionaries",
    "pydicom._uid_dict.UID_dictionary",
    "pydicom.charset.convert_encodings",
    "pydicom.charset.decode_bytes",
    "pydicom.charset.encode_string",
    "pydicom.charset.python_encoding",
    "pydicom.datadict.add_dict_entries",
    "pydicom.datadict.tag_for_keyword",
    "pydicom.dataelem.DataElement",
    "pydicom.dataelem.RawDataElement",
    "pydicom.dataset.Dataset",
    "pydicom.filereader.read_dataset",
    "pydicom.filereader.read_sequence",
    "pydicom.sequence.Sequence",
    "pydicom.sr._concepts_dict.concepts",
    "pydicom.uid.UID",
    "pynetdicom.pdu.A_ASSOCIATE_AC",
    "pynetdicom.pdu.A_ASSOCIATE_RQ",
    "pynetdicom.pdu_primitives.A_ASSOCIATE",
    "pynetdicom.pdu_primitives.ImplementationClassUIDNotification",
    "pynetdicom.pdu_primitives.ImplementationVersionNameNotification",
    "pynetdicom.pdu_primitives.MaximumLengthNotification",
    "pynetdicom.pdu_primitives.SCP_SCU_RoleSelectionNegotiation",
    "pynetdicom.presentation.PresentationContext",
    "pynetdicom.presentation.build_context",
    "pynetdicom.presentation.negotiate_as_acceptor",
}
PACKAGE = Path(__file__).resolve().parents[1] / "scp_anon"
# What only looks at files relies on pydicom's public interface, as everybody does; tests of their own hold them.
ONLY_LOOK = {"header.py", "picture.py", "table.py", "whole.py", "fields.py"}


def imported() -> set[str]:
    """Every name of pydicom and pynetdicom that our code imports."""
    names = set()
    for path in (path for path in PACKAGE.rglob("*.py") if path.name not in ONLY_LOOK):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pydicom", "pynetdicom")):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names if alias.name.startswith(("pydicom", "pynetdicom"))}
    return names


def test_nothing_else_is_used() -> None:
    """And nothing is held that nobody uses any more."""
    assert imported() <= HELD
    assert {name for name in HELD if name.startswith("pynetdicom")} <= imported()


# ---------------------------------------------------------------------- pynetdicom: PDUs


def test_associate_request_is_decoded() -> None:
    """From bytes written by hand: titles, application context, version, contexts, maximum length."""
    encoded = rawpeer.associate_request(
        [(1, CT, [EXPLICIT, IMPLICIT]), (255, VERIFICATION, [IMPLICIT])],
        called=b" CALLED ",
        calling=b"CALLING",
        maximum_length=4096,
        version=3,
    )
    request = A_ASSOCIATE_RQ()
    request.decode(encoded)
    primitive = request.to_primitive()
    assert isinstance(primitive, A_ASSOCIATE)
    assert request.protocol_version == 3
    assert (primitive.called_ae_title.strip(), primitive.calling_ae_title.strip()) == ("CALLED", "CALLING")
    assert primitive.application_context_name == negotiation.APPLICATION_CONTEXT
    assert primitive.maximum_length_received == 4096
    assert [
        (context.context_id, context.abstract_syntax, context.transfer_syntax)
        for context in primitive.presentation_context_definition_list
    ] == [(1, CT, [EXPLICIT, IMPLICIT]), (255, VERIFICATION, [IMPLICIT])]


@pytest.mark.parametrize("context_id", [0, 2, 254])
def test_even_context_ids_are_refused(context_id: int) -> None:
    """By the primitive, if not by the PDU: `read_request` counts on it."""

    def read() -> None:
        request = A_ASSOCIATE_RQ()
        request.decode(rawpeer.associate_request([(context_id, CT, [EXPLICIT])]))
        request.to_primitive()

    with pytest.raises(ValueError, match="odd"):
        read()


@pytest.mark.parametrize("title", [b"", b"\xc4", b"A\\B", b"A\nB"])
def test_ae_titles_are_validated(title: bytes) -> None:
    """What gets into the spool's file names and the log is printable ASCII without backslash."""
    request = A_ASSOCIATE_RQ()
    with pytest.raises(ValueError, match=r"Calling AE Title|decode"):
        request.decode(rawpeer.associate_request([(1, CT, [EXPLICIT])], calling=title))


def test_request_without_maximum_length() -> None:
    """None, which we take for no limit (PS3.8 D.1)."""
    encoded = rawpeer.associate_request([(1, CT, [EXPLICIT])])
    without = encoded.replace(b"\x51\0\0\4" + struct.pack(">I", 16384), b"")
    start = without.index(b"\x50\0")
    length = len(without) - start - 4
    fixed = without[: start + 2] + struct.pack(">H", length) + without[start + 4 :]
    request = A_ASSOCIATE_RQ()
    request.decode(fixed[:2] + struct.pack(">I", len(fixed) - 6) + fixed[6:])
    assert not request.to_primitive().maximum_length_received


def primitive(contexts: list[PresentationContext]) -> A_ASSOCIATE:
    """An A-ASSOCIATE primitive as `negotiation.request` makes it."""
    associate = A_ASSOCIATE()
    associate.application_context_name = UID(negotiation.APPLICATION_CONTEXT)
    associate.calling_ae_title, associate.called_ae_title = "CALLING", "CALLED"
    associate.presentation_context_definition_list = contexts
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    version = ImplementationVersionNameNotification()
    maximum.maximum_length_received = 131072
    implementation.implementation_class_uid = UID("2.25.1")
    version.implementation_version_name = "SIXTEEN_LETTERS_"
    associate.user_information = [maximum, implementation, version]
    return associate


def proposed(context_id: int, abstract_syntax: str, *transfer_syntaxes: str) -> PresentationContext:
    """A presentation context to propose."""
    context: PresentationContext = build_context(abstract_syntax, list(transfer_syntaxes))
    context.context_id = context_id
    return context


def test_associate_request_is_encoded() -> None:
    """Read by hand: the contexts, the titles padded to 16, our maximum length, class UID and version name."""
    encoded = A_ASSOCIATE_RQ(primitive([proposed(3, CT, EXPLICIT), proposed(1, MR, IMPLICIT)])).encode()
    assert struct.unpack_from(">BxIHxx", encoded) == (1, len(encoded) - 6, 1)
    assert encoded[10:42] == b"CALLED          CALLING         "
    assert rawpeer.proposed(encoded[6:]) == {1: (MR, [IMPLICIT]), 3: (CT, [EXPLICIT])}
    assert b"\x51\0\0\4" + struct.pack(">I", 131072) in encoded
    assert b"\x52\0\0\x062.25.1" in encoded
    assert b"\x55\0\0\x10SIXTEEN_LETTERS_" in encoded


def test_associate_accept_is_encoded_and_decoded() -> None:
    """Both ways, against bytes read and written by hand."""
    answer = primitive([])
    answer.result, answer.result_source = 0, 1
    results, _ = negotiate_as_acceptor(
        [proposed(1, CT, EXPLICIT), proposed(3, "1.2.3", EXPLICIT)], [build_context(CT, EXPLICIT)]
    )
    answer.presentation_context_definition_results_list = results
    encoded = A_ASSOCIATE_AC(answer).encode()
    assert encoded[0] == 2
    said = rawpeer.accepted(encoded[6:])
    assert said.contexts[1] == (0, EXPLICIT)
    assert said.contexts[3][0] == 3
    assert said.maximum_length == 131072
    decoded = A_ASSOCIATE_AC()
    decoded.decode(rawpeer.associate_accept({1: (0, EXPLICIT), 3: (3, IMPLICIT), 5: (4, "")}, 4096))
    read = decoded.to_primitive()
    assert read.maximum_length_received == 4096
    assert [(context.context_id, context.result) for context in read.presentation_context_definition_results_list] == [
        (1, 0),
        (3, 3),
        (5, 4),
    ]
    assert read.presentation_context_definition_results_list[0].transfer_syntax == [EXPLICIT]


# ---------------------------------------------------------------------- pynetdicom: negotiation


def test_negotiation_results() -> None:
    """0 accepted, 3 abstract syntax, 4 transfer syntaxes not supported; every context is answered, by rising ID."""
    results, roles = negotiate_as_acceptor(
        [proposed(9, CT, "1.2.3"), proposed(5, "1.2.3", EXPLICIT), proposed(1, CT, IMPLICIT, EXPLICIT)],
        [build_context(CT, [EXPLICIT, IMPLICIT]), build_context(MR, EXPLICIT)],
    )
    assert [(context.context_id, context.result) for context in results] == [(1, 0), (5, 3), (9, 4)]
    assert roles == []


def test_roles() -> None:
    """A requestor that wants to be the SCP says so in an item of the user information, and is answered by one."""
    commitment = build_context("1.2.840.10008.1.20.1", IMPLICIT)
    commitment.scu_role, commitment.scp_role = False, True
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, item.scu_role, item.scp_role = UID("1.2.840.10008.1.20.1"), False, True
    request = primitive([proposed(1, "1.2.840.10008.1.20.1", IMPLICIT)])
    request.user_information = [*request.user_information, item]
    read = A_ASSOCIATE_RQ()
    read.decode(A_ASSOCIATE_RQ(request).encode())
    assert negotiation._roles(read.to_primitive()) == {"1.2.840.10008.1.20.1": (False, True)}
    results, roles = negotiate_as_acceptor(
        read.to_primitive().presentation_context_definition_list, [commitment], negotiation._roles(read.to_primitive())
    )
    assert [context.result for context in results] == [0]
    assert [(role.sop_class_uid, bool(role.scu_role), bool(role.scp_role)) for role in roles] == [
        ("1.2.840.10008.1.20.1", False, True)
    ]


def test_acceptor_order_wins() -> None:
    """Of several transfer syntaxes, the first of the acceptor's own is chosen: ours are in order of preference."""
    results, _ = negotiate_as_acceptor([proposed(1, CT, IMPLICIT, EXPLICIT)], [build_context(CT, [EXPLICIT, IMPLICIT])])
    assert results[0].transfer_syntax == [EXPLICIT]
    results, _ = negotiate_as_acceptor([proposed(1, CT, EXPLICIT, IMPLICIT)], [build_context(CT, [IMPLICIT, EXPLICIT])])
    assert results[0].transfer_syntax == [IMPLICIT]


def test_one_class_in_many_contexts() -> None:
    """As stock requestors propose it: one context for each transfer syntax."""
    results, _ = negotiate_as_acceptor(
        [proposed(1, CT, EXPLICIT), proposed(3, CT, IMPLICIT), proposed(5, CT, "1.2.3")],
        [build_context(CT, [EXPLICIT, IMPLICIT])],
    )
    assert [(context.result, context.transfer_syntax) for context in results] == [
        (0, [EXPLICIT]),
        (0, [IMPLICIT]),
        (4, ["1.2.3"]),
    ]


def test_no_contexts_at_all() -> None:
    """Nothing proposed, nothing answered."""
    assert negotiate_as_acceptor([], [build_context(CT, EXPLICIT)]) == ([], [])


def test_presentation_context_ids() -> None:
    """Odd, and one byte: the setter refuses what the standard does not have."""
    context = PresentationContext()
    for context_id in (1, 127, 255):
        context.context_id = context_id
    for context_id in (0, 2, 256, 257, -1):
        with pytest.raises(ValueError, match="odd"):
            context.context_id = context_id


def test_pynetdicom_keeps_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Importing our module silences its log, which would hold what peers send."""
    with caplog.at_level(logging.DEBUG):
        request = A_ASSOCIATE_RQ()
        with pytest.raises(ValueError, match="decode"):
            request.decode(rawpeer.associate_request([(1, CT, [EXPLICIT])], calling=b"\xc4CANARY"))
    assert not [record for record in caplog.records if record.name.startswith("pynetdicom")]


# ---------------------------------------------------------------------- pydicom: tables


def test_dictionary() -> None:
    """Tag → (VR, VM, name, retired, keyword); alternatives as "US or SS"; items have no VR; keywords lead back."""
    assert DicomDictionary[0x00100010][0] == "PN"
    assert DicomDictionary[0x00280106][0] == "US or SS"
    assert DicomDictionary[0xFFFEE000][0] == "NONE"
    known = {vr for entry in DicomDictionary.values() for vr in entry[0].split(" or ")}
    assert all(len(vr) == 2 for vr in known - {"NONE"})
    assert all(isinstance(tag, int) for tag in DicomDictionary)
    assert len(DicomDictionary) > 5000
    assert tag_for_keyword("SOPInstanceUID") == 0x00080018
    assert tag_for_keyword("NoSuchKeyword") is None


def test_uid_dictionary() -> None:
    """UID → (name, type, …): SOP classes, transfer syntaxes, well-known instances."""
    assert UID_dictionary[CT][:2] == ("CT Image Storage", "SOP Class")
    assert UID_dictionary[EXPLICIT][1] == "Transfer Syntax"
    assert "1.2.840.10008.1.4.1.1" in UID_dictionary  # Talairach Brain Atlas Frame of Reference
    assert all(set(uid) <= set("0123456789.") for uid in UID_dictionary)


def test_private_dictionaries() -> None:
    """By private creator, the text that is in files."""
    assert len(private_dictionaries) > 300
    assert all(isinstance(creator, str) for creator in private_dictionaries)
    assert "SIEMENS CSA HEADER" in private_dictionaries


def test_character_sets() -> None:
    """The defined terms of PS3.3 C.12.1.1.2, and no Python codec's name beside them."""
    assert {"", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 87", "ISO 2022 IR 149"} <= set(
        python_encoding
    )
    assert not {"utf8", "utf-8", "latin-1", "cp1252", "ascii"} & set(python_encoding)
    assert {codecs.lookup(encoding).name for encoding in python_encoding.values()}


def test_text_is_decoded() -> None:
    """By term, with escape sequences; the delimiters reset to the first set."""
    assert decode_bytes("Müller".encode("latin-1"), convert_encodings(["ISO_IR 100"]), set(b"\\^=")) == "Müller"
    assert decode_bytes("Müller".encode(), convert_encodings(["ISO_IR 192"]), set(b"\\^=")) == "Müller"
    japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    assert decode_bytes(japanese, convert_encodings(["", "ISO 2022 IR 87"]), set(b"\\^=")) == "Yamada^Tarou=山田^太郎"


def test_repeating_groups_have_masks() -> None:
    """With two digits open, and the same tuple as the dictionary has."""
    assert RepeatersDictionary["60xx3000"] == ("OB or OW", "1", "Overlay Data", "", "OverlayData")
    assert {mask[2:4] for mask in RepeatersDictionary if mask.startswith(("50", "60"))} == {"xx"}


def test_the_dictionary_can_be_added_to() -> None:
    """And the reader then knows the attribute."""
    add_dict_entries({0x000800FE: ("LO", "1", "Test", "", "ContractTest")})
    try:
        assert dictionary_VR(0x000800FE) == "LO"
        assert tag_for_keyword("ContractTest") == 0x000800FE
    finally:
        del DicomDictionary[0x000800FE]


def test_text_is_encoded() -> None:
    """In the first character set that has it, with an escape if it is not the first; else with question marks."""
    assert encode_string("Ä", ["latin_1"]) == b"\xc4"
    assert encode_string("山田", convert_encodings(["", "ISO 2022 IR 87"])).startswith(b"\x1b$B")
    with pytest.warns(UserWarning, match="Failed to encode"):
        assert encode_string("山", ["latin_1"]) == b"?"


def test_concepts_have_meanings() -> None:
    """Scheme → keyword → code → meaning, and where it is used."""
    by_keyword: Any = concepts["SCT"]
    meaning, groups = by_keyword["Lung"]["39607008"]
    assert meaning == "Lung"
    assert isinstance(groups, list)


# ---------------------------------------------------------------------- pydicom: reading


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """A short element, explicit VR little endian."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def sequence(value: bytes, length: int) -> bytes:
    """(0008,1140) with a value, and the length that its header says."""
    return struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, length) + value


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 12) + element(0x00081150, b"UI", b"1.2\0")
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + ITEM[8:] + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
DELIMITATION = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_elements_stay_raw() -> None:
    """`get_item` with `keep_deferred` gives tag, VR, length and bytes as they were, in the encoding that was read."""
    data = element(0x00100010, b"PN", b"A^B ") + element(0x00100020, b"LO", b"")
    found = read_dataset(BytesIO(data), False, True)
    assert found.original_encoding == (False, True)
    assert sorted(found.keys()) == [0x00100010, 0x00100020]
    name = found.get_item(0x00100010, keep_deferred=True)
    assert isinstance(name, RawDataElement)
    assert (int(name.tag), name.VR, name.length, name.value) == (0x00100010, "PN", 4, b"A^B ")
    assert (name.is_implicit_VR, name.is_little_endian) == (False, True)
    empty = found.get_item(0x00100020, keep_deferred=True)
    assert isinstance(empty, RawDataElement)
    assert not empty.value
    assert empty.length == 0


def test_implicit_and_big_endian_stay_raw() -> None:
    """Values come as they are in the file, not swapped; an implicit element has no VR."""
    found = read_dataset(BytesIO(struct.pack("<HHIH", 0x0028, 0x0010, 2, 512)), True, True)
    rows = found.get_item(0x00280010, keep_deferred=True)
    assert isinstance(rows, RawDataElement)
    assert (rows.VR, rows.value, rows.is_implicit_VR) == (None, b"\0\2", True)
    found = read_dataset(BytesIO(struct.pack(">HH2sHH", 0x0028, 0x0010, b"US", 2, 512)), False, False)
    rows = found.get_item(0x00280010, keep_deferred=True)
    assert isinstance(rows, RawDataElement)
    assert (rows.VR, rows.value, rows.is_little_endian) == ("US", b"\2\0", False)


def test_sequences_of_defined_length_stay_raw() -> None:
    """As bytes, which `read_sequence` takes apart; each item knows whether its length was undefined."""
    found = read_dataset(BytesIO(sequence(ITEM + OPEN_ITEM, len(ITEM + OPEN_ITEM))), False, True)
    raw = found.get_item(0x00081140, keep_deferred=True)
    assert isinstance(raw, RawDataElement)
    assert raw.value == ITEM + OPEN_ITEM
    items = read_sequence(BytesIO(raw.value), False, True, len(raw.value), ["iso8859"])
    assert isinstance(items, Sequence)
    assert [item.is_undefined_length_sequence_item for item in items] == [False, True]
    assert [item.original_encoding for item in items] == [(False, True)] * 2
    inner = items[0].get_item(0x00081150, keep_deferred=True)
    assert isinstance(inner, RawDataElement)
    assert inner.value == b"1.2\0"


def test_sequences_of_undefined_length_are_read() -> None:
    """They come as an element with items, not raw."""
    found = read_dataset(BytesIO(sequence(ITEM + OPEN_ITEM + DELIMITATION, 0xFFFFFFFF)), False, True)
    read = found.get_item(0x00081140, keep_deferred=True)
    assert isinstance(read, DataElement)
    assert not isinstance(read, RawDataElement)
    assert read.VR == "SQ"
    assert [item.is_undefined_length_sequence_item for item in read.value] == [False, True]


def test_encapsulated_pixel_data_stays_raw() -> None:
    """The fragments, without the delimitation, and the undefined length."""
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"abcd"
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    found = read_dataset(BytesIO(head + fragment + fragment + DELIMITATION), False, True)
    pixels = found.get_item(0x7FE00010, keep_deferred=True)
    assert isinstance(pixels, RawDataElement)
    assert (pixels.length, pixels.value) == (0xFFFFFFFF, fragment + fragment)


def test_truncated_values_are_short() -> None:
    """Nothing is said of it, which is why every byte is accounted for."""
    found = read_dataset(BytesIO(element(0x00100010, b"PN", b"A^B ")[:-2]), False, True)
    name = found.get_item(0x00100010, keep_deferred=True)
    assert isinstance(name, RawDataElement)
    assert name.length == 4
    assert name.value is not None
    assert len(name.value) == 2


def test_files_are_written_and_read(tmp_path: Path) -> None:
    """`dcmwrite` in an encoding that is given to it; `dcmread` of a file without a preamble."""
    ds = Dataset()
    ds.PatientName = "A^B"
    encoded = BytesIO()
    dcmwrite(encoded, ds, implicit_vr=False, little_endian=True)
    assert encoded.getvalue() == element(0x00100010, b"PN", b"A^B ")
    path = tmp_path / "file"
    path.write_bytes(encoded.getvalue() + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 4) + b"abcd")
    read = dcmread(path, force=True, stop_before_pixels=True)
    assert read.PatientName == "A^B"
    assert "PixelData" not in read


def test_zlib_stops_at_the_limit() -> None:
    """Not pydicom's, but the same kind of thing: what is not inflated is left as unconsumed."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert len(stream.decompress(bomb.compress(bytes(1 << 20)) + bomb.flush(), 1000)) == 1000
    assert stream.unconsumed_tail
