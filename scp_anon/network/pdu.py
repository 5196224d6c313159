"""Protocol data units of the upper layer (PS3.8 9.3), but for the association requests, which are pynetdicom's."""

from __future__ import annotations

from struct import Struct
from typing import Final

A_ASSOCIATE_RQ: Final = 0x01
A_ASSOCIATE_AC: Final = 0x02
A_ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
A_RELEASE_RQ: Final = 0x05
A_RELEASE_RP: Final = 0x06
A_ABORT: Final = 0x07

HEADER_LENGTH: Final = 6
PDV_HEADER_LENGTH: Final = 6
COMMAND: Final = 0x01  # bits of the message control header (PS3.8 E.2)
LAST: Final = 0x02

# A-ABORT source and reasons (PS3.8 9.3.8).
BY_SERVICE_USER: Final = 0
BY_SERVICE_PROVIDER: Final = 2
REASON_NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PDU_PARAMETER: Final = 6

header = Struct(">BxI").unpack
_encode_header = Struct(">BxI").pack
_control = Struct(">xBBB").pack
_data_header = Struct(">BxIIBB").pack
pdv_header = Struct(">IBB").unpack


def reject(result: int, source: int, diagnostic: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _encode_header(A_ASSOCIATE_RJ, 4) + _control(result, source, diagnostic)


def abort(source: int, reason: int) -> bytes:
    """A-ABORT (PS3.8 9.3.8)."""
    return _encode_header(A_ABORT, 4) + _control(0, source, reason)


def release_request() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return _encode_header(A_RELEASE_RQ, 4) + b"\0" * 4


def release_reply() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return _encode_header(A_RELEASE_RP, 4) + b"\0" * 4


def data_header(context_id: int, control: int, length: int) -> bytes:
    """The headers of a P-DATA-TF PDU that holds one fragment of `length` bytes (PS3.8 9.3.5)."""
    return _data_header(P_DATA_TF, length + PDV_HEADER_LENGTH, length + 2, context_id, control)
