"""Wrong input, by accident or on purpose: each kind ends clean or as Undecodable, soon, and in little memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.dicom import encoding, normalise
from tests import samples
from tests.peers import corpus_files

ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)
FILE = samples.encoded(samples.image())
START = samples.data_set_start(FILE)
IMPLICIT = samples.encoded(samples.image(), ImplicitVRLittleEndian)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # what it says of wrong input is not our concern


def reason(file: bytes) -> Reason | None:
    """Why the engine refuses a file; None if it does not, and then nothing of the canary may be in the result."""
    try:
        result = ENGINE.bytes(file)
    except Undecodable as refused:
        assert samples.CANARY not in str(refused)
        return refused.reason
    assert samples.CANARY.encode() not in result
    return None


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An explicit VR little endian element, with another length than its value's if one is given."""
    length = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, length) + value
    return struct.pack("<HH2sH", group, number, vr.encode(), length) + value


def item(content: bytes, undefined: bool = False) -> bytes:
    """An item of a sequence."""
    if undefined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def behind(*elements: bytes) -> bytes:
    """The sample with elements appended, or rather put before its pixel data, where they are in order."""
    pixels = FILE.rindex(b"\xe0\x7f\x10\x00OW")
    return FILE[:pixels] + b"".join(elements) + FILE[pixels:]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"", Reason.EMPTY),
        (b"\0" * 10, Reason.NOT_DICOM),
        (b"\0" * 5000, Reason.NOT_DICOM),
        (b"GET / HTTP/1.1\r\nHost: CANARY\r\n\r\n" * 20, Reason.NOT_DICOM),
        (FILE[:100], Reason.NOT_DICOM),
        (FILE[:140], Reason.TRUNCATED),
        (FILE[:START], Reason.NOT_DICOM),
        (FILE[: START + 30], Reason.MALFORMED),
        (FILE[:-1], Reason.MALFORMED),
        (FILE[:-100], Reason.TRUNCATED),
    ],
)
def test_no_file_and_half_a_file(file: bytes, expected: Reason) -> None:
    """What is no DICOM file, or only a part of one, is refused with a reason."""
    assert reason(file) in (expected, Reason.TRUNCATED, Reason.MALFORMED, Reason.NOT_DICOM, Reason.MISSING_UID)
    assert reason(file) is not None


@pytest.mark.parametrize("file", [FILE, IMPLICIT, samples.encapsulated(samples.image())])
def test_truncated_anywhere(file: bytes) -> None:
    """Cut at any byte: refused, or clean where the cut is between two elements; never anything else."""
    outcomes = {reason(file[:cut]) for cut in range(0, len(file), 3)}
    assert outcomes <= {
        None,
        Reason.EMPTY,
        Reason.NOT_DICOM,
        Reason.TRUNCATED,
        Reason.MALFORMED,
        Reason.MISSING_UID,
        Reason.UNKNOWN_TRANSFER_SYNTAX,
    }


