"""The standard's tables that are shipped, and what becomes of every row of Table E.1-1."""

from __future__ import annotations

import csv
import gzip
import re
import struct
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

import scp_anon
from scp_anon import Deidentifier
from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.tables import body_parts, iod_actions, parse_tag, unlisted_rows
from scp_anon.dicom.dictionary import dictionary, keyword_of, vr_of
from scp_anon.dicom.elements import Value
from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from tests import oracle, samples, trees, wire
from tests.peers import CORPUS
from tests.test_engine_exact import EXPLICIT_LE, IMPLICIT_LE, SHARED_GROUPS, UIDS, decoded, part10
from tests.wire import IMPLICIT, Element, Elements, Item

STANDARD = CORPUS.parent / "standard"
PACKAGE = Path(scp_anon.__file__).parent
TABLE = PACKAGE / "deid" / "standard" / "ps3.15-table-E.1-1.csv"
SHIPPED = [*(PACKAGE / "deid" / "standard").iterdir(), *(PACKAGE / "dicom").glob("*.csv")]
ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)

# One tag for each row that has a pattern.
REPEATING = {
    "(50XX,XXXX)": 0x50020010,
    "(60XX,3000)": 0x60023000,
    "(60XX,4000)": 0x60024000,
    "(GGGG,EEEE)": 0x00291010,
}
# PS3.5 6.2: what a dummy of these VRs must look like, besides being short enough.
FORMS = {
    "AT": rb"[\0-\xff]{4}",
    "DS": rb"[0-9.]{1,16}",
    "IS": rb"\d{1,12}",
    "FD": rb"[\0-\xff]{8}",
    "OD": rb"[\0-\xff]{8}",
    "OF": rb"[\0-\xff]{4}",
    "OL": rb"[\0-\xff]{4}",
    "OV": rb"[\0-\xff]{8}",
    "OW": rb"[\0-\xff]{2}",
    "SL": rb"[\0-\xff]{4}",
    "SS": rb"[\0-\xff]{2}",
    "SV": rb"[\0-\xff]{8}",
    "UL": rb"[\0-\xff]{4}",
    "UV": rb"[\0-\xff]{8}",
    "AE": rb"[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}",
    "AS": rb"\d{3}[DWMY]",
    "CS": rb"[A-Z0-9_ ]{1,16}",
    "DA": rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "DT": rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])([0-5]\d){2}",
    "FL": rb"([\0-\xff]{4})+",
    "LO": rb"[\x20-\x5b\x5d-\x7e]{1,64}",
    "LT": rb"[\x20-\x7e]{1,10240}",
    "OB": rb"([\0-\xff]{2})+",
    "PN": rb"[\x20-\x5b\x5d-\x7e]{1,64}",
    "SH": rb"[\x20-\x5b\x5d-\x7e]{1,16}",
    "ST": rb"[\x20-\x7e]{1,1024}",
    "TM": rb"([01]\d|2[0-3])([0-5]\d){2}",
    "UC": rb"[\x20-\x7e]+",
    "UI": rb"(0|[1-9]\d*)(\.(0|[1-9]\d*))*",
    "UN": rb"([\0-\xff]{2})+",
    "UR": rb"[a-z]+:[\x21-\x7e]+",
    "US": rb"([\0-\xff]{2})+",
    "UT": rb"[\x20-\x7e]+",
}
# What the canary is in a VR that cannot hold text; the rest is the text itself.
CANARIES = {
    **dict.fromkeys(("FD", "FL", "OD", "OF"), struct.pack("<d", 19691231.25)),
    **dict.fromkeys(("AT", "SL", "SS", "SV", "UL", "US", "UV", "OL", "OV"), b"CANARY!!"),
    "UI": b"2.999.1969\0\0",
}


