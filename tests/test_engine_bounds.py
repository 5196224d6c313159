"""The bounds of the engine: memory and time for what a few bytes can claim to be; and what survives mutations."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.dicom import encoding, normalise
from scp_anon.dicom.dictionary import dictionary
from tests import exact, samples, trees, wire
from tests.oracle import METHOD, PATIENT_NAME, basic_profile
from tests.peers import corpus_files
from tests.test_engine_exact import (
    DEFLATED,
    EXPLICIT_LE,
    IDENTITY,
    IMPLICIT_LE,
    SHARED_GROUPS,
    decoded,
    explicit,
    part10,
    refused,
)
from tests.wire import Element, Elements, Item

ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)
EMPTY_ITEM = Item(())
LENGTH_TO_END = Element(0x00080001, "UL", b"\0\0\0\0")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of wrong input it says much


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most memory that was in use since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def out_of_order(*elements: Element) -> bytes:
    """A file that only normalising can bring into order."""
    return explicit(*elements) + wire.encode((LENGTH_TO_END,))


def test_deflate_bomb_stays_small(monkeypatch: pytest.MonkeyPatch, peak: Callable[[], int]) -> None:
    """Inflating stops at the bound: it costs twice of that at most, however much there would be."""
    monkeypatch.setattr(normalise, "INFLATED_LIMIT", 1 << 20)
    bomb = samples.deflated(bytes(100 << 20))
    file = part10(bomb, DEFLATED)
    tracemalloc.reset_peak()
    assert refused(file) == Reason.INFLATES_TOO_FAR
    assert peak() < 4 << 20


@pytest.mark.parametrize("irregular", [False, True])
def test_empty_items_are_counted(monkeypatch: pytest.MonkeyPatch, irregular: bool) -> None:
    """Items without anything in them cost time in the strict pass, and memory in pydicom: both have a bound."""
    monkeypatch.setattr(encoding, "MAXIMUM_FOUND", 5000)
    monkeypatch.setattr(normalise, "MAXIMUM_READS", 5000)
    for count, reason in ((1000, None), (6000, Reason.TOO_MANY_ELEMENTS)):
        sequence = Element(SHARED_GROUPS, "SQ", (EMPTY_ITEM,) * count)
        assert refused(out_of_order(sequence) if irregular else explicit(sequence)) == reason


def test_private_elements_are_counted_when_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An element is an object to pydicom: their number is bounded, in whatever sequence they are."""
    monkeypatch.setattr(normalise, "MAXIMUM_READS", 1000)
    private = tuple(Element(0x00291000 + number, "LO", b"x ") for number in range(600))
    assert refused(out_of_order(*private)) == Reason.TOO_MANY_ELEMENTS
    for undefined in (False, True):
        nested = Element(SHARED_GROUPS, "SQ", (Item(private, undefined),), undefined)
        assert refused(out_of_order(nested)) == Reason.TOO_MANY_ELEMENTS


def test_nesting_is_not_copied_without_end(monkeypatch: pytest.MonkeyPatch, peak: Callable[[], int]) -> None:
    """At each level of nesting pydicom copies what is left: deep and large together are refused."""
    monkeypatch.setattr(normalise, "NORMALISED_LIMIT", 4 << 20)
    inner = Element(0x00281201, "OW", bytes(1 << 20))
    for depth in range(60):
        if depth == 3:
            assert refused(out_of_order(inner)) is None
        inner = Element(SHARED_GROUPS, "SQ", (Item((inner,)),))
    file = out_of_order(inner)
    tracemalloc.reset_peak()
    assert refused(file) == Reason.TOO_LARGE_TO_NORMALISE
    assert peak() < 32 << 20


def test_scan_costs_memory_by_what_is_found(peak: Callable[[], int]) -> None:
    """A large file without anything to rule on costs the pass next to nothing."""
    file = explicit(Element(0x00281201, "OW", bytes(32 << 20)))
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    ENGINE.deidentify(file)
    assert peak() - before < 1 << 20


# ---------------------------------------------------------------------- whatever happens to a file


def assert_clean(elements: Elements) -> None:
    """No attribute is left, at any depth, that the profile removes, and none that it changes as it was."""
    for element in elements:
        tag, value = element.tag, element.value
        assert tag in dictionary(), hex(tag)
        assert tag >> 16 >= 8
        assert tag != LENGTH_TO_END.tag
        code = basic_profile().get(tag)
        assert code != "X", hex(tag)
        if code == "U" and isinstance(value, bytes):
            uids = value.strip(b"\0").split(b"\\")
            assert all(uid == b"" or uid.startswith((b"2.25.", b"1.2.840.10008.")) for uid in uids), hex(tag)
        if code is None and isinstance(value, tuple):
            for item in value:
                assert_clean(item.elements)


