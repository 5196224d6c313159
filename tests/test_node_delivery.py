"""The whole node between real peers: what is acknowledged arrives, once, and as nobody."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, JPEGBaseline8Bit, MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from scp_anon import Deidentifier, Undecodable, load_key
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import (
    AE_TITLE,
    Node,
    Orthanc,
    dcmsend,
    eventually,
    running_node,
    running_orthanc,
    running_storescp,
    scp_anon,
    storescu,
)
from tests.peers import corpus_files, free_port

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files are not all valid, says pydicom

CLASSES = (CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage)


def write_samples(folder: Path, numbers: range, study: str = "study", compressed: bool = True) -> dict[Path, Dataset]:
    """Images of one study, of three classes, in every kind of transfer syntax; each file and what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for i in numbers:
        ds = samples.image(f"{study} {i}", study, CLASSES[i % 3], pixels=512 + 2 * i)
        path = folder / f"{i:04d}.dcm"
        if compressed and i % 5 == 4:
            path.write_bytes(samples.encapsulated(ds))
        else:
            path.write_bytes(samples.encoded(ds, samples.NATIVE[i % 4]))
        files[path] = ds
    return files


def at(folder: Path) -> dict[str, Dataset]:
    """The instances in a folder, by SOP Instance UID; each must be there once."""
    found: list[Dataset] = [dcmread(path) for path in folder.rglob("*") if path.is_file()]
    by_uid = {str(ds.SOPInstanceUID): ds for ds in found}
    assert len(by_uid) == len(found)
    return by_uid


def engine_of(node: Node) -> Deidentifier:
    """The engine that the node should have."""
    return Deidentifier(load_key(node.folder / "key"), "test", samples.PASS)