@cache
def rows() -> list[dict[str, str]]:
    """Table E.1-1 as it is shipped."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tag_of(row: dict[str, str]) -> int | None:
    """The tag of a row; None for repeating groups and private attributes."""
    text = row["tag"]
    return None if set("XG") & set(text) else int(text[1:5] + text[6:10], 16)


@pytest.mark.skipif(not STANDARD.is_dir(), reason="the facts are not beside this checkout")
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.name)
def test_shipped_table_is_the_one_of_the_facts(shipped: Path) -> None:
    """A table is shipped as it was extracted, byte for byte."""
    if shipped.suffix == ".csv":
        assert shipped.read_bytes() == (STANDARD / shipped.name).read_bytes()


def test_body_parts() -> None:
    """The defined terms of PS3.16 Annex L: as many as the documents say, each a CS, and once."""
    terms = body_parts()
    assert len(terms) == len(set(terms)) == 343
    assert [term for term in terms if not re.fullmatch(FORMS["CS"].decode(), term)] == []
    known = "ABDOMEN CHEST CSPINE HEADNECK KNEE 3RDVENTRICLE PELVISLOWEXTREMT ENDONASOPHARYNYX WHOLEBODY WING"
    assert set(known.split()) <= set(terms)
    assert not {"BODYPART", "ANUS", ""} & set(terms)  # ANUS has no term there
    for page in ("profiles.md", "migrate.md"):
        assert "343 defined terms of PS3.16 Annex L" in (PACKAGE.parent / "docs" / page).read_text(encoding="utf-8")


# The IODs that have RT Accessory Holder Slot ID as Type 1 in RT Accessory Holder Slot Sequence.
RT_ACCESSORIES = (
    "c-arm-photon-electron-radiation",
    "c-arm-photon-electron-radiation-record",
    "robotic-arm-radiation",
    "robotic-arm-radiation-record",
    "rt-patient-position-acquisition-instruction",
)


@pytest.mark.skipif(not STANDARD.is_dir(), reason="the facts are not beside this checkout")
def test_shipped_actions_by_iod_are_those_of_the_facts() -> None:
    """The compact table says the same as the whole one: by innermost sequence, the strictest where that is not one."""
    order = ("X", "Z", "U*", "D")
    expected: dict[tuple[int, int, str], str] = {}
    with gzip.open(STANDARD / "iod-conditional-actions.csv.gz", "rt", encoding="ascii", newline="") as file:
        for row in csv.DictReader(file):
            key = (parse_tag(row["tag"]), _innermost(row["path"]), row["iod"])
            needs_items = row["resolved"] == "Z" and row["value_required"] == "Y"
            expected[key] = max(expected.get(key, "X"), "D" if needs_items else row["resolved"], key=order.index)
    with (STANDARD / "type-conflicts.csv").open(encoding="utf-8", newline="") as conflicts:
        for row in csv.DictReader(conflicts):
            if row["enclosing_sequence_code"] != "X":
                for iod in ["*"] if row["iods"] == "(many)" else row["iods"].split("|"):
                    key = (parse_tag(row["tag"]), _innermost(row["enclosing_sequence"]), iod)
                    expected[key] = {"1": "D", "2": "Z"}[row["type"]]
    # RT Accessory Holder Slot ID is Z in the table, and of Type 1 in this place.
    expected.update({(0x300A0611, 0x300A0610, iod): "D" for iod in RT_ACCESSORIES})
    shipped = {
        (tag, enclosing, iod): action
        for (tag, enclosing), by_iod in iod_actions().items()
        for iod, action in by_iod.items()
    }
    assert shipped == expected


def _innermost(path: str) -> int:
    return parse_tag(path.split(">")[-1]) if path else 0


def test_the_table_is_whole() -> None:
    """Table E.1-1 of 2026d has 657 rows, each once, and no code that we have not heard of."""
    assert len(rows()) == len({row["tag"] for row in rows()}) == 657
    assert {row["basic_profile"] for row in rows()} == {
        *("D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"),
    }
    others = {row["tag"] for row in rows() if tag_of(row) is None}
    assert others == REPEATING.keys()


def test_every_row_is_in_the_dictionary_or_removed() -> None:
    """VRs are the table's; a row that the dictionary does not know can only be removed."""
    for row in rows():
        tag = tag_of(row)
        if tag is None or tag >> 16 < 8:
            continue
        if tag in dictionary():
            assert set(re.split(" or |/", row["vr"])) <= {*dictionary()[tag], ""}, row["tag"]
        else:
            assert row["basic_profile"] == "X", row["tag"]


