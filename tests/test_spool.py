"""The spool keeps its promise: against a model, through crashes and failing calls, in the order that it says."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scp_anon import ready
from scp_anon.envelope import Envelope
from scp_anon.errors import ConfigError, Reason, Refused, SpoolFull, Transient
from scp_anon.inspection import Inspection
from scp_anon.places import Entry
from scp_anon.ready import Ready
from scp_anon.spool import MAXIMUM_ATTEMPTS, Spool
from tests.harness import eventually

DESTINATIONS = ["one", "two"]


def committed(spool: Spool, content: bytes = b"original") -> Entry:
    """A new entry of incoming."""
    with spool.draft() as draft:
        draft.write(content)
        return spool.commit(draft, "ROUTE", "CALLER")


def published(spool: Spool, entry: Entry, destinations: list[str]) -> None:
    """The claimed entry, handed to the destinations."""
    with spool.draft() as draft:
        draft.write(b"result of " + Path(entry.path).read_bytes())
        spool.publish(entry, draft, destinations)


def crash(spool: Spool) -> None:
    """What is left of a process that was killed: its lock is gone, its places are not."""
    os.close(spool._places._lock)


# What may happen, each as often as it is here: an original often goes the whole way, and is cut off anywhere on it.
STEPS: list[tuple[str, tuple[object, ...]]] = [
    *[("commit", (claimed, 1)) for claimed in (True, False)],
    ("commit", (False, 3)),
    *[("work", (outcome,)) for outcome in ("one", "two", "both", "both", "put back", "quarantine", "keep")],
    *[
        ("deliver", (destination, outcome))
        for destination in DESTINATIONS
        for outcome in ("acknowledge", "acknowledge", "defer", "defer for long", "hand back", "refuse", "keep")
    ],
    *[("operate", (kind,)) for kind in ("release", "drop", "retry")],
    *[("visit", (claims, crashes)) for claims in (True, False) for crashes in (True, False)],
    *[("restart", (clean,)) for clean in (True, False)],
]


class Model(RuleBasedStateMachine):
    """Each original is, at any time, in the places where the model says that it is, with the content that it says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        ready._LOOK_AGAIN = 0.0  # what an operator puts back is found at once
        self.where: dict[str, set[str]] = {}  # number of the original → its places
        self.attempts: dict[str, int] = {}
        self.claimed: list[Entry] = []
        self.taken: list[tuple[str, Entry]] = []
        self.orphans: list[str] = []  # claimed by processes that have crashed since
        self.spool = self.opened()

    def opened(self) -> Spool:
        """A new process's spool: what dead ones had claimed is recovered."""
        for number in self.orphans:
            self.where[number] = {"quarantine"} if self.attempts[number] >= MAXIMUM_ATTEMPTS else {"incoming"}
        self.orphans = []
        return Spool(self.folder, DESTINATIONS, durable=False)  # the order of fsyncs has tests of its own

    @rule(step=st.sampled_from(STEPS))
    def step(self, step: tuple[str, tuple[object, ...]]) -> None:
        """Something happens."""
        getattr(self, step[0])(*step[1])

    def content(self, entry: Entry) -> str:
        """The number of the original that an entry is, or was made of."""
        return Path(entry.path).read_text().split()[-1]

    def claim(self, spool: Spool) -> Entry | None:
        """The next original, which counts as an attempt; None only if there is none."""
        entry = spool.claim(0)
        if entry is None:
            assert {"incoming"} not in self.where.values()
            return None
        number = self.content(entry)
        assert self.where[number] == {"incoming"}
        self.where[number] = {"active"}
        self.attempts[number] += 1
        assert entry.envelope.attempt == self.attempts[number]
        return entry

    def put_back(self, spool: Spool, entry: Entry) -> None:
        """An original that was not worked on."""
        number = self.content(entry)
        spool.put_back(entry)
        self.where[number] = {"incoming"}
        self.attempts[number] -= 1

    def commit(self, claimed: bool, count: int) -> None:
        """Something arrives; who has received it may work on it at once."""
        for _ in range(count):
            number = str(len(self.where))
            with self.spool.draft() as draft:
                draft.write(f"original {number}".encode())
                entry = self.spool.commit(draft, "ROUTE", "CALLER", claimed)
            self.where[number] = {"active" if claimed else "incoming"}
            self.attempts[number] = int(claimed)
            self.claimed += [entry] * claimed

    def work(self, outcome: str) -> None:
        """A worker takes the next, and is done with it, or with one that it had."""
        entry = self.claim(self.spool) or (self.claimed.pop(0) if self.claimed else None)
        if entry is None:
            return
        number = self.content(entry)
        if outcome == "keep":
            self.claimed.append(entry)
        elif outcome == "put back":
            self.put_back(self.spool, entry)
        elif outcome == "quarantine":
            self.spool.quarantine(entry, Reason.MALFORMED, "(0010,0010)")
            self.where[number] = {"quarantine"}
        else:
            destinations = DESTINATIONS if outcome == "both" else [outcome]
            published(self.spool, entry, destinations)
            self.where[number] = {f"outgoing {name}" for name in destinations}

    def deliver(self, destination: str, outcome: str) -> None:
        """A sender takes the next, and is done with it, or with one that it had."""
        entry = self.depart(destination)
        if entry is not None:
            self.taken.append((destination, entry))
        if outcome == "keep" or not self.taken:
            return
        destination, entry = self.taken.pop(0)
        number = self.content(entry)
        if outcome == "acknowledge":
            self.spool.acknowledge(destination, entry)
            self.where[number].discard(f"outgoing {destination}")
        elif outcome == "hand back":
            self.spool.hand_back(destination, entry)
        elif outcome == "refuse":
            self.spool.quarantine(entry, Reason.REFUSED_BY_DESTINATION, "C000H", destination)
            self.where[number].discard(f"outgoing {destination}")
            self.where[number].add(f"quarantine {destination}")
        else:
            self.spool.defer(destination, entry, 0 if outcome == "defer" else 10_000)

    def depart(self, destination: str) -> Entry | None:
        """The next for a destination: due, and nobody's; None only if there is none."""
        entry = self.spool.depart(destination, 0)
        taken = [other.path for name, other in self.taken if name == destination]
        if entry is None:
            paths = [path for path in (self.folder / "outgoing" / destination).iterdir() if str(path) not in taken]
            assert all(Envelope.parse(path.name).not_before > time.time() * 1000 for path in paths)
            return None
        assert f"outgoing {destination}" in self.where[self.content(entry)]
        assert entry.path not in taken
        assert entry.envelope.not_before <= time.time() * 1000
        return entry

    def operate(self, kind: str) -> None:
        """An operator looks at the oldest entry of quarantine, or makes everything due that is not in hand."""
        inspection = Inspection(self.folder)
        if kind == "retry":
            in_hand = [entry.path for entry in (*self.claimed, *(entry for _, entry in self.taken))]
            for _, entry in [found for found in inspection.queued() if found[1].path not in in_hand]:
                inspection.retry(entry)
            return
        for entry in list(inspection.quarantined())[:1]:
            number, destination = self.content(entry), entry.envelope.destination
            getattr(inspection, kind)(entry)
            self.where[number].discard(f"quarantine {destination}".strip())
            if kind == "release":
                self.where[number].add(f"outgoing {destination}".strip() if destination else "incoming")
                self.attempts[number] = 0 if not destination else self.attempts[number]

    def visit(self, claims: bool, crashes: bool) -> None:
        """Another process shares the spool for a while; what this one has in hand is left alone."""
        other = self.opened()
        entry = self.claim(other) if claims else None
        if entry is not None and crashes:
            self.orphans.append(self.content(entry))
        elif entry is not None:
            self.put_back(other, entry)
        if crashes:
            crash(other)
        else:
            other.close()

    def restart(self, clean: bool) -> None:
        """The process ends, well or not, and another takes over."""
        if clean:
            for entry in self.claimed:
                self.put_back(self.spool, entry)
            self.spool.close()
        else:
            self.orphans += [self.content(entry) for entry in self.claimed]
            crash(self.spool)
        self.claimed, self.taken = [], []
        self.spool = self.opened()

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        """Nothing is lost, nothing is anywhere else, nothing is half there."""
        found: dict[str, set[str]] = {number: set() for number in self.where}
        for place in ("incoming", "active", "quarantine", "outgoing"):
            for path in (self.folder / place).rglob("*,*"):
                entry = Entry(Envelope.parse(path.name), str(path))
                suffix = path.parent.name if place == "outgoing" else entry.envelope.destination
                found[self.content(entry)].add(f"{place} {suffix}".strip())
                made = place == "outgoing" or bool(entry.envelope.destination)
                assert path.read_text().startswith("result of original " if made else "original ")
        assert found == self.where
        assert not [path for path in (self.folder / "tmp").rglob("*") if path.is_file()]

    def teardown(self) -> None:
        """Leave nothing behind."""
        ready._LOOK_AGAIN = 1.0
        self.spool.close()
        shutil.rmtree(self.folder)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=50, deadline=None, derandomize=True)


