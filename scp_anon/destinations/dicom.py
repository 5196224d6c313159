"""A destination that is another application entity: C-STORE over an association that is kept open and reused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from scp_anon.dicom.part10 import FileMeta
from scp_anon.errors import AssociationError, Permanent, Reason, Transient, Undecodable
from scp_anon.network.association import Context
from scp_anon.network.negotiation import MAXIMUM_CONTEXTS
from scp_anon.network.scu import Peer, Requestor, read_meta

_OUT_OF_RESOURCES: Final = 0xA7  # high byte of the statuses that ask us to come again
_WARNINGS: Final = frozenset((0xB000, 0xB006, 0xB007))  # stored, with coercion or not quite to class (PS3.4 B.2.3)


class DicomDestination:
    """Delivers to one peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._requestor: Requestor | None = None
        # What has been seen in the queue, the latest last: proposed again with each association.
        self._contexts: dict[Context, None] = {}

    def deliver(self, path: str, upcoming: Callable[[], Iterable[str]]) -> None:
        """Send an instance. Raises Transient for trouble with the peer, Permanent where it refuses this instance."""
        meta, start = _meta(path)
        context = Context(meta.sop_class_uid, meta.transfer_syntax_uid)
        reused = self._requestor is not None
        try:
            status = self._store(path, meta, start, context, upcoming)
        except AssociationError as error:
            self._drop()
            if not reused:
                raise Transient(str(error)) from None
            # The peer may have closed an association that was idle: that says nothing of a new one.
            try:
                status = self._store(path, meta, start, context, upcoming)
            except AssociationError as again:
                self._drop()
                raise Transient(str(again)) from None
        _judge(status)

    def idle(self) -> None:
        """Release the association."""
        if self._requestor is not None:
            self._requestor.release()
            self._requestor = None

    def close(self) -> None:
        """Release the association."""
        self.idle()

    def _store(
        self, path: str, meta: FileMeta, start: int, context: Context, upcoming: Callable[[], Iterable[str]]
    ) -> int:
        if context not in self._contexts:
            self._expect(context, upcoming)
        if self._requestor is None:
            self._requestor = Requestor(self._peer, reversed(self._contexts))
        if not self._requestor.accepts(context):
            raise Permanent(Reason.NO_ACCEPTED_CONTEXT, meta.transfer_syntax_uid)
        try:
            return self._requestor.store(path, meta, start)
        except OSError:
            self._drop()  # the file is at fault, and may be half sent
            raise

    def _expect(self, context: Context, upcoming: Callable[[], Iterable[str]]) -> None:
        """Propose this context from now on, and those of the files that are next: the association is made anew."""
        for path in upcoming():
            try:
                meta, _ = _meta(path)
            except (Permanent, OSError):
                continue  # its own turn will come, and then it is dealt with
            self._contexts[Context(meta.sop_class_uid, meta.transfer_syntax_uid)] = None
        self._contexts.pop(context, None)
        self._contexts[context] = None
        while len(self._contexts) > MAXIMUM_CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        self.idle()

    def _drop(self) -> None:
        if self._requestor is not None:
            self._requestor.abort()
            self._requestor = None


def _meta(path: str) -> tuple[FileMeta, int]:
    try:
        return read_meta(path)
    except Undecodable as error:
        raise Permanent(Reason.UNREADABLE_RESULT, error.detail) from None


def _judge(status: int) -> None:
    """Return for a status that says the instance is stored; raise what the others ask for (PS3.4 B.2.3, PS3.7 C)."""
    if status == 0 or status in _WARNINGS:
        return
    if status >> 8 == _OUT_OF_RESOURCES:
        raise Transient(f"status {status:04X}H")
    raise Permanent(Reason.REFUSED_BY_DESTINATION, f"{status:04X}H")
