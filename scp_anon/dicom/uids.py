"""Storage SOP classes, transfer syntaxes, and the UIDs that have a meaning of their own (PS3.6 Annex A).

The two tables beside this file are facts of DICOM 2026c, © NEMA.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from pydicom._uid_dict import UID_dictionary

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
VERIFICATION: Final = "1.2.840.10008.1.1"
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


class TransferSyntax(NamedTuple):
    """How a data set of this transfer syntax is encoded (PS3.5 Annex A)."""

    uid: str
    implicit_vr: bool
    little_endian: bool
    deflated: bool


def _rows(name: str) -> list[dict[str, str]]:
    with (files(__package__) / name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


@cache
def transfer_syntaxes() -> dict[str, TransferSyntax]:
    """The transfer syntaxes in which an instance may arrive, by UID, in the order of preference.

    All but those that cannot hold a whole instance, or hold it somewhere else: JPIP (its URL identifies, and has no
    rule in Table E.1-1), real-time video (never in a file or C-STORE), and the retired MIME, XML and Papyrus ones.
    """
    unusable = ("JPIP", "SMPTE", "MIME", "XML", "Papyrus")
    last = {IMPLICIT_VR_LITTLE_ENDIAN: 1, EXPLICIT_VR_BIG_ENDIAN: 2}
    return {
        row["uid"]: TransferSyntax(
            uid=row["uid"],
            implicit_vr=row["vr"] == "implicit",
            little_endian=row["endian"] == "little",
            deflated=row["deflated"] == "dataset",
        )
        for row in sorted(_rows("transfer-syntaxes.csv"), key=lambda row: last.get(row["uid"], 0))
        if not row["family"].startswith(unusable)
    }


@cache
def storage_sop_classes() -> dict[str, str]:
    """Every storage SOP class that is accepted, UID → name; the media directory is not one of them."""
    return {
        row["uid"]: row["name"]
        for row in _rows("storage-sop-classes.csv")
        if row["category"] not in ("media_directory", "category")
    }


@cache
def iod_of_sop_class() -> dict[str, str]:
    """SOP class UID → the name that the tables of PS3.3 have for its IOD; retired classes mostly have none."""
    return {row["uid"]: row["iod"] for row in _rows("storage-sop-classes.csv") if row["iod"]}


@cache
def well_known_uids() -> frozenset[bytes]:
    """The UIDs that PS3.6 itself gives a meaning: they identify nobody and never change."""
    known = {*UID_dictionary, *transfer_syntaxes(), *storage_sop_classes(), MEDIA_STORAGE_DIRECTORY}
    return frozenset(uid.encode("ascii") for uid in known)
