"""A run that was cut off is resumed: nothing is done twice, nothing is left out, and the result is the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scp_anon.batch import manifest as manifest_module
from scp_anon.batch.manifest import NAME, Done, Manifest, Names
from scp_anon.errors import ConfigError
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.harness import eventually
from tests.samples import CANARY

ROOT = Path(__file__).resolve().parents[1]
NUMBERED = "{PatientID}/{n}.dcm"
HEAD = {"profile": "p", "key": "k"}
NAMES = Names(bytes(32))


def manifest(folder: Path, resume: bool = True, head: dict[str, str] = HEAD) -> Manifest:
    """The manifest of a folder."""
    return Manifest(folder, head, NAMES, resume)


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("layout", ["{SOPInstanceUID}.dcm", "mirror", NUMBERED])
def test_finished_files_are_skipped(layout: str, tmp_path: Path) -> None:
    """They are not touched; what is new, changed, missing or was in trouble is done."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    common = (source, "-o", out, "--key", key, "--layout", layout, "--resume")
    cut = source / "p0" / "cut.dcm"
    whole = samples.encoded(samples.image("whole"))
    cut.write_bytes(whole[:-50])
    (source / "note.txt").write_bytes(b"of no interest " * 20)
    assert "6 delivered, 1 filtered, 1 quarantined" in deid(*common).said
    first = {place: (out / place).stat().st_ino for place in tree(out)}
    done = deid(*common)
    assert (done.code, done.said) == (1, "1 quarantined, 7 skipped\n  1 truncated\n")
    assert {place: (out / place).stat().st_ino for place in tree(out)} == first
    cut.write_bytes(whole)
    assert deid(*common).said == "1 delivered, 7 skipped\n"
    changed = source / "p1" / "0.dcm"
    os.utime(changed, ns=(1, changed.stat().st_mtime_ns + 1))
    assert deid(*common).said == "1 delivered, 7 skipped\n"
    content = changed.read_bytes()
    changed.write_bytes(content + bytes(2))  # behind the pixels: no DICOM, and of another size
    os.utime(changed, ns=(1, 1))
    assert "1 quarantined, 7 skipped" in deid(*common).said
    changed.write_bytes(content)
    (out / next(iter(first))).unlink()
    (source / "p1" / "new.dcm").write_bytes(samples.encoded(samples.image("new")))
    assert deid(*common).code == 0
    assert first.keys() < tree(out).keys()
    assert deid(*common).said == "9 skipped\n"


def test_numbers_stay(tmp_path: Path) -> None:
    """What has a number keeps it; what comes later is numbered behind it, also if its name comes before."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", patients=1), tmp_path / "out"
    common = (source, "-o", out, "--key", key, "--layout", NUMBERED, "--resume")
    assert deid(*common).code == 0
    before = tree(out)
    ds = samples.image("0 new")
    ds.PatientID = f"{CANARY}-0"
    (source / "a.dcm").write_bytes(samples.encoded(ds))
    touched = source / "p0" / "1.dcm"
    os.utime(touched, ns=(1, 1))
    assert "2 delivered, 2 skipped" in deid(*common).said
    after = tree(out)
    assert {place: after[place] for place in before} == before
    assert [Path(place).name for place in after.keys() - before.keys()] == ["4.dcm"]


def test_another_link_list_is_another_layout(tmp_path: Path) -> None:
    """As are other fields: by it the same inputs may have other places."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", 1, 1), tmp_path / "out"
    fields, links = tmp_path / "fields.yaml", tmp_path / "links.csv"
    text = "links: {file: links.csv, number: n, serial: s}\nfields: {Serial: {serial_of: Modality}}\n"
    fields.write_text(text)
    links.write_text("n,s\nCT,17\n")
    layout = ("--layout", "{Serial}/{SOPInstanceUID}.dcm", "--fields", fields)
    common = (source, "-o", out, "--key", key, "--resume", *layout)
    assert deid(*common).said == "1 delivered\n"
    assert deid(*common).said == "1 skipped\n"
    links.write_text("n,s\nCT,18\n")
    done = deid(*common)
    assert (done.code, "another layout" in done.said) == (2, True)
    assert {place.split("/")[0] for place in tree(out)} == {"17"}
    links.write_text("n,s\nCT,17\n")
    fields.write_text(f"# other\n{text}")
    assert "another layout" in deid(*common).said


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    """By another profile, key, project, layout or version nothing is mixed into a folder: exit code 2."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    other = tmp_path / "other"
    other.write_bytes(bytes(32))
    other.chmod(0o600)
    common = {"--key": key, "--project": "one", "--layout": "{SOPInstanceUID}", "--option": "retain-uids"}

    def run(**changes: object) -> tuple[int, str]:
        arguments = {**common, **{f"--{name}": value for name, value in changes.items()}}
        return deid(source, "-o", out, "--resume", *(each for pair in arguments.items() for each in pair))

    assert run()[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    for name, value, said in (
        ("key", other, "another key"),
        ("project", "two", "another project"),
        ("layout", "mirror", "another layout"),
        ("option", "clean-graphics", "another profile"),
    ):
        code, text = run(**{name: value})
        assert code == 2, name
        assert f"{said}: resume with the same" in text
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert run()[0] == 0


def test_another_version_is_told_as_such(tmp_path: Path) -> None:
    """It has other rules for the same profile: nobody is told of another profile that they have not changed."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", 1, 1), tmp_path / "out"
    assert deid(source, "-o", out, "--key", key).code == 0
    head, *rest = (out / NAME).read_text().splitlines(keepends=True)
    changed = {**json.loads(head), "version": "0.0.1", "profile": "0a1b2c3d"}
    (out / NAME).write_text("".join([json.dumps(changed) + "\n", *rest]))
    done = deid(source, "-o", out, "--key", key, "--resume")
    assert done.code == 2
    assert "was begun with another version: resume with the same" in done.said
    assert "profile" not in done.said


