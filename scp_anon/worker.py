"""From incoming to outgoing: the third hop. A pool of threads claims, de-identifies, and publishes or quarantines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from scp_anon import log, metrics
from scp_anon.deid import PIXELS_SEEN, Deidentified, Deidentifier
from scp_anon.destinations.folder import FolderDestination
from scp_anon.dicom.normalise import NORMALISED_LIMIT
from scp_anon.dicom.skim import long_values
from scp_anon.draft import Draft
from scp_anon.envelope import Envelope
from scp_anon.errors import Filtered, Permanent, Reason, Refused, Transient, Undecodable
from scp_anon.places import Entry
from scp_anon.sealing import Seal, Sealed, is_sealed
from scp_anon.spool import Spool

# What to wait before an original is tried again that a full or failing disk kept from being published.
_DISK_TROUBLE: Final = 10.0
_PAGE: Final = 1 << 12
# A result may end as a file in a folder: the umask says who may read it there.
_RESULT_MODE: Final = 0o666


# How a deidentifier gets at an original: it is open, or in memory, for the time of the block.
Source: TypeAlias = Callable[[Deidentifier, Mapping[str, str]], AbstractContextManager[Deidentified]]


@dataclass(frozen=True)
class Treatment:
    """What is done with the instances of one route.

    `folder`: the only destination, if it needs nobody to send to it, as it is a folder on the spool's file system.
    `at_once`: instances are acknowledged when their results are safe, not when they are themselves.
    """

    deidentifier: Deidentifier
    destinations: Sequence[str]
    folder: FolderDestination | None = None
    at_once: bool = False


def context_of(envelope: Envelope) -> dict[str, str]:
    """What conditions of a profile may ask for besides attributes."""
    context = {"CallingAETitle": envelope.calling, "CalledAETitle": envelope.route}
    if envelope.detail == PIXELS_SEEN:
        context[PIXELS_SEEN] = "yes"
    return context


@contextmanager
def _opened(
    path: str, seal: Seal | None, deidentifier: Deidentifier, context: Mapping[str, str]
) -> Iterator[Deidentified]:
    with open(path, "rb", buffering=0) as file:
        if is_sealed(file.fileno()):
            if seal is None:
                raise Undecodable(Reason.CANNOT_BE_UNSEALED, "spool.encrypt is off")
            yield _unsealed(seal.open(file.fileno()), deidentifier, context)
            return
    with deidentifier.opened(path, context) as result:
        yield result


def _unsealed(sealed: Sealed, deidentifier: Deidentifier, context: Mapping[str, str]) -> Deidentified:
    """A sealed original. Of a large one, pixels are unsealed as they are written, and are not in memory."""
    pixels = long_values(sealed.read, sealed.size)
    # Around each range a page of memory is taken, or two halves.
    if pixels and sealed.size - sum(stop - start - _PAGE for start, stop in pixels) <= NORMALISED_LIMIT:
        result = deidentifier.mapped(sealed.mapped(pixels), sealed.copy, context)
        if result.copy is not None:
            return result
    # It had to be normalised, or nothing can be left out: then all of it has to be there.
    if sealed.size > NORMALISED_LIMIT:
        raise Undecodable(Reason.TOO_LARGE_TO_NORMALISE)
    return deidentifier.deidentify(sealed.mapped(), context)


def _encoded(
    data_set: memoryview, transfer_syntax_uid: str, deidentifier: Deidentifier, context: Mapping[str, str]
) -> AbstractContextManager[Deidentified]:
    return nullcontext(deidentifier.encoded(data_set, transfer_syntax_uid, context=context))


class Workers:
    """The pool. Whatever happens to an original, it ends in outgoing or in quarantine, or stays where it was."""

    def __init__(
        self, spool: Spool, treatments: Mapping[str, Treatment], threads: int, seal: Seal | None = None
    ) -> None:
        """`treatments`: by route. `seal`: of originals, where they are sealed."""
        self._spool = spool
        self._seal = seal
        self._treatments = treatments
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"worker-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for what is in hand, after the spool's queues are closed; returns whether all ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                entry = self._spool.claim()
                if entry is None:
                    return
                if self._stopping.is_set():
                    self._spool.put_back(entry)
                    return
                self._work(entry, partial(_opened, entry.path, self._seal))
            except OSError as error:
                # Not even a rename went well. The original stays where it is; the thread lives on.
                log.error("disk-trouble", detail=type(error).__name__)
                self._stopping.wait(_DISK_TROUBLE)

    def work(self, entry: Entry, data_set: memoryview, transfer_syntax_uid: str) -> None:
        """Do a worker's work on an entry that the calling thread has claimed and has in memory. Raises nothing."""
        try:
            self._work(entry, partial(_encoded, data_set, transfer_syntax_uid))
        except OSError as error:
            log.error("disk-trouble", entry=entry.envelope.id, detail=type(error).__name__)

    def work_at_once(self, route: str, calling: str, data_set: memoryview, transfer_syntax_uid: str) -> bool:
        """De-identify and publish what has arrived, before it is acknowledged and without a file of its own.

        Returns False where the route does not have it so, and where that cannot be: then it is to be committed.
        """
        treatment = self._treatments.get(route)
        if treatment is None or not treatment.at_once:
            return False
        entry = Entry(Envelope.new(route, calling), "")
        try:
            self._deidentify(entry, partial(_encoded, data_set, transfer_syntax_uid))
        except Filtered:
            _filtered(entry)
        except Exception:
            return False  # whatever it is, it comes again when the original is safe, and ends in quarantine
        return True

    def _work(self, entry: Entry, deidentified: Source) -> None:
        try:
            self._deidentify(entry, deidentified)
        except Undecodable as undecodable:
            self._quarantine(entry, undecodable.reason, undecodable.detail)
        except Filtered:
            _filtered(entry)
            self._spool.discard(entry)
        except (OSError, Refused) as error:
            # Of our own disk, not of the instance: nothing is wrong with it.
            log.error("disk-trouble", entry=entry.envelope.id, detail=type(error).__name__)
            metrics.DISK_TROUBLES.add()
            self._spool.put_back(entry, _DISK_TROUBLE)
        except Exception as error:
            # A fault of ours that this instance brings out. It fails closed, like everything that cannot be ruled on;
            # the message may hold a value, so only its type is told.
            self._quarantine(entry, Reason.UNEXPECTED_ERROR, type(error).__name__)

    def _deidentify(self, entry: Entry, deidentified: Source) -> None:
        treatment = self._treatments.get(entry.envelope.route)
        if treatment is None:
            raise Undecodable(Reason.UNKNOWN_ROUTE)
        begun = time.perf_counter()
        # Below the disk reserve too: to work off what was acknowledged is what it is for, and makes room again.
        with self._spool.draft_of_result(_RESULT_MODE) as draft:
            with deidentified(treatment.deidentifier, context_of(entry.envelope)) as result:
                result.write(draft.descriptor)
                place = _place(result, treatment.folder)
            if not self._hand_over(entry, draft, treatment, place):
                self._spool.publish(entry, draft, treatment.destinations)
        metrics.DEIDENTIFY.observe(time.perf_counter() - begun)
        metrics.DEIDENTIFIED.add(entry.envelope.route)

    def _hand_over(self, entry: Entry, draft: Draft, treatment: Treatment, place: str) -> bool:
        """Put a result into the folder that is its only destination; returns False where that is for the sender."""
        folder = treatment.folder
        # Behind what is queued: an earlier state of the same instance must not replace a later one.
        if folder is None or not place or not self._spool.is_idle(treatment.destinations[0]):
            return False
        try:
            self._spool.hand_over(entry, draft, partial(folder.take, place=place))
        except Transient:
            return False  # the sender will say so, and try again
        metrics.DELIVERIES.add(treatment.destinations[0], "delivered")
        return True

    def _quarantine(self, entry: Entry, reason: Reason, detail: str) -> None:
        log.warning("quarantined", entry=entry.envelope.id, route=entry.envelope.route, reason=reason, detail=detail)
        self._spool.quarantine(entry, reason, detail)


def _filtered(entry: Entry) -> None:
    log.event("filtered", entry=entry.envelope.id, route=entry.envelope.route)
    metrics.FILTERED.add(entry.envelope.route)


def _place(result: Deidentified, folder: FolderDestination | None) -> str:
    """The place of a result in a folder, "" where there is none."""
    try:
        return folder.layout.place_of(result) if folder is not None else ""
    except Permanent:
        return ""  # the sender will say so
