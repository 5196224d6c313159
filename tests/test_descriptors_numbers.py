"""Clean Descriptors: identifiers in any groups, the instance's own and those of anybody, of many countries."""

from __future__ import annotations

import re

import pytest

from scp_anon.deid.descriptors import OwnIdentity, clean, own_identity
from scp_anon.deid.vocabulary import vocabulary

WORDS = vocabulary()
NOBODY = OwnIdentity()
MARKS = [
    " ",
    "-",
    "_",
    ".",
    "/",
    ":",
    ",",
    " - ",
    " / ",
    "  ",
    "\u00a0",
    "\u2013",
    "\u2011",
    "\u2009",
    "|",
    "*",
    "+",
    "(",
    ") ",
]
GROUPS = [(3, 3, 3), (3, 2, 4), (2, 2, 2, 3), (1, 4, 4), (4, 5), (1,) * 9, (5, 4), (2, 3, 4)]


# Full-width, Arabic and Bengali.
OTHER_DIGITS = [
    "".join(chr(zero + int(digit)) if digit != " " else digit for digit in number)
    for zero in (0xFF10, 0x0660, 0x09E6)
    for number in ("950874426", "950 87 4426")
]


def digits_of(text: str) -> str:
    """The ASCII digits of a text."""
    return re.sub(r"[^0-9]", "", text)


@pytest.mark.parametrize(
    "own_id", ["P950874426", "950874426", "p-950874426", "950874426X", "AB950874426C", "P9508-74426"]
)
@pytest.mark.parametrize("mark", MARKS)
def test_the_own_identifier_goes_in_any_groups(own_id: str, mark: str) -> None:
    """With its letters, without them, and whatever separates the groups of its digits."""
    own = own_identity(["Quackenbush^Thaddeus"], [own_id], [], [], [])
    for groups in GROUPS:
        rest, parts = "950874426", []
        for length in groups:
            parts.append(rest[:length])
            rest = rest[length:]
        for before in ("", "P", "P ", "P-", "0", "00"):
            text = f"MR knee {before}{mark.join(parts)}, T1"
            assert digits_of(clean(text, own, WORDS)) in ("", "1"), text


@pytest.mark.parametrize(
    "text",
    [*OTHER_DIGITS, "950\u200b874\u200b426", "950874426th", "x950874426y"],
)
def test_the_own_identifier_goes_in_other_digits(text: str) -> None:
    """Full-width, Arabic, with what is invisible between them, with letters around them."""
    own = own_identity([], ["P950874426"], [], [], [])
    assert clean(f"MR knee {text}", own, WORDS) == "MR knee"


@pytest.mark.parametrize(
    "own_id", ["AB123CD4567", "MRN-40718264", "S 12 345 678 9", "2024/0815-77", "B23-7781-A1", "ACC99812345"]
)
def test_parts_of_identifiers(own_id: str) -> None:
    """Of an identifier with several groups of letters its digits go, and it goes as it is, in any case."""
    own = own_identity([], [own_id], [], [], [])
    digits = digits_of(own_id)
    plain = re.sub(r"\W", "", own_id)
    for form in (
        own_id,
        own_id.lower(),
        plain,
        digits,
        " ".join(digits),
        f"{digits[:3]}-{digits[3:]}",
        own_id.replace("-", " "),
    ):
        assert not digits_of(clean(f"MR knee {form}", own, WORDS)), form


