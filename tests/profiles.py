"""Profiles at work on small data sets: for tests that look at what became of attributes."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from scp_anon import Deidentifier
from scp_anon.deid.admission import PIXELS_SEEN
from tests import samples

OPTIONS = (
    "retain-safe-private",
    "retain-uids",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-patient-characteristics",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "clean-descriptors",
    "clean-structured-content",
    "clean-graphics",
)
FULL_DATES, MODIFIED_DATES = OPTIONS[5], OPTIONS[6]
ALL_FULL = tuple(option for option in OPTIONS if option != MODIFIED_DATES)
ALL_MODIFIED = tuple(option for option in OPTIONS if option != FULL_DATES)


def engine(*options: str, project: str = "project", **content: object) -> Deidentifier:
    """An engine with these options, and with the rest of a profile as keywords; pixels pass."""
    return Deidentifier(samples.KEY, project, {"options": options, "pixels": "pass", **content})


def result(ds: Dataset, by: Deidentifier, syntax: str = ExplicitVRLittleEndian, **context: str) -> Dataset:
    """What an engine makes of a data set, as pydicom reads it."""
    return dcmread(BytesIO(encoded_result(ds, by, syntax, **context)))


def encoded_result(ds: Dataset, by: Deidentifier, syntax: str = ExplicitVRLittleEndian, **context: str) -> bytes:
    """What an engine makes of a data set, as a DICOM file."""
    return by.deidentify(samples.encoded(ds, syntax), context).to_bytes()


def codes(ds: Dataset) -> list[str]:
    """The codes that an instance claims for its de-identification."""
    return [item.CodeValue for item in ds.get("DeidentificationMethodCodeSequence", [])]


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    """A CSV file with the keys of the first row as columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


SEEN = {PIXELS_SEEN: "yes"}
