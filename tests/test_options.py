"""Options of PS3.15 E.3: for every row and every option, what is written obeys its code, at every depth."""

from __future__ import annotations

import csv
import itertools
import re
from functools import cache
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import ConfigError, Deidentifier
from scp_anon.deid import cleaning
from scp_anon.deid.identity import Identity
from scp_anon.dicom.dictionary import vr_of
from tests import oracle, samples, trees, wire
from tests.profiles import ALL_FULL, ALL_MODIFIED, FULL_DATES, MODIFIED_DATES, OPTIONS, codes, engine, result
from tests.test_engine_exact import EXPLICIT_LE, IMPLICIT_LE, SHARED_GROUPS, UIDS, decoded, part10
from tests.wire import IMPLICIT, Element, Elements, Item

IDENTITY = Identity(samples.KEY, "project")
TIMEZONE_OFFSET: Final = 0x00080201
UNFORMATTED_TEXT_VALUE: Final = 0x00700006
DAYS: Final = IDENTITY.days("", 365)  # of who has neither ID nor name
SETS: Final = ((), *((option,) for option in OPTIONS), ALL_FULL, ALL_MODIFIED)
COLUMNS: Final = dict(
    zip(
        OPTIONS,
        (
            *("retain_safe_private", "retain_uids", "retain_device_identity", "retain_institution_identity"),
            *("retain_patient_characteristics", "retain_long_full_dates", "retain_long_modified_dates"),
            *("clean_descriptors", "clean_structured_content", "clean_graphics"),
        ),
        strict=True,
    )
)
CLAIMS: Final = dict(
    zip(
        OPTIONS,
        ("113111", "113110", "113109", "113112", "113108", "113106", "113107", "113105", "113104", "113103"),
        strict=True,
    )
)
VALUES: Final = {
    "DA": b"20240229",
    "DT": b"20240229101500.50+0100",
    "TM": b"101500",
    "AS": b"042Y",
    "UI": b"2.999.1969",
    "DS": b"1.5 ",
    "IS": b"12",
    "CS": b"CANARY",
    "AE": b"CANARY",
    "OB": b"CANARY",
    "US": b"\1\2",
    "UN": b"CANARY",
    "FD": bytes(8),
    "FL": bytes(4),
    "UL": bytes(4),
    "SS": bytes(2),
    "UR": b"http://CANARY.example ",
}
# Free of identity, and so kept as it is by cleaning; and a text that is not.
HARMLESS, HARMFUL = b"CT CHEST", b"CT CHEST Dr. Canarius 01/02/2024"


@cache
def rows() -> dict[int, dict[str, str]]:
    """Table E.1-1 by tag, but for repeating groups, private attributes, and groups below 0008."""
    with (oracle.STANDARD / "ps3.15-table-E.1-1.csv").open(encoding="utf-8", newline="") as file:
        found = {row["tag"]: row for row in csv.DictReader(file) if not set("XG") & set(row["tag"])}
    by_tag = {int(tag[1:5] + tag[6:10], 16): row for tag, row in found.items()}
    return {tag: row for tag, row in by_tag.items() if tag >> 16 >= 8}


@cache
def by(options: tuple[str, ...]) -> Deidentifier:
    """The engine for a set of options."""
    return engine(*options)


def code_of(tag: int, options: tuple[str, ...], enclosing: int) -> tuple[str, str]:
    """The code of a row under options, and the option that it comes from: C before K before the Basic Profile."""
    said = [(rows()[tag][COLUMNS[option]], option) for option in options]
    if tag == UNFORMATTED_TEXT_VALUE and "clean-graphics" in options:
        return "C", "clean-graphics"  # the text objects that this option keeps and cleans (E.3.3)
    for wanted in ("C", "K"):
        for code, option in said:
            if code == wanted:
                return code, option
    return oracle.code_of(tag, "ct-image", enclosing), ""


def carried(
    tag: int, value: bytes, options: tuple[str, ...], depth: int, explicit: bool
) -> bytes | tuple[Item, ...] | None:
    """What becomes of an attribute of this value, alone in its data set; None if it is removed."""
    vr = vr_of(tag) or "LO"
    inside: Elements = (Element(0x00080104, "LO" if explicit else IMPLICIT, b"CT"),)
    content: bytes | tuple[Item, ...] = (Item(inside),) if vr == "SQ" else value
    place: Elements = (Element(tag, vr if explicit else IMPLICIT, content),)
    for _ in range(depth):
        place = (Element(SHARED_GROUPS, "SQ" if explicit else IMPLICIT, (Item(place),)),)
    uids = tuple(
        Element(uid.tag, uid.vr if explicit else IMPLICIT, uid.value) for uid in UIDS if uid.tag != tag or depth
    )
    file = part10(wire.encode(trees.in_order([*uids, *place])), EXPLICIT_LE if explicit else IMPLICIT_LE)
    found = decoded(by(options).bytes(file))
    for _ in range(depth):
        (item,) = next(element.value for element in found if element.tag == SHARED_GROUPS)
        assert isinstance(item, Item)
        found = item.elements
    return next((element.value for element in found if element.tag == tag), None)


