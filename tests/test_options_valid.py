"""Every option leaves instances of their IODs: our own check, and dciodvfy's, on every real file.

So does an allow-list with all that no row of Table E.1-1 is about, and the profile mmiv.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import Deidentifier, Undecodable
from scp_anon.deid.chain import OURS
from scp_anon.deid.lint import load_profile, with_changes
from scp_anon.deid.tables import ruled
from scp_anon.dicom.dictionary import attributes, dictionary, vr_of
from scp_anon.dicom.uids import iod_of_sop_class
from tests import iods, samples, study
from tests.peers import corpus_files, require_peer
from tests.profiles import ALL_FULL, ALL_MODIFIED, OPTIONS, engine
from tests.test_engine import carrier
from tests.test_engine_peers import CRASHES, DEFLATED, complaints, kinds

ALLOW_LIST: Final = ("allow-list",)  # in the place of options
MMIV: Final = ("mmiv",)  # likewise
SETS: Final = ((), *((option,) for option in OPTIONS), ALL_FULL, ALL_MODIFIED, ALLOW_LIST, MMIV)
BODY_PART: Final = "Warning - Unrecognized defined term <BODYPART>"  # mmiv's word for what is no defined term

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom


def named(options: tuple[str, ...]) -> str:
    """What to call a set of options."""
    return "+".join(options) or "basic" if len(options) < 2 else "all with " + next(o for o in options if "dates" in o)


def listed() -> list[dict[str, str]]:
    """Rules for an allow-list with whatever identifies nobody, and with the sequences that refer to instances."""
    known = (tag for tag in attributes() if tag >> 16 >= 8 and tag >> 24 not in (0x50, 0x60))
    tags = [tag for tag in known if tag not in ruled() | OURS and tag >> 16 != 0x0012]
    kept = (*tags, 0x00081140, 0x00082112)
    return [{"tag": f"({tag >> 16:04X},{tag & 0xFFFF:04X})", "action": "keep"} for tag in kept]


every_set = pytest.mark.parametrize("options", SETS, ids=named)


@cache
def sources() -> dict[str, bytes]:
    """Every file to de-identify: the real ones, and those of the synthetic study."""
    found = {f"{number} {path.name}": path.read_bytes() for number, path in enumerate(corpus_files())}
    return found | {f"study {kind}": file for kind, file in study.files().items()}


@cache
def engine_of(options: tuple[str, ...]) -> Deidentifier:
    """The engine for a set of options."""
    if options == ALLOW_LIST:
        return engine(base="allow-list", rules=listed())
    if options == MMIV:
        return Deidentifier(samples.KEY, "project", with_changes(load_profile("mmiv"), (), "pass"))
    return engine(*options)


def deidentified(options: tuple[str, ...]) -> dict[str, bytes]:
    """The results of what is not refused, by the same names."""
    by, found = engine_of(options), {}
    for name, file in sources().items():
        try:
            found[name] = by.bytes(file)
        except Undecodable:
            continue
    return found


def read(file: bytes) -> Dataset:
    """What pydicom reads of a DICOM file."""
    return dcmread(BytesIO(file), force=True)


@every_set
def test_nothing_that_an_iod_needs_is_lost(options: tuple[str, ...]) -> None:
    """Attributes of Type 1 keep a value, those of Type 2 stay, at every depth; dummies are complete."""
    results = deidentified(options)
    assert len(results) >= len(study.CLASSES)
    lost = {name: iods.damage(read(sources()[name]), read(file)) for name, file in results.items()}
    assert not {name: messages for name, messages in lost.items() if messages}


# ---------------------------------------------------------------------- every IOD

# Conditional attributes that Table E.1-1 removes wherever they are; what the conditions are about is removed as well,
# or, as the species of an animal, is none of the standard's.
REMOVED: Final = (
    *("(0010,2297)", "(0010,2299)"),  # Responsible Person and Organization, who may be nobody
    "(0008,0400)>(0008,0201)",  # Timezone Offset From UTC of an inventory's records
    "(0008,0423)>(0008,0054)",  # Retrieve AE Title, likewise
    "(3006,0080)>(3006,004E)",  # ROI Interpreter Sequence
)
SOP_CLASSES: Final = {iod: uid for uid, iod in iod_of_sop_class().items() if iod != "basic-directory"}


@cache
def specimen(iod: str) -> bytes:
    """An instance with every attribute of Table E.1-1 that its IOD has as Type 1, 1C, 2 or 2C, wherever it has it."""
    root = Dataset()
    places: dict[iods.Route, Dataset] = {(): root}

    def place(route: iods.Route) -> Dataset:
        if route not in places:
            places[route] = study.item("CodeMeaning=CT")  # no item is empty
            place(route[:-1]).add_new(route[-1], "SQ", Sequence([places[route]]))
        return places[route]

    for route, tag in sorted(iods.types(iod).exact):
        if vr_of(tag) == "SQ":
            place((*route, tag))
        elif vr_of(tag):
            place(route)[tag] = carrier(tag)
    root.SOPClassUID, root.SOPInstanceUID, root.PatientID = SOP_CLASSES[iod], samples.uid(iod), samples.CANARY
    return samples.encoded(root)


@pytest.mark.parametrize("options", [(), ALL_MODIFIED], ids=["basic", "all"])
@pytest.mark.parametrize("iod", sorted(SOP_CLASSES))
def test_every_place_of_an_iod(iod: str, options: tuple[str, ...]) -> None:
    """What an IOD needs stays or is filled, wherever the tables have it; also of IODs that nobody has samples of."""
    source = specimen(iod)
    result = engine_of(options).bytes(source)
    lost = iods.damage(read(source), read(result))
    assert not [message for message in lost if not message.split()[0].endswith(REMOVED)]
    assert options or samples.CANARY.encode() not in result


# ---------------------------------------------------------------------- encoding


def data_sets(ds: Dataset) -> Iterator[Dataset]:
    """A data set and those in its sequences, as they were read."""
    yield ds
    for tag in tuple(ds.keys()):
        if ds.get_item(tag).VR == "SQ":
            for item in ds[tag].value:
                yield from data_sets(item)


def encoding(ds: Dataset) -> set[tuple[int, str]]:
    """The standard's attributes with the VRs that they are written with, "" where none is told; 0: in a wrong order."""
    found = set()
    for one in data_sets(ds):
        tags = [int(tag) for tag in one.keys()]  # noqa: SIM118 - a data set iterates over elements, in their order
        found |= {(tag, one.get_item(tag).VR or "") for tag in tags if tag in dictionary()}
        found |= set() if tags == sorted(tags) else {(0, "")}
    return found


