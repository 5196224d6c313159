"""A peer made by hand: its PDUs are written with `struct`, by PS3.8 9.3 and PS3.7 6.3, and share no code with ours.

It can say what no library would: wrong lengths, fragments out of order, half a PDU.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
STORE_RQ, FIND_RQ, ECHO_RQ, CANCEL_RQ = 0x0001, 0x0020, 0x0030, 0x0FFF

Context = tuple[int, str, Sequence[str]]


class Fragment(NamedTuple):
    """A presentation data value."""

    context_id: int
    control: int
    value: bytes


class Accepted(NamedTuple):
    """What an A-ASSOCIATE-AC says: context ID → (result, transfer syntax), and the maximum length."""

    contexts: dict[int, tuple[int, str]]
    maximum_length: int


class RawPeer:
    """One end of a TCP connection."""

    def __init__(self, connected: socket.socket | int, timeout: float = 10) -> None:
        """`connected`: a socket, or a port on the loopback interface to connect to."""
        if isinstance(connected, int):
            connected = socket.create_connection(("127.0.0.1", connected), timeout)
        connected.settimeout(timeout)
        self.socket = connected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Write it all."""
        self.socket.sendall(b"".join(parts))

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, or what came before the connection's end."""
        content = b""
        while len(content) < size:
            part = self.socket.recv(size - len(content))
            if not part:
                break
            content += part
        return content

    def read_pdu(self) -> tuple[int, bytes] | None:
        """The next PDU's type and content; None at the connection's end."""
        head = self.read(6)
        if not head:
            return None
        kind, length = struct.unpack(">BxI", head)
        return kind, self.read(length)

    def associate(self, contexts: Iterable[Context] = ((1, CT, [EXPLICIT]),), **options: Any) -> Accepted:
        """Open an association; `options` as for `associate_request`."""
        self.send(associate_request(contexts, **options))
        answer = self.read_pdu()
        assert answer is not None
        assert answer[0] == AC, answer
        return accepted(answer[1])

    def read_command(self) -> dict[int, bytes]:
        """The next message's command set, which must come whole in one PDU: element → value."""
        answer = self.read_pdu()
        assert answer is not None, "the connection was closed"
        kind, content = answer
        assert kind == DATA, answer
        (fragment,) = fragments(content)
        assert fragment.control == COMMAND | LAST
        return decode_command(fragment.value)

    def read_status(self) -> int:
        """The next response's status."""
        return number(self.read_command()[0x0900])

    def store(self, data_set: bytes, context_id: int = 1, fragment: int = 16000, **command: Any) -> int:
        """C-STORE of a data set; returns the status. `command` as for `store_request`."""
        self.send(
            data_pdu((context_id, COMMAND | LAST, store_request(**command))),
            *data_set_pdus(data_set, context_id, fragment),
        )
        return self.read_status()

    def echo(self, context_id: int = 1) -> int:
        """C-ECHO; returns the status."""
        self.send(data_pdu((context_id, COMMAND | LAST, encode_command({0x0002: VERIFICATION, 0x0100: ECHO_RQ}))))
        return self.read_status()

    def release(self) -> None:
        """Release the association, which must be answered, and the connection closed."""
        self.send(struct.pack(">BxII", RELEASE_RQ, 4, 0))
        assert self.read_pdu() == (RELEASE_RP, b"\0\0\0\0")
        self.socket.shutdown(socket.SHUT_WR)
        assert self.read_pdu() is None

    def abort(self) -> None:
        """A-ABORT by the service user, and the connection's end."""
        self.send(struct.pack(">BxIBBBB", ABORT, 4, 0, 0, 0, 0))
        self.socket.close()

    def read_abort(self) -> tuple[int, int]:
        """The next PDU, which must be an A-ABORT, followed by the connection's end: its source and reason."""
        answer = self.read_pdu()
        assert answer is not None, "the connection was closed without an A-ABORT"
        assert answer[0] == ABORT, answer
        assert len(answer[1]) == 4
        self.end()
        return answer[1][2], answer[1][3]

    def end(self) -> None:
        """What the peer says is over: nothing more comes, and it closes the connection."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        assert self.is_closed()

    def end_of_stream(self) -> list[int]:
        """The types of the PDUs that still come, up to the connection's end."""
        kinds = []
        with contextlib.suppress(ConnectionResetError):
            while (answer := self.read_pdu()) is not None:
                kinds.append(answer[0])
        return kinds

    def is_closed(self) -> bool:
        """Whether nothing but the connection's end is to be read. Waits for it."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1) == b""
        return True


def data_pdu(*values: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF PDU with these fragments: context ID, message control header, value."""
    content = b"".join(
        struct.pack(">IBB", len(value) + 2, context_id, control) + value for context_id, control, value in values
    )
    return struct.pack(">BxI", DATA, len(content)) + content


def data_set_pdus(data_set: bytes, context_id: int = 1, fragment: int = 16000) -> Iterator[bytes]:
    """A data set in PDUs of one fragment each."""
    for start in range(0, max(len(data_set), 1), fragment):
        last = LAST if start + fragment >= len(data_set) else 0
        yield data_pdu((context_id, last, data_set[start : start + fragment]))


