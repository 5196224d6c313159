"""`deid` on folders: what is filtered, copied aside, counted, shown; and that no number of files takes more memory."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scp_anon import batch
from scp_anon.batch import files as files_module
from scp_anon.batch.work import Worker
from scp_anon.deid import load_profile
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.harness import eventually
from tests.samples import CANARY

ROOT = Path(__file__).resolve().parents[1]


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    """Everything below a folder, with modes and times."""
    paths = sorted((folder, *folder.rglob("*")))
    return [(str(path), path.lstat().st_mode, path.lstat().st_mtime_ns) for path in paths]


# ---------------------------------------------------------------------- dry run, summary, report


def test_dry_run(tmp_path: Path) -> None:
    """What would become of each is said, and nothing is written: no folder, no manifest, no copy."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    (source / "cut.dcm").write_bytes((source / "p0" / "0.dcm").read_bytes()[:-100])
    before = snapshot(tmp_path)
    out, aside = tmp_path / "out", tmp_path / "aside"
    done = deid(source, "-o", out, "--key", key, "--dry-run", "--quarantine", aside, "--report", "-")
    assert done.code == 1
    assert "dry run: 6 delivered, 1 quarantined" in done.said
    assert snapshot(tmp_path) == before
    lines = [json.loads(line) for line in done.said.splitlines() if line.startswith("{")]
    real = deid(source, "-o", out, "--key", key, "--report", tmp_path / "report")
    assert real.code == 1
    assert [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()] == lines
    assert {line["output"] for line in lines} - {None} == tree(out).keys()


def test_dry_run_makes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none yet, one is thought up for the moment."""
    source = write_tree(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    done = deid(source, "-o", tmp_path / "out", "--dry-run")
    assert (done.code, "6 delivered" in done.said) == (0, True)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_summary(tmp_path: Path) -> None:
    """The counts as JSON, which name nobody; the report is for its owner's eyes only."""
    key, source = key_file(tmp_path), write_tree(tmp_path / f"{CANARY}-in")
    (source / "note.txt").write_bytes(b"of no interest " * 20)
    report = tmp_path / "report"
    report.write_text("earlier")
    report.chmod(0o644)
    done = deid(source, "-o", tmp_path / "out", "--key", key, "--summary", tmp_path / "s.json", "--report", report)
    assert done.code == 0
    text = (tmp_path / "s.json").read_text()
    assert CANARY not in text
    counts = json.loads(text)
    assert {name: counts[name] for name in ("total", "delivered", "filtered", "quarantined", "failed", "skipped")} == {
        "total": 7,
        "delivered": 6,
        "filtered": 1,
        "quarantined": 0,
        "failed": 0,
        "skipped": 0,
    }
    assert counts["reasons"] == {"not-dicom": 1}
    assert counts["dry_run"] is False
    assert report.stat().st_mode & 0o777 == 0o600
    assert len(report.read_text().splitlines()) == 7
    missing = deid(source, "-o", tmp_path / "out", "--key", key, "--summary", tmp_path / "no" / "s.json")
    assert (missing.code, "the summary cannot be written" in missing.said) == (2, True)
    assert "delivered" in missing.said, "what became of all is told even so"


# ---------------------------------------------------------------------- quarantine, filters


def test_quarantine_folder(tmp_path: Path) -> None:
    """Copies by reason for the owner's eyes only, with an index; what is no instance is not copied."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    cut = source / "cut.dcm"
    cut.write_bytes((source / "p0" / "0.dcm").read_bytes()[:-100])
    (source / "note.txt").write_bytes(b"of no interest " * 20)
    aside = tmp_path / "aside"
    arguments = (source, "-o", tmp_path / "out", "--key", key, "--quarantine", aside)
    assert deid(*arguments).code == 1
    (line,) = [json.loads(line) for line in (aside / "index.jsonl").read_text().splitlines()]
    assert (line["source"], line["reason"], line["size"]) == (str(cut), "truncated", cut.stat().st_size)
    assert (aside / line["file"]).read_bytes() == cut.read_bytes()
    assert line["file"].startswith("truncated/")
    assert CANARY not in line["file"]
    modes = {path.stat().st_mode & 0o777 for path in aside.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (aside, *aside.rglob("*")) if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})
    assert {path.name for path in aside.rglob("*") if path.is_file()} == {"index.jsonl", Path(line["file"]).name}


def test_where_what_identifies_must_not_be(tmp_path: Path) -> None:
    """Copies of originals, names of sources and old UIDs: not among the inputs, nor among what is passed on."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    for folder, said in ((source / "aside", "inside the input"), (tmp_path / "out" / "aside", "inside the output")):
        for option in ("--quarantine", "--report", "--mapping"):
            done = deid(source, "-o", tmp_path / "out", "--key", key, option, folder)
            assert done.code == 2
            assert said in done.said
            assert not folder.exists()


