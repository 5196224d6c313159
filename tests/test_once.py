"""`deid --once`: of inputs with the same content one is done, also over runs, processes, and after kill -9."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from scp_anon.batch import contents as contents_module
from scp_anon.batch.contents import Contents, content_of
from scp_anon.batch.manifest import NAME
from scp_anon.filesystem import opened
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.samples import CANARY
from tests.test_resume import kill_again_and_again, start

RENAMED = "{Folder}/{SOPInstanceUID}.dcm"
LAYOUTS = ("{SOPInstanceUID}.dcm", "mirror", "{PatientID}/{n}.dcm", RENAMED, "{Folder}/{n}.dcm")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three images, and all of them once more in a folder that comes later."""
    folder = write_tree(tmp_path / "in", patients=1)
    shutil.copytree(folder / "p0", folder / "p1")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_once(layout: str, source: Path, tmp_path: Path) -> None:
    """The first in the order of the inputs is delivered, by however many processes; the others are counted."""
    key = key_file(tmp_path)
    for processes in (1, 2):
        out = tmp_path / str(processes)
        options = ("--key", key, "--layout", layout, "--processes", processes, "--once", "--report", tmp_path / "r")
        done = deid(source, "-o", out, *options)
        assert (done.code, done.said) == (0, "3 delivered, 3 skipped\n  3 same-content\n")
        assert len(tree(out)) == 3
        lines = [json.loads(line) for line in (tmp_path / "r").read_text().splitlines()]
        assert [(line["status"], line["reason"]) for line in lines] == [
            *[("delivered", None)] * 3,
            *[("skipped", "same-content")] * 3,
        ]
        assert {line["output"] for line in lines} - {None} == tree(out).keys()
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_without_it_all_are_done(source: Path, tmp_path: Path) -> None:
    """And the manifest has nothing of contents: what is behind the number is the patient of a study."""
    out, key = tmp_path / "out", key_file(tmp_path)
    assert "6 delivered" in deid(source, "-o", out, "--key", key, "--layout", "mirror").said
    lines = [json.loads(line) for line in (out / NAME).read_text().splitlines()[1:]]
    assert [line[6:] for line in lines if len(line) != 6] == [[None, line[7]] for line in lines if len(line) == 8]


