"""The spool: the durable queue on a directory.

The promise: once `commit` has returned, the instance is on stable storage, and stays in at least one of the places
below through any crash, until every destination has acknowledged it or an operator has dropped it. It may come twice;
it is never lost. Only `publish` writes to outgoing; it and `hand_over` take only what was made of an entry that this
process has claimed.

    place                     what is there                         leaves by
    tmp/<process>/            half-written files                    commit, publish; swept at boot
    incoming/                 committed originals                   claim
    active/<process>/         originals that a worker has           publish, put_back, quarantine; recovered at boot
    outgoing/<destination>/   de-identified, not yet acknowledged   acknowledge, defer, quarantine
    quarantine/               either kind, with its reason          release, drop

    commit      write tmp · fsync it · rename → incoming, or active if claimed at once · fsync that
    claim       rename → active, which counts the attempt before the work begins
    publish     write tmp · fsync it · link into each outgoing · fsync those · unlink from active
    hand_over   write tmp · fsync it · the destination moves it into its own place · unlink from active
    discard     unlink from active, as a profile says
    quarantine  rename · fsync the directory that it went to
    others      one rename each: a power cut may undo it, and loses nothing by that

The envelope is the file name (see `envelope`); there is no other state. Several processes may share a spool: each has
its own places in tmp and active, and holds a lock on the latter for as long as it lives. After a failed fsync the
file is given up, never synced again: Linux marks its pages clean, and the second fsync would succeed over lost data.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from scp_anon import metrics
from scp_anon.draft import Draft
from scp_anon.envelope import Envelope
from scp_anon.errors import ConfigError, Reason, Refused, SpoolFull
from scp_anon.filesystem import probe, sync_directory
from scp_anon.places import Entry, Places
from scp_anon.ready import Ready
from scp_anon.sealing import Seal

# An original that was being worked on when its process died is tried this often before it is set aside.
MAXIMUM_ATTEMPTS: Final = 3
_CLOCK_TICK: Final = 100_000_000  # nanoseconds: longer than that of any clock that a file system goes by
_ROOM_IS_KNOWN: Final = 0.1  # seconds for which a look at the free space holds
_PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.5

# Tells that an entry has been published for a destination.
Announce: TypeAlias = "Callable[[str, Envelope], None]"


class Spool:
    """The spool of one process on the directory `path`; see the module's promise. Safe to share between threads."""

    def __init__(
        self,
        path: Path,
        destinations: Collection[str],
        reserve: int = 0,
        durable: bool = True,
        announce: Announce | None = None,
        seal: Seal | None = None,
    ) -> None:
        """Open the spool, make what is missing, and recover what dead processes left.

        `reserve`: bytes of the file system that stay free. `durable`: False leaves out every fsync, and with it the
        promise. `announce`: tells of each entry that is published, where another process delivers it. `seal`: what
        originals are sealed with, if they are. Raises ConfigError where the directory cannot keep the promise.
        """
        self.path = path
        self._reserve = reserve
        self._durable = durable
        self._seal = seal
        self._has_room = False
        self._room_known_until = 0.0
        self._numbers = itertools.count()
        self._empty_since: dict[str, int] = {}
        self._places = Places(path, destinations, durable)
        self._outgoing = self._places.outgoing
        self._incoming = self._places.incoming
        self._quarantine = self._places.quarantine
        self._active = self._places.active
        self._tmp = self._places.tmp
        try:
            self._places.make()
            with self._places.alone():
                self._recover()
                self._places.make_own()
            probe(self._tmp)
        except OSError as error:
            raise ConfigError(f"spool {path}: {error.strerror}") from None
        self.arrivals = Ready(self._incoming)
        self.departures = {name: Ready(directory) for name, directory in self._outgoing.items()}
        self._announce = announce or self.announced

    def close_queues(self) -> None:
        """Let everyone go who waits for an entry, now and from now on."""
        for queue in (self.arrivals, *self.departures.values()):
            queue.close()

    def close(self) -> None:
        """Give up this process's places; what is still in them, another process recovers."""
        self.close_queues()
        self._places.give_up()

    # ---------------------------------------------------------------- receiving

    def draft(self) -> Draft:
        """A new file for an original. Raises Refused."""
        return self._draft(0o600, self._seal)

    def draft_of_result(self, mode: int = 0o600) -> Draft:
        """A new file for a result; nobody else gets into its directory, whatever its `mode`. Raises Refused."""
        return self._draft(mode, None)

    def _draft(self, mode: int, seal: Seal | None) -> Draft:
        try:
            return Draft(f"{self._tmp}/{next(self._numbers)}", mode, seal)
        except OSError as error:
            raise refusal(error) from None

    def check_room(self) -> None:
        """Raise SpoolFull below the disk reserve, as it was a moment ago; Refused where it cannot be told."""
        now = time.monotonic()
        if now > self._room_known_until:
            try:
                status = os.statvfs(self.path)
            except OSError as error:
                raise refusal(error) from None
            self._has_room = status.f_bavail * status.f_frsize >= self._reserve
            self._room_known_until = now + _ROOM_IS_KNOWN
        if not self._has_room:
            raise SpoolFull("below the disk reserve")

    def commit(self, draft: Draft, route: str, calling: str, claimed: bool = False) -> Entry:
        """Make a draft an entry, on stable storage when this returns: of incoming, or `claimed` by the caller already.

        Raises SpoolFull or Refused.
        """
        envelope = Envelope.new(route, calling)._replace(attempt=int(claimed))
        place = self._active if claimed else self._incoming
        entry = Entry(envelope, f"{place}/{envelope.name}")
        try:
            draft.finish()
            self._sync(draft.descriptor)
            draft.move(entry.path)
            self._sync_directory(place)
        except OSError as error:
            if not draft.path:
                with contextlib.suppress(OSError):  # where it stays, it comes once more: nothing is lost
                    os.unlink(entry.path)
            raise refusal(error) from None
        if not claimed:
            self.arrivals.push(envelope)
        return entry

    # ---------------------------------------------------------------- de-identifying

    def claim(self, timeout: float | None = None) -> Entry | None:
        """Take the next original, waiting up to `timeout` seconds (None: for ever); None if none came, or on close."""
        while (envelope := self.arrivals.take(timeout)) is not None:
            claimed = envelope._replace(attempt=envelope.attempt + 1, not_before=0)
            path = f"{self._active}/{claimed.name}"
            try:
                os.rename(f"{self._incoming}/{envelope.name}", path)
            except FileNotFoundError:
                continue  # another process was faster, or an operator
            finally:
                self.arrivals.forget(envelope)
            return Entry(claimed, path)
        return None

    def publish(self, entry: Entry, draft: Draft, destinations: Sequence[str]) -> None:
        """Hand the de-identified draft of a claimed entry to these destinations, then give up the original.

        Raises OSError, after which the entry is still claimed: put it back.
        """
        envelope = entry.envelope._replace(attempt=0, not_before=0, detail="")
        self._sync(draft.descriptor)
        *others, last = (f"{self._outgoing[destination]}/{envelope.name}" for destination in destinations)
        for target in others:
            try:
                os.link(draft.path, target)
            except FileExistsError:
                # We died between here and the last line before: what is there came of the same original.
                os.unlink(target)
                os.link(draft.path, target)
        draft.move(last)
        for destination in destinations:
            self._sync_directory(self._outgoing[destination])
        _give_up(entry)
        for destination in destinations:
            self._announce(destination, envelope)

    def is_idle(self, destination: str) -> bool:
        """Whether nothing is queued for a destination."""
        directory = self._outgoing[destination]
        try:
            changed = os.stat(directory).st_mtime_ns
            if self._empty_since.get(destination) == changed:
                return True
            with os.scandir(directory) as names:
                is_empty = next(names, None) is None
        except OSError:
            return False  # the queue may tell more when it is its turn
        # A change from now on gives the directory another time, if it has not just got this one.
        if is_empty and time.time_ns() - changed > _CLOCK_TICK:
            self._empty_since[destination] = changed
        return is_empty

    def hand_over(self, entry: Entry, draft: Draft, take: Callable[[str], None]) -> None:
        """Give the de-identified draft of a claimed entry to a destination at once, then give up the original.

        `take` moves the file to where it stays, on stable storage. Raises what that raises, after which the draft may
        be published instead, and OSError, after which it may not: then put the entry back.
        """
        self._sync(draft.descriptor)
        take(draft.path)
        draft.path = ""
        _give_up(entry)

    def discard(self, entry: Entry) -> None:
        """Give up a claimed original that a profile has dropped."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)

    def put_back(self, entry: Entry, delay: float = 0) -> None:
        """Return a claimed entry that was not worked on, to be claimed again after `delay` seconds."""
        attempt = max(entry.envelope.attempt - 1, 0)
        envelope = entry.envelope._replace(attempt=attempt, not_before=_after(delay))
        if _move(entry, f"{self._incoming}/{envelope.name}"):
            self.arrivals.push(envelope)

    # ---------------------------------------------------------------- delivering

    def announced(self, destination: str, envelope: Envelope) -> None:
        """Note an entry that has just been published for a destination. Raises KeyError for one that is not ours."""
        self.departures[destination].push(envelope)

    def depart(self, destination: str, timeout: float | None = None) -> Entry | None:
        """Take the next entry for a destination, waiting as `claim` does. It stays in outgoing until acknowledged."""
        while (envelope := self.departures[destination].take(timeout)) is not None:
            path = f"{self._outgoing[destination]}/{envelope.name}"
            if os.access(path, os.F_OK):
                return Entry(envelope, path)
            self.departures[destination].forget(envelope)  # an operator was faster
        return None

    def upcoming(self, destination: str) -> Iterator[str]:
        """The files that are next for a destination, as far as is known without a look at the disk."""
        return (f"{self._outgoing[destination]}/{envelope.name}" for envelope in self.departures[destination].waiting())

    def acknowledge(self, destination: str, entry: Entry) -> None:
        """The destination has it: remove the entry."""
        with contextlib.suppress(FileNotFoundError):  # moved by the destination, or dropped by an operator
            os.unlink(entry.path)
        self.departures[destination].forget(entry.envelope)

    def defer(self, destination: str, entry: Entry, delay: float) -> None:
        """Keep an entry that could not be delivered, to be tried again after `delay` seconds."""
        attempt = entry.envelope.attempt + 1
        envelope = entry.envelope._replace(attempt=attempt, not_before=_after(delay))
        moved = _move(entry, f"{self._outgoing[destination]}/{envelope.name}")
        self.departures[destination].forget(entry.envelope)
        if moved:
            self.departures[destination].push(envelope)

    def hand_back(self, destination: str, entry: Entry) -> None:
        """Leave an entry that was taken but not tried where it is."""
        self.departures[destination].forget(entry.envelope)
        self.departures[destination].push(entry.envelope)

    # ---------------------------------------------------------------- quarantine

    def quarantine(self, entry: Entry, reason: Reason, detail: str = "", destination: str = "") -> Entry:
        """Set an entry aside: an original, or what `destination` refused."""
        envelope = entry.envelope._replace(reason=reason, detail=detail, destination=destination)
        path = f"{self._quarantine}/{envelope.name}"
        if _move(entry, path):
            self._sync_directory(self._quarantine)
        metrics.QUARANTINED.add(reason)
        if destination:
            self.departures[destination].forget(entry.envelope)
        return Entry(envelope, path)

    # ---------------------------------------------------------------- recovering

    def recover(self) -> None:
        """See to what dead processes have claimed. Raises OSError."""
        with self._places.alone():
            self._recover()

    def _recover(self) -> None:
        """Have it claimed again, or set it aside if it keeps killing processes."""
        for entry in self._places.abandoned():
            if entry.envelope.attempt >= MAXIMUM_ATTEMPTS:
                self.quarantine(entry, Reason.TOO_MANY_ATTEMPTS)
            else:
                _move(entry, f"{self._incoming}/{entry.envelope.name}")

    def _sync(self, descriptor: int) -> None:
        if self._durable:
            os.fsync(descriptor)

    def _sync_directory(self, directory: Path) -> None:
        if self._durable:
            sync_directory(directory)


def refusal(error: OSError) -> Refused:
    """The C-STORE failure that a failed write is answered with."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SpoolFull("no space left")
    return Refused(_PROCESSING_FAILURE, errno.errorcode.get(error.errno or 0, "OSError"))


def _give_up(entry: Entry) -> None:
    if entry.path:
        os.unlink(entry.path)


def _move(entry: Entry, path: str) -> bool:
    """Rename an entry's file; returns False if an operator has dropped it in the meantime."""
    try:
        os.rename(entry.path, path)
    except FileNotFoundError:
        return False
    return True


def _after(delay: float) -> int:
    return int((time.time() + delay) * 1000) if delay else 0