def test_without_resume_all_is_done_again(tmp_path: Path) -> None:
    """And the manifest is that of the new run."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    assert "6 delivered" in deid(source, "-o", out, "--key", key).said
    assert "6 delivered" in deid(source, "-o", out, "--key", key, "--project", "two").said
    assert "6 skipped" in deid(source, "-o", out, "--key", key, "--project", "two", "--resume").said


def test_dry_run_of_a_resumed_one(tmp_path: Path) -> None:
    """It says what is left to do, and changes nothing."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    common = ("-o", out, "--key", key, "--resume", "--layout", "mirror")
    assert deid(source, *common).code == 0
    (source / "new.dcm").write_bytes(samples.encoded(samples.image("new")))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert deid(source, *common, "--dry-run").said == "dry run: 1 delivered, 6 skipped\n"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_manifest_tells_nobody(tmp_path: Path) -> None:
    """It is for its owner's eyes, and has neither paths nor names of the originals."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / f"{CANARY}-in"), tmp_path / "out"
    assert deid(source, "-o", out, "--key", key, "--layout", "mirror", "--project", CANARY).code == 0
    content = (out / NAME).read_text()
    assert CANARY not in content
    assert "p0" not in content
    assert "dcm" not in content
    assert (out / NAME).stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------------- the manifest itself


def test_unfinished_last_line(tmp_path: Path) -> None:
    """However much of the last line a crash has left: it is ignored, and what is appended is whole."""
    first = manifest(tmp_path, resume=False)
    for i in range(3):
        first.add(f"/{i}", Done(i, i, "delivered", f"{i}.dcm", None))
    first.sync()
    first.close()
    content = (tmp_path / NAME).read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for cut in range(start, len(content)):
        (tmp_path / NAME).write_bytes(content[:cut])
        again = manifest(tmp_path)
        assert (again.find("/1"), again.find("/2")) == (Done(1, 1, "delivered", "1.dcm", None), None)
        again.add("/2", Done(2, 2, "delivered", "2.dcm", None))
        again.sync()
        again.close()
        assert (tmp_path / NAME).read_bytes() == content
    for cut in range(content.index(b"\n") + 1):
        (tmp_path / NAME).write_bytes(content[:cut])
        again = manifest(tmp_path)
        assert again.find("/0") is None
        again.close()


@pytest.mark.parametrize("line", [b"[]", b"{}", b"nonsense", b'["zz",1,1,"delivered","x",null]', b"\xff"])
def test_damaged_manifest(line: bytes, tmp_path: Path) -> None:
    """Damage that no crash makes: nothing is guessed, and nothing is overwritten."""
    manifest(tmp_path, resume=False).close()
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + line + b"\n")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="damaged"):
        manifest(tmp_path)
    assert path.read_bytes() == before
    path.write_bytes(line + b"\n")
    with pytest.raises(ConfigError, match="damaged"):
        manifest(tmp_path)


def test_outputs_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is on stable storage only after the outputs that it tells of."""
    calls: list[str] = []
    first = manifest(tmp_path, resume=False)
    monkeypatch.setattr(manifest_module, "_sync_file_system", lambda descriptor: calls.append("outputs"))
    write = os.write

    def noting(descriptor: int, content: bytes) -> int:
        calls.append("line")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", noting)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    first.add("/1", Done(1, 1, "delivered", "1.dcm", None))
    assert not calls
    first.sync()
    assert calls == ["outputs", "line", "fsync"]
    first.close()


