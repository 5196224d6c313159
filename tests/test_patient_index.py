"""Numbers for patients: each gets one for ever, no two get the same, whoever else asks, dies or pulls the plug."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scp_anon import ConfigError, Deidentifier
from scp_anon.deid.patient_index import PatientIndex
from tests import samples
from tests.harness import AE_TITLE, eventually, running_node, scp_anon, storescu
from tests.profiles import engine, result
from tests.samples import CANARY
from tests.test_patients import of as of_a_study

ROOT = Path(__file__).resolve().parents[1]
KEY_ID = "00000000"
HEADER = f"scp-anon patients 1, key {KEY_ID}\n"


def of(patient_id: str, name: str = "Name", issuer: str = "") -> Dataset:
    """An instance of a patient, in a study of the patient's own."""
    ds = of_a_study(patient_id, name, issuer)
    ds.StudyInstanceUID = samples.uid(f"study of {patient_id}")
    return ds


def by(path: Path, **settings: object) -> Deidentifier:
    """An engine that numbers its patients."""
    return engine(patients={"scheme": "sequential", "file": str(path), **settings})


def numbers(path: Path) -> list[int]:
    """The numbers that a file says were given, in order."""
    return [int(line.split()[0]) for line in path.read_text(encoding="ascii").splitlines()[1:]]


# ---------------------------------------------------------------------- what a user sees


def test_in_the_order_in_which_they_come(tmp_path: Path) -> None:
    """From the start number; the same patient keeps its number, over files and over runs."""
    path = tmp_path / "deep" / "patients"
    first = by(path, start=1000)
    assert [result(of(patient), first).PatientID for patient in ("A", "B", "A", " B", "C")] == [
        "1000",
        "1001",
        "1000",
        "1001",
        "1002",
    ]
    second = by(path, start=1000, prefix="P-")
    ds = result(of("C"), second)
    assert (ds.PatientID, ds.PatientName) == ("P-1002", "P-1002")
    assert result(of("D"), second).PatientID == "P-1003"
    assert result(of("E"), first).PatientID == "1004"


def test_a_later_start_goes_on_from_there(tmp_path: Path) -> None:
    """A higher start leaves a gap, a lower one changes nothing: no number comes back."""
    path = tmp_path / "patients"
    assert result(of("A"), by(path, start=10)).PatientID == "10"
    assert result(of("B"), by(path, start=500)).PatientID == "500"
    assert result(of("C"), by(path, start=1)).PatientID == "501"
    assert result(of("A"), by(path)).PatientID == "10"


def test_who_is_somebody(tmp_path: Path) -> None:
    """By name where there is no ID; nobody has one by the study; an issuer counts if it is said to."""
    path = tmp_path / "patients"
    assert [result(of("", name), by(path)).PatientID for name in ("N", "M", "N", "")] == ["1", "2", "1", "3"]
    counting = by(tmp_path / "issuers", issuer=True)
    assert [result(of("1", issuer=issuer), counting).PatientID for issuer in ("", "A", "B", "A")] == list("1232")


def test_a_patient_who_is_only_mentioned_has_a_number_too(tmp_path: Path) -> None:
    """And keeps it when an instance of its own comes."""
    numbered = by(tmp_path / "patients")
    ds = of("1")
    ds.SharedFunctionalGroupsSequence = Sequence([of("1"), of("2")])
    new = result(ds, numbered)
    assert [item.PatientID for item in new.SharedFunctionalGroupsSequence] == ["1", "2"]
    assert result(of("2"), numbered).PatientID == "2"


def test_the_file_tells_nobody_anything(tmp_path: Path) -> None:
    """No identity, nor the pseudonym that another profile would give; for its owner only."""
    path = tmp_path / "patients"
    result(samples.image(), by(path))
    hashed = result(samples.image(), engine()).PatientID
    text = path.read_text(encoding="ascii")
    assert CANARY not in text
    assert hashed not in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_projects_that_share_a_file_share_no_number(tmp_path: Path) -> None:
    """The same patient in two projects is two, with two numbers."""
    patients = {"scheme": "sequential", "file": str(tmp_path / "patients")}
    one, two = (result(of("1"), engine(project=name, patients=patients)).PatientID for name in ("a", "b"))
    assert (one, two) == ("1", "2")


