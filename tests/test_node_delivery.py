"""The whole node between real peers: what is acknowledged arrives, once, and as nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from scp_anon import Deidentifier, load_key
from tests import samples
from tests.harness import (
    AE_TITLE,
    Node,
    Orthanc,
    eventually,
    running_node,
    running_orthanc,
    running_storescp,
    scp_anon,
    storescu,
)
from tests.peers import corpus_files, free_port, require_peer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom


def write_samples(folder: Path, count: int, study: str = "study") -> dict[str, Path]:
    """Images of one study, by SOP Instance UID, in several encodings, of two classes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for i in range(count):
        ds = samples.image(f"{study} {i}", study, *((MRImageStorage,) if i % 3 == 0 else ()))
        path = folder / f"{study}{i:04d}.dcm"
        encoded = samples.encapsulated(ds) if i % 5 == 4 else samples.encoded(ds, samples.NATIVE[i % 4])
        path.write_bytes(encoded)
        files[str(ds.SOPInstanceUID)] = path
    return files


def new_uids(node: Node, files: dict[str, Path]) -> set[str]:
    """The SOP Instance UIDs that these instances should have at their destination."""
    engine = Deidentifier(load_key(node.folder / "key"), "test")
    return {engine.deidentify(path.read_bytes()).meta.sop_instance_uid for path in files.values()}


def at(folder: Path) -> dict[str, Dataset]:
    """The instances in a folder, by SOP Instance UID; each must be there once."""
    found: list[Dataset] = [dcmread(path) for path in folder.rglob("*") if path.is_file()]
    by_uid = {str(ds.SOPInstanceUID): ds for ds in found}
    assert len(by_uid) == len(found)
    return by_uid


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    """A research PACS."""
    with running_orthanc(tmp_path / "pacs") as orthanc:
        yield orthanc


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc) -> Iterator[Node]:
    """A node that delivers to the PACS and into a folder."""
    research = {"type": "dicom", "host": "127.0.0.1", "port": pacs.dicom_port, "called_ae_title": pacs.aet}
    disk = {"type": "folder", "path": str(tmp_path / "node" / "out")}
    routes = [{"called_ae_title": AE_TITLE, "project": "test", "destinations": ["research", "disk"]}]
    with running_node(tmp_path / "node", destinations={"research": research, "disk": disk}, routes=routes) as running:
        yield running


def check_arrived(node: Node, pacs: Orthanc, expected: set[str]) -> None:
    """All that is expected is at both destinations, and nothing else; no canary is in any of it."""
    eventually(lambda: len(node.delivered()) >= len(expected) and node.is_at_rest())
    stored = pacs.instances()
    assert set(at(node.out)) == expected
    assert set(stored) == expected
    for content in (*stored.values(), *(path.read_bytes() for path in node.delivered())):
        assert samples.CANARY.encode() not in content
    assert not node.in_spool("quarantine")


@pytest.mark.parametrize("sender", ["storescu", "dcmsend", "ours"])
def test_sender_to_pacs_and_folder(sender: str, node: Node, pacs: Orthanc, tmp_path: Path) -> None:
    """Stock storescu, dcmsend and our own send; then the rest of the study, which lands in the same study."""
    files = {}
    for part in ("first", "second"):
        new = write_samples(tmp_path / part, 12 if part == "first" else 3, f"study {part}")
        files.update(new)
        if sender == "storescu":
            # stock storescu proposes uncompressed syntaxes: encapsulated ones are for the others
            new = {uid: path for uid, path in new.items() if b"1.2.840.10008.1.2.4.50" not in path.read_bytes()[:400]}
            for uid in set(files) - set(new):
                if files[uid].parent.name == part:
                    del files[uid]
            done = storescu(node.port, *map(str, new.values()))
        elif sender == "dcmsend":
            command = ["-aec", AE_TITLE, "127.0.0.1", str(node.port), *map(str, new.values())]
            import subprocess

            done = subprocess.run([require_peer("dcmsend"), *command], capture_output=True, text=True, check=False)
        else:
            done = scp_anon("send", "127.0.0.1", str(node.port), *map(str, new.values()))
        assert done.returncode == 0, done.stderr
    check_arrived(node, pacs, new_uids(node, files))
    studies = {ds.StudyInstanceUID for ds in at(node.out).values()}
    assert len(studies) == 2
    assert len({ds.PatientID for ds in at(node.out).values()}) == 1


def test_orthanc_to_orthanc(node: Node, pacs: Orthanc, tmp_path: Path) -> None:
    """A clinical Orthanc forwards to the node, the node to the research Orthanc."""
    files = write_samples(tmp_path / "files", 8)
    with running_orthanc(tmp_path / "clinical", aet="CLINICAL") as clinical:
        for path in files.values():
            clinical.rest("/instances", path.read_bytes())
        clinical.send("node", "127.0.0.1", node.port, AE_TITLE)
    check_arrived(node, pacs, new_uids(node, files))


