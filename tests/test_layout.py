"""Layouts, whose values are made safe for paths, and the folder destination: whole files, or none."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon.destinations import layout as layout_module
from scp_anon.destinations.folder import TEMPORARIES, FolderDestination
from scp_anon.destinations.layout import DEFAULT, Layout, filled
from scp_anon.dicom.elements import encode_element
from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.errors import ConfigError, Permanent, Reason, Transient
from tests import samples
from tests.rawpeer import CT, EXPLICIT

STUDY, SERIES, PATIENT, INSTANCE = 0x0020000D, 0x0020000E, 0x00100020, 0x00080018
FLAT = "{SOPInstanceUID}.dcm"


def instance(uid: bytes = b"1.2.3", **values: bytes) -> bytes:
    """A DICOM file with the attributes that layouts use; e00100020=b"value" for others."""
    elements = {0x00080016: CT.encode(), INSTANCE: uid, **{int(name[1:], 16): value for name, value in values.items()}}
    vrs = {0x00080016: "UI", INSTANCE: "UI", STUDY: "UI", SERIES: "UI"}
    encoded = b"".join(encode_element(tag, vrs.get(tag, "LO"), elements[tag], True) for tag in sorted(elements))
    return encode_file_meta(FileMeta(CT, "1.2.3", EXPLICIT)) + encoded


# ---------------------------------------------------------------------- layouts


def test_default_layout() -> None:
    """By patient, study, series and instance."""
    file = instance(e00100020=b"P1", e0020000D=b"1.1", e0020000E=b"1.2")
    assert Layout(DEFAULT).place(file) == "P1/1.1/1.2/1.2.3.dcm"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_every_encoding(syntax: str) -> None:
    """The same place, however the data set is encoded."""
    ds = samples.image()
    file = samples.encoded(ds, syntax)
    assert Layout("{Modality}/{SOPInstanceUID}").place(file) == f"CT/{ds.SOPInstanceUID}"


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{SOPInstanceUID}", "1.2.3"),
        ("out/{PatientID}-{SOPInstanceUID}.dcm", "out/P1-1.2.3.dcm"),
        ("{PatientID}/{PatientID}/{SOPInstanceUID}", "P1/P1/1.2.3"),
        ("{AccessionNumber}/{SOPInstanceUID}", "unknown/1.2.3"),
        ("./{SOPInstanceUID}", "1.2.3"),
        ("{SOPInstanceUID}/", "1.2.3"),
        ("a//{SOPInstanceUID}/.", "a/1.2.3"),
        ("a b/{SOPInstanceUID}", "a b/1.2.3"),
    ],
)
def test_templates(template: str, place: str) -> None:
    """Text stays as it is; what the instance does not have is "unknown"."""
    assert Layout(template).place(instance(e00100020=b"P1")) == place


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{n}", "{n}"),
        ("{PatientID}/{n}.dcm", "P1/{n}.dcm"),
        ("out_{PatientID}_{n}.dcm", "out_P1_{n}.dcm"),
        ("{n}_{PatientID}/{SOPInstanceUID}", "{n}_P1/1.2.3"),
        ("v1{n}2.dcm", "v1{n}2.dcm"),
    ],
)
def test_numbered_templates(template: str, place: str) -> None:
    """The number stays to be filled in; for a node, whose inputs have no order, there is none."""
    assert Layout(template, numbers=True).place(instance(e00100020=b"P1")) == place
    assert Layout(template, numbers=True).is_numbered
    with pytest.raises(ConfigError, match=r"\{n\} is for scp-anon deid"):
        Layout(template)


def test_folder_of_the_input() -> None:
    """It stays to be filled in; none of the output is there for an input that has none, nor for a node."""
    layout = Layout("by/{Folder}/{PatientID}_{n}.dcm", numbers=True)
    place = layout.place(instance(e00100020=b"P1"))
    assert place == "by/{Folder}/P1_{n}.dcm"
    assert filled(place, 7, "a/b") == "by/a/b/P1_7.dcm"
    assert filled(place, 7, "{n}") == "by/{n}/P1_7.dcm", "a folder may be called anything"
    assert filled(place, 7, "") == "by/P1_7.dcm"
    with pytest.raises(ConfigError, match=r"\{Folder\} is for scp-anon deid"):
        Layout("{Folder}/{SOPInstanceUID}.dcm")


@pytest.mark.parametrize(
    "template", ["{Folder}", "{Folder}_{n}", "a{Folder}/{n}", "{Folder}/{Folder}/{n}", "{n}/{Folder}"]
)
def test_folders_that_are_none(template: str) -> None:
    """A folder of an input is one of the output, not a part of a name."""
    with pytest.raises(ConfigError, match=r"layout: "):
        Layout(template, numbers=True)


@pytest.mark.parametrize(
    "template",
    [
        "{n}/{n}",
        "{PatientID}{n}",
        "{PatientID}_1{n}",
        "{n}{PatientID}",
        "{n}2_{PatientID}",
        "{PatientID}_{n}_{StudyID}",
    ],
)
def test_numbers_that_would_run_together(template: str) -> None:
    """Two numbers, or a number that could be taken for a part of a value, would have two outputs at one place."""
    with pytest.raises(ConfigError, match=r"\{n\}"):
        Layout(template, numbers=True)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "without {SOPInstanceUID}"),
        ("fixed.dcm", "without {SOPInstanceUID}"),
        ("{PatientID}", "without {SOPInstanceUID}"),
        ("{PatientId}/{SOPInstanceUID}", "{PatientId} is no attribute"),
        ("{0010,0020}/{SOPInstanceUID}", "must be a path inside the folder"),
        ("/abs/{SOPInstanceUID}", "must be a path inside the folder"),
        ("../{SOPInstanceUID}", "must be a path inside the folder"),
        ("a/../../{SOPInstanceUID}", "must be a path inside the folder"),
        ("{SOPInstanceUID}/..", "must be a path inside the folder"),
        ("{{SOPInstanceUID}}", "must be a path inside the folder"),
        ("{SOPInstanceUID}{", "must be a path inside the folder"),
        ("a\0b/{SOPInstanceUID}", "must be a path inside the folder"),
    ],
)
def test_templates_that_cannot_be(template: str, said: str) -> None:
    """Named when the node starts, not when the first image arrives."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        Layout(template)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"..", "unknown"),
        (b".", "unknown"),
        (b"", "unknown"),
        (b"   ", "unknown"),
        (b"\0\0", "unknown"),
        (b"../../etc/passwd", "_.._etc_passwd"),
        (b"/etc/passwd", "_etc_passwd"),
        (b".hidden", "hidden"),
        (b"a\\b", "a_b"),
        (b"a\0b", "a_b"),
        (b"a\nb", "a_b"),
        ("Müller".encode(), "M__ller"),
        (b"CON ", "CON"),
        (b"x" * 300, "x" * 64),
    ],
)
def test_values_are_made_safe(value: bytes, part: str) -> None:
    """Never empty, hidden, a step up, or longer than a file name may be."""
    file = instance(e00100020=value)
    assert Layout("{PatientID}/{SOPInstanceUID}").place(file) == f"{part}/1.2.3"


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_no_value_leads_out(patient: bytes, uid: bytes) -> None:
    """Whatever is in the attributes, the place is one file below the folder, as deep as the template says."""
    place = PurePosixPath(Layout("{PatientID}/{SOPInstanceUID}.dcm").place(instance(uid, e00100020=patient)))
    assert len(place.parts) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", part) for part in place.parts)
    assert (Path("/base") / place).resolve().is_relative_to("/base")


