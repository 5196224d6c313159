"""Two inputs with the same UIDs: no output takes the place of that of another input, whoever is first in a race."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from scp_anon import batch
from scp_anon.batch import pool
from scp_anon.deid import load_profile
from tests import samples
from tests.deid import deid, key_file, tree
from tests.samples import CANARY


def write(path: Path, manufacturer: str, name: str = "one") -> None:
    """An image; those of the same `name` have the same UIDs."""
    ds = samples.image(name)
    ds.Manufacturer = manufacturer
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(samples.encoded(ds))


def makers(out: Path) -> set[str]:
    """Whose images there are."""
    return {str(dcmread(out / place).Manufacturer) for place in tree(out)}


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_stays(processes: int, tmp_path: Path) -> None:
    """In the order of the paths; the other is quarantined, with a copy where one is wanted."""
    source, out, aside = tmp_path / "in", tmp_path / "out", tmp_path / "aside"
    write(source / "a", "First")
    write(source / "b", "Second")
    write(source / "c", "First")  # the same in all, so the same as a result
    write(source / "d", "Another", "two")
    more = ("--key", key_file(tmp_path), "--quarantine", aside, "--processes", processes)
    done = deid(source, "-o", out, *more)
    assert (done.code, done.said) == (1, "3 delivered, 1 quarantined\n  1 duplicate-uid\n")
    assert makers(out) == {"First", "Another"}
    (copy,) = (aside / "duplicate-uid").iterdir()
    assert copy.read_bytes() == (source / "b").read_bytes()


def test_which_one_is_first_is_no_matter_of_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the processes share the files, the results are those of one process."""
    monkeypatch.setattr(pool, "_CHUNK", 1)
    source = tmp_path / "in"
    for i in range(40):
        write(source / f"{i:02}", f"Maker {i % 3}", str(i // 4))
    results = []
    for processes in (1, 2, 3):
        out = tmp_path / f"out {processes}"
        job = batch.Job(samples.KEY, "", load_profile("basic"), "{SOPInstanceUID}.dcm", out)
        found = list(batch.perform(job, batch.inputs([source], out), processes))
        results.append(([(each.source, each.status, each.output) for each in found], tree(out)))
    assert results[1:] == results[:1] * 2
    assert len(results[0][1]) == 10


@pytest.mark.parametrize("layout", ["mirror", "{PatientID}/{n}.dcm", "{Folder}/{SOPInstanceUID}.dcm"])
def test_layouts_in_which_each_has_its_place(layout: str, tmp_path: Path) -> None:
    """Both are delivered."""
    source, out = tmp_path / "in", tmp_path / "out"
    write(source / "a" / "1", "First")
    write(source / "b" / "1", "Second")
    assert deid(source, "-o", out, "--key", key_file(tmp_path), "--layout", layout).said == "2 delivered\n"
    assert makers(out) == {"First", "Second"}


def test_resumed(tmp_path: Path) -> None:
    """What an earlier run has finished stays; its own input may change, and is done again."""
    source, out = tmp_path / "in", tmp_path / "out"
    common = (source, "-o", out, "--key", key_file(tmp_path), "--resume")
    write(source / "b", "First")
    assert deid(*common).said == "1 delivered\n"
    write(source / "a", "Second")
    assert deid(*common).said == "1 quarantined, 1 skipped\n  1 duplicate-uid\n"
    assert makers(out) == {"First"}
    write(source / "b", "Changed later")
    assert "1 delivered, 1 quarantined" in deid(*common).said
    assert makers(out) == {"Changed later"}


def test_a_new_run_replaces_an_earlier_one(tmp_path: Path) -> None:
    """Without --resume nobody asks what was there."""
    source, out = tmp_path / "in", tmp_path / "out"
    common = (source, "-o", out, "--key", key_file(tmp_path))
    for maker in ("First", "Second"):
        write(source / "a", maker)
        assert deid(*common).said == "1 delivered\n"
        assert makers(out) == {maker}


def test_nobody_is_named(tmp_path: Path) -> None:
    """What is said of it has no value of either."""
    source = tmp_path / "in"
    for name in "ab":
        write(source / name, f"{CANARY} {name}")
    done = deid(source, "-o", tmp_path / "out", "--key", key_file(tmp_path))
    assert done.code == 1
    assert CANARY not in done.said