def assert_code(tag: int, options: tuple[str, ...], depth: int, explicit: bool) -> None:
    """What is written obeys the row's code."""
    vr = vr_of(tag) or "LO"
    code, option = code_of(tag, options, SHARED_GROUPS if depth else 0)
    base = oracle.code_of(tag, "ct-image", SHARED_GROUPS if depth else 0)
    original = b"+0100 " if tag == TIMEZONE_OFFSET else VALUES.get(vr, HARMFUL)
    new = carried(tag, original, options, depth, explicit)
    if code == "C" and option == MODIFIED_DATES and vr in ("DA", "DT", "TM", "SH"):
        assert_moved(vr, original, new)
    elif code == "C" and tag in cleaning.IDENTITY:
        assert_basic(tag, vr, base, new)  # what it says is itself what texts are cleaned of
    elif code == "C" and vr in ("LO", "LT", "SH", "ST", "UC", "UT") and option != MODIFIED_DATES:
        assert new == b"CT CHEST"
        assert carried(tag, HARMLESS, options, depth, explicit) == HARMLESS
    elif code == "C" and vr == "AE":
        assert isinstance(new, bytes)
        assert re.fullmatch(rb"AE[A-Z2-7]{14}", new)
    elif code == "K" or (code == "C" and vr == "SQ"):
        assert new
        assert vr == "SQ" or new == original
    else:
        assert_basic(tag, vr, base if code == "C" else code, new)


def assert_moved(vr: str, original: bytes, new: bytes | tuple[Item, ...] | None) -> None:
    """Dates by the patient's days, times not at all."""
    if vr in ("TM", "SH"):
        assert new == original
    else:
        assert isinstance(new, bytes)
        assert new[:8] != original[:8]
        assert new[8:] == original[8:]


def assert_basic(tag: int, vr: str, code: str, new: bytes | tuple[Item, ...] | None) -> None:
    """The Basic Profile's codes."""
    if code == "X":
        assert new is None
    elif tag in (oracle.PATIENT_ID, oracle.PATIENT_NAME):
        assert isinstance(new, bytes)
        assert re.fullmatch(rb"([A-Z2-7]{16})?", new)
    elif code == "U" or (code == "D" and vr == "UI"):
        assert isinstance(new, bytes)
        assert re.fullmatch(rb"2\.25\.[1-9]\d{1,38}\0?", new)
    elif code == "D":
        assert new
        assert new != VALUES.get(vr, HARMFUL)
    else:
        assert code == "Z"
        assert not new


@pytest.mark.parametrize("options", SETS, ids=lambda options: "+".join(options) if len(options) < 2 else "all")
def test_every_row(options: tuple[str, ...]) -> None:
    """Every row, at the top level and nested, in explicit and implicit VR."""
    for tag in rows():
        for depth, explicit in ((0, True), (2, False)):
            assert_code(tag, options, depth, explicit)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(sorted(rows())),
    st.lists(st.sampled_from(OPTIONS), unique=True).filter(lambda o: not {FULL_DATES, MODIFIED_DATES} <= set(o)),
    st.integers(0, 4),
    st.booleans(),
)
def test_any_row_under_any_options(tag: int, options: list[str], depth: int, explicit: bool) -> None:
    """Options compose: any of them, in any order."""
    assert_code(tag, tuple(options), depth, explicit)


def test_the_two_dates_options_exclude_each_other() -> None:
    """Whatever else there is."""
    with pytest.raises(ConfigError, match="exclude each other"):
        engine(*OPTIONS)


@pytest.mark.parametrize("option", ["clean-pixel-data", "clean-recognizable-visual-features"])
def test_options_of_pixels_are_refused(option: str) -> None:
    """What is not done is not claimed."""
    with pytest.raises(ConfigError, match="not there yet"):
        engine(option)


# ---------------------------------------------------------------------- claims


