"""Kinds that have a name where nobody looks: odd groups, padding, other formats inside."""

from __future__ import annotations

import struct

from scp_anon.errors import Reason
from tests import samples
from tests.hostile.canary import CYRILLIC, KANJI, VALUE
from tests.hostile.kind import kind
from tests.hostile.source import (
    EXPLICIT,
    PATIENT_NAME,
    PIXEL_DATA,
    SHARED_GROUPS,
    UNDEFINED,
    Source,
    element,
    head,
    implicit,
    item,
    open_item,
    open_sequence,
    sequence,
)

NAME = element(PATIENT_NAME, "PN", VALUE)
UTF16 = "CANARY^PATIENT".encode("utf-16-le")


@kind()
def preamble(source: Source) -> bytes:
    """A name in the preamble, in UTF-16."""
    return UTF16.ljust(128, b"C") + source.file()[128:]


@kind()
def tiff_in_the_preamble(source: Source) -> bytes:
    """A preamble that makes the file a TIFF as well, with a directory behind it (PS3.10 7.1)."""
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x013B, 2, len(VALUE), 100) + bytes(4)
    return tiff.ljust(100, b"\0") + VALUE.ljust(28, b"\0") + source.file()[128:]


@kind()
def program_in_the_preamble(source: Source) -> bytes:
    """A preamble that makes the file a program as well, which is in a private element."""
    program = element(0x00291010, "OB", b"MZ" + VALUE * 20)
    return b"MZ".ljust(128, b"\x90") + source.put(program).file()[128:]


@kind()
def file_meta_private_information(source: Source) -> bytes:
    """Private Information, and AE titles and addresses, in File Meta Information."""
    more = (
        element(0x00020017, "AE", b"../../CANARY\0^P"[:14])
        + element(0x00020026, "UR", b"dicom://CANARY^PATIENT")
        + element(0x00020100, "UI", b"1.2.3\0")
        + element(0x00020102, "OB", VALUE)
    )
    return head(source.uid, EXPLICIT, more) + source.data_set()


@kind()
def file_meta_of_kilobytes(source: Source) -> bytes:
    """File Meta Information of 100 kilobytes: more than is looked at, so that the rest is part of the data set."""
    return head(source.uid, EXPLICIT, element(0x00020102, "OB", (VALUE * 8000)[:100_000])) + source.data_set()


@kind()
def file_meta_elements_in_the_data_set(source: Source) -> bytes:
    """Elements of group 0002 in an item, where they are part of the data set."""
    content = element(0x00020016, "AE", VALUE) + element(0x00020102, "OB", VALUE)
    return source.put(sequence(SHARED_GROUPS, item(content + NAME))).file()


@kind()
def command_elements_in_the_data_set(source: Source) -> bytes:
    """Elements of group 0000: behind File Meta Information, and in an item."""
    command = element(0x00000600, "AE", VALUE) + element(0x00000902, "LO", VALUE)
    return source.put(command, sequence(SHARED_GROUPS, item(command + NAME))).file()


@kind()
def directory_elements_in_the_data_set(source: Source) -> bytes:
    """Elements of group 0004, which only a DICOMDIR has."""
    return source.put(element(0x00041130, "CS", VALUE), element(0x00041500, "CS", VALUE)).file()


@kind()
def invalid_odd_groups(source: Source) -> bytes:
    """Odd groups that not even private elements may have: 0001, 0003, 0005, 0007 and FFFF."""
    groups = (0x0001, 0x0003, 0x0005, 0x0007, 0xFFFF)
    return source.put(*(element(group << 16 | 0x1010, "LO", VALUE) for group in groups)).file()


@kind()
def group_lengths(source: Source) -> bytes:
    """Group lengths that are no numbers, of groups that are there and of others."""
    groups = (0x0008, 0x0010, 0x0011, 0x0012, 0x0020, 0x5200, 0x7FE0)
    return source.put(*(element(group << 16, "LO", VALUE) for group in groups)).file()


@kind()
def group_lengths_in_an_item(source: Source) -> bytes:
    """A group length in an item."""
    return source.put(sequence(SHARED_GROUPS, item(element(0x00100000, "UN", VALUE) + NAME))).file()


@kind()
def private_groups(source: Source) -> bytes:
    """Private elements of many VRs, in blocks and without a creator, in an item too."""
    creator = element(0x00290010, "LO", VALUE)
    values = (
        element(0x00291000 + i, vr, VALUE) for i, vr in enumerate(("LO", "PN", "OB", "UN", "UT", "UI", "FD", "US"))
    )
    block = creator + b"".join(values) + element(0x00292000, "OW", UTF16)
    return source.put(block, sequence(SHARED_GROUPS, item(NAME + block))).file()


@kind()
def private_creator_of_another(source: Source) -> bytes:
    """A private creator that is known to be safe, in an item only, before elements that it did not make."""
    creator = element(0x00190010, "LO", b"GEMS_ACQU_01")
    values = element(0x00191002, "SL", VALUE[:12]) + element(0x00191023, "DS", VALUE)
    return source.put(sequence(SHARED_GROUPS, item(creator)), values).file()