def test_lengths_beyond_the_end() -> None:
    """A length that leads behind the end, by little or by 4 GB, is refused, and nothing of that size is allocated."""
    tracemalloc.start()
    for length in (0x7FFFFFFE, 0xFFFFFFFE, 5000):
        for vr in ("OB", "UT", "UN", "SQ"):
            assert reason(behind(element(0x5200, 0x9230, vr, b"", length))) is not None
            assert reason(behind(element(0x0029, 0x1010, vr, b"CANARY", length))) is not None
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_ten_thousand_deep(undefined: bool) -> None:
    """Sequences in sequences are refused beyond the bound, not at Python's own limit."""
    depth = 10_000
    inner = b""
    if undefined:
        head = element(0x5200, 0x9229, "SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        tail = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        inner = head * depth + tail * depth
    else:
        for _ in range(depth):
            inner = element(0x5200, 0x9229, "SQ", item(inner))
    assert reason(behind(inner)) == Reason.NESTED_TOO_DEEPLY


@pytest.mark.parametrize("extra", [0, 1])
def test_the_bound_of_nesting(extra: int) -> None:
    """As deep as the bound is read; one deeper is not."""
    inner = element(0x0010, 0x0010, "PN", b"CANARY")
    for _ in range(encoding.MAXIMUM_DEPTH + extra):
        inner = element(0x5200, 0x9229, "SQ", item(inner))
    assert reason(behind(inner)) == (Reason.NESTED_TOO_DEEPLY if extra else None)


@pytest.mark.parametrize("vr", ["SQ", "UN", "OB"])
@pytest.mark.parametrize("group", [0x5200, 0x0029])
def test_undefined_length_without_end(vr: str, group: int) -> None:
    """A value of undefined length that is never delimited is refused."""
    assert reason(behind(element(group, 0x9229, vr, item(b"") * 3, 0xFFFFFFFF))) is not None


def test_deflate_bomb() -> None:
    """A deflated data set is inflated up to the bound only."""
    bomb = samples.deflated(bytes(normalise.INFLATED_LIMIT + (1 << 20)))
    assert len(bomb) < 1 << 20
    file = samples.with_data_set(samples.encoded(samples.image(), DeflatedExplicitVRLittleEndian), bomb)
    assert reason(file) == Reason.INFLATES_TOO_FAR


def test_broken_deflate() -> None:
    """Deflated data that is cut off, or is none, is refused."""
    file = samples.encoded(samples.image(), DeflatedExplicitVRLittleEndian)
    assert reason(file[:-20]) == Reason.TRUNCATED
    assert reason(samples.with_data_set(file, b"\xff" * 100)) == Reason.MALFORMED
    assert reason(file + b"CANARY behind") == Reason.MALFORMED


def test_descending_tags_are_put_in_order() -> None:
    """Elements out of order are normalised, and then ruled on like all others."""
    late = element(0x0010, 0x0010, "PN", b"CANARY^LATE ")
    ds = samples.image()
    del ds.PatientName
    file = samples.encoded(ds)
    assert reason(file + late) is None


def test_duplicate_tags_are_refused() -> None:
    """An element that is there twice has a copy that nobody would rule on."""
    twice = element(0x0020, 0x0013, "IS", b"1 ") + element(0x0020, 0x0013, "IS", b"2 ")
    place = FILE.index(b"\x20\x00\x13\x00IS")
    assert reason(FILE[:place] + twice + FILE[place + 10 :]) == Reason.MALFORMED


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("LO", b"CT", None),
        ("UN", b"CT", None),
        ("PN", b"CANARY", Reason.MALFORMED),
        ("US", b"\1\0", Reason.MALFORMED),
        ("SQ", item(element(0x0010, 0x0010, "PN", b"CANARY")), Reason.MALFORMED),
        ("OB", b"CANARY", Reason.MALFORMED),
    ],
)
def test_kept_attribute_of_another_vr(vr: str, value: bytes, expected: Reason | None) -> None:
    """Modality as another text is kept; as a name, a number, items or bytes it is not what the dictionary knows."""
    ds = samples.image()
    del ds.Modality
    file = samples.encoded(ds)
    place = file.index(b"\x08\x00\x70\x00LO")
    assert reason(file[:place] + element(0x0008, 0x0060, vr, value) + file[place:]) == expected


@pytest.mark.parametrize("vr", ["SQ", "UN", "LO", "OB", "UT"])
def test_identifying_attribute_of_any_vr(vr: str) -> None:
    """An attribute with a rule is replaced whatever VR it comes in."""
    ds = samples.image()
    del ds.PatientName
    file = samples.encoded(ds)
    value = item(element(0x0010, 0x0010, "PN", b"CANARY")) if vr == "SQ" else b"CANARY"
    place = file.index(b"\x10\x00\x20\x00LO")
    assert reason(file[:place] + element(0x0010, 0x0010, vr, value) + file[place:]) is None


@pytest.mark.parametrize("vr", ["OB", "LO", "UT"])
def test_sequence_that_is_opaque(vr: str) -> None:
    """What should be items, and cannot be looked into, is refused."""
    assert reason(behind(element(0x5200, 0x9229, vr, b"CANARY"))) == Reason.MALFORMED


