"""The sender of one destination: what is delivered, deferred, set aside, and how long it waits, on a real spool."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scp_anon.delivery import BackOff, Line, Sender
from scp_anon.errors import Permanent, Reason, Transient
from scp_anon.inspection import Inspection
from scp_anon.places import Entry
from scp_anon.settlement import AtOnce
from scp_anon.spool import Spool
from tests.harness import eventually
from tests.test_spool import committed, published

QUICK = BackOff(0.01, 0.02)


class Place:
    """A destination that does what `act` says, and notes what it took."""

    def __init__(self, act: Callable[[int, str], None] = lambda n, path: None) -> None:
        self.act = act
        self.tried: list[str] = []
        self.taken: list[bytes] = []
        self.ends: list[str] = []

    def deliver(self, path: str, upcoming: Callable[[], object], again: bool = False) -> None:
        """Take it, unless `act` raises; it is called with the number of the attempt."""
        upcoming()
        self.tried.append(path)
        self.act(len(self.tried), path)
        self.taken.append(Path(path).read_bytes())

    def idle(self) -> None:
        """Noted."""
        self.ends.append("idle")

    def close(self) -> None:
        """Noted."""
        self.ends.append("close")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool with one destination."""
    opened = Spool(tmp_path / "spool", ["place"])
    yield opened
    opened.close()


def lines(spool: Spool, *places: Place) -> list[Line]:
    """An association with each of these places, which are one destination."""
    return [Line(place, AtOnce(spool, "place", place)) for place in places]


@contextlib.contextmanager
def sending(spool: Spool, place: Place, back_off: BackOff = QUICK) -> Iterator[Sender]:
    """A sender that runs for the time of the block, and ends in good order."""
    sender = Sender(spool, "place", lines(spool, place), back_off)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()
        spool.close_queues()
        assert sender.join(10)
        assert place.ends[-1] == "close"


def queue(spool: Spool, name: str) -> None:
    """An entry for the destination."""
    committed(spool, name.encode())
    entry = spool.claim(0)
    assert entry is not None
    published(spool, entry, ["place"])


def queued(spool: Spool) -> list[Entry]:
    """What waits for the destination."""
    return [entry for destination, entry in Inspection(spool.path).queued() if destination == "place"]


def test_delivered_in_order_and_gone(spool: Spool) -> None:
    """What came first goes first; what was taken leaves the spool."""
    place = Place()
    for name in "abc":
        queue(spool, name)
    with sending(spool, place):
        eventually(lambda: len(place.taken) == 3 and not queued(spool))
    assert place.taken == [b"result of a", b"result of b", b"result of c"]


def test_deferred_until_it_is_taken(spool: Spool) -> None:
    """Each failure counts; the entry stays, and is delivered in the end, once."""

    def act(number: int, path: str) -> None:
        if number < 4:
            raise Transient("status A700H")

    place = Place(act)
    queue(spool, "a")
    with sending(spool, place):
        eventually(lambda: place.taken and not queued(spool))
    attempts = [int(Path(path).name.split(",")[3]) for path in place.tried]
    assert attempts == [0, 1, 2, 3]
    assert place.taken == [b"result of a"]


def test_attempts_outlive_the_process(spool: Spool) -> None:
    """They are in the file name, as is when to try again."""

    def act(number: int, path: str) -> None:
        raise Transient("down")

    queue(spool, "a")
    with sending(spool, Place(act), BackOff(3600, 3600)):
        eventually(lambda: [entry.envelope.attempt for entry in queued(spool)] == [1])
    (entry,) = queued(spool)
    again = Spool(spool.path, ["place"])
    assert again.depart("place", 0) is None
    again.close()
    assert entry.envelope.not_before > entry.envelope.arrival * 1000 + 2000_000


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (Permanent(Reason.REFUSED_BY_DESTINATION, "A900H"), "refused-by-destination", "A900H"),
        (Permanent(Reason.NO_ACCEPTED_CONTEXT, "1.2.3"), "no-accepted-context", "1.2.3"),
        (ValueError("CANARY"), "unexpected-error", "ValueError"),
        (RecursionError("CANARY"), "unexpected-error", "RecursionError"),
    ],
)
def test_set_aside(error: Exception, reason: str, detail: str, spool: Spool) -> None:
    """A refusal for good, or a fault of ours: quarantined for this destination; the next one is delivered."""

    def act(number: int, path: str) -> None:
        if number == 1:
            raise error

    place = Place(act)
    queue(spool, "a")
    queue(spool, "b")
    with sending(spool, place):
        eventually(lambda: place.taken == [b"result of b"] and not queued(spool))
    (entry,) = Inspection(spool.path).quarantined()
    assert entry.envelope[5:] == ("place", reason, detail)
    assert Path(entry.path).read_bytes() == b"result of a"


