"""Kinds that are no DICOM file, or one of another encoding than they say."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

from scp_anon.errors import Reason
from tests import samples
from tests.hostile.canary import VALUE
from tests.hostile.kind import kind
from tests.hostile.source import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, PATIENT_NAME, Source, element, head

# What is left of a file that is no DICOM file, when it is sent as if it were a data set.
_NO_DATA_SET = (Reason.MALFORMED, Reason.TRUNCATED, Reason.MISSING_UID)


@kind(Reason.EMPTY, sent=Reason.MISSING_UID)
def empty_file(source: Source) -> bytes:
    """Nothing at all."""
    return b""


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def one_byte(source: Source) -> bytes:
    """A single byte."""
    return b"C"


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def only_a_preamble(source: Source) -> bytes:
    """A preamble, and nothing behind it."""
    return VALUE.ljust(128, b"\0")


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def only_a_prefix(source: Source) -> bytes:
    """A preamble and the prefix, and nothing behind them."""
    return VALUE.ljust(128, b"\0") + b"DICM"


@kind(Reason.TRUNCATED, sent=_NO_DATA_SET)
def half_of_file_meta(source: Source) -> bytes:
    """A file that ends in the midst of its File Meta Information."""
    return source.file()[:200]


@kind(Reason.MISSING_UID)
def only_file_meta(source: Source) -> bytes:
    """File Meta Information without a data set."""
    return source.with_data_set(b"")


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def preamble_twice(source: Source) -> bytes:
    """Two preambles and prefixes."""
    return (VALUE.ljust(128, b"\0") + b"DICM") * 2 + source.data_set()


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def gif(source: Source) -> bytes:
    """A GIF with a comment."""
    return b"GIF89a\1\0\1\0\x80\0\0" + bytes(6) + b"\x21\xfe\x0e" + VALUE + b"\0\x2c" + bytes(9) + b"\2\2\x44\1\0;"


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def jpeg(source: Source) -> bytes:
    """A JPEG with a comment."""
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xfe\0\x10" + VALUE + b"\xff\xd9" + bytes(200)


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def zip_of_dicom(source: Source) -> bytes:
    """A ZIP that holds a DICOM file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("CANARY^PATIENT.dcm", source.file())
    return target.getvalue()


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def gzip_of_dicom(source: Source) -> bytes:
    """A DICOM file, compressed by gzip."""
    return gzip.compress(source.file(), mtime=0)


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def pdf(source: Source) -> bytes:
    """A PDF."""
    return b"%PDF-1.7\n1 0 obj\n<< /Title (CANARY^PATIENT) >>\nendobj\n" * 10 + b"%%EOF\n"


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def html(source: Source) -> bytes:
    """A web page."""
    return b"<!DOCTYPE html><html><title>CANARY^PATIENT</title><body>" + VALUE * 40 + b"</body></html>\n"


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def mail(source: Source) -> bytes:
    """A mail with a DICOM file attached, as it is."""
    return b"MIME-Version: 1.0\r\nContent-Type: application/dicom\r\n\r\n" + source.file()


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def json_model(source: Source) -> bytes:
    """The DICOM JSON model."""
    return b'[{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "CANARY^PATIENT"}]}}]' * 4


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def request_of_the_web(source: Source) -> bytes:
    """What a browser would send."""
    return b"GET /CANARY^PATIENT HTTP/1.1\r\nHost: CANARY\r\n\r\n" * 10


@kind(Reason.NOT_DICOM, sent=_NO_DATA_SET)
def zeros(source: Source) -> bytes:
    """Zeros only, as of a disk that lost power."""
    return bytes(100_000)


@kind()
def data_set_without_a_head(source: Source) -> bytes:
    """A data set without preamble and File Meta Information, as old systems write it."""
    return source.data_set()


@kind(Reason.UNKNOWN_TRANSFER_SYNTAX, sent=())
def unknown_transfer_syntax(source: Source) -> bytes:
    """A transfer syntax that is none."""
    return source.with_data_set(source.data_set(), "1.2.3.4.5")


