"""A study de-identified in two runs is still one: references, intervals, measurements and graphics hold together."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from typing import Final, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT

from scp_anon.dicom.uids import well_known_uids
from tests import samples, study
from tests.profiles import ALL_FULL, ALL_MODIFIED, MODIFIED_DATES, engine

RETAIN_UIDS, GRAPHICS, CONTENT = "retain-uids", "clean-graphics", "clean-structured-content"
DESCRIPTORS: Final = "clean-descriptors"
NEW_UIDS: Final = tuple(option for option in ALL_MODIFIED if option != RETAIN_UIDS)
SETS: Final = {
    "basic": (),
    "modified dates": (MODIFIED_DATES,),
    "retained uids": (RETAIN_UIDS,),
    "all": ALL_MODIFIED,
    "all with full dates": ALL_FULL,
    "all but uids": NEW_UIDS,
}
# What names an instance of the study, or the study itself as if it were one.
_INSTANCE: Final = frozenset((0x00080018, 0x00081155))
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_FRAMES: Final = frozenset((0x00200052, 0x30060024))
# UIDs that no other instance defines.
_ALONE: Final = frozenset((0x00209164, 0x00620021, 0x300A0013, 0x0040A124))
_DUMMY_DATE: Final = "19000101"

every_set = pytest.mark.parametrize("options", SETS.values(), ids=SETS.keys())
moved = pytest.mark.parametrize("options", [(MODIFIED_DATES,), ALL_MODIFIED, NEW_UIDS], ids=["alone", "all", "no uids"])


class Place(NamedTuple):
    """An element of an instance: its sequences' tags and items' numbers, and its own tag."""

    kind: str
    route: tuple[int, ...]
    tag: int

    def __str__(self) -> str:
        return f"{self.kind} {'>'.join(f'{number:X}' for number in (*self.route, self.tag))}"


def run(options: tuple[str, ...], kinds: tuple[str, ...]) -> dict[str, bytes]:
    """De-identify these instances with an engine of their own, in this order."""
    by, files = engine(*options), study.files()
    return {kind: by.bytes(files[kind]) for kind in kinds}


@cache
def results(options: tuple[str, ...]) -> dict[str, bytes]:
    """The study, CT first, the rest in a second run and the other way round."""
    images = tuple(kind for kind in study.CLASSES if kind.startswith("CT"))
    others = tuple(kind for kind in reversed(study.CLASSES) if kind not in images)
    return run(options, images) | run(options, others)


def read(files: dict[str, bytes]) -> dict[str, Dataset]:
    """What pydicom reads of the study."""
    return {kind: dcmread(BytesIO(files[kind])) for kind in study.CLASSES}


def values(files: dict[str, bytes], *vrs: str) -> dict[Place, str]:
    """All values of these VRs but empty ones, at every depth."""
    found = {
        Place(kind, route, tag): value
        for kind, ds in read(files).items()
        for route, tag, vr, value in _walk(ds, ())
        if vr in vrs
    }
    return {place: value for place, value in found.items() if value}


def _walk(ds: Dataset, route: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int, str, str]]:
    for element in ds:
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from _walk(item, (*route, int(element.tag), number))
        else:
            yield route, int(element.tag), element.VR, str(element.value or "")


# ---------------------------------------------------------------------- references


def own_uids(files: dict[str, bytes]) -> dict[Place, str]:
    """UIDs of the study's own, which are those that the standard gives no meaning."""
    return {place: uid for place, uid in values(files, "UI").items() if uid.encode() not in well_known_uids()}


@every_set
def test_references_resolve(options: tuple[str, ...]) -> None:
    """What is referred to is there, under the UID that it has now; and no UID is left that would name nothing."""
    found = own_uids(results(options))
    defined = {place: uid for place, uid in found.items() if not place.route}
    known = {
        tag: {uid for place, uid in defined.items() if place.tag == tag}
        for tag in (0x00080018, _STUDY, _SERIES, 0x00200052)
    }
    assert [len(known[tag]) for tag in known] == [11, 1, 9, 2]
    for place, uid in found.items():
        if place.tag in _INSTANCE:
            assert uid in known[0x00080018] | known[_STUDY], place
        elif place.tag in _FRAMES:
            assert uid in known[0x00200052], place
        elif place.tag in known:
            assert uid in known[place.tag], place
        else:
            assert place.tag in _ALONE, place


