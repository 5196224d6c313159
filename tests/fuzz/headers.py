"""File Meta Information and command sets: read, or refused by the errors that they say."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from scp_anon.dicom.part10 import read_file_meta
from scp_anon.errors import Aborted, Reason, Undecodable
from scp_anon.network import dimse
from tests import rawpeer, samples
from tests.fuzz.data_phase import messages
from tests.fuzz.engine import small_files

HEAD = 2048


def check(data: bytes) -> None:
    """Raises if one of the two does with this input what it should not."""
    check_file_meta(data)
    check_command(data)


def check_file_meta(data: bytes) -> None:
    """A place within the file, and UIDs that are text; or one of three reasons."""
    try:
        meta, start = read_file_meta(data)
    except Undecodable as undecodable:
        assert undecodable.reason in (Reason.EMPTY, Reason.NOT_DICOM, Reason.TRUNCATED)
        return
    assert 0 <= start <= len(data)
    assert meta.transfer_syntax_uid
    assert read_file_meta(data) == (meta, start)


def check_command(data: bytes) -> None:
    """Elements that were in the bytes, and a response that a peer can read; or an A-P-ABORT."""
    try:
        command = dimse.decode(data)
    except Aborted:
        return
    assert command == elements_of(data)
    dimse.uid(command, dimse.AFFECTED_SOP_CLASS_UID)
    answer = rawpeer.decode_command(dimse.response(command, dimse.SUCCESS, "comment"))
    assert answer[dimse.STATUS] == b"\0\0"
    assert dimse.decode(dimse.encode(command)).keys() >= command.keys()


def elements_of(data: bytes) -> dict[int, bytes]:
    """The elements of a command set that is whole; of one that is there twice, the last."""
    elements = {}
    while data:
        group, number, length = struct.unpack_from("<HHI", data)
        assert group == 0
        assert 8 + length <= len(data)
        elements[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return elements


def seeds() -> Iterator[bytes]:
    """The heads of files, and command sets."""
    yield from (file[:HEAD] for file in small_files())
    yield samples.encoded(samples.image())[132:HEAD]
    yield rawpeer.store_request()
    yield rawpeer.encode_command({0x0002: rawpeer.VERIFICATION, 0x0100: rawpeer.ECHO_RQ})
    yield from (message[12:400] for message in messages())