def recorded(monkeypatch: pytest.MonkeyPatch, spool: Spool) -> list[str]:
    """The calls that touch the disk, in their order, by what they touch."""
    calls: list[str] = []

    def name(target: Any) -> str:
        path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(target)
        parts = path.relative_to(spool.path).parts
        return parts[0] if len(parts) < 3 or parts[0] == "tmp" else "/".join(parts[:2])

    def record(function: str) -> None:
        original: Callable[..., Any] = getattr(os, function)

        def called(*arguments: Any, **options: Any) -> Any:
            with contextlib.suppress(ValueError, OSError):
                calls.append(f"{function} {name(arguments[-1] if function in ('rename', 'link') else arguments[0])}")
            return original(*arguments, **options)

        monkeypatch.setattr(os, function, called)

    for function in ("writev", "fsync", "rename", "link", "unlink"):
        record(function)
    return calls


def test_order_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, fsync the file, rename, fsync the directory; then it may be acknowledged."""
    spool = Spool(tmp_path / "spool", DESTINATIONS)
    calls = recorded(monkeypatch, spool)
    committed(spool)
    order = [call for call in calls if not call.startswith("unlink")]
    assert order == ["writev tmp", "fsync tmp", "rename incoming", "fsync incoming"]


def test_order_of_a_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is on stable storage at every destination before the original goes."""
    spool = Spool(tmp_path / "spool", DESTINATIONS)
    committed(spool)
    entry = spool.claim(0)
    assert entry is not None
    calls = recorded(monkeypatch, spool)
    published(spool, entry, DESTINATIONS)
    assert calls[:2] == ["writev tmp", "fsync tmp"]
    assert calls[2:7] == ["link outgoing/one", "rename outgoing/two", "fsync outgoing", "fsync outgoing", calls[6]]
    assert calls[6].startswith("unlink active")