def test_every_row_has_its_rule() -> None:
    """No row of the table passes: each has a rule of its own or, like all that is in no dictionary, is removed."""
    rules = ENGINE.profile.rules
    for row in rows():
        tag = tag_of(row)
        rule = rules.other if tag is None else rules.rules.get(tag, rules.other)
        assert rule is not None, row["tag"]
        assert rule is not rules.sequences, row["tag"]
        assert tag not in rules.plain, row["tag"]


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_every_row(depth: int, explicit: bool) -> None:
    """A carrier of a row, alone in its data set, becomes what the code says: at the top, nested, nested deeply."""
    for row in rows():
        tag = tag_of(row) or REPEATING[row["tag"]]
        if tag >> 16 == 2 and not depth:
            continue  # right behind File Meta Information it is read as a part of that
        result, found = _deidentified(_carrier(tag, row["vr"], explicit), depth, explicit)
        for canary in (samples.CANARY.encode(), b"2.999.1969", CANARIES["FD"]):
            assert canary not in result, row["tag"]
        code = oracle.code_of(tag, "ct-image", SHARED_GROUPS if depth else 0) if tag_of(row) else "X"
        _assert_code(tag, row, code, [element.value for element in found if element.tag == tag])


def _deidentified(carrier: Element, depth: int, explicit: bool) -> tuple[bytes, Elements]:
    """The result for an instance with this one element, and the data set in the result where the element was."""
    place: Elements = (carrier,)
    for _ in range(depth):
        place = (Element(SHARED_GROUPS, "SQ" if explicit else IMPLICIT, (Item(place),)),)
    uids = tuple(Element(uid.tag, uid.vr if explicit else IMPLICIT, uid.value) for uid in UIDS)
    encoded = wire.encode(trees.in_order([*uids, *place]))
    result = ENGINE.bytes(part10(encoded, EXPLICIT_LE if explicit else IMPLICIT_LE))
    found = decoded(result)
    for _ in range(depth):
        (item,) = next(element.value for element in found if element.tag == SHARED_GROUPS)
        assert isinstance(item, Item)
        found = item.elements
    return result, found


def _assert_code(tag: int, row: dict[str, str], code: str, new: list[bytes | tuple[Item, ...]]) -> None:
    vr = vr_of(tag)
    if code == "X" or tag >> 16 < 8:
        assert not new, row["tag"]
        return
    (value,) = new
    if tag in (0x00100010, 0x00100020):  # Patient's Name and ID: the pseudonym
        assert value == b"" or (isinstance(value, bytes) and re.fullmatch(rb"[A-Z2-7]{16}", value))
    elif code == "U" or vr == "UI":
        assert isinstance(value, bytes)
        assert re.fullmatch(rb"2\.25\.[1-9]\d{1,38}\0?", value)
    elif code in ("D", "K"):  # K: the items of a sequence of references
        assert value
    else:
        assert code == "Z"
        assert not value


def _carrier(tag: int, vr: str, explicit: bool) -> Element:
    vr = re.split(" or |/", vr)[0] or "LO"
    if vr == "SQ":
        inside = Element(0x0040A160, "UT" if explicit else IMPLICIT, b"CANARY")
        return Element(tag, "SQ" if explicit else IMPLICIT, (Item((inside,)),))
    return Element(tag, vr if explicit else IMPLICIT, CANARIES.get(vr, samples.CANARY.encode()))


def _dummies() -> list[tuple[int, str, Value]]:
    """Every dummy that an instance can get: by VR, by tag, and inside the items of sequences."""
    found: list[tuple[int, str, Value]] = [(0, vr, value) for vr, value in BY_VR.items()]
    pending = [(tag, vr_of(tag) or "UN", value) for tag, value in BY_TAG.items()]
    while pending:
        tag, vr, value = pending.pop()
        found.append((tag, vr, value))
        if isinstance(value, tuple):
            assert vr == "SQ"
            for item in value:
                assert [entry[0] for entry in item] == sorted({entry[0] for entry in item})
                pending.extend(item)
    return found


