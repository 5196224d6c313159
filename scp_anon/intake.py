"""From the network into the spool: the second hop. Its return is the status of the C-STORE response.

An instance is kept as the DICOM file that the sender would have written: preamble and File Meta Information are
ours, the data set is as it came, to the byte. What cannot be read is kept as well: acknowledged, then quarantined by
the worker. Only what says that it is another instance than the command announced is refused.

Where the route has it so, an instance that is in memory is de-identified before it is acknowledged, and only the result
is written. What cannot be de-identified is kept as on every other route.

An instance that is in memory when it has been committed is claimed in the same step, and de-identified by the thread
that has received it as soon as success is said: no other thread has to be woken, nor the file read again. The pool is
for all others: large ones, and what an earlier run has left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeAlias

from scp_anon import metrics
from scp_anon.dicom.finding import Irregular
from scp_anon.dicom.normalise import inflate_head
from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from scp_anon.dicom.values import read_values
from scp_anon.draft import Draft
from scp_anon.errors import Refused, Undecodable
from scp_anon.network.storage import StoreRequest
from scp_anon.places import Entry
from scp_anon.spool import Spool, refusal

# Given a request and its data set: whether the route's profile has the sender refused.
Refuses: TypeAlias = Callable[[StoreRequest, memoryview], bool]
# Given the same: whether it has been de-identified and published, so that it need not be kept.
WorkAtOnce: TypeAlias = Callable[[StoreRequest, memoryview], bool]
# Given a claimed entry, its data set and that one's transfer syntax.
Work: TypeAlias = Callable[[Entry, memoryview, str], None]

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_SOP_COMMON: Final = frozenset((_SOP_CLASS_UID, _SOP_INSTANCE_UID))
_HEAD: Final = 1 << 16
_DATA_SET_DOES_NOT_MATCH: Final = 0xA900  # PS3.4 B.2.3
_NOT_AUTHORIZED: Final = 0x0124  # PS3.7 C.5.1


class Intake:
    """Receives instances into a spool. This is the `Storage` of the SCP."""

    def __init__(
        self,
        spool: Spool,
        work: Work,
        refuses: Refuses = lambda request, data_set: False,
        work_at_once: WorkAtOnce = lambda request, data_set: False,
    ) -> None:
        """`work` de-identifies an entry that has just been committed, from its data set in memory."""
        self.spool = spool
        self.work = work
        self.refuses = refuses
        self.work_at_once = work_at_once

    def receive(self, request: StoreRequest) -> _Receiving:
        """Begin to receive an instance. Raises SpoolFull below the disk reserve."""
        self.spool.check_room()
        return _Receiving(self, request)


class _Receiving:
    """One instance on its way into the spool: in memory, but for what is spilled of a large one."""

    def __init__(self, intake: Intake, request: StoreRequest) -> None:
        self._intake = intake
        self._spool = intake.spool
        self._request = request
        self._draft: Draft | None = None
        self._claimed: Entry | None = None
        self._spilled = 0

    def spill(self, part: memoryview) -> None:
        """Write a first part to the draft. Raises Refused."""
        self._spool.check_room()
        if self._draft is None:
            _check_instance(self._request, part)
        self._write(part)
        self._spilled += len(part)

    def commit(self, rest: memoryview) -> None:
        """Write the rest, and commit the instance to stable storage. Raises Refused."""
        begun = time.perf_counter()
        self._keep(rest)
        metrics.COMMIT.observe(time.perf_counter() - begun)
        metrics.RECEIVED.add(self._request.called_ae_title)
        metrics.RECEIVED_BYTES.add(self._request.called_ae_title, by=self._spilled + len(rest))

    def _keep(self, rest: memoryview) -> None:
        """Have the instance safe, in the spool or as its result."""
        in_memory = self._draft is None
        request = self._request
        if in_memory:
            _check_instance(request, rest)
            if self._intake.refuses(request, rest):
                raise Refused(_NOT_AUTHORIZED, "not admitted")
            if self._intake.work_at_once(request, rest):
                return
        try:
            draft = self._write(rest)
            entry = self._spool.commit(draft, request.called_ae_title, request.calling_ae_title, claimed=in_memory)
            self._claimed = entry if in_memory else None
        finally:
            self.discard()

    def proceed(self, rest: memoryview) -> None:
        """De-identify what is still in memory; what was spilled is for the pool."""
        if self._claimed is not None:
            self._intake.work(self._claimed, rest, self._request.transfer_syntax_uid)

    def discard(self) -> None:
        """Remove the draft, unless it has been committed."""
        if self._draft is not None:
            self._draft.__exit__()
            self._draft = None

    def _write(self, part: memoryview) -> Draft:
        """Append to the draft; the first part comes behind our File Meta Information. Raises Refused."""
        head = b""
        if self._draft is None:
            self._draft = self._spool.draft()
            head = encode_file_meta(
                FileMeta(self._request.sop_class_uid, self._request.sop_instance_uid, self._request.transfer_syntax_uid)
            )
        try:
            self._draft.write(head, part)
        except OSError as error:
            raise refusal(error) from None
        return self._draft


def _check_instance(request: StoreRequest, data_set: memoryview) -> None:
    """Raise Refused (A900H) if the data set says that it is of another class, or another instance, than the command.

    Where it cannot be told, here, it is left to the engine.
    """
    syntax = transfer_syntaxes()[request.transfer_syntax_uid]
    if not syntax.little_endian:
        return
    try:
        head = inflate_head(data_set, _HEAD) if syntax.deflated else data_set
        values = read_values(head, 0, len(head), syntax, _SOP_COMMON)
    except (Irregular, Undecodable):
        return
    announced = {_SOP_CLASS_UID: request.sop_class_uid, _SOP_INSTANCE_UID: request.sop_instance_uid}
    for tag, value in values.items():
        if value.rstrip(b"\0 ") != announced[tag].encode("ascii"):
            raise Refused(_DATA_SET_DOES_NOT_MATCH, "data set is not of the instance announced")
