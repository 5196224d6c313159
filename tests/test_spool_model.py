"""The spool's promise through a power loss: what was not synced is gone, and nothing that was committed is lost.

Every call by which the spool and a folder change the disk is noted. After any step, and in the midst of any, the disk
is what those calls leave of it: see `tests.disk`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scp_anon import ready
from scp_anon.destinations.folder import FolderDestination
from scp_anon.destinations.layout import Layout
from scp_anon.dicom.finding import Buffer
from scp_anon.envelope import Envelope
from scp_anon.errors import Reason
from scp_anon.inspection import Inspection
from scp_anon.places import Entry
from scp_anon.spool import MAXIMUM_ATTEMPTS, Spool
from tests.disk import Cut, Disk, Recorder, Tree, all_of_it, nothing_of_it, read_tree, some_of_it, write_tree

ROUTES = {"ONE": ["one"], "TWO": ["one", "two"], "FOLDER": ["disk"], "ALL": ["two", "disk", "one"]}
DESTINATIONS = ["one", "two", "disk"]
ORIGINAL = "original %d, and more of it"
RESULT = "result of original %d"
EXAMPLES = int(os.environ.get("SCP_ANON_MODEL_EXAMPLES", "60"))
# Nothing here needs a real disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - under a name of its own

which = st.integers(0, 7)
bits = st.integers(0, (1 << 64) - 1)


def number_of(content: bytes) -> int:
    """Which original this is, or was made of."""
    found = re.search(rb"original (\d+)", content)
    assert found, content
    return int(found[1])


class ByNumber(Layout):
    """A place for what is no DICOM: many directories, which are made when the first file comes."""

    def __init__(self) -> None:
        super().__init__("{SOPInstanceUID}")

    def place(self, file: Buffer) -> str:
        """Two directories deep, and shared."""
        number = number_of(bytes(file))
        return f"all/{number % 2}/{number}"


class Promise:
    """What has been promised of each original, by its number; and whether a disk keeps it.

    What has begun counts as done here where it takes away, and only what has returned where it promises.
    """

    def __init__(self) -> None:
        self.routes: list[str] = []  # of each original that was ever written
        self.committed: set[int] = set()
        self.published: set[int] = set()
        self.dropped: set[int] = set()
        self.quarantined: set[tuple[int, str]] = set()  # with the destination that refused it ("": an original)
        self.settled: set[tuple[int, str]] = set()  # acknowledged by this destination, or dropped

    def check(self, tree: Tree) -> None:
        """Fail unless everything that is due is there, whole, and nothing is where it has never been put."""
        originals: set[int] = set()
        results: set[tuple[int, str]] = set()
        for path, content in tree.items():
            name = os.path.basename(path)
            if content is None or path.startswith("spool/tmp/") or name.endswith(".tmp"):
                continue
            number = number_of(content)
            destination = self.destination(path, number)
            assert content == ((RESULT if destination else ORIGINAL) % number).encode(), f"not whole: {path}"
            if destination:
                assert number in self.published
                assert destination in ROUTES[self.routes[number]]
                results.add((number, destination))
            else:
                originals.add(number)
        for number in self.committed - originals - self.dropped:
            due = {(number, destination) for destination in ROUTES[self.routes[number]]}
            assert due <= results | self.settled, f"lost: {due - results - self.settled}"

    def destination(self, path: str, number: int) -> str:
        """Whose result is in this place; "" where an original is."""
        if path.startswith("folder/"):
            return "disk"
        _, place, *between, name = path.split("/")
        if place == "outgoing":
            return between[0]
        envelope = Envelope.parse(name)
        if place == "quarantine" and envelope.reason == Reason.TOO_MANY_ATTEMPTS:
            assert envelope.attempt == MAXIMUM_ATTEMPTS
        elif place == "quarantine":
            assert (number, envelope.destination) in self.quarantined
        else:
            assert place in ("incoming", "active")
        return envelope.destination


class Model(RuleBasedStateMachine):
    """A spool, a folder, and a disk under them that loses its power now and then."""

    def __init__(self) -> None:
        super().__init__()
        ready._LOOK_AGAIN = 0.0  # what an operator puts back is found at once
        self.base = Path(tempfile.mkdtemp(dir=MEMORY))
        self.promise = Promise()
        self.power = -1  # what happens when the fuse blows, see `restart`
        root = self.new_root()
        (root / "folder").mkdir()
        self.disk = Disk(root)
        self.recorder = Recorder(self.disk)
        self.restart(-1)

    def new_root(self) -> Path:
        """A directory that stands for a disk."""
        return Path(tempfile.mkdtemp(dir=self.base))

    def restart(self, power: int, fuse: int = -1) -> None:
        """The process ends, and the next one starts; its fuse may blow while it recovers what the last one left.

        `power`: is lost too; the bits say what becomes of what was not synced. Below 0 it is not lost.
        """
        self.claimed: list[Entry] = []
        self.taken: list[tuple[str, Entry]] = []
        self.recorder.end_process()
        if power >= 0:
            tree = self.disk.after_power_loss(some_of_it(power))
            root = self.new_root()
            write_tree(tree, root)
            shutil.rmtree(self.disk.root)
            self.recorder.disk = self.disk = Disk(root)
        self.recorder.fuse = fuse
        root = Path(self.disk.root)
        try:
            with self.recorder:
                self.folder = FolderDestination(root / "folder", ByNumber())
                self.spool = Spool(root / "spool", DESTINATIONS)
        except Cut:
            self.restart(self.power)

    def do(self, step: Callable[[], object]) -> bool:
        """Do something; returns whether it has come to its end, before the fuse blew."""
        try:
            with self.recorder:
                step()
        except Cut:
            self.restart(self.power)
            return False
        return True

    @rule(calls=st.integers(0, 12), power=st.one_of(st.just(-1), bits))
    def light_fuse(self, calls: int, power: int) -> None:
        """The process will end in the midst of something."""
        self.recorder.fuse, self.power = calls, power

    @rule(power=st.one_of(st.just(-1), bits), fuse=st.integers(-1, 12))
    def end(self, power: int, fuse: int) -> None:
        """The process ends between two steps."""
        self.restart(power, fuse)

    @rule(route=st.sampled_from(sorted(ROUTES)), claimed=st.booleans())
    def commit(self, route: str, claimed: bool) -> None:
        """Something arrives; who has received it may work on it at once."""
        number = len(self.promise.routes)
        self.promise.routes.append(route)

        def step() -> None:
            with self.spool.draft() as draft:
                draft.write((ORIGINAL % number).encode())
                entry = self.spool.commit(draft, route, "CALLER", claimed)
            self.promise.committed.add(number)
            if claimed:
                self.claimed.append(entry)

        self.do(step)

    @rule()
    def claim(self) -> None:
        """A worker takes the next."""

        def step() -> None:
            entry = self.spool.claim(0)
            if entry is not None:
                self.claimed.append(entry)

        self.do(step)

    @rule(which=which, at_once=st.booleans())
    def work(self, which: int, at_once: bool) -> None:
        """A worker publishes, or hands over."""
        if not self.claimed:
            return
        entry = self.claimed.pop(which % len(self.claimed))
        number = self.number(entry)
        destinations = ROUTES[self.promise.routes[number]]
        self.promise.published.add(number)

        def step() -> None:
            with self.spool.draft() as draft:
                draft.write((RESULT % number).encode())
                if destinations == ["disk"] and at_once:
                    place = self.folder.layout.place(draft_content(draft.path))
                    self.spool.hand_over(entry, draft, lambda path: self.folder.take(path, place))
                else:
                    self.spool.publish(entry, draft, destinations)

        self.do(step)

    @rule(which=which, how=st.sampled_from(["put back", "quarantine", "discard"]))
    def give_up(self, which: int, how: str) -> None:
        """A worker does not publish."""
        if not self.claimed:
            return
        entry = self.claimed.pop(which % len(self.claimed))
        number = self.number(entry)
        if how == "put back":
            self.do(lambda: self.spool.put_back(entry))
        elif how == "quarantine":
            self.promise.quarantined.add((number, ""))
            self.do(lambda: self.spool.quarantine(entry, Reason.UNEXPECTED_ERROR, "X"))
        else:
            self.promise.dropped.add(number)
            self.do(lambda: self.spool.discard(entry))

    @rule(destination=st.sampled_from(DESTINATIONS))
    def depart(self, destination: str) -> None:
        """A sender takes the next."""

        def step() -> None:
            entry = self.spool.depart(destination, 0)
            if entry is not None:
                self.taken.append((destination, entry))

        self.do(step)

    @rule(which=which, how=st.sampled_from(["acknowledge", "acknowledge", "defer", "quarantine", "hand back"]))
    def deliver(self, which: int, how: str) -> None:
        """A destination has it, or not."""
        if not self.taken:
            return
        destination, entry = self.taken.pop(which % len(self.taken))
        number = self.number(entry)
        if how == "defer":
            self.do(lambda: self.spool.defer(destination, entry, 0))
        elif how == "hand back":
            self.do(lambda: self.spool.hand_back(destination, entry))
        elif how == "quarantine":
            self.promise.quarantined.add((number, destination))
            self.do(lambda: self.spool.quarantine(entry, Reason.REFUSED_BY_DESTINATION, "A900H", destination))
        elif destination != "disk":
            self.promise.settled.add((number, destination))
            self.do(lambda: self.spool.acknowledge(destination, entry))
        elif self.do(lambda: self.folder.deliver(entry.path, list)):
            self.do(lambda: self.spool.acknowledge(destination, entry))

    @rule(which=which, how=st.sampled_from(["release", "release", "drop"]))
    def operate(self, which: int, how: str) -> None:
        """An operator does something with what is in quarantine."""
        inspection = Inspection(self.spool.path)
        entries = list(inspection.quarantined())
        if not entries:
            return
        entry = entries[which % len(entries)]
        if how == "release":
            self.do(lambda: inspection.release(entry))
            return
        number = self.number(entry)
        if entry.envelope.destination:
            self.promise.settled.add((number, entry.envelope.destination))
        else:
            self.promise.dropped.add(number)
        self.do(lambda: inspection.drop(entry))

    def number(self, entry: Entry) -> int:
        """Which original an entry is, or was made of."""
        return number_of(Path(entry.path).read_bytes())

    @invariant()
    def keeps_its_promise(self) -> None:
        """Without a power loss, after one that leaves nothing that was not synced, and after one that leaves all."""
        assert self.disk.content() == read_tree(Path(self.disk.root))  # else the recorder has missed something
        self.promise.check(self.disk.content())
        for choose in (nothing_of_it, all_of_it):
            self.promise.check(self.disk.after_power_loss(choose))

    def teardown(self) -> None:
        """What is left after a last power loss comes to its end; nothing stays in between. Leave nothing behind."""
        try:
            self.restart(0)
            self.drain()
            self.keeps_its_promise()
            left = [path for path, content in self.disk.content().items() if content is not None]
            assert not [path for path in left if path.split("/")[1] in ("tmp", "incoming", "active", "outgoing")]
        finally:
            ready._LOOK_AGAIN = 1.0
            self.recorder.end_process()
            shutil.rmtree(self.base)

    def drain(self) -> None:
        """Have all be de-identified and delivered."""
        self.claim()
        while self.claimed:
            self.work(0, True)
            self.claim()
        for destination in DESTINATIONS:
            self.depart(destination)
            while self.taken:
                self.deliver(0, "acknowledge")
                self.depart(destination)


def draft_content(path: str) -> bytes:
    """What has been written to a draft."""
    return Path(path).read_bytes()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None, derandomize=True)


def cut_off(disk: Disk, calls: int, start: Callable[[], object]) -> bool:
    """Have a process end after so many of the calls of its start; returns whether it had any left to make."""
    recorder = Recorder(disk)
    recorder.fuse = calls
    try:
        with recorder:
            start()
    except Cut:
        return True
    finally:
        recorder.end_process()
    return False


def cut_off_everywhere(folder: Path, first: Callable[[Path], object], then: Callable[[Path], object]) -> list[Tree]:
    """What a power loss leaves of what the second process did, for each call after which the first may have ended."""
    trees: list[Tree] = []
    is_cut = True
    while is_cut:
        root = folder / str(len(trees))
        root.mkdir()
        disk = Disk(root)
        is_cut = cut_off(disk, len(trees), partial(first, root))
        cut_off(disk, -1, partial(then, root))
        trees.append(disk.after_power_loss(nothing_of_it))
    return trees


@pytest.mark.parametrize("claimed", [False, True])
def test_start_that_is_cut_off(claimed: bool, tmp_path: Path) -> None:
    """A process dies while it makes its directories; what the next one commits in them survives a power loss."""

    def start(root: Path) -> Spool:
        return Spool(root / "new" / "spool", DESTINATIONS)

    def commit(root: Path) -> None:
        spool = start(root)
        with spool.draft() as draft:
            draft.write(b"original")
            spool.commit(draft, "ROUTE", "CALLER", claimed)

    trees = cut_off_everywhere(tmp_path, start, commit)
    assert len(trees) > 10
    assert [b"original" in tree.values() for tree in trees] == [True] * len(trees)


def test_directory_of_a_folder_that_is_cut_off(tmp_path: Path) -> None:
    """A process dies while it makes directories of a folder; what the next one puts there survives a power loss."""

    def take(name: str, root: Path) -> None:
        (root / name).write_text(name)
        FolderDestination(root / "folder", ByNumber()).take(str(root / name), f"patient/study/series/{name}")

    trees = cut_off_everywhere(tmp_path, partial(take, "first"), partial(take, "second"))
    assert len(trees) > 6
    assert ["folder/patient/study/series/second" in tree for tree in trees] == [True] * len(trees)
