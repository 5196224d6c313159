"""Texts with bytes above 7FH where no Specific Character Set is declared: a profile may say which one is meant."""

from __future__ import annotations

from collections.abc import Mapping

from scp_anon.deid.instance import SPECIFIC_CHARACTER_SET
from scp_anon.dicom.dictionary import CHARACTER_SET_VRS
from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.walk import elements, leaves


def declares_none(facts: Mapping[int, bytes]) -> bool:
    """Whether a data set, by its top-level values, has no Specific Character Set, or an empty one."""
    return not facts.get(SPECIFIC_CHARACTER_SET, b"").strip(b" \0")


def is_undeclared(facts: Mapping[int, bytes], buffer: Buffer, start: int, explicit: bool) -> bool:
    """Whether an encoded data set declares no set, and a text of it has bytes above 7FH.

    Texts of items that declare a set of their own do not count. Raises Undecodable where it cannot be read.
    """
    if not declares_none(facts):
        return False
    try:
        found = elements(buffer, start, len(buffer), explicit)
        return any(
            not leaf.terms.strip(b" \0") and not bytes(buffer[leaf.start : leaf.stop]).isascii()
            for leaf in leaves(found, buffer, explicit)
            if leaf.vr in CHARACTER_SET_VRS
        )
    except Irregular as irregular:
        raise irregular.as_undecodable() from None
