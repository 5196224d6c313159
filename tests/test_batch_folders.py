"""`{Folder}` in a layout: outputs in the folders of their inputs, by new names or by numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom import dcmread

from scp_anon.batch.manifest import NAME
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.harness import scp_anon
from tests.samples import CANARY

RENAMED = "{Folder}/{SOPInstanceUID}.dcm"
NUMBERED = "{Folder}/{n}.dcm"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two folders with three images each, one of them deeper, and an image beside them."""
    folder = write_tree(tmp_path / "in")
    (folder / "p1").rename(folder / "p0" / "deeper")
    (folder / "beside.dcm").write_bytes(samples.encoded(samples.image("beside")))
    return folder


def test_mirrored_folders_with_new_names(source: Path, tmp_path: Path) -> None:
    """As dicom-anon's -r: the folders stay, the names are the new SOP Instance UIDs."""
    out = tmp_path / "out"
    assert deid(source, "-o", out, "--key", key_file(tmp_path), "--layout", RENAMED).code == 0
    places = [Path(place) for place in tree(out)]
    assert sorted(str(place.parent) for place in places) == [".", *["p0"] * 3, *["p0/deeper"] * 3]
    assert all(place.stem == dcmread(out / place).SOPInstanceUID for place in places)


def test_several_inputs(source: Path, tmp_path: Path) -> None:
    """Each has a folder of its own, as in a mirror; a file that is named is beside them."""
    out, key = tmp_path / "out", key_file(tmp_path)
    inputs = (source / "p0", source / "p0" / "deeper", source / "beside.dcm")
    assert deid(*inputs, "-o", out, "--key", key, "--layout", NUMBERED).code == 0
    expected = {f"{folder}/{n}.dcm" for folder in ("p0", "p0/deeper", "deeper") for n in (1, 2, 3)}
    assert tree(out).keys() == {*expected, "1.dcm"}


@pytest.mark.parametrize("layout", [RENAMED, NUMBERED, "{PatientID}/{Folder}/{n}.dcm"])
def test_resumed(layout: str, source: Path, tmp_path: Path) -> None:
    """What is finished is skipped, numbers of each folder go on, and the manifest names no folder."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = (source, "-o", out, "--key", key, "--layout", layout, "--resume")
    (source / "p0").rename(source / f"{CANARY}{{n}}")
    assert "7 delivered" in deid(*common).said
    before = tree(out)
    assert deid(*common).said == "7 skipped\n"
    assert CANARY not in (out / NAME).read_text()
    new = samples.image("new", study="study 0")
    new.PatientID = f"{CANARY}-0"
    (source / f"{CANARY}{{n}}" / "new.dcm").write_bytes(samples.encoded(new))
    os.utime(source / f"{CANARY}{{n}}" / "1.dcm", ns=(1, 1))
    assert deid(*common).said == "2 delivered, 6 skipped\n"
    after = tree(out)
    assert {place: after[place] for place in before} == before
    (place,) = after.keys() - before.keys()
    assert Path(place).parent.name == f"{CANARY}{{n}}"
    assert layout == RENAMED or Path(place).name == "4.dcm"


def test_another_folder_is_another_place(source: Path, tmp_path: Path) -> None:
    """A run that begins further down finds nothing finished: what it makes has other places."""
    out, key = tmp_path / "out", key_file(tmp_path)
    common = ("-o", out, "--key", key, "--layout", NUMBERED, "--resume")
    assert deid(source, *common).code == 0
    assert deid(source / "p0" / "deeper", *common).said == "3 delivered\n"
    places = {f"{folder}{n}.dcm" for folder in ("", "p0/", "p0/deeper/") for n in (1, 2, 3)}
    assert tree(out).keys() == {*places, "4.dcm"}


def test_names_in_braces_of_a_mirror(source: Path, tmp_path: Path) -> None:
    """In a mirror a folder that is called as the field stays as it is."""
    out, key = tmp_path / "out", key_file(tmp_path)
    (source / "p0").rename(source / "{Folder}")
    assert deid(source, "-o", out, "--key", key, "--layout", "mirror").code == 0
    assert "{Folder}/deeper/0.dcm" in tree(out)


def test_no_step_out(source: Path, tmp_path: Path) -> None:
    """A link to a folder is not followed; an input that is called `..` has its own name."""
    out, key = tmp_path / "deep" / "out", key_file(tmp_path)
    (source / "p0" / "link").symlink_to(tmp_path)
    inside = os.path.join(source, "p0", "deeper", "..")
    assert deid(inside, source / "beside.dcm", "-o", out, "--key", key, "--layout", RENAMED).code == 0
    folders = {str(Path(place).parent) for place in tree(out)}
    assert folders == {"p0", "p0/deeper", "."}
    assert not list(out.parent.glob("*.dcm"))


def test_not_on_a_node(tmp_path: Path) -> None:
    """What a node receives comes from no folder: told before it starts."""
    config = tmp_path / "node.yaml"
    config.write_text(
        f"key: {{file: {tmp_path}/key, create: true}}\nspool: {{path: {tmp_path}/spool}}\nlisten: [{{port: 0}}]\n"
        "routes: [{called_ae_title: A, project: p, destinations: [d]}]\n"
        f"destinations: {{d: {{type: folder, path: {tmp_path}/out, layout: '{RENAMED}'}}}}\n"
    )
    done = scp_anon("check", "-c", str(config))
    assert (done.returncode, "{Folder} is for scp-anon deid" in done.stderr) == (2, True), done.stderr
