"""Kinds whose structure is wrong: nesting, lengths, items, delimitations, the order and number of elements."""

from __future__ import annotations

import struct

from scp_anon.errors import Reason
from tests.hostile.canary import VALUE
from tests.hostile.kind import kind
from tests.hostile.source import (
    END_OF_ITEM,
    END_OF_SEQUENCE,
    PATIENT_NAME,
    PIXEL_DATA,
    SHARED_GROUPS,
    SOP_INSTANCE_UID,
    UNDEFINED,
    Source,
    element,
    implicit,
    item,
    open_item,
    open_sequence,
    sequence,
)

DEPTH = 10_000
NAME = element(PATIENT_NAME, "PN", VALUE)
ODD_NAME = element(PATIENT_NAME, "PN", b"CANARY^PATIEN")
IN_GROUPS = sequence(SHARED_GROUPS, item(NAME))


def nested(tag: int, depth: int, vr: str = "SQ") -> bytes:
    """Sequences of defined lengths in each other, a name in the innermost."""
    inner = len(NAME)
    heads = []
    for _ in range(depth):
        heads.append(element(tag, vr, b"", inner + 8) + item(b"", inner))
        inner += 20
    return b"".join(reversed(heads)) + NAME


def nested_open(tag: int, depth: int, vr: str = "SQ") -> bytes:
    """The same of undefined lengths."""
    if vr == "UN":  # what is inside it is implicit VR (PS3.5 6.2.2)
        within = implicit(tag, b"", UNDEFINED) + item(b"", UNDEFINED)
        name = implicit(PATIENT_NAME, VALUE)
        first = element(tag, vr, b"", UNDEFINED) + item(b"", UNDEFINED)
        return first + within * (depth - 1) + name + (END_OF_ITEM + END_OF_SEQUENCE) * depth
    head = element(tag, vr, b"", UNDEFINED) + item(b"", UNDEFINED)
    return head * depth + NAME + (END_OF_ITEM + END_OF_SEQUENCE) * depth


# ---------------------------------------------------------------------- nesting


@kind(Reason.NESTED_TOO_DEEPLY)
def nesting_of_defined_lengths(source: Source) -> bytes:
    """Sequences 10,000 deep, of defined lengths."""
    return source.put(nested(SHARED_GROUPS, DEPTH)).file()


@kind(Reason.NESTED_TOO_DEEPLY)
def nesting_of_undefined_lengths(source: Source) -> bytes:
    """Sequences 10,000 deep, of undefined lengths."""
    return source.put(nested_open(SHARED_GROUPS, DEPTH)).file()


@kind(Reason.NESTED_TOO_DEEPLY)
def nesting_as_un(source: Source) -> bytes:
    """UN of undefined length in itself, 10,000 deep."""
    return source.put(nested_open(SHARED_GROUPS, DEPTH, "UN")).file()


@kind(Reason.NESTED_TOO_DEEPLY)
def nesting_in_private(source: Source) -> bytes:
    """A private sequence 10,000 deep, of undefined lengths: its end is only found by reading it."""
    return source.put(nested_open(0x00291010, DEPTH)).file()


@kind()
def nesting_in_private_of_defined_lengths(source: Source) -> bytes:
    """A private sequence 10,000 deep, of defined lengths: it is removed without a look into it."""
    return source.put(nested(0x00291010, DEPTH)).file()


@kind(Reason.NESTED_TOO_DEEPLY)
def nesting_out_of_order(source: Source) -> bytes:
    """Sequences 10,000 deep, behind the pixel data, so that they have to be normalised."""
    return source.file(nested_open(SHARED_GROUPS, DEPTH))


@kind(Reason.NESTED_TOO_DEEPLY, Reason.MALFORMED)
def nesting_of_defined_lengths_out_of_order(source: Source) -> bytes:
    """Sequences 1,000 deep, of defined lengths, behind the pixel data."""
    return source.file(nested(SHARED_GROUPS, 1000))


@kind(Reason.NESTED_TOO_DEEPLY, Reason.MALFORMED)
def un_that_holds_itself(source: Source) -> bytes:
    """UN of a known sequence, of a defined length, whose items are of the same, 10,000 deep."""
    inner = len(VALUE) + 8
    heads = []
    for _ in range(DEPTH - 1):
        heads.append(implicit(SHARED_GROUPS, b"", inner + 8) + item(b"", inner))
        inner += 16
    heads.append(element(SHARED_GROUPS, "UN", b"", inner + 8) + item(b"", inner))
    return source.put(b"".join(reversed(heads)) + implicit(PATIENT_NAME, VALUE)).file()


# ---------------------------------------------------------------------- lengths


@kind(Reason.TRUNCATED)
def length_beyond_the_end(source: Source) -> bytes:
    """A text of 2 GB of which 14 bytes are there."""
    return source.put(element(SHARED_GROUPS + 0x10000, "UT", VALUE, 0x7FFFFFFE)).file()


@kind(Reason.TRUNCATED)
def length_of_4_gb(source: Source) -> bytes:
    """Pixel data of 4 GB less two bytes, of which a few are there."""
    return source.put(element(PIXEL_DATA, "OW", b"\0" * 100, 0xFFFFFFFE)).file()


