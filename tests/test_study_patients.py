"""One study that names two patients: held, given to the first, or separate; in `deid`, a node, and `verify`."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread

from scp_anon import Deidentifier, Reason, Undecodable
from scp_anon.deid.study_patients import SharedStudies, StudySeal
from tests import samples
from tests.command import scp_anon
from tests.deid import deid, key_file
from tests.profiles import write_csv
from tests.samples import CANARY

FIRST, SECOND = f"{CANARY}-1", f"{CANARY}-2"


def write(path: Path, number: int, patient: str, name: str = "Name", study: str = "study") -> Path:
    """An image of a study that names a patient."""
    ds = samples.image(str(number), study=study)
    ds.PatientID, ds.PatientName = patient, name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(samples.encoded(ds))
    return path


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Two images of one patient, two of another in the same study, and another study of the second."""
    for number, patient in enumerate((FIRST, FIRST, SECOND, SECOND)):
        write(tmp_path / "in" / f"{number}.dcm", number, patient)
    write(tmp_path / "in" / "9.dcm", 9, SECOND, study="other")
    return tmp_path / "in"


def results(folder: Path) -> list[tuple[str, str]]:
    """Patient ID and Study Instance UID of what came out."""
    found = (dcmread(path) for path in sorted(folder.rglob("*.dcm")))
    return [(str(ds.PatientID), str(ds.StudyInstanceUID)) for ds in found]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("layout", [(), ("--layout", "mirror"), ("--layout", "{PatientID}/{n}.dcm")])
@pytest.mark.parametrize(
    ("policy", "quarantined", "patients"), [(None, 2, 2), ("hold", 2, 2), ("first", 0, 2), ("separate", 0, 2)]
)
def test_deid(
    tmp_path: Path,
    originals: Path,
    processes: int,
    layout: tuple[str, ...],
    policy: str | None,
    quarantined: int,
    patients: int,
) -> None:
    """By default what comes later is held; the same in each run, whichever process is faster."""
    out, report = tmp_path / "out", tmp_path / "report"
    options = ("--study-patients", policy) if policy else ()
    done = deid(
        *(originals, "-o", out, "--key", key_file(tmp_path), "--processes", processes, "--report", report),
        *("--quarantine", tmp_path / "held", *layout, *options),
    )
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    held = [Path(line["source"]).name for line in lines if line["reason"] == Reason.STUDY_OF_TWO_PATIENTS]
    assert held == (["2.dcm", "3.dcm"] if quarantined else [])
    assert done.code == (1 if quarantined else 0)
    assert (
        len([path for path in (tmp_path / "held").rglob("*") if path.suffix != ".jsonl" and path.is_file()])
        == quarantined
    )
    found = results(out)
    assert len(found) == 5 - quarantined
    assert len({patient for patient, _ in found}) == patients
    by_study: dict[str, set[str]] = {}
    for patient, study in found:
        by_study.setdefault(study, set()).add(patient)
    assert sorted(map(len, by_study.values())) == ([1, 2] if policy == "separate" else [1, 1])
    assert not [path.name for path in out.iterdir() if path.name.endswith(".tmp")]


def test_deid_resumed_knows_the_first_patient(tmp_path: Path, originals: Path) -> None:
    """By the manifest, which identifies nobody."""
    out, key = tmp_path / "out", key_file(tmp_path)
    assert deid(originals / "0.dcm", "-o", out, "--key", key).code == 0
    (manifest,) = (path for path in out.iterdir() if path.is_file())
    assert CANARY not in manifest.read_text()
    done = deid(originals / "0.dcm", originals / "3.dcm", "-o", out, "--key", key, "--resume")
    assert done.code == 1
    assert str(Reason.STUDY_OF_TWO_PATIENTS) in done.said


def test_two_ids_of_one_pseudonym_are_one_patient(tmp_path: Path, originals: Path) -> None:
    """A table that has merged them says so."""
    rows = [{"id": patient, "pseudonym": "P1"} for patient in (FIRST, SECOND)]
    table = write_csv(tmp_path / "patients.csv", *rows)
    profile = tmp_path / "profile.yaml"
    profile.write_text(f"patients: {{scheme: table, file: {table}}}\n")
    assert deid(originals, "-o", tmp_path / "out", "--key", key_file(tmp_path), "--profile", profile).code == 0