def test_copy_that_cannot_be_made(tmp_path: Path) -> None:
    """Who asked for copies is told that one is missing: the input has failed."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    (source / "cut.dcm").write_bytes((source / "p0" / "0.dcm").read_bytes()[:-100])
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "truncated").write_text("in the way")
    done = deid(source, "-o", tmp_path / "out", "--key", key, "--quarantine", aside)
    assert (done.code, "1 failed" in done.said) == (1, True)


def test_filters(tmp_path: Path) -> None:
    """`--modalities` and `--admit` are those of a profile, and come before its own."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    common = (source, "-o", tmp_path / "out", "--key", key)
    assert "6 quarantined" in deid(*common, "--modalities", "mr,US").said
    assert "6 delivered" in deid(*common, "--modalities", "MR, CT").said
    done = deid(*common, "--admit", '{when: {PatientID: {matches: "-1$"}}, then: filter}')
    assert "3 delivered, 3 filtered" in done.said
    profile = tmp_path / "p.yaml"
    profile.write_text("admit: [{when: {Modality: CT}, then: quarantine}]\n")
    done = deid(*common, "--profile", profile, "--admit", "{when: {Modality: CT}, then: accept}")
    assert "6 delivered" in done.said
    for option, value in (
        ("--modalities", "M R"),
        ("--modalities", ""),
        ("--admit", "nonsense"),
        ("--admit", "{when: {Modalit: CT}, then: filter}"),
        ("--admit", "{when: {Modality: CT}, then: go}"),
        ("--admit", "["),
        ("--admit", "{when: {Modality: CT}, then: filter, then: accept}"),
    ):
        done = deid(*common, option, value)
        assert done.code == 2
        assert done.said.startswith(f"{option}: ")


# ---------------------------------------------------------------------- numbers