@pytest.mark.parametrize(("tag", "vr", "value"), _dummies())
def test_dummy_is_valid_for_its_vr(tag: int, vr: str, value: Value) -> None:
    """A dummy is what PS3.5 6.2 allows for its VR, of the VR that the dictionary has, and says nothing."""
    if tag:
        assert vr in dictionary()[tag]
    if isinstance(value, bytes):
        assert re.fullmatch(FORMS[vr], value), value
    else:
        assert vr == "SQ"


def test_every_row_that_needs_a_dummy_has_one() -> None:
    """Every row of code D has a dummy for its VR, and every sequence among them its own."""
    for row in rows():
        tag = tag_of(row)
        if tag is not None and "D" in row["basic_profile"] and row["vr"] != "UI":
            assert BY_TAG.get(tag) if row["vr"] == "SQ" else BY_VR.get(row["vr"]), row["tag"]


def test_storage_classes_and_transfer_syntaxes() -> None:
    """Media directories are no instances; JPIP and video streams are not taken; the usual ones are."""
    assert len(storage_sop_classes()) > 170
    assert "1.2.840.10008.1.3.10" not in storage_sop_classes()
    assert "1.2.840.10008.5.1.4.1.1.2" in storage_sop_classes()
    for uid in ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.7.1"):
        assert uid not in transfer_syntaxes()
    deflated = {uid for uid, syntax in transfer_syntaxes().items() if syntax.deflated}
    implicit = {uid for uid, syntax in transfer_syntaxes().items() if syntax.implicit_vr}
    big = {uid for uid, syntax in transfer_syntaxes().items() if not syntax.little_endian}
    assert deflated == {"1.2.840.10008.1.2.1.99"}
    assert implicit == {"1.2.840.10008.1.2"}
    assert big == {"1.2.840.10008.1.2.2"}


# UIDs of what is the same for everybody: classes, encodings, coding schemes.
STRUCTURAL = re.compile("SOPClass|TransferSyntax|CodingScheme|ContextUID|ContextGroup|MappingResource")


def test_every_uid_and_url_is_ruled_on() -> None:
    """An attribute that may refer to an original has a row in Table E.1-1, or in our own list of those without."""
    listed = {parse_tag(row["tag"]) for row in rows() if not set("XG") & set(row["tag"])}
    unlisted = {row.tag for row in unlisted_rows()}
    assert not listed & unlisted
    for tag, vrs in dictionary().items():
        keyword = keyword_of(tag)
        if tag >> 16 > 7 and "UI" in vrs and not STRUCTURAL.search(keyword):
            assert tag in listed | unlisted, keyword
        if tag >> 16 > 7 and "UR" in vrs and not keyword.startswith(("CodingScheme", "URNCode", "RelativeURI")):
            assert tag in listed | unlisted, keyword


@pytest.mark.parametrize("retained", [False, True])
def test_references_without_a_row(retained: bool) -> None:
    """None of their values stays, at the top level or in an item; but for UIDs, if these are retained."""
    options = ["retain-uids"] if retained else []
    engine = Deidentifier(bytes(32), profile={"options": options, "pixels": "pass"})
    for row in unlisted_rows():
        ds = samples.image()
        vr = dictionary()[row.tag][0]
        value = "1.2.3.4.567" if vr == "UI" else "http://host/studies/1.2.3.4.567"
        ds.add_new(row.tag, vr, value)
        item = Dataset()
        item.add_new(row.tag, vr, value)
        ds.add_new(0x00081115, "SQ", [item])
        result = engine.bytes(samples.encoded(ds))
        assert (b"1.2.3.4.567" in result) == (retained and row.basic == "U"), keyword_of(row.tag)
        assert (row.tag in dcmread(BytesIO(result))) == (row.basic == "U")