def fragments(content: bytes) -> list[Fragment]:
    """The fragments in the content of a P-DATA-TF PDU, which must add up."""
    found = []
    while content:
        length, context_id, control = struct.unpack_from(">IBB", content)
        assert 2 <= length <= len(content) - 4
        found.append(Fragment(context_id, control, content[6 : 4 + length]))
        content = content[4 + length :]
    return found


def encode_command(elements: Mapping[int, str | int | bytes]) -> bytes:
    """A command set: element → a UID, a number of VR US, or raw bytes. Message ID 1 and no data set unless given."""
    encoded = b""
    for element, value in sorted({0x0110: 1, 0x0800: 0x0101, **elements}.items()):
        raw = (
            struct.pack("<H", value) if isinstance(value, int) else value.encode() if isinstance(value, str) else value
        )
        raw += b"\0" * (len(raw) % 2)
        encoded += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(encoded)) + encoded


def decode_command(encoded: bytes) -> dict[int, bytes]:
    """A command set's elements, which must rise and add up; the group length must be right."""
    elements: dict[int, bytes] = {}
    pos = 0
    while pos < len(encoded):
        group, element, length = struct.unpack_from("<HHI", encoded, pos)
        pos += 8 + length
        assert group == 0
        assert pos <= len(encoded)
        assert element > max(elements, default=-1)
        assert length % 2 == 0
        elements[element] = encoded[pos - length : pos]
    assert struct.unpack("<I", elements[0])[0] == len(encoded) - 12
    return elements


def store_request(sop_class: str = CT, instance: str = "1.2.3", message_id: int = 1, **more: int) -> bytes:
    """A C-STORE-RQ; `more` as e0800=0x0101."""
    extra = {int(name[1:], 16): value for name, value in more.items()}
    return encode_command(
        {0x0002: sop_class, 0x0100: STORE_RQ, 0x0110: message_id, 0x0700: 0, 0x0800: 1, 0x1000: instance, **extra}
    )


def number(value: bytes) -> int:
    """A value of VR US."""
    found: int = struct.unpack("<H", value)[0]
    return found


def associate_request(
    contexts: Iterable[Context],
    called: bytes = b"SCP_ANON",
    calling: bytes = b"RAW",
    maximum_length: int = 16384,
    application_context: str = APPLICATION_CONTEXT,
    version: int = 1,
    user_items: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    items = _item(0x10, application_context.encode())
    for context_id, abstract_syntax, transfer_syntaxes in contexts:
        syntaxes = b"".join(_item(0x40, uid.encode()) for uid in transfer_syntaxes)
        items += _item(
            0x20, struct.pack("BBBB", context_id, 0, 0, 0) + _item(0x30, abstract_syntax.encode()) + syntaxes
        )
    items += _item(0x50, _item(0x51, struct.pack(">I", maximum_length)) + _item(0x52, b"1.2.3.4") + user_items)
    return _associate(RQ, called, calling, version, items)


def associate_accept(contexts: Mapping[int, tuple[int, str]], maximum_length: int = 16384) -> bytes:
    """An A-ASSOCIATE-AC PDU (PS3.8 9.3.3): context ID → (result, transfer syntax)."""
    items = _item(0x10, APPLICATION_CONTEXT.encode())
    for context_id, (result, transfer_syntax) in contexts.items():
        items += _item(0x21, struct.pack("BBBB", context_id, 0, result, 0) + _item(0x40, transfer_syntax.encode()))
    items += _item(0x50, _item(0x51, struct.pack(">I", maximum_length)) + _item(0x52, b"1.2.3.4"))
    return _associate(AC, b"CALLED", b"CALLING", 1, items)


def _associate(kind: int, called: bytes, calling: bytes, version: int, items: bytes) -> bytes:
    content = struct.pack(">Hxx", version) + called.ljust(16) + calling.ljust(16) + bytes(32) + items
    return struct.pack(">BxI", kind, len(content)) + content


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    while content:
        kind, length = struct.unpack_from(">BxH", content)
        yield kind, content[4 : 4 + length]
        content = content[4 + length :]


def accepted(content: bytes) -> Accepted:
    """What the content of an A-ASSOCIATE-AC PDU says."""
    contexts: dict[int, tuple[int, str]] = {}
    maximum_length = -1
    for kind, item in _items(content[68:]):
        if kind == 0x21:
            syntaxes = [value.decode() for sub, value in _items(item[4:]) if sub == 0x40]
            contexts[item[0]] = item[2], syntaxes[0] if syntaxes else ""
        elif kind == 0x50:
            maximum_length = next(struct.unpack(">I", value)[0] for sub, value in _items(item) if sub == 0x51)
    return Accepted(contexts, maximum_length)


def proposed(content: bytes) -> dict[int, tuple[str, list[str]]]:
    """The contexts in the content of an A-ASSOCIATE-RQ PDU: ID → abstract syntax, transfer syntaxes."""
    contexts = {}
    for kind, item in _items(content[68:]):
        if kind == 0x20:
            values = list(_items(item[4:]))
            abstract = next(value.decode() for sub, value in values if sub == 0x30)
            contexts[item[0]] = abstract, [value.decode() for sub, value in values if sub == 0x40]
    return contexts


def trickle(peer: RawPeer, content: bytes, pause: float) -> None:
    """Send byte by byte until all is sent, or the other end has had enough."""
    with contextlib.suppress(OSError):
        for i in range(len(content)):
            peer.send(content[i : i + 1])
            time.sleep(pause)