@every_set
def test_no_reference_is_lost(options: tuple[str, ...]) -> None:
    """Every reference of the source is there, and to the same thing as before."""
    before, after = own_uids(study.files()), own_uids(results(options))
    assert not {place for place in before if place not in after and not may_go(place, options)}
    pairs = {(before[place], uid) for place, uid in after.items() if place in before}
    assert len({old for old, _ in pairs}) == len({new for _, new in pairs}) == len(pairs)


def may_go(place: Place, options: tuple[str, ...]) -> bool:
    """Whether this is in what Table E.1-1 or E.3.4-1 removes, or replaces as a whole, under these options."""
    kept_by = {
        0x00081140: RETAIN_UIDS if place.kind.startswith("CT") else "",  # Type 3 in an image
        0x00400275: DESCRIPTORS,
        0x0040A730: CONTENT,
        0x00700001: GRAPHICS,
    }
    by_options = any(option and option not in options for tag, option in kept_by.items() if tag in place.route)
    illustration = place.kind == "SR" and place.route[:2] == (0x0040A730, 3)
    return by_options or (illustration and RETAIN_UIDS not in options)


@every_set
def test_uids_are_all_new_or_all_kept(options: tuple[str, ...]) -> None:
    """No UID of the original is left, unless UIDs are retained; then they are all the old ones."""
    files = results(options)
    if RETAIN_UIDS not in options:
        assert not [kind for kind, file in files.items() if study.ROOT.encode() in file]
        return
    kept = {place: uid for place, uid in own_uids(files).items() if place.tag != 0x0040A124}
    assert kept
    assert not [place for place, uid in kept.items() if not uid.startswith(study.ROOT)]


