"""Bytes in; a clean, strictly encoded result, or Undecodable, and nothing else.

The first byte chooses the transfer syntax of the data set behind it, or that the rest is a whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from scp_anon import Deidentifier, Undecodable
from scp_anon.dicom.dictionary import dictionary
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Rules
from scp_anon.dicom.normalise import inflate
from scp_anon.dicom.part10 import FileMeta, encode_file_meta, read_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from tests import rawpeer, samples, wire
from tests.hostile import KINDS, volume
from tests.hostile.source import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG
from tests.wire import Element, Elements, Item

# What no mutation makes by chance, and no seed has.
CANARY: Final = b"Zq7^WIEDEHOPF^xK"
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
SYNTAXES: Final = (EXPLICIT, IMPLICIT, JPEG, BIG_ENDIAN, DEFLATED)
ENGINE: Final = Deidentifier(samples.KEY, "project", samples.PASS)
LONGEST_SEED: Final = 16_000
# Words that are new each time they are ruled on: UIDs and pseudonyms of ours.
_OURS: Final = re.compile(rb"2\.25\.\d+|[A-Z2-7]{16}")
_META: Final = FileMeta(rawpeer.CT, "1.2.3", "")


def file_of(data: bytes) -> bytes:
    """The file that the input stands for."""
    chosen = data[0] % (len(SYNTAXES) + 1)
    if chosen == len(SYNTAXES):
        return data[1:]
    data_set = data[1:]
    if SYNTAXES[chosen] == DEFLATED:
        data_set = samples.deflated(data_set)
    return encode_file_meta(_META._replace(transfer_syntax_uid=SYNTAXES[chosen])) + data_set


def check(data: bytes) -> None:
    """Raises if the engine does with this input what it should not."""
    if not data:
        return
    file = file_of(data)
    try:
        result = ENGINE.bytes(file)
    except Undecodable as undecodable:
        assert CANARY.decode() not in str(undecodable)
        return
    if CANARY in file:
        return  # found by the fuzzer itself: it may be anywhere, also where it may stay
    elements, explicit = read(result)
    check_again(result, elements)
    check_planted(file)
    if len(file) % 3 == 0:
        check_planted_everywhere(elements, explicit)


def read(file: bytes) -> tuple[Elements, bool]:
    """The elements of a result, by a strict reader that is not the engine's, and whether they are in explicit VR."""
    meta, start = read_file_meta(file)
    syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
    assert syntax.little_endian
    data_set = inflate(file[start:]) if syntax.deflated else file[start:]
    # Our own strict pass must not refuse what we have written.
    scan(data_set, 0, len(data_set), syntax, Rules({}, dictionary().keys(), None, None))
    return wire.decode(data_set, not syntax.implicit_vr), not syntax.implicit_vr


def check_again(result: bytes, elements: Elements) -> None:
    """De-identified once more, the result stays what it is, but for our own UIDs and pseudonyms."""
    again, _ = read(ENGINE.bytes(result))
    assert constant(again) == constant(elements)


def constant(elements: Elements) -> list[object]:
    """Elements without the words that are ours."""
    return [
        (e.tag, e.vr, _OURS.sub(b"", e.value).rstrip(b"\0 "))
        if isinstance(e.value, bytes)
        else (e.tag, e.vr, [constant(one.elements) for one in e.value])
        for e in elements
    ]


def check_planted(file: bytes) -> None:
    """A name put behind everything is gone, or the file is refused."""
    meta, start = read_file_meta(file)
    syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
    head = wire.encode((Element(PATIENT_NAME, "" if syntax.implicit_vr else "PN", CANARY),))
    if not syntax.little_endian:
        head = b"\0\x10\0\x10PN\0\x10" + CANARY
    if syntax.deflated:
        file, head = file[:start], samples.deflated(inflate(file[start:]) + head)
    check_gone(file + head)


def check_planted_everywhere(elements: Elements, explicit: bool) -> None:
    """Names put into every data set and item are gone."""
    syntax = EXPLICIT if explicit else IMPLICIT
    meta = encode_file_meta(_META._replace(transfer_syntax_uid=syntax))
    check_gone(meta + wire.encode(planted(elements, explicit)))


def planted(elements: Elements, explicit: bool) -> Elements:
    """The same elements, with the name in every data set."""
    name = Element(PATIENT_NAME, "PN" if explicit else "", CANARY)
    others = [with_items(e, explicit) for e in elements if e.tag != PATIENT_NAME]
    return tuple(sorted((name, *others), key=lambda e: e.tag))


def with_items(element: Element, explicit: bool) -> Element:
    """The element, with the name in each of its items; those of UN are in implicit VR."""
    if isinstance(element.value, bytes):
        return element
    within = explicit and element.vr != "UN"
    items = tuple(Item(planted(one.elements, within), one.undefined) for one in element.value)
    return Element(element.tag, element.vr, items, element.undefined)


def check_gone(file: bytes) -> None:
    """The canary is not in what comes of a file."""
    try:
        result = ENGINE.deidentify(file)
    except Undecodable as undecodable:
        assert CANARY.decode() not in str(undecodable)
        return
    content = result.to_bytes()
    if result.meta.transfer_syntax_uid == DEFLATED:
        content = inflate(content[read_file_meta(content)[1] :])
    assert CANARY not in content


def seeds() -> Iterator[bytes]:
    """The samples and the hostile kinds, as files, and as data sets where their transfer syntax has a number."""
    for file in small_files():
        yield bytes([len(SYNTAXES)]) + file
        with suppress(Undecodable, ValueError):
            meta, start = read_file_meta(file)
            number = SYNTAXES.index(meta.transfer_syntax_uid)
            yield bytes([number]) + (inflate(file[start:]) if meta.transfer_syntax_uid == DEFLATED else file[start:])


def small_files() -> Iterator[bytes]:
    """The samples and the hostile kinds that are not too long to be changed at random."""
    for syntax in samples.NATIVE:
        for undefined in (False, True):
            yield samples.encoded(samples.image(), syntax, undefined)
    yield samples.encapsulated(samples.image())
    for kind in KINDS.values():
        if kind.make.__module__ != volume.__name__ and len(file := kind.file()) <= LONGEST_SEED:
            yield file