@kind()
def private_creators_without_end(source: Source) -> bytes:
    """All 240 blocks of a group reserved by names of kilobytes."""
    return source.put(b"".join(element(0x00290000 | i, "LO", VALUE * 100) for i in range(0x10, 0x100))).file()


@kind()
def unknown_groups(source: Source) -> bytes:
    """Even groups and elements that no dictionary knows."""
    tags = (0x00080002, 0x00107777, 0x00281FFF, 0x7770_0010, 0x7FE0_0FFF, 0xFFFA_0001)
    return source.put(*(element(tag, "LO", VALUE) for tag in tags)).file()


@kind()
def retired_groups(source: Source) -> bytes:
    """Retired attributes, of which some are known by a mask only: they may hold any text."""
    tags = (0x00080001, 0x00204000, 0x00203100, 0x002031FF, 0x00280410, 0x00280808, 0x10000010, 0x10100010)
    texts = (element(tag, "LO", VALUE) for tag in tags)
    return source.put(*texts, element(0x7F000010, "OW", VALUE), element(0x40000010, "LT", VALUE)).file()


@kind()
def curves_and_overlays(source: Source) -> bytes:
    """Curves and overlays, with text as their data, and in groups that none may have."""
    return source.put(
        element(0x50000010, "US", b"\2\0"),
        element(0x50000022, "LO", VALUE),
        element(0x50003000, "OW", VALUE),
        element(0x501E2500, "LO", VALUE),
        element(0x50200022, "LO", VALUE),
        element(0x60000022, "LO", VALUE),
        element(0x60001500, "LO", VALUE),
        element(0x60003000, "OW", VALUE),
        element(0x60004000, "LT", VALUE),
        element(0x60010022, "LO", VALUE),
        element(0x601E3000, "OB", VALUE),
        element(0x60FE0022, "LO", VALUE),
    ).file()


@kind()
def data_set_trailing_padding(source: Source) -> bytes:
    """Data Set Trailing Padding that holds more than zeros."""
    return source.file(element(0xFFFCFFFC, "OB", VALUE * 100))


@kind()
def digital_signatures(source: Source) -> bytes:
    """Digital signatures, with the signer's certificate, at the top and in an item."""
    signature = sequence(0xFFFAFFFA, item(element(0x04000115, "OB", VALUE) + element(0x04000120, "OB", VALUE)))
    mac = sequence(0x4FFE0001, item(element(0x04000015, "CS", b"SHA256")))
    return source.put(sequence(SHARED_GROUPS, item(NAME + signature)), mac, signature).file()


@kind()
def original_attributes(source: Source) -> bytes:
    """What earlier steps have kept: Original and Modified Attributes Sequences."""
    modified = sequence(0x04000550, item(NAME))
    return source.put(
        modified,
        sequence(0x04000561, item(modified + element(0x04000564, "LO", VALUE))),
    ).file()


@kind()
def icon(source: Source) -> bytes:
    """An icon, whose pixel data is text."""
    return source.put(sequence(0x00880200, item(NAME + element(PIXEL_DATA, "OW", VALUE)))).file()


@kind()
def dicom_in_a_private_element(source: Source) -> bytes:
    """A whole DICOM file in a private OB, and a data set in a private UN."""
    inner = source.file()
    return source.put(
        element(0x00290010, "LO", b"MAKER "), element(0x00291001, "OB", inner), element(0x00291002, "UN", inner[132:])
    ).file()


@kind(sent=0xA900)
def dicom_in_an_encapsulated_document(source: Source) -> bytes:
    """An encapsulated document that is a DICOM file."""
    inner = source.file()
    source.put(
        element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.104.1\0"),
        element(0x00080060, "CS", b"DOC "),
        element(0x00420011, "OB", inner + b"\0" * (len(inner) % 2)),
        element(0x00420012, "LO", b"application/dicom "),
    )
    return source.drop(PIXEL_DATA).file()


@kind()
def mime_in_a_document(source: Source) -> bytes:
    """An image with an encapsulated document in it, which is a mail."""
    mail = b"MIME-Version: 1.0\r\nTo: CANARY^PATIENT <canary@example.org>\r\nContent-Type: text/plain\r\n\r\nCANARY"
    return source.put(element(0x00420011, "OB", mail + b" "), element(0x00420012, "LO", b"message/rfc822")).file()


@kind()
def report_in_an_image(source: Source) -> bytes:
    """A content tree, with names, dates and texts, in an image."""
    leaf = element(0x0040A040, "CS", b"PNAME ") + element(0x0040A123, "PN", VALUE)
    text = element(0x0040A040, "CS", b"TEXT") + element(0x0040A160, "UT", VALUE)
    inner = element(0x0040A040, "CS", b"CONTAINER ") + open_sequence(0x0040A730, open_item(leaf), item(text))
    return source.put(open_sequence(0x0040A730, open_item(inner), item(leaf))).file()