@pytest.mark.parametrize(
    "file",
    [
        b"not DICOM, but of some length",
        instance()[:-3],
        encode_file_meta(FileMeta(CT, "1.2.3", "1.2.3.4")) + instance()[-30:],
        encode_file_meta(FileMeta(CT, "1.2.3", DeflatedExplicitVRLittleEndian)) + b"\xff" * 50,
    ],
    ids=["text", "cut off", "unknown transfer syntax", "not deflated"],
)
def test_files_without_a_place(file: bytes) -> None:
    """Quarantined with a reason, not an error of ours."""
    with pytest.raises(Permanent) as permanent:
        Layout(DEFAULT).place(file)
    assert permanent.value.reason == Reason.UNREADABLE_RESULT


def test_deflated_is_inflated_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb behind the attributes costs nothing."""
    monkeypatch.setattr(layout_module, "_HEAD", 1 << 16)
    head = instance()[len(encode_file_meta(FileMeta(CT, "1.2.3", EXPLICIT))) :]
    bomb = samples.deflated(head + encode_element(0x7FE00010, "OW", bytes(30 << 20), True))
    file = encode_file_meta(FileMeta(CT, "1.2.3", DeflatedExplicitVRLittleEndian)) + bomb
    assert Layout(FLAT).place(file) == "1.2.3.dcm"


# ---------------------------------------------------------------------- the folder


@pytest.fixture
def spooled(tmp_path: Path) -> Callable[..., Path]:
    """Makes an entry of a spool: a file in a directory beside the output folder."""

    def make(uid: bytes = b"1.2.3", patient: bytes = b"P1") -> Path:
        path = tmp_path / "spool" / f"entry-{len(list(tmp_path.rglob('entry-*')))}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(instance(uid, e00100020=patient))
        return path

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output folder."""
    path = tmp_path / "out"
    path.mkdir()
    return path


