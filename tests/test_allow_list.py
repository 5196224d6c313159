"""`base: allow-list`: everything is deleted but what the rules name; what an IOD needs is filled anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import ConfigError, Deidentifier, Undecodable
from scp_anon.deid import load_profile, with_changes
from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.explain import as_markdown, explain, plain_actions
from scp_anon.deid.tables import attribute_rows, iod_needs
from scp_anon.dicom.dictionary import attributes, vr_of
from scp_anon.dicom.elements import encode_element
from scp_anon.dicom.uids import iod_of_sop_class, well_known_uids
from tests import iods, samples, trees, wire
from tests.profiles import codes, engine, result
from tests.test_engine_exact import EXPLICIT_LE, IMPLICIT_LE, decoded, part10
from tests.wire import Element, Elements

IMAGE: Final = ("(0028,00xx)", "(0028,01xx)", "PixelData")
# What no rule is asked of: what an instance cannot be without, and what it says of its de-identification.
OURS: Final = frozenset((0x00080005, 0x00080016, 0x00120062, 0x00120063, 0x00120064, 0x00280303))
RULED: Final = frozenset(row.tag for row in attribute_rows())
NEEDED: Final = frozenset((0x00080018, 0x00100010, 0x00100020, 0x0020000D, 0x0020000E))


def listed(*names: str) -> Deidentifier:
    """An engine that keeps these, and nothing else."""
    return engine(base="allow-list", rules=[{"tag": name, "action": "keep"} for name in names])


def test_only_what_is_listed_stays() -> None:
    """The pixel module and the modality; UIDs and the patient anew; what PS3.3 wants of Table E.1-1 is emptied."""
    source = samples.image()
    ds = result(source, listed("Modality", *IMAGE))
    kept = {element.keyword for element in source if element.tag in ds and ds[element.tag] == element}
    assert kept == {
        *("SpecificCharacterSet", "SOPClassUID", "Modality", "SamplesPerPixel", "PhotometricInterpretation", "Rows"),
        *("Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    }
    emptied = {element.keyword for element in ds if element.is_empty}
    assert emptied == {
        *("StudyDate", "ContentDate", "StudyTime", "ContentTime", "AccessionNumber", "ReferringPhysicianName"),
        *("PatientBirthDate", "PatientSex", "StudyID"),
    }
    basic = result(source, engine())
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert ds[keyword] == basic[keyword], "the same person and study, whatever the profile"
    for keyword in ("ImageType", "SeriesDate", "SliceThickness", "Manufacturer", "SeriesNumber", "OperatorsName"):
        assert keyword not in ds
    assert codes(ds) == ["113100"], "less than the Basic Profile keeps"
    assert "allow-list and rules" in ds.DeidentificationMethod[1]


def test_items_keep_what_is_listed() -> None:
    """A sequence that is listed stays; of what is in it only what is listed too, or as a path."""
    ds = result(samples.image(), listed("RequestAttributesSequence", "ScheduledProtocolCodeSequence", "CodeMeaning"))
    (item,) = ds.RequestAttributesSequence
    assert [element.keyword for element in item] == ["ScheduledProtocolCodeSequence"]
    assert [element.keyword for element in item.ScheduledProtocolCodeSequence[0]] == ["CodeMeaning"]
    by_path = listed("RequestAttributesSequence", "RequestAttributesSequence/RequestedProcedureID")
    assert result(samples.image(), by_path).RequestAttributesSequence[0].RequestedProcedureID == "CANARYRP"


def test_other_actions_list_too() -> None:
    """What a rule replaces, hashes or moves is listed by that; a rule that removes is an exception to a pattern."""
    rules = [
        {"tag": "StudyDescription", "action": "replace", "value": "{project}"},
        {"tag": "AccessionNumber", "action": "hash"},
        {"tag": "ImageComments", "action": "remove"},
        {"tag": "(0020,xxxx)", "action": "keep", "when": {"Modality": "CT"}},
    ]
    source = samples.image()
    source.ImageComments = samples.CANARY
    ds = result(source, engine(base="allow-list", rules=rules))
    assert (ds.StudyDescription, len(ds.AccessionNumber), ds.SeriesNumber) == ("project", 16, 1)
    assert "ImageComments" not in ds
    source.Modality = "MR"
    assert "SeriesNumber" not in result(source, engine(base="allow-list", rules=rules))


def test_private_never() -> None:
    """No private attribute, nor what an instance itself says is safe, nor a rule for one."""
    assert not [element for element in result(samples.image(), listed("Modality")) if element.tag.is_private]
    with pytest.raises(ConfigError, match="with base: allow-list private attributes never stay"):
        engine(base="allow-list", rules=[{"private": "MAKER", "action": "keep"}])


def test_earlier_claims_go() -> None:
    """What an earlier de-identification has said may be any text."""
    source = samples.image()
    source.DeidentificationMethod = [samples.CANARY, "scp-anon"]
    earlier = Dataset()
    earlier.CodeValue = samples.CANARY
    source.DeidentificationMethodCodeSequence = Sequence([earlier])
    ds = result(source, listed(*IMAGE))
    assert samples.CANARY not in str(ds)
    assert codes(ds) == ["113100"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"options": ["clean-descriptors"], "rules": [{"tag": "Modality", "action": "keep"}]},
            "with base: allow-list only rules say what stays",
        ),
        ({}, "nothing would stay"),
        (
            {"rules": [{"tag": "RequestAttributesSequence/RequestedProcedureID", "action": "keep"}]},
            "never decides: RequestAttributesSequence is not passed on (not on the list",
        ),
        (
            {"rules": [{"tag": "Modality", "action": "keep"}, {"tag": "(0008,0060)", "action": "remove"}]},
            "rules.1: never decides",
        ),
        ({"base": "allowlist"}, "Input should be 'basic' or 'allow-list'"),
    ],
)
def test_what_cannot_be_meant(content: dict[str, Any], said: str) -> None:
    """Options, no list, and what is listed in a sequence that is not."""
    with pytest.raises(ConfigError) as raised:
        load_profile({"base": "allow-list", **content})
    assert said in str(raised.value)


def test_no_option_comes_later() -> None:
    """Nor by --option."""
    settings = load_profile({"base": "allow-list", "rules": [{"tag": "Modality", "action": "keep"}]})
    with pytest.raises(ConfigError, match="there is no option of it"):
        with_changes(settings, ["retain-uids"])


def test_told() -> None:
    """`explain` and `rules` say what is on the list, what is filled, and that all else goes."""
    profile = listed("Modality", "PixelData").profile
    assert explain(profile, "Modality") == ["(0008,0060) Modality CS: kept; rule 1"]
    assert explain(profile, "SliceThickness") == ["(0018,0050) SliceThickness DS: removed; not on the list"]
    assert explain(profile, "StudyDate")[0].endswith(
        "filled or emptied where the IOD needs it, else removed; not on the list, by IOD"
    )
    assert explain(profile, "0029,1010") == ["0029,1010: private: removed; not on the list"]
    printed = as_markdown(profile)
    assert "| all others of PS3.6 | | | removed | not on the list |" in printed
    assert "SliceThickness" not in printed
    actions = {keyword: action for _, keyword, action in plain_actions(profile)}
    assert (actions["SliceThickness"], actions["SOPInstanceUID"], actions["Modality"]) == ("remove", "uid", "keep")


# ---------------------------------------------------------------------- what IODs need

SOMETHING: Final = {"UI": "1.2.3", "DA": "20200101", "TM": "10", "DT": "20200101"}


def test_needs_are_those_of_the_types() -> None:
    """They are what our own reading of the types says, for every row whose code asks for no IOD."""
    expected: dict[tuple[int, int], dict[str, str]] = {}
    rows = {row.tag: row.basic for row in attribute_rows() if row.basic in ("D", "Z", "U")}
    of_classes = set(iod_of_sop_class().values()) - {"basic-directory"}
    for iod in of_classes:
        for (route, tag), kind in iods.types(iod).exact.items():
            if tag in rows:
                by = expected.setdefault((tag, route[-1] if route else 0), {})
                code = "U" if rows[tag] == "U" else {"1": "D", "2": "Z"}[kind[0]]
                by[iod] = "D" if by.get(iod) == "D" else code
    needs = {place: {iod: by[iod] for iod in by.keys() & of_classes} for place, by in iod_needs().items()}
    assert {place: by for place, by in needs.items() if by} == expected


@pytest.mark.parametrize("iod", ["ct-image", "mr-image", "enhanced-ct-image", "rt-plan", "comprehensive-sr"])
def test_what_an_iod_needs_is_there(iod: str) -> None:
    """Of Table E.1-1, at the top level: Type 1 has a value, Type 2 is there."""
    sop_class = next(uid for uid, name in iod_of_sop_class().items() if name == iod)
    source = samples.image(sop_class=sop_class)
    for (route, tag), kind in iods.types(iod).exact.items():
        if not route and kind in ("1", "2") and vr_of(tag) not in ("SQ", None) and tag not in source:
            source.add_new(tag, vr_of(tag) or "UN", SOMETHING.get(vr_of(tag) or "", "1"))
    assert not [lost for lost in iods.damage(source, result(source, listed("Modality"))) if ">" not in lost]


# ---------------------------------------------------------------------- the law


def tags_of(elements: Elements) -> set[int]:
    """The attributes of the dictionary that are in a data set, at any depth."""
    found = {element.tag for element in elements}
    for element in elements:
        for item in () if isinstance(element.value, bytes) else element.value:
            found |= tags_of(item.elements)
    return {tag for tag in found if tag in attributes() and tag >> 16 >= 8} - OURS - NEEDED


def unlisted(elements: Elements, kept: frozenset[int], patient: bytes, depth: int = 0) -> Iterator[str]:
    """Where something is that nobody has listed, and that is not of our own making."""
    for element in elements:
        name = f"{depth}: {element.tag:08X}"
        if element.tag in kept or element.tag == 0x00080005:
            if not isinstance(element.value, bytes):
                for item in element.value:
                    yield from unlisted(item.elements, kept, patient, depth + 1)
        elif element.tag in OURS and not depth:
            continue
        elif element.tag not in RULED and element.tag != 0x00080016:
            yield name
        elif not is_ours(element, patient):
            yield f"{name} has a value"


def is_ours(element: Element, patient: bytes) -> bool:
    """Whether a value is empty, a dummy, a pseudonym or a new UID."""
    if not isinstance(element.value, bytes):
        dummy = BY_TAG.get(element.tag)
        return not element.value or (
            dummy is not None and wire.encode((element,)) == encode_element(element.tag, "SQ", dummy, bool(element.vr))
        )
    value = element.value.strip(b" \0")
    if vr_of(element.tag) == "UI":
        uids = [part.strip(b" \0") for part in value.split(b"\\")]
        return all(not uid or uid.startswith(b"2.25.") or uid in well_known_uids() for uid in uids)
    return value in (b"", patient, BY_VR[vr_of(element.tag) or "UN"].strip(b"\0"), b"") or _is_pseudonym(value)


def _is_pseudonym(value: bytes) -> bool:
    return len(value) == 16 and value.isalnum() and value.upper() == value


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(lambda vr: st.tuples(st.just(vr), trees.instances(vr))), st.data())
def test_nothing_that_is_not_listed_survives(case: tuple[bool, Elements], data: st.DataObject) -> None:
    """Whatever the instance, and the list of what is in it: at every depth only that, and what we have made."""
    is_explicit, source = case
    # Sequences mostly, so that there is something below.
    known = sorted(tags_of(source), key=lambda tag: (vr_of(tag) != "SQ", tag))
    assume(known)
    kept = frozenset(data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True)))
    names = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in sorted(kept)]
    try:
        file = listed(*names).bytes(part10(wire.encode(source), EXPLICIT_LE if is_explicit else IMPLICIT_LE))
    except Undecodable:
        assume(False)
    patient = dcmread(BytesIO(file)).get("PatientID", "").encode()
    assert not list(unlisted(decoded(file), kept, patient))


# ---------------------------------------------------------------------- lists of values


def described(text: str, **rule: object) -> Dataset:
    """A sample with this study description, under a rule that keeps values on a list."""
    source = samples.image()
    source.StudyDescription = text
    return result(source, engine(rules=[{"tag": "StudyDescription", "action": "keep", **rule}]))


@pytest.mark.parametrize(
    ("text", "stays"),
    [("NECK STUDY", True), ("neck-study", True), ("Neck  Study.", True), ("NECK STUDY of X", False), ("NECK", False)],
)
def test_values(text: str, stays: bool) -> None:
    """A value that is on the list stays; case, blanks and punctuation of a text do not count."""
    ds = described(text, values=["Neck Study", "Head"], otherwise="empty")
    assert ds.StudyDescription == (text if stays else "")


def test_values_of_several(tmp_path: Any) -> None:
    """All of them have to be on the list, which may be a file; without `otherwise` the instance is quarantined."""
    (tmp_path / "values.txt").write_text("ORIGINAL\n\nPRIMARY\nAXIAL\n", encoding="utf-8")
    rule: Mapping[str, object] = {"tag": "ImageType", "action": "keep", "file": str(tmp_path / "values.txt")}
    by = engine(rules=[rule])
    assert result(samples.image(), by).ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]
    source = samples.image()
    source.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    with pytest.raises(Undecodable, match=r"rule-not-applicable \(\(0008,0008\)\)"):
        result(source, by)


def test_values_else_the_next_rule() -> None:
    """`otherwise: next`: the rules behind, then the options, then the base."""
    assert "StudyDescription" not in described("other", values=["neck"], otherwise="next")
    behind = {"tag": "StudyDescription", "action": "replace", "value": "{project}"}
    first = {"tag": "StudyDescription", "action": "keep", "values": ["neck"], "otherwise": "next"}
    by = engine(rules=[first, behind])
    assert result(samples.image(), by).StudyDescription == "project"
    assert [line.partition(": ")[2] for line in explain(by.profile, "StudyDescription")] == [
        "kept where it can be, else; rule 1",
        "replaced by a value of the profile; rule 2",
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"tag": "Rows", "values": ["1"]}, "keep does not fit Rows, which is of VR US"),
        ({"tag": "StudyDescription", "values": ["a"], "file": "b"}, "either values or file"),
        ({"tag": "BodyPartExamined", "terms": "body-part-examined", "file": "b"}, "either values or file or terms"),
        ({"tag": "StudyDescription", "values": []}, "at least 1 item"),
        ({"private": "MAKER", "values": ["a"]}, "needs to know the VR"),
        ({"private": "MAKER", "vr": "LO", "values": ["a"], "otherwise": "next"}, "no rule comes behind"),
        ({"tag": "StudyDescription", "file": "missing"}, "cannot be read"),
        ({"tag": "StudyDescription", "otherwise": "empty"}, "the action keep can always be applied"),
    ],
)
def test_values_that_cannot_be_meant(rule: dict[str, Any], said: str) -> None:
    """What has no texts, two lists, or none."""
    with pytest.raises(ConfigError) as raised:
        load_profile({"rules": [{"action": "keep", **rule}]})
    assert said in str(raised.value)