def test_three_associations_at_once(node: Node, pacs: Orthanc, tmp_path: Path) -> None:
    """Three senders at the same time; every acknowledged instance is found once at each destination."""
    groups = [write_samples(tmp_path / f"group{i}", 20, f"study {i}") for i in range(3)]
    results: list[str] = []

    def send(files: dict[str, Path]) -> None:
        results.append(scp_anon("send", "127.0.0.1", str(node.port), *map(str, files.values())).stdout)

    threads = [threading.Thread(target=send, args=(files,)) for files in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["20 sent, 0 failed\n"] * 3
    check_arrived(node, pacs, set().union(*(new_uids(node, files) for files in groups)))


@pytest.mark.skipif(not corpus_files(), reason="the corpus of real files is not here")
def test_real_files(tmp_path: Path) -> None:
    """Every real file that is acknowledged is delivered, or in quarantine with a reason; the node lives."""
    with running_node(tmp_path / "node") as node:
        done = scp_anon("send", "127.0.0.1", str(node.port), *map(str, corpus_files()))
        sent = int(done.stdout.split()[0])
        assert sent > 110
        eventually(node.is_at_rest)
        quarantined = node.in_spool("quarantine")
        assert len({path.name for path in node.delivered()}) + len(quarantined) >= sent - 15  # some UIDs come twice
        assert len(quarantined) == len(node.events("quarantined")) <= 6
        assert scp_anon("echo", "127.0.0.1", str(node.port)).returncode == 0


@pytest.mark.parametrize("pdu", ["4096", "16384", "131072"])
def test_pdu_lengths_of_the_sender(pdu: str, tmp_path: Path) -> None:
    """Whatever the length of the PDUs, the pixel data arrive to the byte."""
    ds = samples.image(pixels=300_000)
    (tmp_path / "image.dcm").write_bytes(samples.encoded(ds))
    with running_node(tmp_path / "node") as node:
        done = storescu(node.port, "-pdu", pdu, str(tmp_path / "image.dcm"))
        assert done.returncode == 0, done.stderr
        (path,) = eventually(node.delivered)
        assert dcmread(path).PixelData == ds.PixelData


@pytest.mark.parametrize("pdu", ["4096", "16384", "131072"])
def test_pdu_lengths_of_the_destination(pdu: str, tmp_path: Path) -> None:
    """We never send a longer PDU than the destination takes."""
    port = free_port()
    research = {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "STORESCP"}
    routes = [{"called_ae_title": AE_TITLE, "project": "test", "destinations": ["research"]}]
    images = [samples.image(str(i), pixels=pixels) for i, pixels in enumerate((2, 4096, 16370, 131072, 1_500_000))]
    for i, ds in enumerate(images):
        (tmp_path / f"{i}.dcm").write_bytes(samples.encoded(ds))
    with (
        running_storescp(tmp_path / "received", port, "-pdu", pdu) as received,
        running_node(tmp_path / "node", destinations={"research": research}, routes=routes) as node,
    ):
        assert storescu(node.port, *(str(tmp_path / f"{i}.dcm") for i in range(5))).returncode == 0
        eventually(lambda: len(list(received.iterdir())) == 5 and node.is_at_rest())
        assert {ds.PixelData for ds in at(received).values()} == {ds.PixelData for ds in images}


def test_two_routes_are_two_projects(tmp_path: Path) -> None:
    """One AE title a study: the same image sent to two of them becomes two that have nothing in common."""
    routes = [
        {"called_ae_title": name, "project": name.lower(), "destinations": [name.lower()]}
        for name in ("LUNG", "STROKE")
    ]
    folders = {name: {"type": "folder", "path": str(tmp_path / name)} for name in ("lung", "stroke")}
    (tmp_path / "image.dcm").write_bytes(samples.encoded(samples.image()))
    with running_node(tmp_path / "node", routes=routes, destinations=folders) as node:
        for name in ("LUNG", "STROKE"):
            assert storescu(node.port, str(tmp_path / "image.dcm"), called=name).returncode == 0
        eventually(node.is_at_rest)
    (lung,), (stroke,) = at(tmp_path / "lung").values(), at(tmp_path / "stroke").values()
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "PatientID"):
        assert lung[keyword].value != stroke[keyword].value


def test_same_instance_twice_is_one_file(tmp_path: Path) -> None:
    """Sending again is harmless: the same name, the same content."""
    (tmp_path / "image.dcm").write_bytes(samples.encoded(samples.image()))
    with running_node(tmp_path / "node") as node:
        assert storescu(node.port, str(tmp_path / "image.dcm")).returncode == 0
        (path,) = eventually(node.delivered)
        first = path.read_bytes()
        assert storescu(node.port, str(tmp_path / "image.dcm")).returncode == 0
        eventually(lambda: len(node.events("association-ended")) == 2 and node.is_at_rest())
        assert node.delivered() == [path]
        assert path.read_bytes() == first
        assert not [other for other in node.out.rglob("*") if other.name.startswith(".")]