def test_sync_of_the_file_system(tmp_path: Path) -> None:
    """The call that a batch of outputs is brought to stable storage by works, or says why it does not."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    manifest_module._sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        manifest_module._sync_file_system(descriptor)


def test_two_runs_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is refused."""
    monkeypatch.setattr(manifest_module, "_PATIENCE", 0.3)
    first = manifest(tmp_path)
    with pytest.raises(ConfigError, match="another run is at work"):
        manifest(tmp_path)
    first.close()
    manifest(tmp_path).close()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest that cannot be written ends the run, with a word about it."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest_module, "_sync_file_system", full)
    done = deid(source, "-o", out, "--key", key)
    assert (done.code, "the manifest cannot be written: No space left" in done.said) == (2, True)


# ---------------------------------------------------------------------- kill -9


# The manifest is written more often than it would be, so that there is something in it when the run is killed; and
# stable storage is not waited for, as nobody takes the power away. A run that is to be killed is slow, so as not to be
# done before.
_RUN = """
import os, time
from scp_anon.batch import manifest
from scp_anon.batch.work import Worker
from scp_anon.cli import main
manifest._EVERY = 0.05
manifest._sync_file_system = lambda descriptor: None
outcome, pause = Worker.outcome, float(os.environ["PAUSE"])
Worker.outcome = lambda worker, file: time.sleep(pause) or outcome(worker, file)
main()
"""


def start(source: Path, out: Path, key: Path, layout: str, *more: str, pause: float = 0) -> subprocess.Popen[bytes]:
    """A run in two processes; `pause`: seconds before each file."""
    options = ["--key", key, "--layout", layout, "--processes", "2", "--resume", "--summary", f"{out}.json", *more]
    command = [sys.executable, "-c", _RUN, "deid", source, "-o", out, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PAUSE": str(pause)}
    return subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def count(folder: Path) -> int:
    """How many files there are below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def kill_again_and_again(source: Path, out: Path, key: Path, layout: str, *more: str) -> None:
    """Begin a run, or go on with it, three times, and have it killed in the middle."""
    chance = random.Random(layout)  # noqa: S311 - when to kill is no secret
    kills = 0
    for _ in range(3):
        begun = count(out)
        process = start(source, out, key, layout, *more, pause=0.004)
        while process.poll() is None and count(out) <= begun:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        workers = children(process.pid)
        kills += process.poll() is None
        process.kill()
        process.wait()
        eventually(lambda workers=workers: not any(Path(f"/proc/{pid}").exists() for pid in workers))  # type: ignore[misc]  # bound now
    assert kills > 1


@pytest.mark.parametrize("layout", ["{PatientID}/{SOPInstanceUID}.dcm", NUMBERED])
def test_killed_and_resumed(layout: str, tmp_path: Path) -> None:
    """Killed in the middle, again and again, and resumed: the tree is that of a run that nobody disturbed."""
    key, source = key_file(tmp_path), tmp_path / "in"
    write_tree(source, patients=3, images=1)
    image = (source / "p0" / "0.dcm").read_bytes()
    uid = samples.uid("instance 0 0").encode()
    for i in range(1500):
        other = uid[: -len(str(i)) - 1] + b"9" + str(i).encode()
        (source / f"p{i % 3}" / f"{i:05}.dcm").write_bytes(image.replace(uid, other))
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    process = start(source, undisturbed, key, layout)
    assert process.wait() == 0
    expected = tree(undisturbed)
    assert len(expected) > 1400
    kill_again_and_again(source, out, key, layout)
    assert start(source, out, key, layout).wait() == 0
    assert json.loads(Path(f"{out}.json").read_text())["skipped"] > 0
    assert tree(out) == expected


def test_lines_of_a_killed_run_are_whole(tmp_path: Path) -> None:
    """What a run in progress has noted can be read by anybody at any time, up to its last whole line."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in", images=100), tmp_path / "out"
    process = start(source, out, key, "mirror")
    while process.poll() is None:
        if (out / NAME).exists():
            for line in (out / NAME).read_bytes().splitlines(keepends=True):
                assert not line.endswith(b"\n") or json.loads(line)
    assert process.wait() == 0
