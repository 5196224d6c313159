"""Text in its character set: what is decoded, changed and encoded again is right, or it is refused."""

from __future__ import annotations

import pytest

from scp_anon.deid.text import decode, encode

SETS = {
    "ISO_IR 100": "Thorax für Ärzte",
    "ISO_IR 144": "Голова",
    "ISO_IR 192": "頭部 Kopf",
    "GB18030": "头部",
    "ISO_IR 166": "ศีรษะ",
    "\\ISO 2022 IR 87": "頭部 CT",
    "\\ISO 2022 IR 149": "머리 CT",
}


@pytest.mark.parametrize(("terms", "text"), SETS.items())
def test_there_and_back(terms: str, text: str) -> None:
    """What is encoded is decoded to the same."""
    sets = tuple(terms.split("\\"))
    assert decode(encode(text, sets), sets) == text


@pytest.mark.parametrize("terms", ["", "ISO_IR 100", "ISO_IR 144", "\\ISO 2022 IR 87"])
def test_what_a_set_does_not_have(terms: str) -> None:
    """Is never replaced by something else."""
    with pytest.raises(UnicodeError):
        encode("ศีรษะ", tuple(terms.split("\\")))
