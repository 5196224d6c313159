"""The spool and the intake where the disk fails, where strangers' files are, and where processes meet."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scp_anon import Deidentifier
from scp_anon.delivery import BackOff, Line, Sender
from scp_anon.envelope import Envelope
from scp_anon.errors import ConfigError, Reason, Refused, SpoolFull
from scp_anon.inspection import Inspection
from scp_anon.intake import Intake
from scp_anon.network.admission import Admission
from scp_anon.network.scp import Server
from scp_anon.network.service import Limits
from scp_anon.places import Entry
from scp_anon.settlement import AtOnce
from scp_anon.spool import Spool
from scp_anon.worker import Treatment, Workers
from tests import samples
from tests.harness import eventually
from tests.rawpeer import CT, EXPLICIT, RawPeer
from tests.test_spool import committed, crash, published

DESTINATIONS = ["one", "two"]
STRANGERS = [
    "README",
    ",,,,,,,",
    "x,R,C,0,0,,,",
    "not-a-number,ROUTE,CALLER,0,0,,,",
    "00000000000000-x,R,C,0,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C, 1,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,+1,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,01,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,1_0,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,٣,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,-1,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,0,-1,,,",
    "0017f0f0f0f0f0f0-00000000,%52,C,0,0,,,",
    "0017f0f0f0f0f0f0-00000000,%FF,C,0,0,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,0,0,,,,",
    "0017f0f0f0f0f0f0-00000000,R,C,0,0,,",
    os.fsdecode(b"\xff\xfe,R,C,0,0,,,"),
    os.fsdecode(b"0017f0f0f0f0f0f0-00000000,\xff,C,0,0,,,"),
]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool with two destinations."""
    opened = Spool(tmp_path / "spool", DESTINATIONS)
    yield opened
    with contextlib.suppress(OSError):
        opened.close()


def failing(code: int, where: Callable[[Any], bool] = lambda _: True) -> Callable[..., Any]:
    """A system call that fails where its first argument is so."""

    def fail(*arguments: Any, **options: Any) -> Any:
        if where(arguments[0]):
            raise OSError(code, os.strerror(code))
        return None

    return fail


def claimed(spool: Spool) -> Entry:
    """The next entry, which must be there."""
    entry = spool.claim(0)
    assert entry is not None
    return entry


def in_place(spool: Spool, place: str) -> list[Path]:
    """The files in a place of the spool."""
    return [path for path in (spool.path / place).rglob("*") if path.is_file()]


# ---------------------------------------------------------------------- strangers


@pytest.mark.parametrize("name", STRANGERS, ids=ascii)
def test_names_that_are_not_ours(name: str, spool: Spool) -> None:
    """In whatever place: left alone, and nothing that is ours waits, fails or is lost for it."""
    places = ["incoming", "outgoing/one", "quarantine", f"active/{next((spool.path / 'active').iterdir()).name}"]
    for place in places:
        (spool.path / place / name).write_text("mine")
    committed(spool)
    published(spool, claimed(spool), ["one"])
    assert spool.claim(0) is None
    departing = spool.depart("one", 0)
    assert departing is not None
    spool.quarantine(departing, Reason.REFUSED_BY_DESTINATION, "A900H", "one")
    assert spool.depart("one", 0) is None
    inspection = Inspection(spool.path)
    assert [entry.envelope.destination for entry in inspection.quarantined()] == ["one"]
    assert list(inspection.queued()) == []
    crash(spool)
    Spool(spool.path, DESTINATIONS).close()
    assert all((spool.path / place / name).read_text() == "mine" for place in places)


@given(st.text(st.characters(exclude_characters="/\0"), max_size=60))
def test_any_name_is_ours_or_not(name: str) -> None:
    """Parsing gives an envelope of that very name, or ValueError; never anything else."""
    try:
        envelope = Envelope.parse(name)
    except ValueError:
        return
    assert envelope.name == name
    assert envelope.arrival >= 0


@pytest.mark.parametrize("place", ["tmp", "active", "incoming", "outgoing", "quarantine", "."])
def test_files_and_folders_that_are_not_ours(place: str, spool: Spool) -> None:
    """A file where processes have their folders, a folder where entries are: a start does not fail on it."""
    (spool.path / place / "file").write_text("mine")
    if place != "tmp":
        (spool.path / place / "folder" / "inside").mkdir(parents=True)
    committed(spool)
    assert [destination for destination, _ in Inspection(spool.path).queued()] == [""]
    again = Spool(spool.path, DESTINATIONS)
    assert again.claim(0) is not None
    again.close()
    assert (spool.path / place / "file").read_text() == "mine"


def test_strangers_in_a_dead_process_places(spool: Spool) -> None:
    """What it had half written is swept all the same: it identifies patients."""
    draft = spool.draft()
    draft.write(b"half an original")
    (spool.path / "active" / Path(draft.path).parent.name / "notes").write_text("mine")
    os.close(draft.descriptor)
    crash(spool)
    Spool(spool.path, DESTINATIONS).close()
    assert in_place(spool, "tmp") == []
    assert [path.read_text() for path in in_place(spool, "active")] == ["mine"]


