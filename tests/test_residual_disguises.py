"""Values of an original in other forms: encoded, compressed, as people write them. None of it by chance."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest

from scp_anon.deid.disguises import inflated, spelt_dates, written_dates
from scp_anon.deid.needles import needles
from scp_anon.deid.residual import Sought
from tests.test_residual import NAME, detail, patient, private

TEXT = f"series of {NAME}, acc 8231947".encode()
NAMED = "(0010,0010)"


@pytest.mark.parametrize(
    "written",
    [
        b64encode(TEXT),
        b"data:text/plain;base64," + b64encode(TEXT),
        b64encode(NAME.encode()).rstrip(b"="),
        urlsafe_b64encode(b"\xff\xfe" + NAME.encode("utf-16-le")),
        NAME.encode().hex().encode(),
        TEXT.hex().upper().encode(),
        b"GEMS\x00\x01" + gzip.compress(TEXT),
        zlib.compress(TEXT),
        b"\x01\x02" + zlib.compress(TEXT * 5000, 9) + b"more",
    ],
    ids=["base64", "URL", "unpadded", "UTF-16", "hex", "HEX", "gzip", "zlib", "long"],
)
def test_encoded_and_compressed(written: bytes) -> None:
    """As software puts a text or a block of settings into a value."""
    assert detail(private(written)) in (NAMED, "(0008,0050)")


@pytest.mark.parametrize(
    "written",
    [
        *("17.4.1953", "17/04/53", "4/17/1953", "1953.04.17", "1953-4-17", "17-APR-1953", "17. april 1953"),
        *("Apr 17, 1953", "17 Apr 1953", "DOB:17apr1953", "19530417T1015", "53-04-17"),
    ],
)
def test_dates_as_people_write_them(written: str) -> None:
    """With and without zeros, by names of months, with two digits of the year."""
    assert detail(private(f"born {written}, seen", "LO")) == "(0010,0030)"


@pytest.mark.parametrize(
    "written", ["17.4.1954", "1.17.4.1953", "17 Apr 1954", "v17.04.5", "2017.04.1953", "17 mars 1953"]
)
def test_what_is_another_date(written: str) -> None:
    """Neither another day nor a version is one."""
    assert detail(private(f"born {written}, seen", "LO")) == ""


@pytest.mark.parametrize(
    ("keyword", "value", "written"),
    [
        ("AccessionNumber", "8231947", "0008231947"),
        ("AccessionNumber", "0008231947", "8231947"),
        ("AccessionNumber", "8231947", "823-1947"),
        ("PatientID", "HOSP 4711 X", "for hosp 4711 x only"),
        ("PatientID", "HOSP-4711-X", "HOSP4711X"),
        ("PatientID", "HOSP 4711 X", "hosp4711x.img"),
        ("PatientName", "Li^Bobby", "Bobby Li"),
        ("PatientName", "Ng^Anh Thi", "ng, anh thi"),
    ],
)
def test_padded_and_put_together(keyword: str, value: str, written: str) -> None:
    """Numbers with other zeros before them, identifiers without what is between their parts, short names as wholes."""
    ds = private(written, "LO")
    setattr(ds, keyword, value)
    assert detail(ds) == {"AccessionNumber": "(0008,0050)", "PatientID": "(0010,0020)", "PatientName": NAMED}[keyword]


@pytest.mark.parametrize(
    "written",
    [quote("Gödecke"), "G=C3=B6decke", json.dumps("Gödecke"), "G&#246;decke", json.dumps("GÖDECKE")],
)
def test_names_of_other_letters_as_ascii(written: str) -> None:
    """As JSON, XML, mail and URLs write them."""
    ds = private(written, "LO")
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Gödecke"
    assert detail(ds) == NAMED


@pytest.mark.parametrize("name", ["Meyr", "Weiss"])
def test_short_names_and_numbers_in_long_binary_values(name: str) -> None:
    """In a header of a vendor's what is a text counts as one, though most of it is binary; chance does not."""
    noise = random.Random(2).randbytes(200_000)  # noqa: S311 - nothing secret
    ds = private(noise + b"\0" * 8 + name.upper().encode() + b"\0" * 8 + noise)
    ds.PatientName = name
    assert detail(ds) == NAMED
    ds = private(noise + b"\0\0\0\0accession 8231947\0\0" + noise)
    assert detail(ds) == "(0008,0050)"
    ds = private(noise)
    ds.PatientName = name
    assert detail(ds) == ""


def test_chance_in_texts_and_noise() -> None:
    """What is neither encoded nor compressed says nothing once it is decoded; nor do bombs cost much."""
    source = random.Random(3)  # noqa: S311 - nothing secret
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \n"
    text = bytes(source.choice(letters) for _ in range(500_000))
    wanted = needles(0x00100010, "PN", b"Meyr^Ilse", b"") + needles(0x00080050, "SH", b"8231947", b"")
    sought = Sought((*wanted, *needles(0x00100030, "DA", b"19530417", b"")))
    assert not sought.found(text)
    assert not sought.found(source.randbytes(1 << 20), "binary")
    assert sum(map(len, inflated(zlib.compress(bytes(1 << 26)) * 300))) <= 8 << 20


def test_dates_in_any_order() -> None:
    """Which of them is meant nobody can tell: each may be."""
    assert set(written_dates(b"01.02.1970")) == {b"19700201", b"19700102"}
    assert list(spelt_dates(b"1-feb-1970")) == [b"19700201"]
    assert list(written_dates(b"1.2.840.10008")) == []


def test_real_values_stay() -> None:
    """Versions, spacings and UIDs of the same image are no dates or numbers of it."""
    ds = patient(SoftwareVersions=["syngo 1.2.24", "VB17.04.24"], PixelSpacing=["0.8231946", "0.5"])
    assert detail(ds) == ""
