"""Storage commitment, push model, as SCU (PS3.4 Annex J): what is asked for by N-ACTION, and told by N-EVENT-REPORT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Final, NamedTuple

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from scp_anon.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN
from scp_anon.network import dimse
from scp_anon.network.association import Association, Context, invalid

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"  # Push Model SOP Class
INSTANCE: Final = "1.2.840.10008.1.20.1.1"  # its well-known instance
CONTEXT: Final = Context(STORAGE_COMMITMENT, IMPLICIT_VR_LITTLE_ENDIAN)
REQUEST_COMMITMENT: Final = 1  # action type (PS3.4 J.3.2)
BATCH_LIMIT: Final = 100  # instances in one transaction: reports stay small
_REPORT_LIMIT: Final = 1 << 20
_NO_REASON: Final = 0x0110  # processing failure, where a report gives none


class Reference(NamedTuple):
    """An instance, as it is referred to."""

    sop_class_uid: str
    sop_instance_uid: str


class Report(NamedTuple):
    """What an SCP says of a transaction: SOP instances that it commits to, and others with the Failure Reason."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def action_information(transaction_uid: str, references: Iterable[Reference]) -> bytes:
    """The encoded data set of the N-ACTION that asks to commit to these instances (PS3.4 Table J.3-1)."""
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
        items.append(item)
    data_set.ReferencedSOPSequence = items
    encoded = BytesIO()
    dcmwrite(encoded, data_set, implicit_vr=True, little_endian=True)
    return encoded.getvalue()


def receive_report(association: Association, context_id: int, command: dimse.CommandSet) -> Report:
    """Read the data set of an N-EVENT-REPORT-RQ, and answer it. Raises AssociationError."""
    encoded = association.read_data_set(context_id, _REPORT_LIMIT)
    is_implicit = association.contexts[context_id].transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    report = _decode(encoded, is_implicit)
    association.send_command(context_id, dimse.response(command, dimse.SUCCESS))
    return report


def _decode(encoded: bytes, is_implicit: bool) -> Report:
    """The event information (PS3.4 Table J.3-2). Raises Aborted for what is none."""
    try:
        data_set = read_dataset(BytesIO(encoded), is_implicit_VR=is_implicit, is_little_endian=True)
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", _NO_REASON))
            for item in data_set.get("FailedSOPSequence") or ()
        }
        committed = {str(item.ReferencedSOPInstanceUID) for item in data_set.get("ReferencedSOPSequence") or ()}
        return Report(str(data_set.TransactionUID), frozenset(committed - failed.keys()), failed)
    except Exception:
        # pydicom raises whatever its parts do: also that the data set is nested too deeply.
        raise invalid("event information that cannot be read") from None