@kind(Reason.TRUNCATED)
def length_of_4_gb_of_a_private_element(source: Source) -> bytes:
    """A private element of 4 GB less two bytes, with the rest of the instance as its value."""
    return source.put(element(0x00291010, "OB", VALUE, 0xFFFFFFFE)).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def length_of_4_gb_of_a_sequence(source: Source) -> bytes:
    """A sequence of 4 GB less two bytes."""
    return source.put(element(SHARED_GROUPS, "SQ", item(NAME), 0xFFFFFFFE)).file()


@kind()
def length_of_4_gb_of_an_item(source: Source) -> bytes:
    """An item of 4 GB less two bytes."""
    return source.put(sequence(SHARED_GROUPS, item(NAME, 0xFFFFFFFE))).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def length_of_4_gb_in_implicit_vr(source: Source) -> bytes:
    """A name of 4 GB less two bytes, in implicit VR."""
    return source.in_implicit_vr().put(implicit(PATIENT_NAME, VALUE, 0xFFFFFFFE)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def length_that_swallows_the_next(source: Source) -> bytes:
    """A kept text whose length takes in the name behind it: what follows is no element."""
    return source.put(element(0x00080070, "LO", b"Maker ", 28)).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def undefined_sequence_without_end(source: Source) -> bytes:
    """A sequence of undefined length that is never delimited."""
    return source.put(element(SHARED_GROUPS, "SQ", item(NAME) * 3, UNDEFINED)).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def undefined_item_without_end(source: Source) -> bytes:
    """An item of undefined length that is never delimited."""
    return source.put(element(SHARED_GROUPS, "SQ", item(NAME, UNDEFINED), UNDEFINED)).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def undefined_un_without_end(source: Source) -> bytes:
    """A private UN of undefined length that is never delimited."""
    return source.put(element(0x00291010, "UN", item(implicit(PATIENT_NAME, VALUE)), UNDEFINED)).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def undefined_ob_without_end(source: Source) -> bytes:
    """A private OB of undefined length, whose fragments never end."""
    return source.put(element(0x00291010, "OB", item(VALUE), UNDEFINED)).file()


@kind()
def undefined_text(source: Source) -> bytes:
    """A text of undefined length, which only sequences and pixel data may be of."""
    return source.put(element(0x00104000, "UT", item(VALUE) + END_OF_SEQUENCE, UNDEFINED)).file()


@kind()
def undefined_name_in_implicit_vr(source: Source) -> bytes:
    """A name of undefined length, in implicit VR."""
    value = item(VALUE) + END_OF_SEQUENCE
    return source.in_implicit_vr().put(implicit(PATIENT_NAME, value, UNDEFINED)).file()


@kind()
def odd_lengths(source: Source) -> bytes:
    """Two values of odd lengths, so that the file as a whole is even."""
    return source.put(ODD_NAME, element(0x00104000, "LT", b"CANARY^PATIENT was here")).file()


@kind()
def odd_length_of_all(source: Source) -> bytes:
    """One value of an odd length, so that all behind it is at odd places."""
    return source.put(ODD_NAME).file()


@kind()
def odd_length_of_an_item(source: Source) -> bytes:
    """An item of an odd length in a kept sequence."""
    return source.put(sequence(SHARED_GROUPS, item(ODD_NAME))).file()


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def header_cut_off(source: Source) -> bytes:
    """The file ends in the midst of an element's header."""
    return source.file(element(0xFFFCFFFC, "OB", VALUE)[:10])


# ---------------------------------------------------------------------- items and delimitations


@kind()
def item_longer_than_its_sequence(source: Source) -> bytes:
    """An item that reaches beyond the end of its sequence."""
    return source.put(sequence(SHARED_GROUPS, item(NAME, len(NAME) + 20))).file()


@kind()
def item_shorter_than_its_elements(source: Source) -> bytes:
    """An item that ends in the midst of its only element."""
    return source.put(sequence(SHARED_GROUPS, item(NAME, 10))).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def sequence_shorter_than_its_items(source: Source) -> bytes:
    """A sequence that ends in the midst of its only item: the rest of that is no element."""
    return source.put(element(SHARED_GROUPS, "SQ", item(NAME), 12)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def element_in_place_of_an_item(source: Source) -> bytes:
    """A sequence that holds elements without an item around them."""
    return source.put(sequence(SHARED_GROUPS, NAME)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def text_between_items(source: Source) -> bytes:
    """Bytes between two items of a sequence."""
    return source.put(sequence(SHARED_GROUPS, item(), VALUE, item())).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def sequence_delimitation_with_a_length(source: Source) -> bytes:
    """A sequence delimitation that has a value."""
    end = implicit(0xFFFEE0DD, VALUE)
    return source.put(element(SHARED_GROUPS, "SQ", item(NAME) + end, UNDEFINED)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def item_delimitation_with_a_length(source: Source) -> bytes:
    """An item delimitation that has a value."""
    end = implicit(0xFFFEE00D, VALUE)
    return source.put(open_sequence(SHARED_GROUPS, item(NAME, UNDEFINED) + end)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def delimitation_of_a_defined_sequence(source: Source) -> bytes:
    """A sequence of a defined length that has a delimitation with a value as well."""
    return source.put(sequence(SHARED_GROUPS, item(NAME), implicit(0xFFFEE0DD, VALUE))).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def name_behind_a_sequence_delimitation(source: Source) -> bytes:
    """Bytes right behind a sequence's delimitation that belong to no element."""
    return source.put(open_sequence(SHARED_GROUPS, open_item(NAME)) + VALUE).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def item_at_the_top(source: Source) -> bytes:
    """An item that is in no sequence."""
    return source.file(item(NAME))


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def item_delimitation_at_the_top(source: Source) -> bytes:
    """An item delimitation where no item is open, and a name behind it."""
    return source.file(END_OF_ITEM + NAME)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def sequence_delimitation_at_the_top(source: Source) -> bytes:
    """A sequence delimitation where no sequence is open, and a name behind it."""
    return source.file(END_OF_SEQUENCE + NAME)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def unknown_delimitation_at_the_top(source: Source) -> bytes:
    """A tag of group FFFE that the standard does not define."""
    return source.file(element(0xFFFE1234, "LO", VALUE))


@kind()
def last_tag_of_all(source: Source) -> bytes:
    """An element (FFFF,FFFF), behind which there can be none."""
    return source.file(element(0xFFFFFFFF, "LO", VALUE))


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def last_tag_of_all_of_undefined_length(source: Source) -> bytes:
    """An element (FFFF,FFFF) that never ends."""
    return source.file(element(0xFFFFFFFF, "UN", VALUE, UNDEFINED))


# ---------------------------------------------------------------------- order and number


@kind(Reason.MALFORMED)
def name_twice(source: Source) -> bytes:
    """Patient's Name twice, one behind the other."""
    return source.put(NAME + NAME).file()


@kind(Reason.MALFORMED)
def name_twice_in_an_item(source: Source) -> bytes:
    """Patient's Name twice in one item."""
    return source.put(sequence(SHARED_GROUPS, item(NAME + NAME))).file()


@kind(Reason.MALFORMED)
def name_again_at_the_end(source: Source) -> bytes:
    """Patient's Name in its place, and again behind the pixel data."""
    return source.file(NAME)


@kind(Reason.MALFORMED, sent=(Reason.MALFORMED,))
def instance_uid_twice(source: Source) -> bytes:
    """Two SOP Instance UIDs: it could be either instance."""
    second = element(SOP_INSTANCE_UID, "UI", b"1.2.3.4.5.6.7.8.9\0")
    return source.put(source.elements[SOP_INSTANCE_UID] + second).file()


@kind(Reason.MALFORMED)
def data_set_twice(source: Source) -> bytes:
    """The whole data set twice."""
    return source.file(source.data_set())


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def file_twice(source: Source) -> bytes:
    """Two DICOM files in one."""
    return source.file(source.file())


@kind()
def descending_tags(source: Source) -> bytes:
    """All elements in the opposite order."""
    return source.with_data_set(b"".join(source.elements[tag] for tag in sorted(source.elements, reverse=True)))


@kind()
def pixel_data_first(source: Source) -> bytes:
    """Pixel data before all other elements."""
    pixels = source.elements[PIXEL_DATA]
    return source.drop(PIXEL_DATA).with_data_set(pixels + source.data_set())


@kind()
def name_behind_the_pixel_data(source: Source) -> bytes:
    """Patient's Name at the end of all."""
    return source.drop(PATIENT_NAME).file(NAME)


@kind()
def descending_tags_in_an_item(source: Source) -> bytes:
    """An item whose elements are out of order."""
    comments = element(0x00104000, "LT", VALUE)
    return source.put(sequence(SHARED_GROUPS, item(comments + NAME))).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def rubbish(source: Source) -> bytes:
    """Text in place of a data set."""
    return source.with_data_set(VALUE * 100)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def zeros_behind(source: Source) -> bytes:
    """A few zeros behind the last element, as some archives pad files."""
    return source.file(bytes(6))


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def block_of_zeros_behind(source: Source) -> bytes:
    """Zeros up to the end of a block, which read as elements (0000,0000) without a VR."""
    return source.file(bytes(2048))


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def text_behind(source: Source) -> bytes:
    """Text behind the last element."""
    return source.file(b"patient: " + VALUE + b" ")


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def reserved_bytes_in_use(source: Source) -> bytes:
    """The two reserved bytes of an element's header hold something, and the length is cut off."""
    return source.file(struct.pack("<HH2s2sI", 0xFFFC, 0xFFFC, b"OB", b"CA", 0x4E415259) + b"^PATIENT")


@kind()
def reserved_bytes_of_a_kept_element(source: Source) -> bytes:
    """The two reserved bytes of the pixel data's header hold letters."""
    plain = source.elements[PIXEL_DATA]
    return source.put(plain[:6] + b"CA" + plain[8:]).file()