def test_trouble_with_the_own_disk(spool: Spool) -> None:
    """Nothing is wrong with the entry: it is tried again, and no attempt is counted."""

    def act(number: int, path: str) -> None:
        if number == 1:
            raise OSError("Input/output error")

    place = Place(act)
    queue(spool, "a")
    with sending(spool, place):
        eventually(lambda: place.taken)
    assert [Path(path).name.split(",")[3] for path in place.tried] == ["0", "0"]


def test_one_that_fails_does_not_hold_up_the_others(spool: Spool) -> None:
    """A destination that refuses one instance for now still gets all others."""

    def act(number: int, path: str) -> None:
        if b"poison" in Path(path).read_bytes():
            raise Transient("status A700H")

    place = Place(act)
    for name in ("poison", "b", "c", "d"):
        queue(spool, name)
    with sending(spool, place):
        eventually(lambda: len(place.taken) == 3)
    assert [Path(entry.path).read_bytes() for entry in queued(spool)] == [b"result of poison"]


def test_stopped_at_once_while_it_waits(spool: Spool) -> None:
    """A back-off of hours keeps nobody from stopping."""

    def act(number: int, path: str) -> None:
        raise Transient("down")

    place = Place(act)
    queue(spool, "a")
    with sending(spool, place, BackOff(3600, 3600)):
        eventually(lambda: place.tried)
    assert len(queued(spool)) == 1


def test_idle_lets_go(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some time without an entry the destination may close what it holds."""
    from scp_anon import settlement

    monkeypatch.setattr(settlement, "_IDLE", 0.05)
    place = Place()
    with sending(spool, place):
        eventually(lambda: "idle" in place.ends)
        queue(spool, "a")
        eventually(lambda: place.taken)


def test_back_off() -> None:
    """Doubled each time up to the limit, and up to a quarter less, so that retries spread out."""
    back_off = BackOff(30, 3600)
    for attempt, most in ((1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (100, 3600), (10**6, 3600)):
        delays = [back_off.delay(attempt) for _ in range(50)]
        assert max(delays) <= most
        assert min(delays) >= most * 0.75
        assert len(set(delays)) > 1


@pytest.mark.parametrize("how", ["arrival", "retry"])
def test_destination_that_is_up_again_is_noticed(how: str, spool: Spool) -> None:
    """What arrives, or what an operator makes due (`queue retry`), does not wait for what the last failures set."""
    down = [True]

    def act(number: int, path: str) -> None:
        if down[0]:
            raise Transient("down")

    place = Place(act)
    queue(spool, "a")
    with sending(spool, place, BackOff(0.04, 3600)):
        eventually(lambda: len(place.tried) >= 7)  # the next wait is of about two seconds
        down[0] = False
        if how == "arrival":
            queue(spool, "b")
        else:
            Inspection(spool.path).retry(queued(spool)[0])
        eventually(lambda: place.taken, 1.7)


# ---------------------------------------------------------------------- several associations


def test_several_associations_share_a_queue(spool: Spool) -> None:
    """Each instance goes over one of them, and they go side by side."""
    together = threading.Barrier(3, timeout=10)

    def act(number: int, path: str) -> None:
        if number == 1:
            together.wait()

    places = [Place(act) for _ in range(3)]
    for number in range(30):
        queue(spool, str(number))
    sender = Sender(spool, "place", lines(spool, *places), QUICK)
    sender.start()
    eventually(lambda: not queued(spool))
    sender.stop()
    spool.close_queues()
    assert sender.join(10)
    taken = [content for place in places for content in place.taken]
    assert len(taken) == len(set(taken)) == 30
    assert all(place.taken and place.ends[-1] == "close" for place in places)


def test_one_association_tries_while_there_is_trouble(spool: Spool) -> None:
    """The others wait until it has gone well once; then all send again."""
    trying, most, trouble = 0, 0, True
    counted = threading.Lock()

    def act(number: int, path: str) -> None:
        nonlocal trying, most
        if not trouble:
            return
        with counted:
            trying += 1
            most = max(most, trying)
        time.sleep(0.02)
        with counted:
            trying -= 1
        raise Transient("status A700H")

    places = [Place(act) for _ in range(4)]
    for number in range(12):
        queue(spool, str(number))
    sender = Sender(spool, "place", lines(spool, *places), QUICK)
    sender.start()
    eventually(lambda: sum(len(place.tried) for place in places) > 8)
    most = 0
    tries = sum(len(place.tried) for place in places)
    eventually(lambda: sum(len(place.tried) for place in places) > tries + 4)
    assert most == 1
    trouble = False
    eventually(lambda: not queued(spool))
    sender.stop()
    spool.close_queues()
    assert sender.join(10)
    assert sum(len(place.taken) for place in places) == 12