@every_set
def test_attributes_are_written_as_the_standard_has_them(options: tuple[str, ...]) -> None:
    """With a VR of theirs and in the order of their tags, unless the source had it otherwise."""
    wrong = {}
    for name, file in deidentified(options).items():
        new = encoding(read(file)) - encoding(read(sources()[name]))
        wrong[name] = {(f"{tag:08X}", vr) for tag, vr in new if not tag or vr not in ("", *dictionary()[tag])}
    assert not {name: found for name, found in wrong.items() if found}


# ---------------------------------------------------------------------- dciodvfy


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str] | None]:
    """What dciodvfy says of the sources, once for all options."""
    return judged(sources(), tmp_path_factory.mktemp("sources"))


def judged(files: dict[str, bytes], folder: Path) -> dict[str, set[str] | None]:
    """What dciodvfy says of files, without values; None where it crashes."""
    command = [require_peer("dciodvfy")]

    def judge(name: str) -> set[str] | None:
        path = folder / name.replace("/", "_")
        path.write_bytes(files[name])
        said = complaints(command, path)
        # Of UIDs not only the numbers differ, but also how many there are.
        return None if said is None else {re.sub(r"#(\.#)+", "#", kind) for kind in kinds(said)}

    understood = [name for name in files if not name.endswith(DEFLATED)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(understood, pool.map(judge, understood), strict=True))


@every_set
def test_dciodvfy_finds_nothing_new(
    options: tuple[str, ...], before: dict[str, set[str] | None], tmp_path: Path
) -> None:
    """The results are as valid instances of their IODs as the originals, also where options disagree."""
    new = {}
    for name, after in judged(deidentified(options), tmp_path).items():
        earlier = before[name]
        if earlier is None or after is None:
            assert name.endswith(CRASHES), f"{name}: dciodvfy crashes"
        elif said := {kind for kind in after - earlier if not (options == MMIV and BODY_PART in kind)}:
            new[name] = said
    assert not new


# ---------------------------------------------------------------------- the check itself


def image(*without: str, references: tuple[str, ...] = (), **values: object) -> Dataset:
    """An image without some attributes, with others, and with references of no more than one keyword each."""
    ds = samples.image()
    ds.PatientSex = "F"
    ds.ReferencedImageSequence = Sequence([study.item(**{keyword: "1.2.3"}) for keyword in references])
    for keyword in without:
        delattr(ds, keyword)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return read(samples.encoded(ds))


UID, CLASS = "ReferencedSOPInstanceUID", "ReferencedSOPClassUID"


@pytest.mark.parametrize(
    ("source", "result", "said"),
    [
        (image(), image(), ""),
        (image(), image("StudyInstanceUID"), "(0020,000D) of Type 1 is gone"),
        (image(), image(FrameOfReferenceUID=""), "(0020,0052) of Type 1 is empty"),
        (image("StudyInstanceUID"), image("StudyInstanceUID"), ""),
        (image(FrameOfReferenceUID=""), image("FrameOfReferenceUID"), ""),
        (image(), image(PatientSex=""), ""),
        (image(), image("PatientSex"), "(0010,0040) of Type 2 is gone"),
        (image(PatientSex=""), image("PatientSex"), "(0010,0040) of Type 2 is gone"),
        (image(), image("PatientComments", "StudyDescription"), ""),
        (image(references=(UID,)), image(references=(UID,)), ""),
        (image(references=(UID,)), image(references=(CLASS,)), "(0008,1140)>(0008,1155) of Type 1 is gone"),
        (image(references=(UID,)), image(), ""),
        (image(references=(UID,)), image(references=(UID, CLASS)), "(0008,1140)>(0008,1155) of Type 1 is missing"),
        (image(ResponsiblePerson="A"), image(), ""),
        (image(ResponsiblePerson="A", PatientSpeciesDescription="DOG"), image(), "(0010,2297) of Type 2C is gone"),
    ],
)
def test_the_check_finds_what_is_lost(source: Dataset, result: Dataset, said: str) -> None:
    """And nothing else; attributes that the source did not have either are none of its business."""
    assert iods.damage(source, result) == [said][: bool(said)]


def test_the_nearest_sequence_tells_where_the_tables_end() -> None:
    """Content items are nested deeper than the tables are; private sequences are no part of an IOD."""
    known = iods.types("comprehensive-sr")
    content, name, private = 0x0040A730, 0x0040A123, 0x00091001
    assert known.of((content,) * 9, name) == known.of((content,), name) == "1C"
    assert known.of((private, content), name) == known.of((private,), name) == ""
    assert iods.damage(Dataset(), Dataset()) == []