def mutated(file: bytes, chosen: random.Random) -> bytes:
    """The file with a few bytes changed, cut out, doubled or moved behind its File Meta Information."""
    marks = [
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\x0d\xe0",
        b"\xfe\xff\xdd\xe0",
        b"SQ",
        b"UN",
    ]
    result = bytearray(file)
    for _ in range(chosen.randint(1, 4)):
        limit = min(len(result), chosen.choice((len(result), 2000)))
        place, other = chosen.randrange(200, limit), chosen.randrange(200, limit)
        some = result[other : other + chosen.randint(1, 40)]
        mark = chosen.choice(marks)
        changes = (
            (place + 1, bytes([chosen.randrange(256)])),
            (place + 1, bytes([chosen.randrange(256)])),
            (place + len(mark), mark),
            (place + chosen.randint(1, 12), b""),
            (place, some),
            (place + len(some), some),
        )
        stop, new = chosen.choice(changes)
        result[place:stop] = new
    return bytes(result)


def test_mutations_come_out_well_formed_and_clean() -> None:
    """What is not refused is strictly valid encoding, without anything in it that has to go; and always the same."""
    chosen = random.Random(7)  # noqa: S311 - no secret
    real = [path.read_bytes() for path in corpus_files() if 2000 < path.stat().st_size < 12_000]
    made = [
        samples.encoded(samples.image(), syntax, undefined) for syntax in samples.NATIVE for undefined in (False, True)
    ]
    files = [*real, *made, samples.encapsulated(samples.image())]
    passed = 0
    for _ in range(2000):
        file = mutated(chosen.choice(files), chosen)
        try:
            result = ENGINE.bytes(file)
        except Undecodable:
            continue
        passed += 1
        assert_clean(decoded(result))
        assert ENGINE.bytes(file) == result
    assert passed > 200


def shuffled(elements: Elements, chosen: random.Random) -> Elements:
    """The elements in any order, at every depth."""
    found = [
        element
        if isinstance(element.value, bytes)
        else Element(
            element.tag,
            element.vr,
            tuple(Item(shuffled(item.elements, chosen), item.undefined) for item in element.value),
            element.undefined,
        )
        for element in elements
    ]
    chosen.shuffle(found)
    return tuple(found)


def contents(elements: Elements) -> dict[int, object]:
    """Tags and values, but for padding: what is left the same by normalising."""
    return {
        e.tag: e.value.rstrip(b"\0 ") if isinstance(e.value, bytes) else [contents(item.elements) for item in e.value]
        for e in elements
    }


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(lambda vr: st.tuples(st.just(vr), trees.instances(vr))), st.integers(0, 99))
def test_out_of_order_instance_is_normalised(case: tuple[bool, Elements], seed: int) -> None:
    """Elements in any order: the same result as in order, or refused."""
    is_explicit, source = case
    encoded = wire.encode(shuffled(source, random.Random(seed)))  # noqa: S311 - no secret
    try:
        result = ENGINE.bytes(part10(encoded, EXPLICIT_LE if is_explicit else IMPLICIT_LE))
    except Undecodable as error:
        assert error.reason in (Reason.MALFORMED, Reason.TRUNCATED, Reason.NOT_DICOM)
        return
    found = decoded(result)
    (raw,) = (element.value for element in found if element.tag == METHOD)
    assert isinstance(raw, bytes)
    methods = tuple(raw.rstrip(b" ").split(b"\\")[-3:])
    assert contents(found) == contents(exact.deidentified(source, is_explicit, IDENTITY, methods))
    assert samples.CANARY.encode() not in result


# ---------------------------------------------------------------------- data sets of pydicom's


def _with_bad_value() -> Dataset:
    ds = samples.image()
    ds.add_new(0x00280010, "US", samples.CANARY)
    return ds


def _with_unknown_syntax() -> Dataset:
    ds = samples.image()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID("1.2.3")
    return ds


def _with_command() -> Dataset:
    ds = samples.image()
    ds.add_new(0x00001000, "UI", samples.uid("affected"))
    return ds


@pytest.mark.parametrize("made", [_with_bad_value, _with_unknown_syntax, _with_command])
def test_data_set_that_cannot_be_encoded(made: Callable[[], Dataset]) -> None:
    """What pydicom cannot write is Undecodable, without a value in the text."""
    with pytest.raises(Undecodable) as caught:
        ENGINE.dataset(made())
    assert samples.CANARY not in str(caught.value)


def test_data_set_is_left_as_it_was() -> None:
    """The data set that is given stays what it is; the result is another, of the same transfer syntax."""
    for syntax in samples.NATIVE:
        source = dcmread(BytesIO(samples.encoded(samples.image(), syntax)))
        before = str(source), str(source.file_meta)
        result = ENGINE.dataset(source)
        assert (str(source), str(source.file_meta)) == before
        assert result[PATIENT_NAME].value == IDENTITY.pseudonym(f"id:{samples.CANARY}-ID").decode()
