"""Command sets of C-STORE and C-ECHO, for both roles, and of what storage commitment needs (PS3.7 6.3, 9.3, 10.3).

A command set is implicit VR little endian whatever the presentation context. Here it is a dict: element number (the
group is 0000) → raw value.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final, TypeAlias

from scp_anon.errors import Aborted
from scp_anon.network.pdu import BY_SERVICE_PROVIDER, INVALID_PDU_PARAMETER

CommandSet: TypeAlias = dict[int, bytes]

AFFECTED_SOP_CLASS_UID: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
REQUESTED_SOP_CLASS_UID: Final = 0x0003
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
UNRECOGNIZED_OPERATION: Final = 0x0211
INVALID_SOP_INSTANCE: Final = 0x0117
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

NO_DATA_SET: Final = 0x0101
_DATA_SET: Final = 0x0001
_COMMENT_LIMIT: Final = 64

# A command set is a few hundred bytes; nobody gets to make us hold more.
COMMAND_SET_LIMIT: Final = 1 << 14

_element = Struct("<HHI")
_us = Struct("<H")
_ul = Struct("<I")


def decode(encoded: bytes) -> CommandSet:
    """Decode a command set. Raises Aborted for what is none."""
    elements: CommandSet = {}
    pos = 0
    try:
        while pos < len(encoded):
            group, element, length = _element.unpack_from(encoded, pos)
            pos += 8 + length
            if group != 0 or pos > len(encoded):
                raise StructError
            elements[element] = encoded[pos - length : pos]
        number(elements, COMMAND_FIELD)
    except (StructError, KeyError):
        raise Aborted(BY_SERVICE_PROVIDER, INVALID_PDU_PARAMETER, "a command set that cannot be read") from None
    return elements


def encode(elements: CommandSet) -> bytes:
    """Encode a command set, its group length first; values are padded to an even length."""
    parts = []
    for element, value in sorted(elements.items()):
        padded = value + b"\0" * (len(value) % 2)
        parts.append(_element.pack(0, element, len(padded)) + padded)
    content = b"".join(parts)
    return _element.pack(0, 0, 4) + _ul.pack(len(content)) + content


def number(elements: CommandSet, element: int) -> int:
    """A value of VR US. Raises KeyError or struct.error where there is none."""
    value: int = _us.unpack(elements[element])[0]
    return value


def uid(elements: CommandSet, element: int) -> str:
    """A value of VR UI without its padding; empty where there is none."""
    return elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def response(request: CommandSet, status: int, comment: str = "") -> bytes:
    """The encoded response to a request that has been read, with `status` and perhaps an Error Comment."""
    command = number(request, COMMAND_FIELD)
    elements = {
        COMMAND_FIELD: _us.pack(command | RESPONSE),
        MESSAGE_ID_BEING_RESPONDED_TO: request.get(MESSAGE_ID, b"\0\0"),
        COMMAND_DATA_SET_TYPE: _us.pack(NO_DATA_SET),
        STATUS: _us.pack(status),
    }
    for element in (AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, EVENT_TYPE_ID):
        if element in request:
            elements[element] = request[element]
    if comment:
        elements[ERROR_COMMENT] = comment.encode("ascii", "replace")[:_COMMENT_LIMIT]
    return encode(elements)


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """An encoded C-STORE-RQ of medium priority (PS3.7 9.3.1.1)."""
    return encode(
        {
            AFFECTED_SOP_CLASS_UID: sop_class_uid.encode("ascii"),
            COMMAND_FIELD: _us.pack(C_STORE_RQ),
            MESSAGE_ID: _us.pack(message_id),
            PRIORITY: _us.pack(0),
            COMMAND_DATA_SET_TYPE: _us.pack(_DATA_SET),
            AFFECTED_SOP_INSTANCE_UID: sop_instance_uid.encode("ascii"),
        }
    )


def echo_request(message_id: int, sop_class_uid: str) -> bytes:
    """An encoded C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode(
        {
            AFFECTED_SOP_CLASS_UID: sop_class_uid.encode("ascii"),
            COMMAND_FIELD: _us.pack(C_ECHO_RQ),
            MESSAGE_ID: _us.pack(message_id),
            COMMAND_DATA_SET_TYPE: _us.pack(NO_DATA_SET),
        }
    )


def action_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type_id: int) -> bytes:
    """An encoded N-ACTION-RQ, whose Action Information follows (PS3.7 10.3.4)."""
    return encode(
        {
            REQUESTED_SOP_CLASS_UID: sop_class_uid.encode("ascii"),
            COMMAND_FIELD: _us.pack(N_ACTION_RQ),
            MESSAGE_ID: _us.pack(message_id),
            COMMAND_DATA_SET_TYPE: _us.pack(_DATA_SET),
            REQUESTED_SOP_INSTANCE_UID: sop_instance_uid.encode("ascii"),
            ACTION_TYPE_ID: _us.pack(action_type_id),
        }
    )
