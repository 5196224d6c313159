"""Storage commitment as SCU: an instance leaves the queue when the destination says that it has committed to it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]  # made at import

from scp_anon.announcements import Reports
from scp_anon.errors import Aborted, Rejected
from scp_anon.network import commitment
from scp_anon.network.association import Context
from scp_anon.network.commitment import Reference, Report
from scp_anon.network.scu import Peer, Requestor
from scp_anon.places import Entry
from scp_anon.settlement import Commitments
from scp_anon.spool import Spool
from tests.harness import AE_TITLE, Node, eventually, running_node, running_orthanc, storescu
from tests.peers import free_port
from tests.test_node_faults import write_images

INSTANCE = "1.2.840.10008.1.20.1.1"


class Archive:
    """A C-STORE and storage commitment SCP. `answer` says what is reported of an instance; None: nothing at all."""

    def __init__(self, answer: Callable[[int, str], int | None], node_port: int = 0, action_status: int = 0) -> None:
        """`node_port`: where to report by an association of its own; 0: on that of the request."""
        self.port = free_port()
        self.stored: list[str] = []
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self._answer, self._node_port, self._action_status = answer, node_port, action_status
        self.refuses_duplicates = False

    @contextlib.contextmanager
    def running(self, offers_commitment: bool = True) -> Iterator[Archive]:
        """It runs for the time of the block."""
        entity = AE("ARCHIVE")
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        if offers_commitment:
            entity.add_supported_context(StorageCommitmentPushModel, ImplicitVRLittleEndian)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._on_store), (evt.EVT_N_ACTION, self._on_action)]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            assert server is not None
            server.shutdown()

    def _on_store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]  # a C-STORE-RQ
        self.stored.append(uid)
        return 0x0111 if self.refuses_duplicates and self.stored.count(uid) > 1 else 0

    def _on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        asked = event.action_information
        if not self._action_status:
            report = self._report(asked)
            if report is not None:
                threading.Timer(0.05, self._tell, [event, report]).start()
        return self._action_status, None

    def _report(self, asked: Dataset) -> Dataset | None:
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
        for item in asked.ReferencedSOPSequence:
            reason = self._answer(len(self.asked), item.ReferencedSOPInstanceUID)
            self.asked.append(item.ReferencedSOPInstanceUID)
            if reason is None:
                return None
            if reason:
                item.FailureReason = reason
                report.FailedSOPSequence.append(item)
            else:
                report.ReferencedSOPSequence.append(item)
        return report

    def _tell(self, event: evt.Event, report: Dataset) -> None:
        event_type = 2 if report.FailedSOPSequence else 1
        association = event.assoc
        if self._node_port:
            entity = AE("ARCHIVE")
            entity.add_requested_context(StorageCommitmentPushModel, ImplicitVRLittleEndian)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            association = entity.associate("127.0.0.1", self._node_port, ext_neg=[role], ae_title=AE_TITLE)
            assert association.is_established
        status, _ = association.send_n_event_report(report, event_type, StorageCommitmentPushModel, INSTANCE)
        self.statuses.append(status.Status)
        if self._node_port:
            association.release()


def to_archive(port: int, **changes: Any) -> dict[str, Any]:
    """Settings of a node that delivers to the archive and has it commit."""
    archive = {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "ARCHIVE"}
    route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["archive"]}
    return {"destinations": {"archive": {**archive, "commitment": "required", **changes}}, "routes": [route]}


def send(node: Node, folder: Path, count: int = 3) -> None:
    """Send so many images."""
    assert storescu(node.port, *map(str, write_images(folder, count))).returncode == 0


# ---------------------------------------------------------------------- what is waited for


def test_disk_that_fails_while_a_report_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs the entry in hand another way to the destination, and the others nothing; later reports are heard."""
    spool = Spool(tmp_path / "spool", ["archive"], durable=False)
    for _ in range(3):
        with spool.draft() as draft:
            original = spool.commit(draft, "ROUTE", "CALLING", claimed=True)
        with spool.draft_of_result() as result:
            spool.publish(original, result, ["archive"])
    entries: dict[str, list[Entry]] = {}
    for uid in ("1.1", "1.2", "1.3"):
        entry = spool.depart("archive", 5)
        assert entry is not None
        entries[uid] = [entry]
    commitments = Commitments(spool, "archive", 60, lambda attempt: 60)
    commitments.expect("2.25.1", entries)
    assert commitments.waiting() == 3

    unlink = os.unlink

    def failing(path: str) -> None:
        if path == entries["1.2"][0].path:
            raise OSError(errno.EIO, "EIO")
        unlink(path)

    reports = Reports()
    reports.listen(lambda reporter, *told: commitments.settle(Report(*told)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        reports.tell("ARCHIVE", "2.25.1", entries, {})
        assert eventually(lambda: spool.depart("archive", 1)) == entries["1.2"][0]
    commitments.expect("2.25.2", {"1.2": entries["1.2"]})
    reports.tell("ARCHIVE", "2.25.2", ["1.2"], {})
    eventually(lambda: spool.is_idle("archive") or not any((tmp_path / "spool/outgoing/archive").iterdir()))


# ---------------------------------------------------------------------- what is said


def test_action_and_event_information() -> None:
    """They say what PS3.4 J.3 has them say; an instance that is named twice as committed and failed has failed."""
    encoded = commitment.action_information("2.25.1", [Reference(CTImageStorage, "1.2.3")])
    assert commitment._decode(encoded, True) == Report("2.25.1", frozenset({"1.2.3"}), {})
    deep = (b"\x08\x00\x99\x11\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 10_000
    for rubbish in (b"", b"\x08\x00", b"rubbish that is no data set", deep):
        with pytest.raises(Aborted):
            commitment._decode(rubbish, True)


@pytest.mark.parametrize("own_association", [False, True], ids=["same", "other"])
def test_leaves_when_it_is_committed_to(own_association: bool, tmp_path: Path) -> None:
    """Whether the report comes on our association or on another one; and not before."""
    node_port = free_port()
    go = threading.Event()

    def answer(n: int, uid: str) -> int:
        assert go.wait(20)
        return 0

    archive = Archive(answer, node_port if own_association else 0)
    listen = [{"address": "127.0.0.1", "port": node_port}]
    with archive.running(), running_node(tmp_path / "node", listen=listen, **to_archive(archive.port)) as node:
        node.port = node_port
        send(node, tmp_path / "images")
        eventually(lambda: len(archive.stored) == 3)
        assert len(node.in_spool("outgoing")) == 3
        go.set()
        eventually(node.is_at_rest)
        assert archive.stored == archive.asked
        eventually(lambda: archive.statuses == [0])
        assert not node.events("deferred")


def test_what_fails_is_sent_again(tmp_path: Path) -> None:
    """And asked for again, until it is committed to."""
    archive = Archive(lambda n, uid: 0x0112 if n < 2 else 0)
    with archive.running(), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images", 1)
        eventually(lambda: len(archive.asked) == 3 and node.is_at_rest())
        assert len(archive.stored) == 3
        assert [event["detail"] for event in node.events("not-committed")] == ["0112H", "0112H"]


def test_what_fails_for_good_is_set_aside(tmp_path: Path) -> None:
    """A class that it does not commit to: the others leave."""
    archive = Archive(lambda n, uid: 0x0122 if n == 1 else 0)
    with archive.running(), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images")
        eventually(lambda: node.is_at_rest() and node.quarantined())
        assert node.quarantined() == [("not-committed", "0122H")]
        assert "1.2.840.10008.1.20.1 as SCU" in node.command("conformance").stdout


def test_what_is_not_answered_is_sent_again(tmp_path: Path) -> None:
    """After the timeout; what is reported of a transaction that is no longer waited for harms nothing."""
    archive = Archive(lambda n, uid: None if n == 0 else 0)
    settings = to_archive(archive.port, commitment_timeout="1s")
    with archive.running(), running_node(tmp_path / "node", **settings) as node:
        send(node, tmp_path / "images", 1)
        eventually(lambda: len(archive.asked) == 2 and node.is_at_rest())
        assert [event["detail"] for event in node.events("not-committed")] == ["unanswered"]


def test_request_that_is_refused(tmp_path: Path) -> None:
    """Everything stays, and is tried again."""
    archive = Archive(lambda n, uid: 0, action_status=0x0213)
    with archive.running(), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images", 2)
        eventually(lambda: len(archive.stored) >= 4)
        assert len(node.in_spool("outgoing")) == 2
        archive._action_status = 0
        eventually(node.is_at_rest)


def test_destination_that_offers_no_commitment(tmp_path: Path) -> None:
    """Nothing is sent, as it could not leave the queue; the destination is in trouble, and says why."""
    archive = Archive(lambda n, uid: 0)
    with archive.running(False), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images", 1)
        (first, *_) = eventually(lambda: node.events("deferred"))
        assert first["reason"] == "the destination offers no storage commitment"
        assert not archive.stored
        assert len(node.in_spool("outgoing")) == 1


def test_after_a_restart_it_is_sent_once_more(tmp_path: Path) -> None:
    """What was waited for is in the queue, and nowhere else."""
    silent = True
    archive = Archive(lambda n, uid: None if silent else 0)
    with archive.running(), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images", 2)
        eventually(lambda: len(archive.asked) >= 1)
        node.kill()
        assert len(node.in_spool("outgoing")) == 2
        silent = False
        node.start()
        eventually(node.is_at_rest)
        assert len(set(archive.stored)) == 2


def test_what_comes_again_may_be_called_a_duplicate(tmp_path: Path) -> None:
    """A reload forgets what is waited for: that the destination has it already is no reason to set it aside."""
    archive = Archive(lambda n, uid: None if n == 0 else 0)
    archive.refuses_duplicates = True
    with archive.running(), running_node(tmp_path / "node", **to_archive(archive.port)) as node:
        send(node, tmp_path / "images", 1)
        eventually(lambda: archive.asked)
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(archive.asked) == 2 and node.is_at_rest())
        assert not node.quarantined()


def test_who_may_report(tmp_path: Path) -> None:
    """Only a destination that has to commit; and it may do nothing else, where it may not store."""
    archive = Archive(lambda n, uid: 0)
    settings = to_archive(archive.port, calling_ae_title="REPORTS")
    settings["routes"][0]["calling_ae_titles"] = ["SENDER"]
    proposals = [commitment.CONTEXT, Context(CTImageStorage, ExplicitVRLittleEndian)]
    with running_node(tmp_path / "node", **settings) as node:
        with Requestor(Peer("127.0.0.1", node.port, "REPORTS", "ARCHIVE", 10), proposals) as requestor:
            assert [requestor.accepts(proposal) for proposal in proposals] == [True, False]
        with Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 10), proposals) as requestor:
            assert [requestor.accepts(proposal) for proposal in proposals] == [False, True]
        with pytest.raises(Rejected, match="1/1/3"):
            Requestor(Peer("127.0.0.1", node.port, "REPORTS", "SENDER", 10), proposals)
        with pytest.raises(Rejected, match="1/1/3"):
            Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "ARCHIVE", 10), proposals)


def test_orthanc_commits(tmp_path: Path) -> None:
    """A real SCP, which reports on an association of its own."""
    node_port = free_port()
    config = {"DicomModalities": {"node": ["SCP_ANON", "127.0.0.1", node_port]}}
    listen = [{"address": "127.0.0.1", "port": node_port}]
    with (
        running_orthanc(tmp_path / "orthanc", aet="ARCHIVE", config=config) as orthanc,
        running_node(tmp_path / "node", listen=listen, **to_archive(orthanc.dicom_port)) as node,
    ):
        node.port = node_port
        send(node, tmp_path / "images", 120)
        eventually(node.is_at_rest)
        assert len(orthanc.instances()) == 120
        assert not node.events("not-committed")
        assert not node.quarantined()
        orthanc_associations = [e for e in node.events("association-accepted") if e["calling"] == "ARCHIVE"]
        assert orthanc_associations
