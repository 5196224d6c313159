"""Kinds that claim, or are, too much: bombs, floods, and files of gigabytes."""

from __future__ import annotations

import struct

from scp_anon.dicom.normalise import INFLATED_LIMIT
from scp_anon.errors import Reason
from tests import samples
from tests.hostile.canary import VALUE
from tests.hostile.kind import huge, kind
from tests.hostile.source import (
    BIG_ENDIAN,
    DEFLATED,
    PATIENT_NAME,
    PIXEL_DATA,
    SHARED_GROUPS,
    Source,
    element,
    implicit,
    item,
    open_item,
    sequence,
)

MILLION = 1_000_000


def tiny_private_elements(explicit: bool, count: int = MILLION) -> bytes:
    """So many private elements without a value, from group 5201 on, behind the kept sequence."""
    rest = struct.pack("<2sH", b"LO", 0) if explicit else bytes(4)
    heads = (struct.pack("<HH", 0x5201 + 2 * (i // 0xE000), 0x1000 + i % 0xE000) for i in range(count))
    return b"".join(head + rest for head in heads)


@kind(Reason.INFLATES_TOO_FAR)
def deflate_bomb(source: Source) -> bytes:
    """A deflated data set of some hundred kilobytes that becomes more than is inflated."""
    data_set = source.put(element(PIXEL_DATA, "OW", bytes(INFLATED_LIMIT))).data_set()
    return source.with_data_set(samples.deflated(data_set), DEFLATED)


@kind()
def deflate_bomb_within_the_limit(source: Source) -> bytes:
    """A deflated data set that becomes almost as much as is inflated."""
    data_set = source.put(element(PIXEL_DATA, "OW", bytes(INFLATED_LIMIT - (1 << 20)))).data_set()
    return source.with_data_set(samples.deflated(data_set), DEFLATED)


@kind(Reason.TOO_MANY_ELEMENTS)
def deflate_bomb_of_items(source: Source) -> bytes:
    """A deflated data set that becomes 20 million empty items."""
    data_set = source.put(sequence(SHARED_GROUPS, item() * (20 * MILLION))).data_set()
    return source.with_data_set(samples.deflated(data_set), DEFLATED)


@kind(Reason.TOO_MANY_ELEMENTS, Reason.TOO_LARGE_TO_NORMALISE)
def deflate_bomb_out_of_order(source: Source) -> bytes:
    """The same, behind the pixel data, so that it would have to be normalised."""
    data_set = source.data_set() + sequence(SHARED_GROUPS, item() * (20 * MILLION))
    return source.with_data_set(samples.deflated(data_set), DEFLATED)


@kind(Reason.TOO_MANY_ELEMENTS)
def million_empty_items(source: Source) -> bytes:
    """A kept sequence of a million empty items."""
    return source.put(sequence(SHARED_GROUPS, item() * MILLION)).file()


@kind(Reason.TOO_MANY_ELEMENTS)
def million_empty_items_of_undefined_length(source: Source) -> bytes:
    """The same, each item delimited."""
    return source.put(sequence(SHARED_GROUPS, open_item() * MILLION)).file()


@kind()
def hundred_thousand_names(source: Source) -> bytes:
    """A kept sequence of a hundred thousand items, with a name in each."""
    return source.put(sequence(SHARED_GROUPS, item(element(PATIENT_NAME, "PN", VALUE)) * (MILLION // 10))).file()


@kind(Reason.TOO_MANY_ELEMENTS)
def million_names(source: Source) -> bytes:
    """A kept sequence of a million items, with a name in each."""
    return source.put(sequence(SHARED_GROUPS, item(element(PATIENT_NAME, "PN", VALUE)) * MILLION)).file()


@kind()
def million_tiny_elements(source: Source) -> bytes:
    """A million private elements without a value."""
    return source.put(tiny_private_elements(explicit=True)).file()


@kind()
def million_tiny_elements_in_implicit_vr(source: Source) -> bytes:
    """The same in implicit VR."""
    return source.in_implicit_vr().put(tiny_private_elements(explicit=False)).file()


@kind()
def hundred_thousand_tiny_elements_out_of_order(source: Source) -> bytes:
    """A hundred thousand of them behind the pixel data, so that they have to be normalised."""
    kept = element(SHARED_GROUPS, "SQ", b"")
    return source.file(kept + tiny_private_elements(explicit=True, count=MILLION // 10))


@kind()
def million_backslashes(source: Source) -> bytes:
    """An identifying text of a million empty values."""
    comments = implicit(0x00104000, VALUE + b"\\" * MILLION)
    return source.in_implicit_vr().put(comments, implicit(0x00081070, (VALUE + b"\\") * 10_000)).file()


@kind()
def million_uids(source: Source) -> bytes:
    """A UID of a million empty values, and a few."""
    uids = b"\\" * MILLION + b"1.2.3\\4.5.6\\"
    return source.in_implicit_vr().put(implicit(0x00083010, uids)).file()


@kind(Reason.MALFORMED)
def uids_that_grow(source: Source) -> bytes:
    """Short UIDs whose new ones are longer together than the VR's length can say."""
    return source.put(element(0x00083010, "UI", b"\\".join(b"1.%d" % i for i in range(8000)))).file()


@kind()
def million_character_sets(source: Source) -> bytes:
    """A Specific Character Set of a thousand values, all of them known."""
    return source.put(element(0x00080005, "CS", b"\\".join([b"ISO 2022 IR 100"] * 1000) + b"\\")).file()


@kind()
def name_of_ten_thousand_components(source: Source) -> bytes:
    """A name of ten thousand components and as many groups."""
    name = b"CANARY^" * 4000 + b"CANARY=" * 4000
    return source.put(
        element(PATIENT_NAME, "PN", name), sequence(SHARED_GROUPS, item(element(PATIENT_NAME, "PN", name)))
    ).file()


@kind()
def numbers_without_end(source: Source) -> bytes:
    """A number of ten thousand digits, in a text that is removed."""
    return source.put(element(0x00201200, "IS", b"9" * 10_000), element(0x00104000, "LT", VALUE * 4000)).file()


@kind()
def patient_id_of_64_kilobytes(source: Source) -> bytes:
    """A Patient ID as long as its length can say."""
    return source.put(element(0x00100020, "LO", (VALUE * 5000)[:0xFFFE])).file()


@kind()
def patient_id_of_megabytes(source: Source) -> bytes:
    """A Patient ID of megabytes, in implicit VR."""
    return source.in_implicit_vr().put(implicit(0x00100020, VALUE * MILLION)).file()


@kind()
def method_without_end(source: Source) -> bytes:
    """A De-identification Method of ten thousand values, as of earlier de-identifications."""
    return source.put(element(0x00120063, "LO", b"earlier\\" * 8000)).file()


# Sparse, so that they take no room on the disk, and no time to write.


@huge(6 << 30, Reason.TOO_LARGE_TO_NORMALISE)
def six_gigabytes_behind(source: Source) -> bytes:
    """A good file with 6 GB of zeros behind it."""
    return source.file()


@huge(5 << 30, Reason.TOO_LARGE_TO_NORMALISE)
def pixel_data_of_4_gigabytes_and_more(source: Source) -> bytes:
    """Pixel data of 4 GB, and a gigabyte of zeros behind it."""
    return source.put(element(PIXEL_DATA, "OW", b"", 0xFFFFFFFE)).file()


@huge(700 << 20, Reason.TOO_LARGE_TO_NORMALISE)
def big_endian_of_700_megabytes(source: Source) -> bytes:
    """Big endian, and larger than what is normalised."""
    return source.with_data_set(struct.pack(">HH2s2sI", 0x7FE0, 0x0010, b"OW", b"", 700 << 20), BIG_ENDIAN)


@huge((256 << 20) + 1)
def odd_name_before_256_megabytes(source: Source) -> bytes:
    """A name of an odd length, so that a quarter of a gigabyte of pixel data behind it has to be normalised."""
    source.put(element(PATIENT_NAME, "PN", VALUE[:-1]))
    before = len(source.put(element(PIXEL_DATA, "OW", b"")).file())
    return source.put(element(PIXEL_DATA, "OW", b"", (256 << 20) + 1 - before)).file()