@pytest.mark.parametrize("undefined", [False, True])
def test_sequence_as_un_is_looked_into(undefined: bool) -> None:
    """UN of a known sequence is implicit VR little endian (PS3.5 6.2.2), and its items are ruled on."""
    name = struct.pack("<HHI", 0x0010, 0x0010, 6) + b"CANARY"
    content = item(name, undefined)
    if undefined:
        content += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    un = element(0x5200, 0x9229, "UN", content, 0xFFFFFFFF if undefined else None)
    assert reason(behind(un)) is None


@pytest.mark.parametrize("vr", [b"\0\0", b"XX", b"??", b"ox"])
def test_vr_that_is_none(vr: bytes) -> None:
    """An unknown VR becomes the dictionary's, or is refused."""
    file = FILE.replace(b"\x18\x00\x50\x00DS", b"\x18\x00\x50\x00" + vr)
    assert file != FILE
    assert reason(file) in (None, Reason.MALFORMED, Reason.TRUNCATED)


@pytest.mark.parametrize("nested", [False, True])
def test_unknown_character_set(nested: bool) -> None:
    """A term that the standard does not define, and that means none of it, is refused wherever it is."""
    for term in ("ISO_IR 999", "rot13", "utf-7", "unicode_escape"):
        ds = samples.image()
        if nested:
            inner = Dataset()
            ds.SharedFunctionalGroupsSequence = Sequence([inner])
            file = samples.encoded(ds)
            charset = element(0x0008, 0x0005, "CS", term.encode().ljust(10))
            place = file.index(b"\x00\x52\x29\x92SQ")
            file = file[:place] + element(0x5200, 0x9229, "SQ", item(charset)) + file[place + 20 :]
        else:
            file = samples.encoded(ds).replace(b"ISO_IR 100", term.encode().ljust(10)[:10])
            if len(term) > 10:
                continue
        assert reason(file) == Reason.UNKNOWN_CHARACTER_SET


def test_dicomdir() -> None:
    """A DICOMDIR is no instance: it describes originals."""
    ds = samples.image(sop_class="1.2.840.10008.1.3.10")
    assert reason(samples.encoded(ds)) == Reason.DICOMDIR


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda ds: ds.pop("SOPClassUID"), Reason.MISSING_UID),
        (lambda ds: ds.pop("SOPInstanceUID"), Reason.MISSING_UID),
        (lambda ds: ds.update({0x00080016: _ui(0x00080016, "1.2.3.4")}), Reason.UNKNOWN_SOP_CLASS),
        (lambda ds: ds.update({0x00080016: _ui(0x00080016, "1.2.840.10008.1.1")}), Reason.UNKNOWN_SOP_CLASS),
    ],
)
def test_uids_that_everything_hangs_on(change: Callable[[Dataset], object], expected: Reason) -> None:
    """An instance without class or instance UID, or of no storage class, cannot be passed on."""
    ds = samples.image()
    plain = samples.encoded(ds)
    change(ds)
    body = samples.encoded_data_set(ds)
    assert reason(samples.with_data_set(plain, body)) == expected


def _ui(tag: int, uid: str) -> object:
    from pydicom.dataelem import DataElement

    return DataElement(tag, "UI", uid)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.3", "1.2.840.10008.1.2.7.1"])
def test_transfer_syntax_that_is_not_taken(uid: str) -> None:
    """JPIP points elsewhere, by an address that no rule knows; unknown ones cannot be read."""
    old, new = (value.encode().ljust(22, b"\0") for value in ("1.2.840.10008.1.2.1", uid))
    file = (
        FILE[:144]
        + FILE[144:START].replace(b"\x10\x00UI\x14\x00" + old[:20], b"\x10\x00UI\x16\x00" + new)
        + FILE[START:]
    )
    assert reason(file) == Reason.UNKNOWN_TRANSFER_SYNTAX


def test_explicit_in_implicit_and_the_other_way_round() -> None:
    """A data set in another VR encoding than its transfer syntax says is normalised, or refused."""
    explicit_as_implicit = samples.with_data_set(IMPLICIT, FILE[START:])
    implicit_as_explicit = samples.with_data_set(FILE, IMPLICIT[samples.data_set_start(IMPLICIT) :])
    assert reason(explicit_as_implicit) in (None, Reason.MALFORMED)
    assert reason(implicit_as_explicit) in (None, Reason.MALFORMED)