def test_dry_run(source: Path, tmp_path: Path) -> None:
    """It says the same, and writes nothing."""
    out = tmp_path / "out"
    done = deid(source, "-o", out, "--key", key_file(tmp_path), "--once", "--dry-run")
    assert done.said == "dry run: 3 delivered, 3 skipped\n  3 same-content\n"
    assert not out.exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_resumed(layout: str, source: Path, tmp_path: Path) -> None:
    """What an earlier run has finished counts; it is told by a keyed hash of the content, never a plain one."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = (source, "-o", out, "--key", key, "--layout", layout, "--once", "--resume")
    assert "3 delivered, 3 skipped" in deid(*common).said
    before = tree(out)
    assert deid(*common).said == "6 skipped\n  3 same-content\n"
    shutil.copytree(source / "p0", source / "p2")
    os.utime(source / "p1" / "0.dcm", ns=(1, 1))
    assert deid(*common).said == "9 skipped\n  6 same-content\n"
    assert tree(out) == before
    manifest = (out / NAME).read_text()
    assert CANARY not in manifest
    with opened(source / "p0" / "0.dcm") as (buffer, _):
        for digest in ("md5", "sha1", "sha256"):
            assert hashlib.new(digest, buffer).hexdigest()[:32] not in manifest


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_originals_are_gone(layout: str, source: Path, tmp_path: Path) -> None:
    """A later delivery of the same in another place is known, if the manifest tells where the first one went."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = ("-o", out, "--key", key, "--layout", layout, "--once", "--resume")
    assert deid(source / "p0", *common).code == 0
    source.joinpath("p0").rename(tmp_path / "away")
    (source / "p1").rename(source / "other")
    done = deid(source, *common)
    # Of a mirror it does not; then the same is delivered once more, and nothing is lost.
    is_told = layout in (LAYOUTS[0], LAYOUTS[2])
    assert done.said == ("3 skipped\n  3 same-content\n" if is_told else "3 delivered\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_finished_is_there(layout: str, source: Path, tmp_path: Path) -> None:
    """Where the output is gone the content is not finished: it is delivered again."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = ("-o", out, "--key", key, "--layout", layout, "--once", "--resume")
    assert deid(source, *common).code == 0
    before = tree(out)
    (out / next(iter(before))).unlink()
    assert deid(source, *common).said == "1 delivered, 5 skipped\n  3 same-content\n"
    assert tree(out) == before
    (out / next(iter(before))).unlink()
    (source / "p0").rename(tmp_path / "away")
    done = deid(source, *common)
    expected = 1 if layout in (LAYOUTS[0], LAYOUTS[2]) else 3
    assert done.said.startswith(f"{expected} delivered"), done.said
    assert len(tree(out)) >= 3


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("layout", ["mirror", "{PatientID}/{n}.dcm"])
def test_the_first_one_has_changed(layout: str, processes: int, source: Path, tmp_path: Path) -> None:
    """What is to be replaced does not count as finished, though it is there when the other one is looked at."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = (source, "-o", out, "--key", key, "--layout", layout, "--once", "--resume", "--processes", processes)
    assert deid(*common).code == 0
    other = samples.image("other")
    other.PatientID = f"{CANARY}-0"
    (source / "p0" / "1.dcm").write_bytes(samples.encoded(other))
    assert deid(*common).said == "2 delivered, 4 skipped\n  2 same-content\n"
    assert len(tree(out)) == 4
    (source / "p1" / "2.dcm").write_bytes(samples.encoded(other))
    assert deid(*common).said == "6 skipped\n  2 same-content\n"


def test_the_first_one_cannot_be_delivered(source: Path, tmp_path: Path) -> None:
    """What has failed or was quarantined is not finished: all that have its content are tried."""
    out, key = tmp_path / "out", key_file(tmp_path)
    whole = (source / "p0" / "0.dcm").read_bytes()
    for folder in ("p0", "p1"):
        (source / folder / "0.dcm").write_bytes(whole[:-50])
    out.mkdir()
    (out / "p0").write_text("in the way")
    done = deid(source, "-o", out, "--key", key, "--layout", "mirror", "--once")
    assert done.code == 1
    assert done.said.startswith("2 delivered, 2 failed, 2 quarantined\n")
    assert sorted(place for place in tree(out) if place.startswith("p1")) == ["p1/1.dcm", "p1/2.dcm"]


def test_another_content_at_the_same_place(tmp_path: Path) -> None:
    """It is quarantined, and what was there before is finished still."""
    source, out, key = tmp_path / "in", tmp_path / "out", key_file(tmp_path)
    source.mkdir()
    first, second = samples.image("one"), samples.image("one")
    second.Manufacturer = "Another"
    for name, ds in (("a", first), ("b", second), ("c", first), ("d", first)):
        (source / name).write_bytes(samples.encoded(ds))
    common = (source, "-o", out, "--key", key, "--layout", "{SOPInstanceUID}.dcm", "--once", "--resume")
    counts = "1 delivered, 1 quarantined, 2 skipped\n  2 same-content\n  1 duplicate-uid\n"
    assert deid(*common).said == counts
    assert [dcmread(out / place).Manufacturer for place in tree(out)] == [first.Manufacturer]


def test_a_file_that_is_no_instance(source: Path, tmp_path: Path) -> None:
    """It is filtered, however often it is there."""
    for folder in ("p0", "p1"):
        (source / folder / "note.txt").write_bytes(b"of no interest " * 20)
    done = deid(source, "-o", tmp_path / "out", "--key", key_file(tmp_path), "--once")
    assert "3 delivered, 2 filtered, 3 skipped" in done.said


def test_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is mapped has the hash that it has in memory, in pieces of any size."""
    path = tmp_path / "large"
    path.write_bytes(bytes(range(251)) * 40_000)
    with opened(path) as (buffer, mapped):
        assert mapped is not None
        expected = content_of(b"key", bytes(buffer), None)
        for size in (1 << 20, 999_983, 1 << 30):
            monkeypatch.setattr(contents_module, "_CHUNK", size)
            assert content_of(b"key", buffer, mapped) == expected
    assert content_of(b"other", b"x", None) != content_of(b"key", b"x", None)


def test_contents(tmp_path: Path) -> None:
    """Finished is what has an output that is there, and that nothing else has replaced."""
    contents = Contents(tmp_path, writes=True)
    (tmp_path / "out").touch()
    contents.add("aa", "01", None, is_new=False)
    assert not contents.has("aa")
    contents.find("01", "out")
    assert contents.has("aa")
    contents.add("bb", "02", "out", is_new=True)
    assert (contents.has("aa"), contents.has("bb")) == (False, True)
    contents.forget("02")
    assert not contents.has("bb")
    contents.add("cc", "04", None, is_new=False)
    contents.add("dd", "04", None, is_new=False)
    contents.find("04", "out")
    assert (contents.has("cc"), contents.has("dd")) == (False, True), "the source has another content now"
    contents.add("aa", "03", "out", is_new=True)
    (tmp_path / "out").unlink()
    assert not contents.has("aa")
    contents.close()


@pytest.mark.parametrize("layout", ["{PatientID}/{n}.dcm", RENAMED])
def test_killed_and_resumed(layout: str, tmp_path: Path) -> None:
    """Killed in the middle, again and again, and resumed: the tree is that of a run that nobody disturbed."""
    key, source = key_file(tmp_path), tmp_path / "in"
    write_tree(source, patients=1, images=1)
    image, uid = (source / "p0" / "0.dcm").read_bytes(), samples.uid("instance 0 0").encode()
    for i in range(900):
        number = str(i % 300).encode()
        path = source / f"p{i // 100}" / f"{i:05}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image.replace(uid, uid[: -len(number) - 1] + b"9" + number))
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert start(source, undisturbed, key, layout, "--once").wait() == 0
    expected = tree(undisturbed)
    assert len(expected) == len({path.read_bytes() for path in source.rglob("*.dcm")}) >= 300
    kill_again_and_again(source, out, key, layout, "--once")
    assert start(source, out, key, layout, "--once").wait() == 0
    assert tree(out) == expected
    summary = json.loads(Path(f"{out}.json").read_text())
    assert (summary["total"], summary["delivered"] + summary["skipped"]) == (901, 901)