def test_another_key_is_refused(tmp_path: Path) -> None:
    """With it every patient would be a new one: nothing starts."""
    path = tmp_path / "patients"
    result(of("1"), by(path))
    settings = {"patients": {"scheme": "sequential", "file": str(path)}}
    with pytest.raises(ConfigError, match="begun with another key"):
        Deidentifier(bytes(reversed(samples.KEY)), "project", settings)
    path.write_text("id,pseudonym\n", encoding="ascii")
    with pytest.raises(ConfigError, match="is no index of patients"):
        by(path)


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    """Said with file and line; a path is relative to the profile."""
    profile = tmp_path / "profile.yaml"
    profile.write_text("patients: {scheme: sequential, file: ., start: 1}\n", encoding="utf-8")
    done = scp_anon("lint", str(profile))
    assert done.returncode == 2
    assert f"{profile}:1: patients.file:" in done.stderr
    profile.write_text("patients: {scheme: sequential, file: numbers, start: 0}\n", encoding="utf-8")
    assert f"{profile}:1: patients.start: " in scp_anon("lint", str(profile)).stderr


def test_a_look_gives_no_number(tmp_path: Path) -> None:
    """`diff` shows the next number, and writes nothing."""
    (tmp_path / "key").write_bytes(samples.KEY)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "1.dcm").write_bytes(samples.encoded(samples.image()))
    profile = tmp_path / "profile.yaml"
    profile.write_text("patients: {scheme: sequential, file: numbers, start: 70}\n", encoding="utf-8")
    command = ("diff", "1.dcm", "--profile", str(profile), "--key", "key", "--show-values")
    done = scp_anon(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'70'" in done.stdout
    assert not (tmp_path / "numbers").exists()
    by_file = Deidentifier(samples.KEY, "demo", profile)
    assert result(of("somebody"), by_file).PatientID == "70"
    before = (tmp_path / "numbers").read_bytes()
    assert "'71'" in scp_anon(*command, folder=tmp_path).stdout
    assert (tmp_path / "numbers").read_bytes() == before


# ---------------------------------------------------------------------- what may happen to the file


@pytest.mark.parametrize("torn", ["3", "3 0f", "3 " + "f" * 32, "\0" * 40])
def test_a_torn_line_is_cut_off(tmp_path: Path, torn: str) -> None:
    """What a crash left of a line was never used: the number is the next patient's."""
    path = tmp_path / "patients"
    path.write_text(f"{HEADER}1 {'a' * 32}\n2 {'b' * 32}\n{torn}", encoding="ascii")
    index = PatientIndex(path, 1, KEY_ID)
    assert index.number(b"c" * 32) == 3
    assert index.number(b"b" * 32) == 2
    assert numbers(path) == [1, 2, 3]


@pytest.mark.parametrize("head", ["", "scp-anon pat", HEADER])
def test_a_crash_at_the_very_beginning(tmp_path: Path, head: str) -> None:
    """An empty file, half a first line, or no more than that: numbers begin."""
    path = tmp_path / "patients"
    path.write_text(head, encoding="ascii")
    index = PatientIndex(path, 5, KEY_ID)
    index.check()
    assert index.number(b"c" * 32) == 5
    assert path.read_text(encoding="ascii") == f"{HEADER}5 {'c' * 32}\n"


@pytest.mark.parametrize(
    "lines",
    [f"1 {'a' * 32}\n1 {'b' * 32}\n", f"2 {'a' * 32}\n1 {'b' * 32}\n", f"1 {'a' * 32}\n2 {'a' * 32}\n", "1 a\n", "\n"],
    ids=["number twice", "number falls", "patient twice", "no token", "empty line"],
)
def test_a_damaged_file_gives_nothing(tmp_path: Path, lines: str) -> None:
    """What this house does not write is not gone on from, and not changed."""
    path = tmp_path / "patients"
    path.write_text(HEADER + lines, encoding="ascii")
    for _ in range(2):
        with pytest.raises(OSError, match="damaged"):
            PatientIndex(path, 1, KEY_ID).number(b"c" * 32)
    assert path.read_text(encoding="ascii") == HEADER + lines


def test_a_file_that_goes_away_is_not_made_anew(tmp_path: Path) -> None:
    """Gone, replaced or shorter: known patients keep their numbers, a new one gets none."""
    path = tmp_path / "patients"
    index = PatientIndex(path, 1, KEY_ID)
    assert [index.number(b"a" * 32), index.number(b"b" * 32)] == [1, 2]
    saved = path.read_bytes()
    path.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        index.number(b"c" * 32)
    assert not path.exists()
    path.write_bytes(saved)
    with pytest.raises(OSError, match="replaced"):
        index.number(b"c" * 32)
    (tmp_path / "away").replace(path)
    os.truncate(path, len(HEADER))
    with pytest.raises(OSError, match="shorter"):
        index.number(b"c" * 32)
    assert index.number(b"b" * 32) == 2


def test_on_stable_storage_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own lines, lines of others who may have died, and the name of a new file; what cannot be synced is not given."""
    path = tmp_path / "patients"
    synced: list[tuple[bool, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((os.path.isdir(f"/proc/self/fd/{descriptor}"), status.st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    index, other = PatientIndex(path, 1, KEY_ID), PatientIndex(path, 1, KEY_ID)
    index.number(b"a" * 32)
    assert (False, path.stat().st_size) in synced
    assert any(directory for directory, _ in synced)
    synced.clear()
    assert other.number(b"a" * 32) == 1
    assert (False, path.stat().st_size) in synced
    assert any(directory for directory, _ in synced)

    def fails(descriptor: int) -> None:
        raise OSError("no")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no"):
        index.number(b"b" * 32)
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "fsync", real)
    assert other.number(b"c" * 32) == 2
    assert index.number(b"b" * 32) == 3


# ---------------------------------------------------------------------- many at once


def test_threads(tmp_path: Path) -> None:
    """Many threads that meet the same new patients agree."""
    index = PatientIndex(tmp_path / "patients", 1, KEY_ID)
    found: list[list[int]] = []

    def work(seed: int) -> None:
        order = random.Random(seed).sample(range(50), 50)  # noqa: S311 - an order, not a secret
        given = {patient: index.number(b"%032x" % patient) for patient in order}
        found.append([given[patient] for patient in range(50)])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(each == found[0] for each in found)
    assert sorted(found[0]) == list(range(1, 51))


PROGRAM = """
import random, sys
from pathlib import Path
from scp_anon.deid.patient_index import PatientIndex
index = PatientIndex(Path(sys.argv[1]), 1, "00000000")
order = list(range(int(sys.argv[3])))
random.Random(int(sys.argv[2])).shuffle(order)
for patient in order:
    print(patient, index.number(b"%032x" % patient), flush=True)
"""


def started(path: Path, seed: int, patients: int, out: Path) -> subprocess.Popen[bytes]:
    """A process that asks for the numbers of all patients, and prints each as soon as it has it."""
    with out.open("ab") as file:
        command = [sys.executable, "-c", PROGRAM, str(path), str(seed), str(patients)]
        return subprocess.Popen(command, stdout=file, cwd=ROOT)


def told(outs: Iterator[Path]) -> dict[int, set[int]]:
    """Which numbers processes were given for each patient; what one was printing when it died does not count."""
    found: dict[int, set[int]] = {}
    for path in outs:
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):
                patient, number = map(int, line.split())
                found.setdefault(patient, set()).add(number)
    return found


def test_processes(tmp_path: Path) -> None:
    """Several that start at once give each patient one number, without a gap."""
    path = tmp_path / "patients"
    processes = [started(path, seed, 200, tmp_path / f"{seed}.out") for seed in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    found = told(tmp_path.glob("*.out"))
    assert all(len(given) == 1 for given in found.values())
    assert sorted(number for given in found.values() for number in given) == list(range(1, 201))
    assert numbers(path) == list(range(1, 201))


def test_kill_9(tmp_path: Path) -> None:
    """Again and again in the middle of it: what any of them was told holds, and nothing is given twice."""
    path = tmp_path / "patients"
    chance = random.Random(6)  # noqa: S311 - moments, not secrets
    for turn in range(12):
        processes = [started(path, 10 * turn + i, 3000, tmp_path / f"{turn}-{i}.out") for i in range(2)]
        before = path.stat().st_size if path.exists() else 0
        eventually(lambda before=before: path.exists() and path.stat().st_size > before)  # type: ignore[misc]  # a lambda
        time.sleep(chance.uniform(0, 0.1))
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
    found = told(tmp_path.glob("*.out"))
    assert len(found) > 24
    assert all(len(given) == 1 for given in found.values())
    assert len({number for given in found.values() for number in given}) == len(found)
    index = PatientIndex(path, 1, KEY_ID)
    assert all({index.number(b"%032x" % patient)} == given for patient, given in found.items())
    assert numbers(path) == sorted(set(numbers(path)))


def test_deid_in_processes_and_runs(tmp_path: Path) -> None:
    """A batch by two processes, and a second one: each patient has one folder, numbered from the start."""
    source = tmp_path / "in"
    source.mkdir()
    for i in range(80):
        ds = of(f"{CANARY}{i % 7}")
        ds.SOPInstanceUID = samples.uid(f"instance {i}")
        (source / f"{i:02}.dcm").write_bytes(samples.encoded(ds))
    profile = tmp_path / "profile.yaml"
    profile.write_text("patients: {scheme: sequential, file: numbers, start: 1000}\n", encoding="utf-8")
    (tmp_path / "key").write_bytes(samples.KEY)
    (tmp_path / "key").chmod(0o600)
    options = ("--profile", str(profile), "--key", str(tmp_path / "key"), "--processes", "2")
    for out in ("one", "two"):
        done = scp_anon("deid", str(source), "-o", str(tmp_path / out), *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert sorted(path.name for path in (tmp_path / out).iterdir() if path.is_dir()) == [
            str(1000 + i) for i in range(7)
        ]
        assert len(list((tmp_path / out).rglob("*.dcm"))) == 80
    trees = [{str(path.relative_to(tmp_path / out)) for path in (tmp_path / out).rglob("*")} for out in ("one", "two")]
    assert trees[0] == trees[1]
    assert CANARY not in (tmp_path / "numbers").read_text(encoding="ascii")


def test_a_node_that_dies(tmp_path: Path) -> None:
    """Its processes share the file; after kill -9 of all of them the numbers go on."""
    (tmp_path / "profile.yaml").write_text("patients: {scheme: sequential, file: numbers}\n", encoding="utf-8")
    route = {
        "called_ae_title": AE_TITLE,
        "project": "test",
        "profile": str(tmp_path / "profile.yaml"),
        "destinations": ["disk"],
    }
    for i in range(12):
        ds = of(f"P{i % 6}")
        ds.SOPInstanceUID = samples.uid(f"instance {i}")
        (tmp_path / f"{i}.dcm").write_bytes(samples.encoded(ds))
    with running_node(tmp_path / "node", processes=2, routes=[route]) as node:
        assert storescu(node.port, *(str(tmp_path / f"{i}.dcm") for i in range(4))).returncode == 0
        eventually(lambda: len(node.delivered()) == 4)
        node.kill()
        node.start()
        assert storescu(node.port, *(str(tmp_path / f"{i}.dcm") for i in range(12))).returncode == 0
        eventually(lambda: len(node.delivered()) == 12)
        assert {path.relative_to(node.out).parts[0] for path in node.delivered()} == {str(i) for i in range(1, 7)}
    assert numbers(tmp_path / "numbers") == list(range(1, 7))