@kind()
def names_at_every_depth(source: Source) -> bytes:
    """Sixty sequences in each other, names and private elements in each of them."""
    inner = NAME
    for depth in range(60):
        creator = element(0x00290010, "LO", VALUE) + element(0x00291010, "LO", VALUE)
        wrap = (open_sequence(SHARED_GROUPS, open_item(inner)), sequence(SHARED_GROUPS, item(inner)))[depth % 2]
        inner = NAME + creator + wrap
    return source.put(sequence(SHARED_GROUPS, item(inner))).file()


@kind()
def sequence_as_un(source: Source) -> bytes:
    """A kept sequence as UN of a defined length: what is inside is implicit VR."""
    return source.put(element(SHARED_GROUPS, "UN", item(implicit(PATIENT_NAME, VALUE)))).file()


@kind()
def sequence_as_un_of_undefined_length(source: Source) -> bytes:
    """A kept sequence as UN of undefined length, with another of the kind inside."""
    inner = implicit(SHARED_GROUPS, open_item(implicit(PATIENT_NAME, VALUE)) + _END, UNDEFINED)
    content = open_item(implicit(PATIENT_NAME, VALUE) + inner)
    return source.put(element(SHARED_GROUPS, "UN", content + _END, UNDEFINED)).file()


_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@kind()
def sequence_as_un_in_explicit_vr(source: Source) -> bytes:
    """A kept sequence as UN whose items are explicit VR, against PS3.5 6.2.2."""
    return source.put(element(SHARED_GROUPS, "UN", item(NAME) + _END, UNDEFINED)).file()


@kind()
def unknown_sequence_as_un(source: Source) -> bytes:
    """A sequence that no dictionary knows, as UN of undefined length."""
    return source.put(element(0x00107776, "UN", open_item(implicit(PATIENT_NAME, VALUE)) + _END, UNDEFINED)).file()


@kind()
def other_encodings(source: Source) -> bytes:
    """Names in UTF-16 and in other writings, in texts, private elements and padding."""
    others = UTF16 + CYRILLIC.encode("koi8-r") + KANJI.encode("utf-16-be") + "CANARY^PATIENT".encode("cp500")
    return source.put(
        element(PATIENT_NAME, "PN", UTF16), element(0x00104000, "LT", others), element(0x00291010, "OB", others)
    ).file(element(0xFFFCFFFC, "OB", others))


@kind()
def addresses(source: Source) -> bytes:
    """Addresses of the web, which name the patient and the place, in attributes of other VRs."""
    url = b"https://pacs.example.org/CANARY^PATIENT?id=1"
    return source.put(
        element(0x00100020, "UR", url), element(0x00080081, "UR", url), element(0x00402400, "UR", url)
    ).file()


@kind()
def ae_titles(source: Source) -> bytes:
    """AE titles of NUL and path characters."""
    return source.put(
        element(0x00080054, "AE", b"..\\..\\CANARY\0^P"),
        element(0x00080055, "AE", b"/etc/CANARY\0\0\0"),
        element(0x00400241, "AE", b"CANARY^PATIENT"),
    ).file()


@kind(Reason.DICOMDIR, sent=Reason.MISSING_UID)
def dicomdir(source: Source) -> bytes:
    """A DICOMDIR, which describes originals."""
    record = item(element(0x00041430, "CS", b"PATIENT ") + NAME + element(0x00100020, "LO", VALUE))
    data_set = element(0x00041130, "CS", VALUE) + sequence(0x00041220, record)
    return head(source.uid, EXPLICIT, sop_class="1.2.840.10008.1.3.10") + data_set


@kind(Reason.DICOMDIR, sent=0xA900)
def dicomdir_in_disguise(source: Source) -> bytes:
    """A DICOMDIR, by the SOP Class UID of its data set only."""
    return source.put(element(0x00080016, "UI", b"1.2.840.10008.1.3.10")).file()


@kind(Reason.DICOMDIR, sent=())
def dicomdir_by_its_head(source: Source) -> bytes:
    """An image whose File Meta Information says that it is a DICOMDIR."""
    return head(source.uid, EXPLICIT, sop_class="1.2.840.10008.1.3.10") + source.data_set()


@kind()
def name_as_every_vr(source: Source) -> bytes:
    """Names in items, each of another VR."""
    items = (
        item(element(PATIENT_NAME, vr, VALUE)) for vr in ("PN", "LO", "OB", "UN", "UT", "US", "FD", "UI", "AT", "DA")
    )
    return source.put(sequence(SHARED_GROUPS, *items)).file()


@kind()
def items_in_a_text(source: Source) -> bytes:
    """A text that is made of encoded items."""
    return source.put(element(0x00104000, "LT", item(NAME)), element(PATIENT_NAME, "SQ", item(NAME))).file()


@kind()
def sample_as_it_is(source: Source) -> bytes:
    """Nothing but what a scanner may send: a refusal of others is due to what is wrong with them."""
    assert samples.CANARY.encode() in source.data_set()
    return source.file()