def deliver(out: Path, path: Path, template: str = "{PatientID}/" + FLAT, durable: bool = True) -> None:
    """Deliver one entry."""
    destination = FolderDestination(out, Layout(template), durable)
    destination.deliver(str(path), list)
    destination.idle()
    destination.close()


def files(folder: Path) -> list[str]:
    """All files, by relative path; whatever is hidden as well."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_delivered(out: Path, spooled: Callable[..., Path]) -> None:
    """The file is there, under its name, nothing else is, and the entry is still the spool's to remove."""
    path = spooled()
    deliver(out, path)
    assert files(out) == ["P1/1.2.3.dcm"]
    assert (out / "P1/1.2.3.dcm").read_bytes() == path.read_bytes()


def test_delivered_twice(out: Path, spooled: Callable[..., Path]) -> None:
    """After a crash the same entry comes again; another instance of the same UID replaces the earlier one whole."""
    path = spooled()
    deliver(out, path)
    deliver(out, path)
    assert files(out) == ["P1/1.2.3.dcm"]
    path.unlink()
    other = spooled()
    other.write_bytes(other.read_bytes() + b"\x10\0\x40\x40LO\2\0ab")
    deliver(out, other)
    assert files(out) == ["P1/1.2.3.dcm"]
    assert (out / "P1/1.2.3.dcm").read_bytes() == other.read_bytes()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