def test_who_names_nobody_is_of_the_patient_of_the_study(tmp_path: Path) -> None:
    """A report without a Patient ID beside images that have one is no second patient."""
    write(tmp_path / "in" / "0.dcm", 0, FIRST)
    write(tmp_path / "in" / "1.dcm", 1, "", name="")
    write(tmp_path / "in" / "2.dcm", 2, "UNKNOWN", name="ANONYMOUS")
    assert deid(tmp_path / "in", "-o", tmp_path / "out", "--key", key_file(tmp_path)).code == 0
    assert len(set(results(tmp_path / "out"))) == 1


@pytest.mark.parametrize(
    ("made", "checked", "is_mixed"),
    [("first", "first", 0), ("separate", "separate", 0), ("separate", None, 1)],
)
@pytest.mark.parametrize("against", [False, True])
def test_verify_sees_it(
    tmp_path: Path, originals: Path, made: str, checked: str | None, is_mixed: int, against: bool
) -> None:
    """Results of the first patient are as they should be; a study of two is told where nobody wanted it."""
    out, key = tmp_path / "out", key_file(tmp_path)
    assert deid(originals, "-o", out, "--key", key, "--study-patients", made).code == 0
    options = (*(("--against", originals) if against else ()), *(("--study-patients", checked) if checked else ()))
    told = scp_anon("verify", *map(str, (out, "--key", key, *options)))
    is_mixed = is_mixed if against else made == "separate"
    assert ("mixed" in told.stdout) == bool(is_mixed)
    assert "differs" not in told.stdout
    assert told.returncode == bool(is_mixed)


def shared(path: Path, policy: str) -> Deidentifier:
    """An engine as a route has one."""
    studies = SharedStudies(path, StudySeal(samples.KEY, "project"), policy, durable=False)  # type: ignore[arg-type]  # one of two
    return Deidentifier(samples.KEY, "project", {"pixels": "pass"}, studies=studies)


def patient_of(by: Deidentifier, original: Path) -> str:
    """The Patient ID of a result."""
    with by.opened(original) as result:
        values = result.values([0x00100020])
    assert values is not None
    return values[0x00100020].strip(b" \0").decode()


def test_node_gives_all_to_the_first(tmp_path: Path, originals: Path) -> None:
    """In the order of arrival, over threads, processes and restarts, by a file that identifies nobody."""
    path = tmp_path / "studies.sqlite"
    by = shared(path, "first")
    first = patient_of(by, originals / "2.dcm")
    with ThreadPoolExecutor(4) as pool:
        numbers = [0, 1, 2, 3] * 8
        assert set(pool.map(lambda n: patient_of(by, originals / f"{n}.dcm"), numbers)) == {first}
    assert patient_of(shared(path, "first"), originals / "0.dcm") == first
    child = os.fork()
    if not child:
        os._exit(patient_of(by, originals / "1.dcm") != first)
    assert os.waitpid(child, 0)[1] == 0
    assert patient_of(shared(tmp_path / "other.sqlite", "first"), originals / "0.dcm") != first
    for file in tmp_path.glob("studies*"):
        assert CANARY.encode() not in file.read_bytes()


def test_node_holds_if_it_is_to(tmp_path: Path, originals: Path) -> None:
    """What names another patient than the first."""
    by = shared(tmp_path / "studies.sqlite", "hold")
    patient_of(by, originals / "0.dcm")
    patient_of(by, originals / "1.dcm")
    with pytest.raises(Undecodable) as raised:
        patient_of(by, originals / "2.dcm")
    assert raised.value.reason == Reason.STUDY_OF_TWO_PATIENTS
    assert CANARY not in str(raised.value)


def test_a_file_of_another_key_is_trouble_and_no_other_patient(tmp_path: Path, originals: Path) -> None:
    """The instance stays in the spool."""
    path = tmp_path / "studies.sqlite"
    patient_of(shared(path, "first"), originals / "0.dcm")
    for file in tmp_path.glob("studies.sqlite-*"):
        file.unlink()
    path.write_bytes(b"no data base, for sure" * 100)
    with pytest.raises(OSError, match=r"studies\.sqlite"):
        patient_of(shared(path, "first"), originals / "2.dcm")