def test_numbered_places(tmp_path: Path) -> None:
    """Each patient's outputs are numbered from 1 on in the order of the inputs, by however many processes."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in", images=40)
    trees = []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        arguments = ("--key", key, "--processes", processes, "--layout", "{PatientID}/{n}.dcm")
        assert deid(source, "-o", out, *arguments).code == 0
        trees.append(tree(out))
    assert trees[0] == trees[1]
    by_patient: dict[str, set[int]] = {}
    for place in trees[0]:
        patient, name = place.split("/")
        by_patient.setdefault(patient, set()).add(int(name.removesuffix(".dcm")))
    assert list(by_patient.values()) == [set(range(1, 41))] * 2
    flat = tmp_path / "flat"
    assert deid(source, "-o", flat, "--key", key, "--layout", "out_{PatientID}_{n}.dcm").code == 0
    assert set(tree(flat)) == {f"out_{place.replace('/', '_')}" for place in trees[0]}


def test_numbers_replace_nothing(tmp_path: Path) -> None:
    """A folder that has files is not numbered anew."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in")
    common = (source, "-o", tmp_path / "out", "--key", key, "--layout", "{n}.dcm")
    assert deid(*common).code == 0
    before = tree(tmp_path / "out")
    done = deid(*common)
    assert (done.code, "take another folder" in done.said) == (2, True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.dcm").write_text("somebody's")
    assert deid(source, "-o", tmp_path / "other", *common[3:], "--resume").code == 2
    assert tree(tmp_path / "out") == before


# ---------------------------------------------------------------------- processes, progress


def test_process_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ends the process that works on it is quarantined; all others are done, in their order."""
    source = write_tree(tmp_path / "in", images=60)
    outcome = Worker.outcome

    def deadly(worker: Worker, file: batch.Input) -> batch.Outcome:
        if file.path.endswith("p0/7.dcm"):
            os._exit(9)
        return outcome(worker, file)

    monkeypatch.setattr(Worker, "outcome", deadly)
    job = batch.Job(samples.KEY, "", load_profile("basic"), batch.MIRROR, tmp_path / "out", tmp_path / "aside")
    found = list(batch.perform(job, batch.inputs([source], tmp_path / "out"), 2))
    assert [each.source for each in found] == [file.path for file in batch.inputs([source], tmp_path / "out")]
    (lost,) = [each for each in found if each.status != "delivered"]
    assert (lost.status, lost.reason, Path(lost.source).name) == ("quarantined", "too-many-attempts", "7.dcm")
    assert (tmp_path / "aside" / str(lost.copy)).read_bytes() == (source / "p0" / "7.dcm").read_bytes()
    assert len(tree(tmp_path / "out")) == 119


# So slow that it is not done before anybody gets to interrupt it; and to be interrupted, also where the tests run in
# the background of a shell, which has its processes ignore SIGINT.
_SLOW = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from scp_anon.batch.work import Worker
from scp_anon.cli import main
outcome = Worker.outcome
Worker.outcome = lambda worker, file: time.sleep(0.02) or outcome(worker, file)
main()
"""


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C, which all processes of a terminal get: no traceback, nothing half written, and the rest by --resume."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", images=500), tmp_path / "out"
    common = (source, "-o", out, "--key", key, "--layout", "mirror", "--resume")
    command = [sys.executable, "-c", _SLOW, "deid", *map(str, common), "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        eventually(lambda: out.exists() and len(list(out.glob("p0/*"))) > 10)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1].decode()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert 0 < len(tree(out)) < 1000
    assert not [place for place in tree(out) if place.endswith(".tmp")]
    assert deid(*common).code == 0
    assert len(tree(out)) == 1000


def test_progress(tmp_path: Path) -> None:
    """On a terminal: done of all, rates, time left, quarantined; and no name."""
    key, source = key_file(tmp_path), write_tree(tmp_path / f"{CANARY}-in", images=100)
    (source / "cut.dcm").write_bytes((source / "p0" / "0.dcm").read_bytes()[:-100])
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "scp_anon", "deid", source, "-o", tmp_path / "out", "--key", key]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "150", "TERM": "xterm"}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=inside, env=environment)
    os.close(inside)
    seen = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(terminal)
    assert process.wait() == 1
    text = seen.decode()
    assert CANARY not in text
    for expected in ("201/201", "files/s", "MB/s", "ETA 0:00:00", "1 quarantined"):
        assert expected in text


# ---------------------------------------------------------------------- many files

_MEASURED = """
import sys
from pathlib import Path
from scp_anon import batch
from scp_anon.batch import manifest
from scp_anon.deid import load_profile
manifest._LINES = 500  # what waits for the disk is bounded, but how much of it waits is the disk's affair
folder, out = map(Path, sys.argv[1:])
job = batch.Job(bytes(range(32)), "", load_profile("basic"), "{PatientID}/{n}.dcm", out)
count = sum(1 for outcome in batch.perform(job, batch.inputs([folder], out), 1) if outcome.status == "delivered")
status = Path("/proc/self/status").read_text()
print(count, status.split("VmHWM:")[1].split()[0])
"""


def test_memory_is_flat(tmp_path: Path) -> None:
    """Of 15,000 files in one folder a run has, at its peak, hardly more memory than of 5,000."""
    image = tmp_path / "image"
    image.write_bytes(samples.encoded(samples.image(pixels=64)))
    peaks = []
    for count in (5_000, 15_000):
        folder = tmp_path / f"in {count}"
        folder.mkdir()
        for number in range(count):
            os.link(image, folder / f"a name as long as those that scanners give to their files {number:08}.dcm")
        command = [sys.executable, "-c", _MEASURED, str(folder), str(tmp_path / f"out {count}")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        delivered, peak = map(int, done.stdout.split())
        assert delivered == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 1024  # KB: 10,000 paths alone would be more


def test_places_of_several_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a place of its own below the output folder, whatever it is called: no step up, and none twice."""
    for name in ("one/a", "two/a", "three/a-2", "here/below"):
        write_tree(tmp_path / name, patients=1, images=1)
    monkeypatch.chdir(tmp_path / "here" / "below")
    given = [tmp_path / "one" / "a", tmp_path / "two" / "a", tmp_path / "three" / "a-2", Path(".."), Path()]
    places = [file.relative for file in batch.inputs(given, tmp_path / "out")]
    assert places == [f"{name}/0.dcm" for name in ("a/p0", "a-2/p0", "a-2-2/p0", "here/below/p0", "below/p0")]
    key, out = key_file(tmp_path), tmp_path / "deep" / "out"
    assert deid("..", given[0], "-o", out, "--key", key, "--layout", "mirror").code == 0
    assert tree(out).keys() == {"here/below/p0/0.dcm", "a/p0/0.dcm"}


def test_order_of_a_large_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted on the disk or in memory, the files come in the same order, and none is lost."""
    for i in range(50):
        (tmp_path / f"{i % 7}-{i}").write_text("")
    (tmp_path / "3-folder").mkdir()
    (tmp_path / "3-folder" / "x").write_text("")
    (tmp_path / os.fsdecode(b"4-\xff")).write_text("")
    expected = [file.path for file in batch.inputs([tmp_path], Path("/nowhere"))]
    monkeypatch.setattr(files_module, "_IN_MEMORY", 5)
    assert [file.path for file in batch.inputs([tmp_path], Path("/nowhere"))] == expected
    assert len(expected) == 52


def test_sample(tmp_path: Path) -> None:
    """So many files of each folder, as by chance: whatever else is there, and however it is listed."""
    source = write_tree(tmp_path / "in", patients=3, images=40)
    (source / "p1" / "deeper").mkdir()
    shutil.copy(source / "p0" / "0.dcm", source / "p1" / "deeper" / "only.dcm")
    (source / "empty").mkdir()

    def chosen(folder: Path, size: int) -> list[str]:
        return [file.relative for file in batch.inputs([folder], tmp_path / "out", size)]

    first = chosen(source, 5)
    assert Counter(str(Path(place).parent) for place in first) == {"p0": 5, "p1": 5, "p1/deeper": 1, "p2": 5}
    assert len({tuple(Path(each).name for each in first if each.startswith(f"{p}/")) for p in ("p0", "p1", "p2")}) == 3
    assert set(chosen(source, 4)) < set(first) < set(chosen(source, 100))
    assert len(chosen(source, 100)) == 121
    moved = tmp_path / "moved" / "away"
    for path in sorted(source.rglob("*.dcm"), reverse=True):
        (moved / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved / path.relative_to(source))
    assert chosen(moved, 5) == first


def test_sample_by_the_command(tmp_path: Path) -> None:
    """A few are done, by however many processes, and the rest when it is wanted; what is named is always done."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", patients=2, images=40), tmp_path / "out"
    common = ("-o", out, "--key", key, "--layout", "mirror")
    assert deid(source, *common, "--sample", 5, "--processes", 2).said == "10 delivered\n"
    some = tree(out)
    assert some.keys() == {file.relative for file in batch.inputs([source], out, 5)}
    assert deid(source, *common, "--resume", "--sample", 5).said == "10 skipped\n"
    assert deid(source, *common, "--resume").said == "70 delivered, 10 skipped\n"
    assert some.items() < tree(out).items()
    named = (source / "p0" / "3.dcm", source / "p0" / "4.dcm", source / "p1")
    assert deid(*named, *common, "--sample", 1, "--dry-run").said == "dry run: 3 delivered\n"
    assert deid(source, *common, "--sample", 0).code == 2


def test_sample_of_a_large_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted on the disk or in memory, it is the same."""
    for i in range(50):
        (tmp_path / os.fsdecode(b"%d-\xff" % i)).write_text("")
    expected = list(batch.inputs([tmp_path], Path("/nowhere"), 20))
    monkeypatch.setattr(files_module, "_IN_MEMORY", 5)
    assert list(batch.inputs([tmp_path], Path("/nowhere"), 20)) == expected
    assert len(expected) == 20


def test_census(tmp_path: Path) -> None:
    """It counts just the files that a run finds."""
    source = write_tree(tmp_path / "in")
    (source / "link").symlink_to(source / "p0")
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    (source / "p1" / "image").symlink_to(source / "p0" / "0.dcm")
    census = batch.Census([source, source / "p0" / "0.dcm"], batch.context())
    census._process.join()
    expected = len(list(batch.inputs([source, source / "p0" / "0.dcm"], tmp_path / "out")))
    assert census.total == expected == 10, "links are told"
    census.close()
    sampled = batch.Census([source, source / "p0" / "0.dcm"], batch.context(), 2)
    sampled._process.join()
    assert sampled.total == len(list(batch.inputs([source, source / "p0" / "0.dcm"], tmp_path / "out", 2)))
    sampled.close()