@pytest.mark.parametrize("copied", [False, True])
def test_modes(umask: int, copied: bool, out: Path, spooled: Callable[..., Path]) -> None:
    """As any program's output: by the umask."""
    before = os.umask(umask)
    try:
        path = spooled()
        if copied:
            (path.parent / "another-destination").hardlink_to(path)
        deliver(out, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((out / "P1/1.2.3.dcm").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((out / "P1").stat().st_mode) == 0o777 & ~umask


def test_shared_entries_are_copied(out: Path, spooled: Callable[..., Path]) -> None:
    """While another destination still needs the file, a user who edits the output must not edit that one too."""
    path = spooled()
    (path.parent / "another-destination").hardlink_to(path)
    deliver(out, path)
    target = out / "P1/1.2.3.dcm"
    assert target.read_bytes() == path.read_bytes()
    assert not target.samefile(path)
    assert files(out) == ["P1/1.2.3.dcm"]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Make a function of the system fail."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_cannot_be(
    code: int, out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file system, or one without links: copied."""
    path = spooled()
    failing(monkeypatch, "link", code)
    deliver(out, path)
    deliver(out, path)
    assert files(out) == ["P1/1.2.3.dcm"]
    assert not (out / "P1/1.2.3.dcm").samefile(path)
    assert (out / "P1/1.2.3.dcm").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["link", "mkdir", "fsync", "rename", "sendfile"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("copied", [False, True])
def test_trouble_with_the_disk(
    name: str, code: int, copied: bool, out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For now: the entry is tried again, which succeeds; nothing half there meanwhile, nor left."""
    path = spooled()
    if copied:
        (path.parent / "another-destination").hardlink_to(path)
    with monkeypatch.context() as patch:
        failing(patch, name, code)
        used = {"link": not copied, "rename": copied, "sendfile": copied}.get(name, True)
        if used:
            with pytest.raises(Transient) as transient:
                deliver(out, path)
            assert errno.errorcode[code] in str(transient.value)
            assert "P1" not in str(transient.value)
        else:
            deliver(out, path)
    assert all((out / name).read_bytes() == path.read_bytes() for name in files(out))
    assert not [name for name in files(out) if TEMPORARIES in name]
    deliver(out, path)
    assert files(out) == ["P1/1.2.3.dcm"]


def test_something_is_in_the_way(out: Path, spooled: Callable[..., Path]) -> None:
    """A folder where the file should be, a file where a folder should be: for now, as somebody may clear it away."""
    (out / "P1" / "1.2.3.dcm").mkdir(parents=True)
    (out / "P2").write_text("a file")
    for patient in (b"P1", b"P2"):
        with pytest.raises(Transient):
            deliver(out, spooled(patient=patient))
    assert files(out) == ["P2"]


def test_folder_is_gone(out: Path, spooled: Callable[..., Path]) -> None:
    """It is made again, as it is at the start."""
    out.rmdir()
    deliver(out, spooled())
    assert files(out) == ["P1/1.2.3.dcm"]


def test_relative_folder_is_gone(out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where it is given relative to the working directory, as in the default configuration."""
    monkeypatch.chdir(out)
    deliver(Path("var/deidentified"), spooled())
    assert files(out) == ["var/deidentified/P1/1.2.3.dcm"]


def test_entry_is_gone(out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator may drop it at any moment: nothing appears, and nothing goes round in circles."""
    path = spooled()
    with pytest.raises(Transient, match="ENOENT"):
        deliver(out, path.with_name("never-was"))
    fstat = os.fstat

    def dropped(descriptor: int) -> os.stat_result:
        path.unlink(missing_ok=True)
        return os.stat_result((*fstat(descriptor)[:3], 1, *fstat(descriptor)[4:]))

    monkeypatch.setattr(os, "fstat", dropped)
    with pytest.raises(Transient):
        deliver(out, path)
    assert files(out) == []


def test_unreadable_result(out: Path, spooled: Callable[..., Path]) -> None:
    """For good: it would be no other the next time."""
    path = spooled()
    path.write_bytes(b"not DICOM, but of some length")
    with pytest.raises(Permanent):
        deliver(out, path)
    assert files(out) == []


@pytest.mark.parametrize("copied", [False, True])
def test_order_of_a_delivery(
    copied: bool, out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new folder's entry, the file, and the file's entry are on stable storage before it counts as delivered."""
    path = spooled()
    if copied:
        (path.parent / "another-destination").hardlink_to(path)
    calls: list[str] = []
    fsync, rename, link = os.fsync, os.rename, os.link

    def synced(descriptor: int) -> None:
        place = Path(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), out))
        calls.append(f"fsync {'file' if place.parent.name == TEMPORARIES else place}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)

    def renamed(*names: str) -> None:
        calls.append("rename")
        rename(*names)

    def linked(*names: str) -> None:
        calls.append("link")
        link(*names)

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "link", linked)
    deliver(out, path)
    last = {call: position for position, call in enumerate(calls)}
    appears = "rename" if copied else "link"
    assert last["fsync ."] < last[appears] < last["fsync P1"]
    assert not copied or last["fsync file"] < last["rename"]


def test_what_a_dead_process_has_left_half_written(out: Path) -> None:
    """It is removed when a folder is opened, unless somebody may be writing it still."""
    (out / TEMPORARIES).mkdir()
    old, new = out / TEMPORARIES / "old", out / TEMPORARIES / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    FolderDestination(out, Layout(DEFAULT))
    assert list((out / TEMPORARIES).iterdir()) == [new]


def test_without_fsync(out: Path, spooled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`spool.fsync: false` means here too that nothing is waited for."""
    path = spooled()
    (path.parent / "another-destination").hardlink_to(path)
    failing(monkeypatch, "fsync", errno.EIO)
    deliver(out, path, durable=False)
    assert files(out) == ["P1/1.2.3.dcm"]