# Numbers as states, insurers, banks and telephones have them: invented.
NUMBERS = (
    """
964-59-3996|964 59 3996|964/59/3996|964.59.3996|964_59_3996|964\u00a059\u00a03996|964 - 59 - 3996
964\u201359\u20133996|1EG4-TE5-MK73|1EG4 TE5 MK73|131052 12345|13 10 52 12345|131052-12345|131052/12345
19811228-9874|811228-9874|811228+9874|811228 9874|131052-308T|131052A308T|131052 308T|131052-1234|1310521234
131052 1234|1234.56.782|123456782|12 34 56 782|1234 56 782|1 85 05 78 006 084 36|185057800608436
1-85-05-78-006-084-36|1.85.05.78.006.084.36|2 85 05 2A 006 084 36|1 85 05 78 006 084|943 476 5919
943-476-5919|943.476.5919|943/476/5919|943_476_5919|AB 12 34 56 C|AB123456C|AB-12-34-56-C|756.1234.5678.97
756 1234 5678 97|7561234567897|12345678Z|12.345.678-Z|12 345 678 Z|12345678-Z|X1234567L|X-1234567-L
X 1234567 L|RSSMRA85T10A562S|RSS MRA 85T10 A562S|123.456.789-09|123 456 789 09|12345678909|123-456-789-09
1234-567-890-AB|1234 567 890 AB|TREM 8501 1234|2123 45670 1|2123-45670-1|A123456780|A 123 456 780
A123 456 780|65 170839 J 008|65170839J008|85.07.30-033.28|85 07 30 033 28|855112/1234|850101-1234567
1234567T|1234567 TA|1234 5678 9012|1234-5678-9012|4111 1111 1111 1111|4111-1111-1111-1111
DE89 3704 0044 0532 0130 00|NO93 8601 1117 947|GB29 NWBK 6016 1331 9268 19|8901 0112 3456 7|44051401359
440514 01359|+47 22 33 44 55|22 33 44 55|06.12.34.56.78|0612345678|030/1234567|(030) 1234567
+1 (555) 123-4567|555.123.4567|555 123 4567|555-123-4567 x276|0049-30-1234567|08-123 456 78|+44 20 7946 0958
020 7946 0958|+33 6 12 34 56 78|91 123 45 67|912 345 678|K1A 0B1|K1A-0B1|SW1A 1AA|D02 X285|2024 0815 4711 99
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_anybody_go(number: str) -> None:
    """In the middle of a description, at both ends, and alone; not a group of two digits is left."""
    for text in ("MR knee {}", "{} MR knee", "MR knee, {}, axial", "MR knee ({}) axial", "MR_knee_{}", "{}"):
        left = clean(text.format(number), NOBODY, WORDS)
        assert not [word for word in re.findall(r"[^\W_]+", left) if len(digits_of(word)) >= 2], text


LABELS = """
SSN|MRN|MRN:|ID|ID:|ID #|Pat.-Nr.|Patient ID:|NHS No.|Acc. No.|Accession|Fnr|CPR|BSN|AHV|NIR|DNI|CPF|Medicare|OHIP
PESEL|HETU|Personnummer|Insurance no.|Policy|Versicherungsnummer|Tel.|Fax:
"""


@pytest.mark.parametrize("label", LABELS.strip().replace("\n", "|").split("|"))
@pytest.mark.parametrize(
    "number", ["12 34", "7 8 9", "40 71 82", "12-34", "100 200 300", "P 12 34", "12 34 X", "0012", "64/59/96"]
)
def test_after_a_label_all_groups_go(label: str, number: str) -> None:
    """Also such as may be measures elsewhere; what follows them stays."""
    left = clean(f"MR knee {label} {number}, axial 5mm", NOBODY, WORDS)
    assert digits_of(left) == "5"
    assert "axial" in left


@pytest.mark.parametrize(
    "text",
    [
        "b 50 400 800 1000",
        "ep2d_diff_b50_400_800_ADC",
        "b 47 220 563 1000",
        "TI 50 100 200 400 800 1600",
        "TR/TE 2000/30 512/512",
        "matrix 512 512 192",
        "0.9 x 0.9 x 3.0",
        "5.0 2.5 1.25 0.625",
        "10 20 30 40 50 min",
        "phase 0 10 20 30 40 50 60 70 80 90 %",
        "1 2 3 4 5 6 7 8",
        "FOV 220 220 256",
        "T1 256 320 192",
        "120 kV 250 mA 0.5 s",
        "run-01 echo-02",
        "Lung 1.0 Bl57 3 512",
        "iohexol 300 100 ml",
        "L4/5 L5/S1 C2-C7",
        "4 iterations 21 subsets",
        "t2_tse_tra_512_3",
        "dir98_b1000_64",
    ],
)
def test_measures_in_a_row_stay(text: str) -> None:
    """Matrices, b values, phases, thicknesses."""
    assert clean(text, NOBODY, WORDS) == text
