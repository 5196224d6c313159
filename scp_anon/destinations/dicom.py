"""A destination that is another application entity: C-STORE over an association that is kept open and reused.

Where it has to commit to what it stores, storage commitment is asked for over the same association.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from scp_anon.dicom.part10 import FileMeta
from scp_anon.errors import AssociationError, Permanent, Reason, Transient, Undecodable
from scp_anon.network import commitment
from scp_anon.network.association import Context
from scp_anon.network.negotiation import MAXIMUM_CONTEXTS
from scp_anon.network.scu import Peer, Requestor, read_meta

_OUT_OF_RESOURCES: Final = 0xA7  # high byte of the statuses that ask us to come again
_WARNINGS: Final = frozenset((0xB000, 0xB006, 0xB007))  # stored, with coercion or not quite to class (PS3.4 B.2.3)
_DUPLICATE: Final = 0x0111  # PS3.7 C.5.4


class DicomDestination:
    """Delivers to one peer, over one association at a time."""

    def __init__(self, peer: Peer, commits: bool = False) -> None:
        """`commits`: the peer has to offer storage commitment."""
        self._peer = peer
        self._commits = commits
        self._requestor: Requestor | None = None
        self._reports: list[commitment.Report] = []
        # What has been seen in the queue, the latest last: proposed again with each association.
        self._contexts: dict[Context, None] = {}

    def deliver(self, path: str, upcoming: Callable[[], Iterable[str]], again: bool = False) -> None:
        """Send an instance. Raises Transient for trouble with the peer, Permanent where it refuses this instance."""
        meta, start = _meta(path)
        context = Context(meta.sop_class_uid, meta.transfer_syntax_uid)
        if context not in self._contexts:
            self._expect(context, upcoming)

        def store(requestor: Requestor) -> int:
            if not requestor.accepts(context):
                raise Permanent(Reason.NO_ACCEPTED_CONTEXT, meta.transfer_syntax_uid)
            return requestor.store(path, meta, start)

        status = self._over_association(store)
        # What an attempt before has stored, whose response we did not get, a peer may call a duplicate. Where it has
        # to commit to it, what was not settled when the node ended or was reloaded comes again, too; and it will say
        # whether it has it.
        if not ((again or self._commits) and status == _DUPLICATE):
            _judge(status)

    def request_commitment(self, transaction_uid: str, references: Sequence[commitment.Reference]) -> None:
        """Ask the peer to commit to instances that it has stored. Raises Transient."""
        status = self._over_association(lambda requestor: requestor.request_commitment(transaction_uid, references))
        if status:
            raise Transient(f"storage commitment: status {status:04X}H")

    def reports(self) -> list[commitment.Report]:
        """What the peer has told of storage commitment over our association since this was called last."""
        if self._requestor is not None:
            try:
                self._requestor.listen()
            except AssociationError:
                self._drop()  # it has ended it, which it may
        if self._requestor is not None:
            self._collect(self._requestor)
        told, self._reports = self._reports, []
        return told

    def reference(self, path: str) -> commitment.Reference:
        """How an instance that was delivered is referred to. Raises Permanent."""
        meta, _ = _meta(path)
        return commitment.Reference(meta.sop_class_uid, meta.sop_instance_uid)

    def idle(self) -> None:
        """Release the association."""
        if self._requestor is not None:
            self._collect(self._requestor)
            self._requestor.release()
            self._requestor = None

    def close(self) -> None:
        """Release the association."""
        self.idle()

    def _over_association(self, do: Callable[[Requestor], int]) -> int:
        """Do something over the association, or over a new one where the peer has ended it. Raises Transient."""
        if self._requestor is not None:
            try:
                return self._kept(do, self._requestor)
            except AssociationError:
                self._drop()  # it may have ended one that was idle: that says nothing of a new one
        requestor = self._opened()
        try:
            return self._kept(do, requestor)
        except AssociationError as error:
            self._drop()
            raise Transient(str(error)) from None

    def _kept(self, do: Callable[[Requestor], int], requestor: Requestor) -> int:
        try:
            return do(requestor)
        except OSError:
            self._drop()  # the file is at fault, and may be half sent
            raise

    def _opened(self) -> Requestor:
        proposals = [*([commitment.CONTEXT] if self._commits else []), *reversed(self._contexts)]
        try:
            self._requestor = Requestor(self._peer, proposals[:MAXIMUM_CONTEXTS])
        except AssociationError as error:
            raise Transient(str(error), of_destination=True) from None
        if self._commits and not self._requestor.accepts(commitment.CONTEXT):
            self.idle()
            raise Transient("the destination offers no storage commitment", of_destination=True)
        return self._requestor

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
        while len(self._contexts) > MAXIMUM_CONTEXTS - 1:  # one is for storage commitment
            del self._contexts[next(iter(self._contexts))]
        self.idle()

    def _collect(self, requestor: Requestor) -> None:
        self._reports += requestor.reports
        requestor.reports.clear()

    def _drop(self) -> None:
        if self._requestor is not None:
            self._collect(self._requestor)
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
