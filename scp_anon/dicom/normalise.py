"""What the strict pass does not read as it is: inflated, or brought to explicit VR little endian by pydicom.

pydicom reads a great deal that is not quite right, and says little about what it leaves out. So every byte has to be
accounted for: at each level the elements that it made of the input must add up to the input's own length. What does
not add up, such as an element that is there twice, is refused.
"""

from __future__ import annotations

import zlib
from array import array
from io import BytesIO
from struct import Struct
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.sequence import Sequence

from scp_anon.dicom.dictionary import LONG_VRS, SHORT_VRS, tag_text, vr_of
from scp_anon.dicom.elements import encode_header, padding
from scp_anon.dicom.encoding import UNDEFINED_LENGTH
from scp_anon.dicom.finding import Buffer
from scp_anon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax, transfer_syntaxes
from scp_anon.errors import Reason, Undecodable

# A bomb of half a megabyte inflates to hundreds; real data sets of this transfer syntax are small.
INFLATED_LIMIT: Final = 256 << 20
# pydicom holds several copies of what it reads.
NORMALISED_LIMIT: Final = 512 << 20
# An element or item costs it two or three reads and up to a kilobyte, whatever its size.
MAXIMUM_READS: Final = 1 << 20

_SHORT_HEADER: Final = 8
_LONG_HEADER: Final = 12
_DELIMITATION: Final = 8
_SHORT_LIMIT: Final = 0x10000
_SEQUENCE_DELIMITATION: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
_ANY_ENCODING: Final = ["iso8859"]  # no text is decoded here
_item_header = Struct("<HHI").pack

# VRs whose values are words, and the array type of such a word (PS3.5 7.3). A tag (AT) is two words of two bytes.
_WORDS: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), "H"),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I"),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q"),
}


class _Budget:
    """How much pydicom may read for one data set: it makes objects of all, and a copy of each level of nesting."""

    def __init__(self) -> None:
        self.reads = MAXIMUM_READS
        self.bytes = 2 * NORMALISED_LIMIT

    def spend(self, length: int) -> None:
        """One read of `length` bytes. Raises Undecodable when there is nothing left to spend."""
        self.reads -= 1
        self.bytes -= length
        self.check()

    def check(self) -> None:
        """Raises Undecodable if too much was read; pydicom does not pass on whatever is raised below it."""
        if self.reads < 0:
            raise Undecodable(Reason.TOO_MANY_ELEMENTS)
        if self.bytes < 0:
            raise Undecodable(Reason.TOO_LARGE_TO_NORMALISE)


class _Metered(BytesIO):
    """What pydicom reads from."""

    def __init__(self, content: Buffer, budget: _Budget) -> None:
        super().__init__(content)
        self.budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.budget.spend(len(content))
        return content


def inflate(deflated: Buffer) -> bytes:
    """The data set in a deflated one (PS3.5 A.5, RFC 1951).

    Raises Undecodable: TRUNCATED, MALFORMED, INFLATES_TOO_FAR.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(deflated, INFLATED_LIMIT)
    except zlib.error:
        raise Undecodable(Reason.MALFORMED, "deflated data set") from None
    if stream.unconsumed_tail or len(inflated) >= INFLATED_LIMIT:
        raise Undecodable(Reason.INFLATES_TOO_FAR)
    if not stream.eof:
        raise Undecodable(Reason.TRUNCATED, "deflated data set")
    # Some writers leave the trailer of the gzip format behind the data (RFC 1952 2.3.1); a pad byte is the standard's.
    trailer = Struct("<II").pack(zlib.crc32(inflated), len(inflated))
    if stream.unused_data not in (b"", b"\0", trailer):
        raise Undecodable(Reason.MALFORMED, "data after the deflated data set")
    return inflated


def inflate_head(deflated: Buffer, limit: int) -> bytes:
    """The first bytes, at most `limit`, of the data set in a deflated one. Raises Undecodable: MALFORMED."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, limit)
    except zlib.error:
        raise Undecodable(Reason.MALFORMED, "deflated data set") from None


