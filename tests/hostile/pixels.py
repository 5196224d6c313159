"""Kinds whose pixel data is wrong: fragments, offset tables, and the way that it is encoded at all."""

from __future__ import annotations

import struct

from scp_anon.errors import Reason
from tests.hostile.canary import VALUE
from tests.hostile.kind import kind
from tests.hostile.source import (
    EXPLICIT,
    JPEG,
    PATIENT_NAME,
    PIXEL_DATA,
    SHARED_GROUPS,
    UNDEFINED,
    Source,
    element,
    implicit,
    item,
    sequence,
)

FRAGMENT = b"\xff\xd8\xff\xe0" + bytes(60)
END = implicit(0xFFFEE0DD, b"")
NAME = element(PATIENT_NAME, "PN", VALUE)


def encapsulated(source: Source, content: bytes, behind: bytes = b"", vr: str = "OB") -> bytes:
    """The file with encapsulated pixel data: `content` is items and delimitation."""
    data_set = source.put(element(PIXEL_DATA, vr, content, UNDEFINED)).data_set() + behind
    return source.with_data_set(data_set, JPEG)


@kind()
def offset_table_of_nonsense(source: Source) -> bytes:
    """A Basic Offset Table that points beyond the end, and is no multiple of four."""
    table = struct.pack("<IIIH", 0xFFFFFFFE, 7, 0xFFFFFFFF, 1)
    return encapsulated(source, item(table) + item(FRAGMENT) + END)


@kind()
def extended_offset_table_of_nonsense(source: Source) -> bytes:
    """An Extended Offset Table of another number of frames."""
    source.put(element(0x7FE00001, "OV", b"\xff" * 24), element(0x7FE00002, "OV", b"\xff" * 8))
    return encapsulated(source, item() + item(FRAGMENT) + END)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def fragment_beyond_the_end(source: Source) -> bytes:
    """A fragment of 4 GB less two bytes."""
    return encapsulated(source, item() + item(FRAGMENT, 0xFFFFFFFE) + END)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def fragment_of_undefined_length(source: Source) -> bytes:
    """A fragment of undefined length."""
    return encapsulated(source, item() + item(FRAGMENT, UNDEFINED) + END)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def fragment_of_another_length(source: Source) -> bytes:
    """A fragment that is shorter than it says, so that the next is read from the midst of something."""
    return encapsulated(source, item() + item(FRAGMENT, 30) + item(VALUE) + END)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def fragments_without_end(source: Source) -> bytes:
    """Fragments without a delimitation."""
    return encapsulated(source, item() + item(FRAGMENT) * 3)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def fragments_that_are_none(source: Source) -> bytes:
    """Pixel data of undefined length that is no items."""
    return encapsulated(source, VALUE * 20 + END)


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def name_in_the_delimitation_of_fragments(source: Source) -> bytes:
    """A delimitation of fragments that has a value."""
    return encapsulated(source, item() + item(FRAGMENT) + implicit(0xFFFEE0DD, VALUE))


@kind(Reason.TRUNCATED, Reason.MALFORMED)
def text_behind_fragments(source: Source) -> bytes:
    """Text behind the delimitation of fragments."""
    return encapsulated(source, item() + item(FRAGMENT) + END, VALUE)


@kind()
def elements_behind_fragments(source: Source) -> bytes:
    """A signature and padding behind encapsulated pixel data."""
    signature = sequence(0xFFFAFFFA, item(element(0x04000115, "OB", VALUE)))
    return encapsulated(source, item() + item(FRAGMENT) + END, signature + element(0xFFFCFFFC, "OB", VALUE))


@kind()
def fragments_out_of_order(source: Source) -> bytes:
    """Encapsulated pixel data, and a name behind it."""
    return encapsulated(source.drop(PATIENT_NAME), item() + item(FRAGMENT) + END, NAME)


@kind()
def fragments_of_odd_lengths(source: Source) -> bytes:
    """Two fragments of odd lengths."""
    return encapsulated(source, item() + item(FRAGMENT[:-1]) * 2 + END)


@kind()
def no_fragments(source: Source) -> bytes:
    """Encapsulated pixel data without even an offset table."""
    return encapsulated(source, END)


@kind()
def million_fragments(source: Source) -> bytes:
    """A million empty fragments."""
    return encapsulated(source, item() * 1_000_000 + END)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def fragments_as_un(source: Source) -> bytes:
    """Encapsulated pixel data as UN, which is read as a sequence, and is none."""
    return encapsulated(source, item(FRAGMENT) + END, vr="UN")


@kind()
def fragments_in_a_native_transfer_syntax(source: Source) -> bytes:
    """Encapsulated pixel data where the transfer syntax says that it is native."""
    content = item() + item(FRAGMENT) + END
    return source.put(element(PIXEL_DATA, "OB", content, UNDEFINED)).with_data_set(source.data_set(), EXPLICIT)


@kind()
def native_in_an_encapsulated_transfer_syntax(source: Source) -> bytes:
    """Native pixel data where the transfer syntax says that it is encapsulated."""
    return source.with_data_set(source.data_set(), JPEG)


@kind()
def fragments_in_implicit_vr(source: Source) -> bytes:
    """Encapsulated pixel data in implicit VR, where it would be a sequence."""
    content = item() + item(FRAGMENT) + END
    return source.in_implicit_vr().put(implicit(PIXEL_DATA, content, UNDEFINED)).file()


@kind()
def fragments_in_an_item(source: Source) -> bytes:
    """Encapsulated pixel data of an icon, with text as its fragments."""
    pixels = element(PIXEL_DATA, "OB", item() + item(VALUE) + END, UNDEFINED)
    return encapsulated(source.put(sequence(0x00880200, item(NAME + pixels))), item() + item(FRAGMENT) + END)


@kind()
def fragments_in_a_kept_item(source: Source) -> bytes:
    """Encapsulated private data in an item of a kept sequence."""
    private = element(0x00291010, "OB", item(VALUE) + END, UNDEFINED)
    return encapsulated(source.put(sequence(SHARED_GROUPS, item(NAME + private))), item() + item(FRAGMENT) + END)


@kind()
def no_pixel_data(source: Source) -> bytes:
    """An image without pixel data."""
    return source.drop(PIXEL_DATA).file()


@kind(Reason.MALFORMED)
def pixel_data_twice(source: Source) -> bytes:
    """Pixel data twice: native, and then encapsulated."""
    content = item() + item(FRAGMENT) + END
    return source.file(element(PIXEL_DATA, "OB", content, UNDEFINED))