def everything() -> Dataset:
    """A data set in which every option finds something to do."""
    ds = samples.image()
    ds.PatientAge = "042Y"
    ds.StudyDescription = "CT CHEST"
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "1.5")
    item = Dataset()
    item.ValueType, item.TextValue = "TEXT", "CT CHEST"
    ds.AcquisitionContextSequence = Sequence([item])
    graphic = Dataset()
    graphic.GraphicLayer = "LAYER"
    ds.GraphicAnnotationSequence = Sequence([graphic])
    return ds


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_claimed_where_it_was_used(option: str) -> None:
    """By its code of CID 7050, in an instance where it did something; not in one where it did not."""
    assert codes(result(everything(), by((option,)))) == sorted(["113100", CLAIMS[option]])
    bare = Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    expected = {"113100", CLAIMS[option]} if option == "retain-uids" else {"113100"}
    assert set(codes(result(bare, by((option,))))) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [((), "REMOVED"), ((FULL_DATES,), "UNMODIFIED"), ((MODIFIED_DATES,), "MODIFIED"), (ALL_FULL, "UNMODIFIED")],
)
def test_temporal_information_is_told_truthfully(options: tuple[str, ...], said: str) -> None:
    """(0028,0303) says what became of dates."""
    assert result(everything(), by(options)).LongitudinalTemporalInformationModified == said


def test_claims_are_added_to_those_that_are_there() -> None:
    """An earlier de-identification's items stay, and none of ours is there twice."""
    once = result(everything(), by(ALL_MODIFIED))
    twice = result(once, by(ALL_MODIFIED))
    assert codes(twice) == codes(once)
    assert twice.DeidentificationMethod == once.DeidentificationMethod
    other = result(once, by(("retain-uids",)))
    assert codes(other)[: len(codes(once))] == codes(once)


def test_methods_name_tool_profile_and_key() -> None:
    """Another option is another profile, and another digest."""
    methods = [result(everything(), by(options)).DeidentificationMethod for options in SETS]
    assert len({value[1] for value in methods}) == len(SETS)
    assert all(re.fullmatch(r"scp-anon \S+", value[0]) and value[2].startswith("key ") for value in methods)


# ---------------------------------------------------------------------- dates across instances


def test_all_dates_of_a_patient_move_together() -> None:
    """By the patient, whatever the study, the depth or the VR; another patient's by another number of days."""
    offsets = set()
    for patient in ("ONE", "TWO"):
        for number, study in itertools.product(range(2), range(2)):
            ds = samples.image(str(number), f"study {study}")
            ds.PatientID = f" {patient} "
            ds.AcquisitionDateTime = "20240229101500"
            inner = Dataset()
            inner.FrameAcquisitionDateTime = "20240301"
            ds.PerFrameFunctionalGroupsSequence = Sequence([inner])
            new = result(ds, by((MODIFIED_DATES,)))
            assert new.AcquisitionDateTime == f"{new.StudyDate}101500"
            moved = {
                "20240229": new.StudyDate,
                "20240301": new.PerFrameFunctionalGroupsSequence[0].FrameAcquisitionDateTime,
            }
            offsets.add((patient, *moved.values()))
    assert len(offsets) == 2


@pytest.mark.parametrize(("keyword", "there"), [("StudyDate", True), ("SeriesDate", False), ("AcquisitionDate", False)])
def test_what_is_no_date_is_as_in_the_basic_profile(keyword: str, there: bool) -> None:
    """Emptied, dummied or removed by its type, never passed."""
    ds = samples.image()
    ds[keyword if keyword in ds else "StudyDate"]._value = "CANARY"
    if keyword not in ds:
        ds.add_new(keyword, "DA", "")
        ds[keyword]._value = "CANARY"
    assert (keyword in result(ds, by((MODIFIED_DATES,)))) == there


@pytest.mark.parametrize("options", [(FULL_DATES,), (MODIFIED_DATES,)])
def test_what_is_no_date_or_time_is_not_kept(options: tuple[str, ...]) -> None:
    """Whatever the row: the Basic Profile's rule holds for a value that is none of its VR."""
    for tag, row in rows().items():
        if row["retain_long_full_dates"] and vr_of(tag) in ("DA", "DT", "TM", "SH"):
            assert carried(tag, b"CANARY", options, 0, True) != b"CANARY", tag


def test_fixed_days() -> None:
    """The same for all, if the profile says so."""
    assert result(samples.image(), engine(MODIFIED_DATES, dates={"days": -60})).StudyDate == "20231231"


def test_ages_of_the_very_old_are_one() -> None:
    """90 and more is 90; what is no age is removed."""
    ds = samples.image()
    for age, told in (("042Y", "042Y"), ("097Y", "090Y")):
        ds.PatientAge = age
        assert result(ds, by(("retain-patient-characteristics",))).PatientAge == told