def deflate(data_set: bytes) -> bytes:
    """The deflated form of a data set, padded to an even length (PS3.5 A.5)."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = stream.compress(data_set) + stream.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def normalise(data_set: Buffer, syntax: TransferSyntax) -> tuple[bytes, TransferSyntax]:
    """Encode a data set anew in explicit VR little endian; returns it and the transfer syntax that it has then.

    pydicom takes it apart, and its raw values are put together again as they are, in the order of their tags; only
    the words of binary values are swapped where `syntax` is big endian. An unknown VR becomes the dictionary's or UN.

    Raises Undecodable, with MALFORMED, TRUNCATED, NESTED_TOO_DEEPLY, TOO_MANY_ELEMENTS or TOO_LARGE_TO_NORMALISE.
    """
    if len(data_set) > NORMALISED_LIMIT:
        raise Undecodable(Reason.TOO_LARGE_TO_NORMALISE)
    budget = _Budget()
    try:
        source = read_dataset(_Metered(data_set, budget), syntax.implicit_vr, syntax.little_endian)
        encoded: list[Buffer] = []
        _, consumed = _encode(source, budget, encoded)
    except (Undecodable, MemoryError):
        raise
    except Exception as error:
        if _is_of_nesting(error):
            raise Undecodable(Reason.NESTED_TOO_DEEPLY) from None
        budget.check()
        # pydicom raises whatever its parts do, with values of the original in the text: only the type is told.
        raise Undecodable(Reason.MALFORMED, type(error).__name__) from None
    if consumed != len(data_set):
        raise Undecodable(Reason.MALFORMED, "bytes that belong to no element")
    if syntax.little_endian and not syntax.implicit_vr:
        return b"".join(encoded), syntax  # encapsulated pixel data stays what it is
    return b"".join(encoded), transfer_syntaxes()[EXPLICIT_VR_LITTLE_ENDIAN]


def _is_of_nesting(error: BaseException | None) -> bool:
    """Whether an error comes of a data set that is nested too deeply; pydicom calls some of them by other names."""
    while error is not None and not isinstance(error, RecursionError):
        error = error.__cause__ or error.__context__
    return error is not None


def _encode(source: Dataset, budget: _Budget, parts: list[Buffer]) -> tuple[int, int]:
    """Append what pydicom read of one data set, encoded; returns the length of that, and of the input that it was.

    Values are parts of their own, and let go of by pydicom's data set: a large one is there once, not five times.
    """
    implicit = bool(source.original_encoding[0])
    size = consumed = 0
    for tag in sorted(source.keys()):
        element = source.get_item(tag, keep_deferred=True)
        del source[tag]
        if isinstance(element, RawDataElement):
            written, length = _encode_raw(element, budget, parts)
        else:
            written, length = _encode_sequence(tag, element.value, budget, parts)
            length += _DELIMITATION
        size += written
        consumed += length + (_LONG_HEADER if not implicit and _has_long_header(element) else _SHORT_HEADER)
    return size, consumed


def _encode_raw(element: RawDataElement, budget: _Budget, parts: list[Buffer]) -> tuple[int, int]:
    """Append an element that pydicom left as bytes; returns its length, and that of its value in the input."""
    tag = int(element.tag)
    value: Buffer = element.value or b""
    vr = _written_vr(tag, element.VR)
    if element.length == UNDEFINED_LENGTH:
        # Encapsulated pixel data: the fragments as they are, and the delimitation that pydicom has cut off.
        head = encode_header(tag, "OB", UNDEFINED_LENGTH, True)
        return _append(parts, head, value, _SEQUENCE_DELIMITATION), len(value) + _DELIMITATION
    if len(value) != element.length:
        raise Undecodable(Reason.TRUNCATED, tag_text(tag))
    if vr == "SQ":
        stream = _Metered(value, budget)
        sequence = read_sequence(stream, element.is_implicit_VR, element.is_little_endian, len(value), _ANY_ENCODING)
        written, consumed = _encode_sequence(tag, sequence, budget, parts)
        if consumed != element.length:
            raise Undecodable(Reason.MALFORMED, tag_text(tag))
        return written, consumed
    if not element.is_little_endian:
        value = _swapped(tag, vr, value)
    if len(value) >= _SHORT_LIMIT and vr not in LONG_VRS:
        vr = "UN"  # PS3.5 6.2.2: a value too long for its VR's 16-bit length
    pad = padding(vr) if len(value) % 2 else b""
    return _append(parts, encode_header(tag, vr, len(value) + len(pad), True), value, pad), element.length


def _encode_sequence(tag: int, items: Sequence, budget: _Budget, parts: list[Buffer]) -> tuple[int, int]:
    """Append a sequence, with defined lengths; returns its length, and that of its items in the input."""
    place = len(parts)
    parts.append(b"")  # the header, whose length is not known yet
    size = consumed = 0
    for item in items:
        place_of_item = len(parts)
        parts.append(b"")
        written, length = _encode(item, budget, parts)
        parts[place_of_item] = _item_header(0xFFFE, 0xE000, written)
        size += _SHORT_HEADER + written
        consumed += _SHORT_HEADER + length + (_DELIMITATION if item.is_undefined_length_sequence_item else 0)
    parts[place] = encode_header(tag, "SQ", size, True)
    return size + _LONG_HEADER, consumed


def _append(parts: list[Buffer], *more: Buffer) -> int:
    parts.extend(more)
    return sum(map(len, more))


def _written_vr(tag: int, vr: str | None) -> str:
    """The VR to write: the one that was read if it is one, else the dictionary's, else UN."""
    if vr in LONG_VRS - {"UN"} or vr in SHORT_VRS:
        return str(vr)
    known = vr_of(tag)
    return known if known and not (vr == "UN" and known == "SQ") else "UN"


def _has_long_header(element: RawDataElement | DataElement) -> bool:
    return element.VR in LONG_VRS


def _swapped(tag: int, vr: str, value: Buffer) -> Buffer:
    """A value of big endian words as one of little endian words (PS3.5 7.3)."""
    if vr not in _WORDS:
        return value
    words = array(_WORDS[vr])
    if len(value) % words.itemsize:
        raise Undecodable(Reason.MALFORMED, tag_text(tag))
    words.frombytes(value)
    words.byteswap()
    return memoryview(words).cast("B")
