"""What a profile would still change: nothing of its own results, and every single thing that is put back."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from scp_anon import Deidentifier, Undecodable
from scp_anon.deid.recheck import changes
from scp_anon.dicom.part10 import read_file_meta
from tests import samples, study
from tests.peers import corpus_files
from tests.profiles import write_csv

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom

HASHES = ({"tag": "AccessionNumber", "action": "hash"}, {"tag": "InstanceCreatorUID", "action": "uid"})
MMIV = {"uids": {"scheme": "mmiv"}, "rules": HASHES}
OLD_STYLE = {"uids": {"scheme": "mmiv", "old_style": True}, "rules": HASHES}
PROFILES: tuple[dict[str, Any], ...] = (
    {},
    {"options": ["retain-safe-private", "retain-uids"]},
    {"options": ["retain-longitudinal-modified-dates", "retain-device-identity"]},
    {"options": ["clean-descriptors", "retain-patient-characteristics"], "character_sets": {"absent": "ISO_IR 100"}},
    {"options": ["retain-longitudinal-full-dates", "retain-institution-identity", "retain-patient-characteristics"]},
    {"options": ["clean-descriptors", "clean-structured-content", "clean-graphics"]},
    {"patients": {"scheme": "fixed", "id": "SUBJECT", "name": "NOBODY"}},
    {"patients": {"scheme": "hash", "prefix": "P-", "length": 8}, "uids": {"root": "1.2.3.4"}},
    MMIV,
    OLD_STYLE,
    {
        "rules": [
            {"tag": "StationName", "action": "hash", "length": 8},
            {"tag": "InstitutionName", "action": "replace", "value": "{project} {PatientID}"},
            {"tag": "StudyID", "action": "pseudonym"},
            {"tag": "StudyDescription", "action": "clean-text", "otherwise": "empty"},
            {"tag": "SeriesDescription", "action": "regex", "pattern": "(.)", "value": "\\1", "otherwise": "empty"},
            {"tag": "ContentDate", "action": "shift-date", "otherwise": "dummy"},
        ]
    },
)


def remaining(engine: Deidentifier, file: bytes) -> set[tuple[str, str]]:
    """What would still be changed in a file: kind, and the last tag of the place."""
    meta, start = read_file_meta(file)
    read = engine.read(file, meta.transfer_syntax_uid, start)
    found = changes(engine, read, meta.transfer_syntax_uid)
    return {(change.kind, f"{change.place[-1]:08X}") for change in found}


def test_what_stays_after_all(tmp_path: Path) -> None:
    """Where a table has no row, and the rule keeps the value then: the result claims less, and has to."""
    table = write_csv(tmp_path / "table.csv", {"original": "one", "new": "two"})
    rule = {"tag": "StudyDescription", "action": "lookup", "file": str(table), "otherwise": "keep"}
    engine = Deidentifier(samples.KEY, "project", {**samples.PASS, "rules": [rule]})
    assert remaining(engine, engine.bytes(samples.encoded(samples.image()))) == set()


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_nothing_of_ones_own_results(profile: dict[str, Any]) -> None:
    """Real files and a study that refers to itself, by profiles of all kinds."""
    engine = Deidentifier(samples.KEY, "project", {**samples.PASS, **profile})
    checked = 0
    for file in (*(path.read_bytes() for path in corpus_files()), *study.files().values()):
        try:
            result = engine.bytes(file)
        except Undecodable:
            continue
        assert not remaining(engine, result)
        assert remaining(engine, file), "the original would be changed"
        checked += 1
    assert checked > 5


def private(ds: Dataset) -> None:
    """Put a private attribute in."""
    ds.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "text")


def other_profile(ds: Dataset) -> None:
    """Say that another profile was used."""
    ds.DeidentificationMethod = ["scp-anon 0.0", "another"]


def without_codes(ds: Dataset) -> None:
    """Say nothing of what was done."""
    ds.DeidentificationMethodCodeSequence = []


def nested(ds: Dataset) -> None:
    """Put a UID back that an item refers to."""
    ds.AnatomicRegionSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5.6"


def setting(keyword: str, value: object) -> Callable[[Dataset], None]:
    """Give an attribute a value; None: delete it."""

    def change(ds: Dataset) -> None:
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)

    return change


CHANGES: dict[str, tuple[Callable[[Dataset], None], tuple[str, str]]] = {
    "removed": (setting("PatientAddress", "street"), ("present", "00101040")),
    "private": (private, ("present", "00091001")),
    "emptied": (setting("AccessionNumber", "123"), ("not-empty", "00080050")),
    "dummy": (setting("ContentDate", "20240229"), ("not-dummy", "00080023")),
    "UID": (setting("StudyInstanceUID", "1.2.3.4"), ("not-replaced", "0020000D")),
    "UID of another version": (setting("StudyInstanceUID", f"2.25.{1 << 100}"), ("not-replaced", "0020000D")),
    "UID in an item": (nested, ("not-replaced", "00081155")),
    "patient": (setting("PatientID", "4711-X"), ("not-replaced", "00100020")),
    "name": (setting("PatientName", "Zwiebelkraut"), ("not-replaced", "00100010")),
    "claim": (setting("PatientIdentityRemoved", "NO"), ("not-dummy", "00120062")),
    "no claim": (setting("PatientIdentityRemoved", None), ("not-claimed", "00120062")),
    "method": (other_profile, ("not-claimed", "00120063")),
    "codes": (without_codes, ("not-claimed", "00120064")),
    "dates": (setting("LongitudinalTemporalInformationModified", None), ("not-claimed", "00280303")),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_whatever_is_put_back(name: str, implicit: bool) -> None:
    """Each single thing is told, by its kind and tag, and nothing else."""
    profile = {"rules": [{"tag": "ContentDate", "action": "dummy"}], **samples.PASS}
    engine = Deidentifier(samples.KEY, "project", profile)
    change, expected = CHANGES[name]
    original = samples.image()
    original.AnatomicRegionSequence = original.ReferencedStudySequence
    ds = dcmread(BytesIO(engine.bytes(samples.encoded(original))))
    change(ds)
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found = remaining(engine, samples.encoded(ds, ds.file_meta.TransferSyntaxUID))
    assert expected in found
    assert len({tag for _, tag in found}) == (2 if name == "patient" else 1)


def test_digests_of_another_version_tell_nothing() -> None:
    """The same version with another digest was another profile; of another version only the base can be compared."""
    engine = Deidentifier(samples.KEY, "project", samples.PASS)
    ds = dcmread(BytesIO(engine.bytes(samples.encoded(samples.image()))))
    version, method, key = ds.DeidentificationMethod
    other = f"{method[:-8]}0a1b2c3d"
    for methods, is_fault in (
        ([version, method, key], False),
        ([version, other, key], True),
        (["scp-anon 0.0.1", other, key], False),
        (["scp-anon 0.0.1", "PS3.15 2019a basic 0a1b2c3d", key], False),
        (["scp-anon 0.0.1", "PS3.15 2019a basic and rules 0a1b2c3d", key], True),
        (["scp-anon 0.0.1", "PS3.15 2019a allow-list 0a1b2c3d", key], True),
        (["scp-anon 0.0.1", key], True),
    ):
        ds.DeidentificationMethod = methods
        found = remaining(engine, samples.encoded(ds))
        assert found == ({("not-claimed", "00120063")} if is_fault else set()), methods


def test_what_another_writer_does_to_lengths() -> None:
    """An archive that writes sequences in undefined lengths has changed nothing."""
    engine = Deidentifier(samples.KEY, "project", samples.PASS)
    for file in study.files().values():
        ds = dcmread(BytesIO(engine.bytes(file)))
        for element in ds.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
        again = BytesIO()
        ds.save_as(again)
        assert not remaining(engine, again.getvalue())


def test_what_has_to_be_held() -> None:
    """What the profile would hold for its pixels is told as well."""
    ds = samples.image()
    ds.BurnedInAnnotation = "YES"
    result = Deidentifier(samples.KEY, "project", samples.PASS).bytes(samples.encoded(ds))
    assert ("held", "7FE00010") in remaining(Deidentifier(samples.KEY, "project"), result)


def test_patients_of_a_table(tmp_path: Any) -> None:
    """Whoever is in the table has been given a pseudonym; nobody has to be in it for that."""
    table = tmp_path / "patients.csv"
    table.write_text(f"id,pseudonym,name\n{samples.CANARY}-ID,S-001,Subject One\n")
    profile = {"patients": {"scheme": "table", "file": str(table)}, **samples.PASS}
    engine = Deidentifier(samples.KEY, "project", profile)
    result = engine.bytes(samples.encoded(samples.image()))
    assert not remaining(engine, result)
    ds = dcmread(BytesIO(result))
    ds.PatientName = "Somebody Else"
    assert ("not-replaced", "00100010") in remaining(engine, samples.encoded(ds))
