"""Where received instances go: what the provider asks of a storage, and one instance on its way there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from scp_anon.errors import Refused
from scp_anon.network import dimse


class StoreRequest(NamedTuple):
    """What the association and the C-STORE-RQ say of the instance that follows."""

    calling_ae_title: str
    called_ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Reception(Protocol):
    """Where one instance goes while it is being received. Exactly one of `commit` and `discard` ends it."""

    def spill(self, part: memoryview) -> None:
        """Take a first part of a large data set. Raises Refused."""

    def commit(self, rest: memoryview) -> None:
        """Take the rest, and make the instance safe: success is said when this returns. Raises Refused."""

    def discard(self) -> None:
        """Forget the instance: the association ended, or it was refused."""

    def proceed(self, rest: memoryview) -> None:
        """The success of `commit(rest)` has been said: go on with the instance while the peer prepares its next."""


class Storage(Protocol):
    """What instances are given to."""

    def receive(self, request: StoreRequest) -> Reception:
        """Begin to receive an instance. Raises Refused."""


class Inflow:
    """One instance on its way to a reception. Once refused, the rest of it is read and forgotten.

    As a context manager, it discards what has not been committed at the end of the block.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reception: Reception | None = None
        self._refused = Refused(dimse.UNRECOGNIZED_OPERATION)
        self._spilled = 0

    def begin(self, receive: Callable[[], Reception]) -> None:
        """Get the reception from `receive`."""
        try:
            self._reception = receive()
        except Refused as refused:
            self._refused = refused

    def spill(self, part: memoryview) -> None:
        """Pass on a first part of the data set."""
        self._spilled += len(part)
        try:
            self._bound(0)
            if self._reception is not None:
                self._reception.spill(part)
        except Refused as refused:
            self.__exit__()
            self._refused = refused

    def commit(self, rest: memoryview) -> Reception | Refused:
        """Pass on the rest and make the instance safe; returns the reception, or why it was refused."""
        if self._reception is not None:
            try:
                self._bound(len(rest))
                self._reception.commit(rest)
            except Refused as refused:
                return refused
            committed, self._reception = self._reception, None
            return committed
        return self._refused

    def _bound(self, more: int) -> None:
        if self._spilled + more > self._limit:
            raise Refused(dimse.OUT_OF_RESOURCES, "larger than the limit")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._reception is not None:
            self._reception.discard()
            self._reception = None