@pytest.mark.parametrize(("function", "nth"), [("fsync", 1), ("fsync", 2), ("rename", 1), ("writev", 1)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failing_call_is_a_refusal(
    function: str, code: int, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write, fsync or rename that fails is never a success; nothing is left, and no file is synced twice."""
    spool = Spool(tmp_path / "spool", DESTINATIONS)
    original: Callable[..., Any] = getattr(os, function)
    synced: list[int] = []
    count = 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if function == "fsync":
            synced.append(os.fstat(arguments[0]).st_ino)
        if count == nth:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **options)

    monkeypatch.setattr(os, function, failing)
    with pytest.raises((Refused, OSError)) as raised:
        committed(spool)
    monkeypatch.undo()
    if isinstance(raised.value, Refused):
        assert raised.value.status == (0xA700 if code == errno.ENOSPC else 0x0110)
    assert len(synced) == len(set(synced))
    assert not list((tmp_path / "spool" / "incoming").iterdir())
    assert not [path for path in (tmp_path / "spool" / "tmp").rglob("*") if path.is_file()]
    assert spool.claim(0) is None
    committed(spool)
    assert spool.claim(0) is not None


def test_reserve(tmp_path: Path) -> None:
    """Below the reserve nothing is taken."""
    spool = Spool(tmp_path, DESTINATIONS, reserve=1 << 60)
    with pytest.raises(SpoolFull) as full:
        spool.check_room()
    assert full.value.status == 0xA700


@pytest.mark.parametrize("claimed", [False, True])
def test_what_kills_the_process_is_set_aside(claimed: bool, tmp_path: Path) -> None:
    """Two crashes may be bad luck; the third with the same original in hand is not."""
    spool = Spool(tmp_path, DESTINATIONS)
    with spool.draft() as draft:
        draft.write(b"original")
        spool.commit(draft, "ROUTE", "CALLER", claimed)
    for attempt in range(1, MAXIMUM_ATTEMPTS + 1):
        if not (claimed and attempt == 1):
            entry = spool.claim(0)
            assert entry is not None
            assert entry.envelope.attempt == attempt
        crash(spool)
        spool = Spool(tmp_path, DESTINATIONS)
    assert spool.claim(0) is None
    (aside,) = Inspection(tmp_path).quarantined()
    assert aside.envelope.reason == Reason.TOO_MANY_ATTEMPTS
    assert Path(aside.path).read_bytes() == b"original"
    Inspection(tmp_path).release(aside)
    spool.close()
    again = Spool(tmp_path, DESTINATIONS)
    entry = again.claim(0)
    assert entry is not None
    assert entry.envelope.attempt == 1
    again.close()


def test_another_living_process_is_left_alone(tmp_path: Path) -> None:
    """What a living process has in hand is not recovered; what a dead one had, is."""
    first = Spool(tmp_path, DESTINATIONS)
    committed(first)
    entry = first.claim(0)
    draft = first.draft()
    second = Spool(tmp_path, DESTINATIONS)
    assert second.claim(0) is None
    assert entry is not None
    assert Path(entry.path).exists()
    assert Path(draft.path).exists()
    second.close()
    os.close(draft.descriptor)
    crash(first)
    third = Spool(tmp_path, DESTINATIONS)
    assert not Path(draft.path).exists()
    recovered = third.claim(0)
    assert recovered is not None
    assert recovered.envelope.attempt == 2


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    """Unknown names are left alone, and do no harm, in any place and at any start."""
    spool = Spool(tmp_path, DESTINATIONS)
    strange = [tmp_path / place / "README" for place in ("incoming", "quarantine", "outgoing/one")]
    strange.append(next((tmp_path / "active").iterdir()) / "notes,with,commas")
    for path in strange:
        path.write_text("mine")
    committed(spool)
    assert spool.claim(0) is not None
    assert spool.claim(0) is None
    assert spool.depart("one", 0) is None
    assert not list(Inspection(tmp_path).quarantined())
    crash(spool)
    again = Spool(tmp_path, DESTINATIONS)
    assert again.claim(0) is not None
    assert all(path.read_text() == "mine" for path in strange)


def test_where_there_can_be_no_spool(tmp_path: Path) -> None:
    """A file in the way is a fault of the configuration."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="spool"):
        Spool(tmp_path / "file", DESTINATIONS)
    with pytest.raises(ConfigError, match="there is no spool here"):
        Inspection(tmp_path)


def test_operator_may_drop_what_is_in_hand(tmp_path: Path) -> None:
    """An entry that is gone when it should move on is simply gone."""
    spool = Spool(tmp_path, DESTINATIONS)
    for act in (spool.put_back, lambda entry: spool.quarantine(entry, Reason.MALFORMED)):
        committed(spool)
        entry = spool.claim(0)
        assert entry is not None
        Inspection(tmp_path).drop(entry)
        act(entry)
    committed(spool)
    entry = spool.claim(0)
    assert entry is not None
    published(spool, entry, ["one"])
    for finish in (
        lambda leaving: spool.defer("one", leaving, 1),
        lambda leaving: spool.quarantine(leaving, Reason.MALFORMED, "", "one"),
    ):
        leaving = spool.depart("one", 0)
        if leaving is not None:
            Path(leaving.path).unlink()
            finish(leaving)
    assert spool.depart("one", 0) is None


# ---------------------------------------------------------------------- the view of a directory


def test_order_and_not_before(tmp_path: Path) -> None:
    """By arrival; what is deferred waits for its time, what is retried does not."""
    queue = Ready(tmp_path)
    envelopes = [Envelope.new("R", "C") for _ in range(3)]
    late = envelopes[0]._replace(not_before=1 << 50)
    for envelope in (envelopes[2], late, envelopes[1]):
        (tmp_path / envelope.name).touch()
        queue.push(envelope)
    assert [queue.take(0), queue.take(0), queue.take(0)] == [envelopes[1], envelopes[2], None]


def test_view_is_bounded_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than the view holds are all found, the oldest first; so is what others have put there."""
    monkeypatch.setattr(ready, "_LIMIT", 5)
    queue = Ready(tmp_path)
    envelopes = [Envelope.new("R", "C") for _ in range(17)]
    for envelope in envelopes:
        (tmp_path / envelope.name).touch()
    queue.push(envelopes[0])
    taken = []
    while (due := queue.take(0)) is not None:
        (tmp_path / due.name).unlink()
        queue.forget(due)
        taken.append(due)
    assert sorted(taken) == sorted(envelopes)
    assert len(taken) == len(set(taken))


def test_two_threads_never_take_the_same(tmp_path: Path) -> None:
    """Each entry has one taker; closing wakes those who wait."""
    queue = Ready(tmp_path)
    taken: list[Envelope] = []

    def take() -> None:
        while (envelope := queue.take()) is not None:
            taken.append(envelope)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    envelopes = [Envelope.new("R", "C") for _ in range(500)]
    for envelope in envelopes:
        (tmp_path / envelope.name).touch()
        queue.push(envelope)
    eventually(lambda: len(taken) >= 500)
    queue.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert sorted(taken) == sorted(envelopes)


_TITLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)


@given(
    _TITLES,
    _TITLES,
    st.integers(0, 9999),
    st.integers(0, 1 << 42),
    st.sampled_from(["", *Reason]),
    st.text(max_size=40),
)
def test_envelope_round_trip(route: str, calling: str, attempt: int, not_before: int, reason: str, detail: str) -> None:
    """What goes into a file name comes out of it; it is one name, whatever a peer chose as its AE title."""
    with contextlib.suppress(UnicodeEncodeError):
        envelope = Envelope.new(route, calling)._replace(
            attempt=attempt, not_before=not_before, reason=reason, detail=detail.encode("ascii", "ignore").decode()
        )
        assert Envelope.parse(envelope.name) == envelope
        assert "/" not in envelope.name
        assert "\0" not in envelope.name


@given(st.text(st.characters(codec="ascii", min_codepoint=32), min_size=16, max_size=16))
@example("," * 16)
def test_envelope_fits_a_file_name(title: str) -> None:
    """At most 255 bytes for the longest AE titles, reason and name of a destination."""
    longest = max(Reason, key=len)
    envelope = Envelope.new(title, title)._replace(
        attempt=9999, not_before=1 << 42, destination="d" * 48, reason=longest, detail="1." * 20
    )
    assert len(envelope.name) <= 255


# ---------------------------------------------------------------------- handing over


def test_hand_over_past_the_queue(tmp_path: Path) -> None:
    """The result is where the destination has moved it, and the original is gone; nothing was queued."""
    spool = Spool(tmp_path / "spool", DESTINATIONS)
    committed(spool)
    entry = spool.claim()
    assert entry is not None
    with spool.draft() as draft:
        draft.write(b"result")
        spool.hand_over(entry, draft, lambda path: os.rename(path, tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"result"
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    spool.close()


def test_hand_over_that_fails_leaves_both(tmp_path: Path) -> None:
    """The original is still claimed, and the draft can be published instead."""
    spool = Spool(tmp_path / "spool", DESTINATIONS)
    committed(spool)
    entry = spool.claim()
    assert entry is not None

    def fail(path: str) -> None:
        raise Transient("folder: EACCES")

    with spool.draft() as draft:
        draft.write(b"result")
        with pytest.raises(Transient):
            spool.hand_over(entry, draft, fail)
        assert Path(entry.path).read_bytes() == b"original"
        spool.publish(entry, draft, ["one"])
    assert not Path(entry.path).exists()
    departing = spool.depart("one", 0)
    assert departing is not None
    assert Path(departing.path).read_bytes() == b"result"
    spool.close()


def test_idle_means_that_nothing_is_queued(tmp_path: Path) -> None:
    """Also by another process, also right after a look that found nothing, and again when it has been delivered."""
    spool, other = (Spool(tmp_path, DESTINATIONS) for _ in range(2))
    for wait in (0, 0.3):
        assert spool.is_idle("one")
        time.sleep(wait)
        assert spool.is_idle("one")
        published(other, claimed(other), ["one"])
        assert not spool.is_idle("one")
        assert spool.is_idle("two")
        entry = other.depart("one", 0)
        assert entry is not None
        other.acknowledge("one", entry)
        assert spool.is_idle("one")
    spool.close()
    other.close()


def claimed(spool: Spool) -> Entry:
    """A new entry, claimed."""
    with spool.draft() as draft:
        draft.write(b"original")
        return spool.commit(draft, "ROUTE", "CALLER", claimed=True)