def test_identity_in_odd_corners() -> None:
    """Group lengths, padding, retired and unknown groups, commands and File Meta Information in the data set all go."""
    stop = FILE.index(b"\x10\x00\x20\x00LO")
    start = FILE.rindex(b"\x10\x00\x10\x00PN", 0, stop)
    odd = element(0x0010, 0x0000, "UL", b"\4\0\0\0") + element(0x0010, 0x0010, "PN", b"CANARY")
    assert reason(FILE[:start] + odd + FILE[stop:]) is None
    tail = [
        element(0x5000, 0x0010, "LO", b"CANARY"),
        element(0x5400, 0x0002, "LO", b"CANARY"),
        element(0x6000, 0x0022, "LO", b"CANARY"),
        element(0x6000, 0x3000, "OW", b"CANARY"),
        element(0x6002, 0x1500, "LO", b"CANARY"),
        element(0x7770, 0x0010, "LO", b"CANARY"),
    ]
    assert reason(behind(*tail)) is None
    assert reason(FILE + element(0xFFFA, 0xFFFA, "SQ", item(element(0x0010, 0x0010, "PN", b"CANARY")))) is None
    assert reason(FILE + element(0xFFFC, 0xFFFC, "OB", b"CANARY")) is None
    for group in (0x0000, 0x0004, 0x0006):
        head = element(group, 0x1000, "LO", b"CANARY")
        assert reason(FILE[:START] + head + FILE[START:]) is None


def test_a_hundred_thousand_private_elements_cost_little() -> None:
    """Neighbours that go are one range: memory does not grow with their number."""
    private = b"".join(element(0x0029, number, "LO", b"CANARY") for number in range(0x1000, 0xFFFF))
    file = FILE[: FILE.index(b"\x40\x00\x75\x02")] + private
    tracemalloc.start()
    assert reason(file) is None
    assert tracemalloc.get_traced_memory()[1] < 4 * len(file)
    tracemalloc.stop()


def test_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More elements with a rule than the bound are refused."""
    monkeypatch.setattr(encoding, "MAXIMUM_FOUND", 1000)
    uids = item(element(0x0008, 0x1155, "UI", b"1.2.3\0")) * 1001
    assert reason(behind(element(0x5200, 0x9229, "SQ", uids))) == Reason.TOO_MANY_ELEMENTS


def test_normalising_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pydicom would have to hold several times is refused above the bound."""
    monkeypatch.setattr(normalise, "NORMALISED_LIMIT", 1000)
    assert reason(FILE + b"\0") == Reason.TOO_LARGE_TO_NORMALISE


@pytest.mark.parametrize("seed", range(4))
def test_mutations(seed: int) -> None:
    """Real and synthetic files with bytes changed at random: clean or refused, each within a moment."""
    chosen = random.Random(seed)  # noqa: S311 - no secret
    real = [path.read_bytes() for path in corpus_files() if path.stat().st_size < 20_000]
    files = [
        FILE,
        IMPLICIT,
        samples.encoded(samples.image(), undefined=True),
        samples.encapsulated(samples.image()),
        *real,
    ]
    refused = 0
    for _ in range(400):
        file = bytearray(chosen.choice(files))
        for _ in range(chosen.randint(1, 4)):
            place = chosen.randrange(132, len(file))
            file[place : place + chosen.choice((1, 1, 2, 4))] = chosen.randbytes(chosen.choice((0, 1, 1, 2, 4)))
        begin = time.monotonic()
        try:
            ENGINE.bytes(bytes(file))
        except Undecodable:
            refused += 1
        assert time.monotonic() - begin < 5
    assert refused > 20


def test_explicit_vr_sample_is_what_the_tests_think() -> None:
    """The sample itself is clean, so that a refusal above is due to what was changed."""
    assert reason(FILE) is None
    assert reason(IMPLICIT) is None
    assert ExplicitVRLittleEndian.encode() in FILE[:START]