def test_another_process_makes_the_same() -> None:
    """Nothing that makes the study hold together is in memory only."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        other = pool.submit(run, ALL_MODIFIED, tuple(study.CLASSES)).result()
    assert other == results(ALL_MODIFIED)


# ---------------------------------------------------------------------- identity


@every_set
def test_no_name_is_left(options: tuple[str, ...]) -> None:
    """Nowhere, in any option."""
    for kind, file in results(options).items():
        assert samples.CANARY.encode() not in file, kind


@every_set
def test_device_and_institution_are_there_if_retained(options: tuple[str, ...]) -> None:
    """These are the options' to keep, and the Basic Profile's to remove."""
    for kind, file in results(options).items():
        assert (study.DEVICE.encode() in file) == ("retain-device-identity" in options), kind
        assert (study.INSTITUTION.encode() in file) == ("retain-institution-identity" in options), kind


# ---------------------------------------------------------------------- dates


def parsed(value: str) -> datetime:
    """A DA or DT value as a point in time."""
    found = DA(value) if len(value) == 8 else DT(value)
    assert found is not None
    return (
        datetime(found.year, found.month, found.day) if len(value) == 8 else datetime.fromisoformat(found.isoformat())
    )


def dates(files: dict[str, bytes]) -> dict[Place, str]:
    """All dates, but dummies."""
    return {place: value for place, value in values(files, "DA", "DT").items() if not value.startswith(_DUMMY_DATE)}


@moved
def test_all_intervals_hold(options: tuple[str, ...]) -> None:
    """Every date, in every instance and at every depth, is moved by the same days; the rest of it is as it was."""
    before, after = dates(study.files()), dates(results(options))
    shifts = {parsed(value) - parsed(before[place]) for place, value in after.items()}
    assert len(shifts) == 1
    (shift,) = shifts
    assert shift
    assert shift == timedelta(shift.days)
    assert all(value[8:] == before[place][8:] for place, value in after.items())
    assert {place.kind for place in after} == set(study.CLASSES)


@moved
def test_no_date_is_lost(options: tuple[str, ...]) -> None:
    """But those that the options do not speak of, and those inside of what is removed."""
    gone = set(dates(study.files())) - set(dates(results(options)))
    birth, verification, content = 0x00100030, 0x0040A073, 0x0040A730
    unexpected = {place for place in gone if place.tag != birth and verification not in place.route}
    assert not {place for place in unexpected if CONTENT in options or content not in place.route}


@moved
def test_named_intervals(options: tuple[str, ...]) -> None:
    """The ones that somebody calculates with: from study to content, and from injection to imaging over midnight."""
    times = set()
    for files in (study.files(), results(options)):
        pet = read(files)["PT"]
        injected = DT(pet.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime)
        imaged = DT(f"{pet.AcquisitionDate}{pet.AcquisitionTime}+0100")
        assert injected is not None
        assert imaged is not None
        times.add((imaged - injected, parsed(pet.ContentDate) - parsed(pet.StudyDate)))
    assert times == {(timedelta(minutes=59, seconds=59.75), timedelta(2))}


@pytest.mark.parametrize("options", [(), (RETAIN_UIDS, GRAPHICS, CONTENT)], ids=["basic", "others"])
def test_no_date_is_left_without_an_option(options: tuple[str, ...]) -> None:
    """But dummies."""
    assert not dates(results(options))


def test_full_dates_are_the_same() -> None:
    """All of them that the option speaks of."""
    before, after = dates(study.files()), dates(results(ALL_FULL))
    assert after.items() <= before.items()
    assert set(after) == set(dates(results(ALL_MODIFIED)))


# ---------------------------------------------------------------------- content and graphics


def items(ds: Dataset, value_type: str) -> list[Dataset]:
    """The content items of a value type, at every depth, in their order."""
    found = []
    for child in ds.get("ContentSequence", []):
        found += [child] * (child.ValueType == value_type) + items(child, value_type)
    return found


@pytest.mark.parametrize(
    "options", [(CONTENT,), (CONTENT, RETAIN_UIDS), ALL_MODIFIED, NEW_UIDS], ids=lambda o: str(len(o))
)
def test_report_keeps_its_measurements(options: tuple[str, ...]) -> None:
    """The numbers, their units, where they were measured, and what tells the lesion; not the names."""
    new = read(results(options))
    old, report = read(study.files())["SR"], new["SR"]
    assert [str(n.MeasuredValueSequence[0].NumericValue) for n in items(report, "NUM")] == list(study.DISTANCES)
    assert [n.MeasuredValueSequence for n in items(report, "NUM")] == [
        n.MeasuredValueSequence for n in items(old, "NUM")
    ]
    assert [n.GraphicData for n in items(report, "SCOORD")] == [n.GraphicData for n in items(old, "SCOORD")]
    images = [image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in items(report, "IMAGE")]
    assert images[:2] == [new["CT 1"].SOPInstanceUID, new["CT 2"].SOPInstanceUID]
    assert all(item.PersonName == "DEIDENTIFIED" for item in items(report, "PNAME"))
    texts = " ".join(item.TextValue for item in items(report, "TEXT"))
    assert ("lung" in texts) == (
        DESCRIPTORS in options
    )  # of a finding, which is otherwise a dummy; not of an identifier
    assert "lesion" in texts


def test_tracked_lesion_is_the_same_in_report_and_segmentation() -> None:
    """UIDs that are content are mapped as UIDs that are attributes."""
    new = read(results(NEW_UIDS))
    (tracked,) = items(new["SR"], "UIDREF")
    assert tracked.UID == new["SEG"].SegmentSequence[0].TrackingUID != samples.uid("tracked lesion")


@pytest.mark.parametrize("options", [(GRAPHICS,), ALL_MODIFIED, ALL_FULL], ids=["alone", "all", "full dates"])
def test_presentation_state_keeps_its_graphics(options: tuple[str, ...]) -> None:
    """Graphic objects as they were; text objects in their place, cleaned."""
    new = read(results(options))
    (old,), (kept,) = read(study.files())["PR"].GraphicAnnotationSequence, new["PR"].GraphicAnnotationSequence
    assert kept.GraphicObjectSequence == old.GraphicObjectSequence
    assert kept.ReferencedImageSequence[0].ReferencedSOPInstanceUID == new["CT 1"].SOPInstanceUID
    texts = kept.TextObjectSequence
    assert texts[2].UnformattedTextValue == "lesion"
    assert "lesion" in texts[0].UnformattedTextValue
    assert [text.BoundingBoxTopLeftHandCorner for text in texts] == [[1, 1]] * 3
