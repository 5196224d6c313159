"""A node with profiles: what is held and goes on, what is refused, filtered or waits for a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node, scp_anon, storescu
from tests.profiles import write_csv


def node_with(folder: Path, profile: str) -> AbstractContextManager[Node]:
    """A node whose one route has this profile."""
    path = folder / "profile.yaml"
    path.write_text(profile, encoding="utf-8")
    route = {"called_ae_title": AE_TITLE, "project": "test", "profile": str(path), "destinations": ["disk"]}
    return running_node(folder / "node", routes=[route])


def write(folder: Path, name: str, change: Callable[[Dataset], None]) -> Path:
    """A file with an instance that is a little different."""
    ds = samples.image(name)
    change(ds)
    path = folder / f"{name}.dcm"
    path.write_bytes(samples.encoded(ds))
    return path


def send(node: Node, *paths: Path) -> int:
    """Send files by our own requestor; returns its exit code."""
    return scp_anon("send", "127.0.0.1", str(node.port), *map(str, paths)).returncode


def described(text: str) -> Callable[[Dataset], None]:
    """A change of Series Description."""

    def change(ds: Dataset) -> None:
        ds.SeriesDescription = text

    return change


def of_patient(patient: str) -> Callable[[Dataset], None]:
    """A change of Patient ID."""

    def change(ds: Dataset) -> None:
        ds.PatientID = patient
        ds.StudyInstanceUID = samples.uid(f"study of {patient}")

    return change


def test_held_until_somebody_has_looked(tmp_path: Path) -> None:
    """Released as it is, it is held again; with --pixels-seen it goes on, and only it."""
    held = [write(tmp_path, name, described("Screen Save")) for name in ("a", "b")]
    with node_with(tmp_path, "pixels: hold") as node:
        assert send(node, *held, write(tmp_path, "c", described("AXIAL"))) == 0
        eventually(lambda: len(node.quarantined()) == 2 and len(node.delivered()) == 1)
        assert {reason for reason, _ in node.quarantined()} == {"pixels-may-identify"}
        node.command("quarantine", "release", "--all")
        eventually(lambda: len(node.quarantined()) == 2 and node.is_at_rest())
        first = node.in_spool("quarantine")[0].name.split(",")[0]
        assert node.command("quarantine", "release", first, "--pixels-seen").stdout == "1 released\n"
        eventually(lambda: len(node.delivered()) == 2 and node.is_at_rest())
        assert len(node.quarantined()) == 1


def test_refused_filtered_quarantined(tmp_path: Path) -> None:
    """The sender is told of what is refused; what is filtered leaves no trace but a line of the log."""
    profile = (
        "pixels: pass\nadmit:\n"
        "  - {when: {SeriesDescription: no}, then: refuse}\n"
        "  - {when: {SeriesDescription: drop}, then: filter}\n"
        "  - {when: {CallingAETitle: STRANGER}, then: quarantine}\n"
    ).replace(": no}", ": 'no'}")
    with node_with(tmp_path, profile) as node:
        refused = write(tmp_path, "refused", described("no"))
        assert "0x124" in storescu(node.port, "-v", str(refused)).stderr
        assert send(node, refused) == 1
        assert send(node, write(tmp_path, "dropped", described("drop")), write(tmp_path, "good", described("yes"))) == 0
        eventually(lambda: len(node.delivered()) == 1 and node.is_at_rest())
        assert node.quarantined() == []
        assert storescu(node.port, "-aet", "STRANGER", str(write(tmp_path, "strange", described("x")))).returncode == 0
        eventually(lambda: [reason for reason, _ in node.quarantined()] == ["not-admitted"])


def test_what_waits_for_a_table_goes_on_by_itself(tmp_path: Path) -> None:
    """When the table has the patient's row; and another patient's goes on waiting."""
    table = write_csv(tmp_path / "patients.csv", {"id": "1", "pseudonym": "P1"})
    with node_with(tmp_path, f"patients: {{scheme: table, file: {table.name}}}") as node:
        assert send(node, *(write(tmp_path, name, of_patient(name)) for name in ("1", "2", "3"))) == 0
        eventually(lambda: len(node.delivered()) == 1 and len(node.quarantined()) == 2)
        assert {reason for reason, _ in node.quarantined()} == {"awaiting-mapping"}
        write_csv(tmp_path / "next.csv", {"id": "1", "pseudonym": "P1"}, {"id": "2", "pseudonym": "P2"}).rename(table)
        eventually(lambda: len(node.delivered()) == 2)
        eventually(lambda: len(node.quarantined()) == 1 and node.is_at_rest())
        assert {dcmread(path).PatientID for path in node.delivered()} == {"P1", "P2"}


def test_a_table_that_grew_while_the_node_was_down(tmp_path: Path) -> None:
    """What waits is looked for at the start."""
    table = write_csv(tmp_path / "patients.csv", {"id": "1", "pseudonym": "P1"})
    with node_with(tmp_path, f"patients: {{scheme: table, file: {table.name}}}") as node:
        assert send(node, write(tmp_path, "2", of_patient("2"))) == 0
        eventually(lambda: len(node.quarantined()) == 1)
        assert node.end() == 0
        write_csv(table, {"id": "2", "pseudonym": "P2"})
        node.start()
        eventually(lambda: len(node.delivered()) == 1)


@pytest.mark.parametrize("option", ["retain-uids", "clean-descriptors"])
def test_options_of_a_route(tmp_path: Path, option: str) -> None:
    """A node does what its profile says."""
    with node_with(tmp_path, f"options: [{option}]") as node:
        assert send(node, write(tmp_path, "one", described("CT CHEST"))) == 0
        (path,) = eventually(node.delivered)
        ds = dcmread(path)
        assert (ds.SOPInstanceUID == samples.uid("instance one")) == (option == "retain-uids")
        assert ("SeriesDescription" in ds) == (option == "clean-descriptors")


def test_an_audit_is_written_before_anything_is_delivered(tmp_path: Path) -> None:
    """Each process writes to it; where it cannot be written the original waits, and goes on when it can be."""
    folder = tmp_path / "audit"
    folder.mkdir()
    audit = folder / "audit.db"
    audit.mkdir(0o700)  # in the way of a file
    files = [write(tmp_path, name, described("AXIAL")) for name in ("a", "b", "c")]
    with node_with(tmp_path, f"{{pixels: pass, audit: {{file: {audit}}}}}") as node:
        assert send(node, *files) == 0
        eventually(lambda: node.events("disk-trouble"))
        assert not node.delivered()
        assert samples.CANARY not in str(node.events())
        audit.rmdir()
        eventually(lambda: len(node.delivered()) == 3)
        new = dcmread(node.delivered()[0]).StudyInstanceUID
        done = scp_anon("lookup", new, "--audit", str(audit))
        assert done.stdout == f"{samples.uid('study')}\tStudyInstanceUID\ttest\n"
        assert audit.stat().st_mode & 0o777 == 0o600