@kind(Reason.UNKNOWN_TRANSFER_SYNTAX, sent=())
def transfer_syntax_that_points_elsewhere(source: Source) -> bytes:
    """JPIP, whose pixel data is at an address."""
    url = element(0x00287FE0, "UT", b"http://example.org/CANARY^PATIENT ")
    del url  # it would be kept by no rule: the transfer syntax is refused before
    return source.with_data_set(source.data_set(), "1.2.840.10008.1.2.4.94")


@kind(Reason.UNKNOWN_TRANSFER_SYNTAX, sent=())
def transfer_syntax_that_is_a_name(source: Source) -> bytes:
    """A name in place of the transfer syntax."""
    return head(source.uid, "CANARY^PATIENT") + source.data_set()


@kind()
def group_length_that_lies(source: Source) -> bytes:
    """A File Meta Information Group Length of 4 GB."""
    file = source.file()
    return file[:140] + b"\xfe\xff\xff\xff" + file[144:]


@kind(Reason.TRUNCATED, Reason.NOT_DICOM, sent=_NO_DATA_SET)
def file_meta_in_implicit_vr(source: Source) -> bytes:
    """File Meta Information in implicit VR, which it must never be."""
    uid = b"1.2.840.10008.1.2\0"
    meta = struct.pack("<HHI", 2, 0x10, len(uid)) + uid
    return VALUE.ljust(128, b"\0") + b"DICM" + meta + source.in_implicit_vr().data_set()


@kind()
def explicit_in_implicit(source: Source) -> bytes:
    """Explicit VR where implicit VR was said."""
    return source.with_data_set(source.data_set(), IMPLICIT)


@kind()
def implicit_in_explicit(source: Source) -> bytes:
    """Implicit VR where explicit VR was said."""
    return source.with_data_set(source.in_implicit_vr().data_set(), EXPLICIT)


@kind()
def implicit_item_in_explicit(source: Source) -> bytes:
    """A data set in explicit VR from Patient's Name on in implicit VR."""
    first = source.data_set(last=PATIENT_NAME - 1)
    rest = source.in_implicit_vr()
    return source.with_data_set(first + rest.data_set()[len(rest.data_set(last=PATIENT_NAME - 1)) :], EXPLICIT)


@kind()
def big_endian(source: Source) -> bytes:
    """Big endian, which is retired, but read."""
    image = samples.image()
    image.SOPInstanceUID = source.uid
    file = samples.encoded(image, BIG_ENDIAN)
    return source.with_data_set(file[samples.data_set_start(file) :], BIG_ENDIAN)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def big_endian_in_little_endian(source: Source) -> bytes:
    """Big endian where little endian was said."""
    return source.with_data_set(big_endian(source)[len(source.with_data_set(b"", BIG_ENDIAN)) :], EXPLICIT)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def little_endian_in_big_endian(source: Source) -> bytes:
    """Little endian where big endian was said."""
    return source.with_data_set(source.data_set(), BIG_ENDIAN)


@kind()
def deflated(source: Source) -> bytes:
    """A deflated data set, where no search for bytes finds anything."""
    return source.with_data_set(samples.deflated(source.data_set()), DEFLATED)


@kind(Reason.TRUNCATED)
def deflated_and_cut_off(source: Source) -> bytes:
    """A deflated data set without its end."""
    return source.with_data_set(samples.deflated(source.data_set())[:-20], DEFLATED)


@kind(Reason.MALFORMED)
def deflated_with_a_tail(source: Source) -> bytes:
    """A deflated data set with a name behind it."""
    return source.with_data_set(samples.deflated(source.data_set()) + VALUE, DEFLATED)


@kind(Reason.MALFORMED)
def deflated_twice(source: Source) -> bytes:
    """A deflated data set with another behind it."""
    return source.with_data_set(samples.deflated(source.data_set()) * 2, DEFLATED)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def deflated_by_zlib(source: Source) -> bytes:
    """A deflated data set with the header of zlib, which is not RFC 1951."""
    return source.with_data_set(zlib.compress(source.data_set()), DEFLATED)


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def not_deflated(source: Source) -> bytes:
    """A plain data set where a deflated one was said."""
    return source.with_data_set(source.data_set(), DEFLATED)