def destinations(port: int, out: Path, title: str = "RESEARCH") -> dict[str, object]:
    """Settings for a node that delivers to an application entity and into a folder."""
    research = {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": title}
    disk = {"type": "folder", "path": str(out)}
    route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["research", "disk"]}
    return {"destinations": {"research": research, "disk": disk}, "routes": [route]}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A research PACS that all tests here share."""
    with running_orthanc(tmp_path_factory.mktemp("pacs")) as running:
        yield running


@pytest.fixture
def pacs(orthanc: Orthanc) -> Orthanc:
    """The research PACS, with nothing in it."""
    orthanc.clear()
    return orthanc


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc) -> Iterator[Node]:
    """A node that delivers to the PACS and into a folder."""
    settings = destinations(pacs.dicom_port, tmp_path / "node" / "out", pacs.aet)
    with running_node(tmp_path / "node", **settings) as running:
        yield running


def check_arrived(node: Node, pacs: Orthanc, files: Mapping[Path, Dataset]) -> None:
    """Each instance is once at both destinations, as nobody, with its own image; and nothing else is there."""
    eventually(lambda: len(node.delivered()) >= len(files) and node.is_at_rest())
    assert not node.in_spool("quarantine")
    engine = engine_of(node)
    expected = {engine.deidentify(path.read_bytes()).meta.sop_instance_uid: ds for path, ds in files.items()}
    stored = pacs.instances()
    assert pacs.times_stored() == len(expected)
    on_disk = at(node.out)
    assert set(on_disk) == set(stored) == set(expected)
    for path in node.delivered():
        assert samples.CANARY.encode() not in path.read_bytes()
    for uid, content in stored.items():
        assert samples.CANARY.encode() not in content
        check_instance(on_disk[uid], expected[uid])
    assert_one_study_each(on_disk, expected)


def check_instance(new: Dataset, old: Dataset) -> None:
    """What identifies is another, what the image is made of is the same."""
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert new[keyword].value.startswith("2.25."), keyword
    assert re.fullmatch("[A-Z0-9]{16}", new.PatientID)
    assert new.PatientName == new.PatientID
    assert new.SOPClassUID == old.SOPClassUID == new.file_meta.MediaStorageSOPClassUID
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID
    if new.file_meta.TransferSyntaxUID != JPEGBaseline8Bit:
        assert new.PixelData == old.PixelData
    else:
        assert new["PixelData"].is_undefined_length


def assert_one_study_each(new: Mapping[str, Dataset], old: Mapping[str, Dataset]) -> None:
    """Patients, studies, series and frames of reference are new, and have the members that they had."""
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        pairs = {(new[uid][keyword].value, old[uid][keyword].value) for uid in new}
        assert len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs}) == len(pairs), keyword


def at_once(actions: Sequence[Callable[[], None]]) -> None:
    """Do all of it at the same time."""
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("sender", ["storescu", "storescu -R", "dcmsend", "ours"])
def test_sender_to_pacs_and_folder(sender: str, node: Node, pacs: Orthanc, tmp_path: Path) -> None:
    """Two studies, then the rest of the first one, which lands in the same study and series as its beginning."""
    files = {}
    for part, numbers, study in (("1", range(9), "one"), ("2", range(6), "two"), ("3", range(9, 12), "one")):
        # Stock storescu proposes no compressed transfer syntax.
        new = write_samples(tmp_path / part, numbers, study, compressed=not sender.startswith("storescu"))
        files.update(new)
        paths = [str(path) for path in new]
        if sender.startswith("storescu"):
            done = storescu(node.port, *sender.split()[1:], *paths)
        elif sender == "dcmsend":
            done = dcmsend(node.port, *paths)
        else:
            done = scp_anon("send", "127.0.0.1", str(node.port), str(tmp_path / part))
            assert done.stdout == f"{len(paths)} sent, 0 failed\n"
        assert done.returncode == 0, done.stderr
    check_arrived(node, pacs, files)
    assert len({ds.StudyInstanceUID for ds in at(node.out).values()}) == 2


def test_three_peers_at_once(node: Node, pacs: Orthanc, tmp_path: Path) -> None:
    """A clinical Orthanc, dcmsend and storescu at the same time, classes and transfer syntaxes mixed."""
    groups = [write_samples(tmp_path / f"{i}", range(20), f"study {i}", compressed=i != 2) for i in range(3)]
    paths = [[str(path) for path in group] for group in groups]
    with running_orthanc(tmp_path / "clinical", aet="CLINICAL") as clinical:
        for path in groups[0]:
            clinical.rest("/instances", path.read_bytes())
        codes: list[int] = []
        at_once(
            [
                lambda: clinical.send("node", "127.0.0.1", node.port, AE_TITLE),
                lambda: codes.append(dcmsend(node.port, *paths[1]).returncode),
                lambda: codes.append(storescu(node.port, *paths[2]).returncode),
            ]
        )
    assert codes == [0, 0]
    check_arrived(node, pacs, {path: ds for group in groups for path, ds in group.items()})


@pytest.mark.skipif(not corpus_files(), reason="the corpus of real files is not here")
def test_real_files(node: Node, pacs: Orthanc) -> None:
    """Of real files over three associations at once, each acknowledged one is delivered or quarantined, by its kind."""
    files = corpus_files()
    said: list[str] = []

    def send(part: list[Path]) -> None:
        said.append(scp_anon("send", "127.0.0.1", str(node.port), *map(str, part)).stderr)

    at_once([lambda part=files[i::3]: send(part) for i in range(3)])  # type: ignore[misc]
    acknowledged = [path for path in files if f"{path}:" not in "".join(said)]
    assert len(acknowledged) > 110
    delivered, reasons = sorted_by_the_engine(engine_of(node), acknowledged)
    eventually(lambda: node.is_at_rest() and len(node.delivered()) == len(delivered))
    originals = [path for path in node.in_spool("quarantine") if not path.name.split(",")[5]]
    assert set(at(node.out)) == delivered
    assert Counter(path.name.split(",")[6] for path in originals) == reasons
    refused = len(node.in_spool("quarantine")) - len(originals)
    assert delivered >= set(pacs.instances())
    assert len(delivered) - refused <= len(pacs.instances())
    assert refused < 5  # Orthanc cannot read everything


def sorted_by_the_engine(engine: Deidentifier, files: list[Path]) -> tuple[set[str], Counter[str]]:
    """The SOP Instance UIDs of the results that these files should have, and the reasons of those without one."""
    delivered, reasons = set(), Counter[str]()
    for path in files:
        try:
            delivered.add(engine.deidentify(path.read_bytes()).meta.sop_instance_uid)
        except Undecodable as undecodable:
            reasons[str(undecodable.reason)] += 1
    return delivered, reasons


def test_pdu_lengths_of_the_sender(tmp_path: Path) -> None:
    """Whatever the length of the PDUs, the pixel data arrive to the byte."""
    sent = {}
    with running_node(tmp_path / "node") as node:
        for pdu in ("4096", "16384", "131072"):
            ds = samples.image(pdu, pixels=300_000)
            (tmp_path / "image.dcm").write_bytes(samples.encoded(ds))
            done = storescu(node.port, "-pdu", pdu, "--max-send-pdu", pdu, str(tmp_path / "image.dcm"))
            assert done.returncode == 0, done.stderr
            sent[engine_of(node).deidentify(samples.encoded(ds)).meta.sop_instance_uid] = ds.PixelData
        eventually(lambda: len(node.delivered()) == 3 and node.is_at_rest())
        assert {uid: ds.PixelData for uid, ds in at(node.out).items()} == sent


def test_pdu_lengths_of_the_destination(tmp_path: Path) -> None:
    """We never send a longer PDU than the destination takes."""
    images = [samples.image(str(i), pixels=pixels) for i, pixels in enumerate((2, 4096, 16370, 131072, 1_500_000))]
    for i, ds in enumerate(images):
        (tmp_path / f"{i}.dcm").write_bytes(samples.encoded(ds))
    ports = {pdu: free_port() for pdu in ("4096", "16384", "131072")}
    settings = {
        "destinations": {
            pdu: {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "STORESCP"}
            for pdu, port in ports.items()
        },
        "routes": [{"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": list(ports)}],
    }
    with (
        running_storescp(tmp_path / "4096" / "received", ports["4096"], "-pdu", "4096"),
        running_storescp(tmp_path / "16384" / "received", ports["16384"], "-pdu", "16384"),
        running_storescp(tmp_path / "131072" / "received", ports["131072"], "-pdu", "131072"),
        running_node(tmp_path / "node", **settings) as node,
    ):
        assert storescu(node.port, *(str(tmp_path / f"{i}.dcm") for i in range(5))).returncode == 0
        eventually(lambda: node.events("association-ended") and node.is_at_rest())
        for pdu in ports:
            received = at(tmp_path / pdu / "received")
            assert {ds.PixelData for ds in received.values()} == {ds.PixelData for ds in images}


def test_our_requestor_and_stock_peers(pacs: Orthanc, tmp_path: Path) -> None:
    """`send` and `echo` against storescp and Orthanc: every class and transfer syntax, over one association."""
    port = free_port()
    files = write_samples(tmp_path / "in", range(10))
    with running_storescp(tmp_path / "received", port) as received:
        for title, peer_port in (("STORESCP", port), (pacs.aet, pacs.dicom_port)):
            echoed = scp_anon("echo", "127.0.0.1", str(peer_port), "--called", title)
            assert (echoed.returncode, echoed.stdout) == (0, f"127.0.0.1:{peer_port}: status 0000H\n")
            done = scp_anon("send", "127.0.0.1", str(peer_port), str(tmp_path / "in"), "--called", title)
            assert (done.returncode, done.stdout) == (0, "10 sent, 0 failed\n"), done.stderr
        instances = {ds.SOPInstanceUID: ds for ds in files.values()}
        assert {uid: ds.PatientID for uid, ds in at(received).items()} == {
            uid: ds.PatientID for uid, ds in instances.items()
        }
        assert set(pacs.instances()) == set(instances)


def test_associations_are_reused(tmp_path: Path) -> None:
    """What comes over one association goes out over few, and over none anew when its kinds are known."""
    port = free_port()
    opened: list[evt.Event] = []
    taken: list[str] = []
    entity = AE("RESEARCH")
    for sop_class in CLASSES:
        entity.add_supported_context(sop_class, [*samples.NATIVE, JPEGBaseline8Bit])

    def on_store(event: evt.Event) -> int:
        taken.append(str(event.request.AffectedSOPInstanceUID))  # type: ignore[union-attr]  # a C-STORE-RQ
        return 0

    handlers: list[evt.EventHandlerType] = [(evt.EVT_ESTABLISHED, opened.append), (evt.EVT_C_STORE, on_store)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        with running_node(tmp_path / "node", **destinations(port, tmp_path / "out")) as node:
            assert dcmsend(node.port, *map(str, write_samples(tmp_path / "in", range(30)))).returncode == 0
            eventually(lambda: len(taken) == 30 and node.is_at_rest())
            known = len(opened)
            kinds = {read_meta(path)[0][::2] for path in (tmp_path / "out").rglob("*.dcm")}
            assert known <= len(kinds)
            assert dcmsend(node.port, *map(str, write_samples(tmp_path / "more", range(30, 60)))).returncode == 0
            eventually(lambda: len(taken) == 60 and node.is_at_rest())
            assert len(opened) == known
            assert len(set(taken)) == 60
            assert [event["count"] for event in node.events("association-ended")] == [30, 30]
    finally:
        assert server is not None
        server.shutdown()


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
        eventually(lambda: len(node.events("association-ended")) == 2 and node.is_at_rest())
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


def test_folder_on_another_file_system(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where no link can lead, a copy goes; two folders get the same."""
    memory = Path("/dev/shm")  # noqa: S108 - a file system that is there for everybody is what is wanted
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    out = memory / tmp_path_factory.getbasetemp().name / tmp_path.name
    folders = {"near": {"type": "folder", "path": str(tmp_path / "near")}, "far": {"type": "folder", "path": str(out)}}
    routes = [{"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["near", "far"]}]
    files = write_samples(tmp_path / "in", range(8))
    try:
        with running_node(tmp_path / "node", destinations=folders, routes=routes) as node:
            assert dcmsend(node.port, *map(str, files)).returncode == 0
            eventually(lambda: node.events("association-ended") and node.is_at_rest())
            near, far = (
                {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                for folder in (tmp_path / "near", out)
            )
            assert len(near) == 8
            assert near == far
    finally:
        shutil.rmtree(out.parent, ignore_errors=True)


@pytest.mark.parametrize("called", ["A,B/C%20 ..", "$(id)`'\"*?"])
def test_ae_titles_that_are_hard_on_file_names(called: str, tmp_path: Path) -> None:
    """The envelope is in the file name, and peers choose what is in the envelope: nothing of it is a path."""
    routes = [{"called_ae_title": called, "project": "test", "pixels": "pass", "destinations": ["disk"]}]
    files = write_samples(tmp_path / "in", range(4))
    with running_node(tmp_path / "node", routes=routes) as node:
        for calling, path in zip(("../../x", "a,b%2F,,", "..", "%"), files, strict=True):
            meta, start = read_meta(path)
            with Requestor(Peer("127.0.0.1", node.port, called, calling, 10), [Context(*meta[::2])]) as requestor:
                assert requestor.store(path, meta, start) == 0
        eventually(lambda: len(node.delivered()) == 4 and node.is_at_rest())
        expected = ["%", "..", "../../x", "a,b%2F,,"]
        eventually(lambda: sorted(event["calling"] for event in node.events("association-ended")) == expected)
        assert {path.name for path in node.folder.iterdir()} == {"key", "node.log", "node.yaml", "out", "spool"}


def test_several_addresses(tmp_path: Path) -> None:
    """Each address that is configured is listened on, of whichever family."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    listen = [{"address": "127.0.0.1", "port": 0}, {"address": "::1", "port": 0}]
    with running_node(tmp_path / "node", listen=listen) as node:
        eventually(lambda: len(node.events("listening")) == 2)
        for event in node.events("listening"):
            assert scp_anon("echo", event["address"], str(event["port"])).returncode == 0