def test_another_process_ends_while_we_start(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its places may go away at any moment: that is no fault of the spool's."""
    other = Spool(spool.path, DESTINATIONS)
    open_file = os.open

    def late(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path) == str(other._active):
            monkeypatch.undo()
            other.close()
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", late)
    Spool(spool.path, DESTINATIONS).close()


def test_removed_destination(spool: Spool) -> None:
    """Its entries stay where they are, and are seen, until it is there again."""
    committed(spool)
    published(spool, claimed(spool), ["two"])
    spool.close()
    Spool(spool.path, ["one"]).close()
    assert [destination for destination, _ in Inspection(spool.path).queued()] == ["two"]
    again = Spool(spool.path, DESTINATIONS)
    assert again.depart("two", 0) is not None
    again.close()


# ---------------------------------------------------------------------- the disk


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("claim_at_once", [False, True])
def test_commit_when_nothing_works_any_more(
    code: int, claim_at_once: bool, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the removal of what is half there: it is still a refusal with a status, not an error of ours."""
    draft = spool.draft()
    monkeypatch.setattr(os, "fsync", failing(code))
    monkeypatch.setattr(os, "unlink", failing(code))
    with pytest.raises(Refused) as refused, draft:
        spool.commit(draft, "ROUTE", "CALLER", claim_at_once)
    assert refused.value.status == (0xA700 if code == errno.ENOSPC else 0x0110)


def test_commit_fails_while_a_worker_claims(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the rename and the failing fsync of the directory: refused, and what the worker has is whole."""
    fsync = os.fsync
    found: list[Entry | None] = []

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "incoming":
            found.append(spool.claim(0))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Refused):
        committed(spool, b"whole")
    (entry,) = found
    assert entry is not None
    assert Path(entry.path).read_bytes() == b"whole"


@pytest.mark.parametrize("call", ["fsync", "link", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_publication_that_fails(call: str, nth: int, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original stays claimed and is put back; what is in outgoing is whole; no file is synced twice."""
    committed(spool)
    entry = claimed(spool)
    original: Callable[..., Any] = getattr(os, call)
    count = 0
    synced: list[int] = []

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if call == "fsync" and not os.path.isdir(f"/proc/self/fd/{arguments[0]}"):
            synced.append(os.fstat(arguments[0]).st_ino)
        if count == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        happened = False
        try:
            published(spool, entry, DESTINATIONS)
        except OSError:
            happened = True
            assert Path(entry.path).read_bytes() == b"original"
    assert happened == (count >= nth)
    assert len(synced) == len(set(synced))
    assert all(path.read_bytes() == b"result of original" for path in in_place(spool, "outgoing"))
    assert in_place(spool, "tmp") == []
    if happened:
        spool.put_back(entry)
        again = claimed(spool)
        assert again.envelope.attempt == 1
        published(spool, again, DESTINATIONS)
    assert len(in_place(spool, "outgoing")) == 2
    assert in_place(spool, "active") == in_place(spool, "incoming") == []


def test_claim_that_fails(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry stays where it was, and is found again."""
    committed(spool)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            spool.claim(0)
    assert eventually(lambda: spool.claim(0.1)).envelope.attempt == 1  # type: ignore[union-attr]  # it is one


# ---------------------------------------------------------------------- threads live on


class Taken:
    """A destination that takes everything."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def deliver(self, path: str, upcoming: object, again: bool = False) -> None:
        """Take it."""
        self.paths.append(path)

    def idle(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def test_sender_outlives_the_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be listed for now (no descriptors left, say) ends no thread."""
    committed(spool)
    published(spool, claimed(spool), ["one"])
    spool.close()
    again = Spool(spool.path, DESTINATIONS)
    destination = Taken()
    failures: list[int] = []
    scandir = os.scandir

    def fail(path: Any) -> Any:
        if len(failures) < 2:
            failures.append(1)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    sender = Sender(again, "one", [Line(destination, AtOnce(again, "one", destination))], BackOff(0.01, 0.01))
    sender.start()
    eventually(lambda: destination.paths)
    assert len(failures) == 2
    sender.stop()
    again.close_queues()
    assert sender.join(10)
    again.close()


def test_workers_outlive_the_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for those who claim."""
    from scp_anon import worker

    monkeypatch.setattr(worker, "_DISK_TROUBLE", 0.01)
    failures: list[int] = []
    scandir = os.scandir

    def fail(path: Any) -> Any:
        if len(failures) < 2:
            failures.append(1)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    workers = Workers(spool, {}, 1)
    workers.start()
    eventually(lambda: len(failures) == 2)
    committed(spool)
    eventually(lambda: in_place(spool, "quarantine"))  # there is no route
    workers.stop()
    spool.close_queues()
    assert workers.join(10)


def test_what_was_acknowledged_goes_on_below_the_reserve(tmp_path: Path) -> None:
    """The reserve is for this: if nothing went on, nothing would ever leave, and there would never be room again."""
    spool = Spool(tmp_path / "spool", ["one"], reserve=1 << 60)
    committed(spool, samples.encoded(samples.image()))
    workers = Workers(spool, {"ROUTE": Treatment(Deidentifier(samples.KEY), ["one"])}, 1)
    workers.start()
    try:
        eventually(lambda: in_place(spool, "outgoing"), 5)
    finally:
        workers.stop()
        spool.close_queues()
        assert workers.join(10)
        spool.close()


def test_folder_that_is_no_spool(tmp_path: Path) -> None:
    """A folder of somebody else's is not made a spool: it would lose its mode (think of /tmp) and its order."""
    (tmp_path / "somebody's.txt").write_text("mine")
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError):
        Spool(tmp_path, ["one"])
    assert tmp_path.stat().st_mode & 0o777 == 0o755


# ---------------------------------------------------------------------- the intake


class Intook:
    """An SCP in front of a real spool; the work that follows a commit is noted, not done."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.worked: list[Entry] = []
        intake = Intake(spool, lambda entry, *_: self.worked.append(entry))
        self.server = Server(intake, Admission({"SCP_ANON": None}), Limits())
        self.port = self.server.listen("127.0.0.1", 0)

    def store(self, data: bytes) -> int:
        """The status of one C-STORE."""
        with RawPeer(self.port) as peer:
            peer.associate()
            status = peer.store(data, fragment=100_000)
            peer.release()
        return status


@pytest.fixture
def intook(spool: Spool) -> Iterator[Intook]:
    """A server with a real intake."""
    running = Intook(spool)
    yield running
    assert running.server.drain(10)


def test_stored_as_a_file(intook: Intook) -> None:
    """Preamble and File Meta Information are ours; the data set is as it came."""
    from pydicom import dcmread

    data = b"\x08\0\x16\0UI\x1a\0" + CT.encode() + b"\0" + b"\x08\0\x18\0UI\6\x001.2.3\0"
    assert intook.store(data) == 0
    (entry,) = intook.worked
    content = Path(entry.path).read_bytes()
    assert content.endswith(data)
    assert content[:132] == bytes(128) + b"DICM"
    read = dcmread(entry.path)
    assert (read.file_meta.TransferSyntaxUID, read.file_meta.MediaStorageSOPClassUID) == (EXPLICIT, CT)
    assert (entry.envelope.route, entry.envelope.calling, entry.envelope.attempt) == ("SCP_ANON", "RAW", 1)


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        ("statvfs", errno.EIO, 0x0110),
        ("writev", errno.ENOSPC, 0xA700),
        ("writev", errno.EIO, 0x0110),
        ("writev", errno.EDQUOT, 0xA700),
        ("writev", errno.EFBIG, 0xA700),
        ("fsync", errno.EIO, 0x0110),
        ("rename", errno.ENOSPC, 0xA700),
    ],
)
@pytest.mark.parametrize("size", [100, 20 << 20])
def test_every_trouble_is_a_status(
    call: str, code: int, status: int, size: int, intook: Intook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is told, at the end of its message; nothing is left behind; the next instance is taken."""
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        assert intook.store(bytes(size)) == status
    assert [in_place(intook.spool, place) for place in ("tmp", "incoming", "active")] == [[], [], []]
    time.sleep(0)
    assert eventually(lambda: intook.store(b"a data set") == 0)


def test_below_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A700, before anything is written."""
    spool = Spool(tmp_path / "spool", DESTINATIONS, reserve=1 << 60)
    intook = Intook(spool)
    try:
        assert intook.store(b"a data set") == 0xA700
        with pytest.raises(SpoolFull):
            spool.check_room()
        assert in_place(spool, "tmp") == []
    finally:
        assert intook.server.drain(10)
        spool.close()


def test_large_ones_are_for_the_pool(intook: Intook) -> None:
    """What was spilled is in incoming, to be claimed; what was in memory is claimed already."""
    assert intook.store(bytes(20 << 20)) == 0
    assert intook.worked == []
    assert len(in_place(intook.spool, "incoming")) == 1
    assert intook.store(b"a data set") == 0
    assert [Path(entry.path).parent.parent.name for entry in intook.worked] == ["active"]


def test_many_at_once(intook: Intook) -> None:
    """Each its own entry, with its own content."""

    def run(name: int) -> None:
        assert [intook.store(b"%d %d %s" % (name, i, bytes(1000))) for i in range(10)] == [0] * 10

    threads = [threading.Thread(target=run, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry.envelope.id for entry in intook.worked}) == 40
    assert len({Path(entry.path).read_bytes() for entry in intook.worked}) == 40
