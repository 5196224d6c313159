r"""Texts for those who judge their words: what cannot be read for sure is marked, and is no word of any language.

Bytes above 7FH that no character set declares, or that the declared one does not have, become lone surrogates
(PS3.5 6.1.2). `condensed` then puts one U+FFFD in the place of each run of characters around them, up to an ASCII
character that ends a word in every encoding: the second byte of a Chinese or Japanese character may be an ASCII
letter, or one of ``@[\]^_`{|}~``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from scp_anon.deid.character_sets import CODECS, STAND_ALONE, Terms

UNREADABLE: Final = "\N{REPLACEMENT CHARACTER}"
_CACHED: Final = 1 << 13


class _Designation(NamedTuple):
    """What an escape sequence does (PS3.3 Tables C.12-3 and C.12-4): the element, the term, and the Python codec."""

    element: int
    number: int
    codec: str


_G0, _G1 = 0, 1
_SINGLE_BYTE: Final = {
    b"A": 100, b"B": 101, b"C": 109, b"D": 110, b"F": 126, b"G": 127, b"H": 138, b"L": 144, b"M": 148, b"T": 166,
    b"b": 203,
}  # fmt: skip
_DESIGNATIONS: Final = {
    b"\x1b(B": _Designation(_G0, 6, "ascii"),
    b"\x1b(J": _Designation(_G0, 13, "ascii"),  # but for the yen sign and the overline, which are in no word
    b"\x1b)I": _Designation(_G1, 13, "shift_jis"),
    b"\x1b$B": _Designation(_G0, 87, "iso2022_jp"),
    b"\x1b$(D": _Designation(_G0, 159, "iso2022_jp_2"),
    b"\x1b$)C": _Designation(_G1, 149, "euc_kr"),
    b"\x1b$)A": _Designation(_G1, 58, "gb2312"),
    **{
        b"\x1b-" + final: _Designation(_G1, number, CODECS[f"ISO_IR {number}"])
        for final, number in _SINGLE_BYTE.items()
    },
}
_ESCAPE: Final = re.compile(rb"(\x1b\$?[()-][@-~]|\x1b\$[@-~]|\x1b)")
# In G0 of one byte: what has the initial sets hold again; in G1: the bytes of another set.
_RESETS: Final = re.compile(rb"([\\^=\t\n\f\r])")
_HALVES: Final = re.compile(rb"[\0-\x7f]+|[\x80-\xff]+")
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_KATAKANA: Final = re.compile(rb"([\xa1-\xdf]+)")


class _Unreadable(ValueError):
    """Escape sequences that are not declared, or what follows them is not of their set."""


def readable(value: bytes, terms: Terms) -> str:
    """A text value without its padding; bytes that cannot be read for sure are lone surrogates. Never raises."""
    value = value.strip(b" \0")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    return _readable(value, terms)


@lru_cache(_CACHED)
def _readable(value: bytes, terms: Terms) -> str:
    if any(mark in value for mark in _BYTE_ORDER_MARKS):
        return UNREADABLE  # UTF-16, whatever is declared
    if terms[0] in STAND_ALONE:
        return value.decode(CODECS[terms[0]], "surrogateescape")
    try:
        if len(terms) > 1 or terms[0].startswith("ISO 2022"):
            return "".join(_extended(value, terms))
        return _in_sets(value, "ascii", _initial(terms[0]))
    except _Unreadable:
        return value.decode("ascii", "surrogateescape")


def _extended(value: bytes, terms: Terms) -> Iterator[str]:
    """The parts of a value with code extensions (PS3.5 6.1.2.5). Raises _Unreadable."""
    declared = {_number(term) for term in terms} | {6}
    initial = ["ascii", _initial(terms[0])]
    sets = list(initial)
    for part in _ESCAPE.split(value):
        if part[:1] == b"\x1b":
            found = _DESIGNATIONS.get(part)
            if found is None or found.number not in declared:
                raise _Unreadable
            sets[found.element] = found.codec
        elif sets[_G0] == "ascii":
            for piece in _RESETS.split(part):
                if _RESETS.fullmatch(piece):
                    sets = list(initial)
                yield _in_sets(piece, *sets)
        elif part:
            yield _in_sets(part, *sets)


def _number(term: str) -> int:
    """The registration number in a term; 0 where there is none."""
    digits = term.rpartition(" ")[2]
    return int(digits) if digits.isdigit() else 0


def _initial(term: str) -> str:
    """The codec of bytes above 7FH before any escape sequence; that of ASCII where none is designated."""
    number = _number(term)
    return next((one.codec for one in _DESIGNATIONS.values() if one.element == _G1 and one.number == number), "ascii")


def _in_sets(value: bytes, g0: str, g1: str) -> str:
    """Bytes of two sets, below 80H and above. Raises _Unreadable for what is not of a G0 of two bytes."""
    if g0 == "ascii" and g1 != "shift_jis":
        return value.decode(g1, "surrogateescape")
    return "".join(_half(part, g0, g1) for part in _HALVES.findall(value))


def _half(value: bytes, g0: str, g1: str) -> str:
    if value.isascii():
        escape = {"iso2022_jp": b"\x1b$B", "iso2022_jp_2": b"\x1b$(D"}.get(g0, b"")
        try:
            return (escape + value).decode(g0)
        except UnicodeError:
            raise _Unreadable from None
    if g1 != "shift_jis":
        return value.decode(g1, "surrogateescape")
    # No term declares the characters of two bytes that Shift-JIS has beside katakana.
    pieces = ((piece, "shift_jis" if _KATAKANA.fullmatch(piece) else "ascii") for piece in _KATAKANA.split(value))
    return "".join(piece.decode(codec, "surrogateescape") for piece, codec in pieces)


def other_readings(value: bytes) -> tuple[str, ...]:
    """What an identifying value may say besides what is declared: UTF-8, which many write without declaring it."""
    try:
        return (value.strip(b" \0").decode("utf-8"),)
    except UnicodeError:
        return ()


# ---------------------------------------------------------------- what is unreadable in a text

# What ends a word in every encoding: below 40H no byte is the second one of a character, but digits of GB 18030.
_CLEAR: Final = r"\t\n\f\r !\"#$%&()*+,/:;<>?"
_RUN: Final = re.compile(rf"(?:[^{_CLEAR}\\]|(?<=[\udc80-\udcff])\\)+")
# Lone surrogates, control characters of both kinds, and what is no character; then what UTF-8 and Chinese texts look
# like where they are read as Latin: a symbol beside a letter of another kind than ASCII's.
_SIGNS: Final = re.compile(
    "[\\0-\\x08\\x0b\\x0e-\\x1f\\x7f-\\x9f\ud800-\udfff\ufdd0-\ufdef\ufffc-\uffff]"
    "|[\xc2-\xdf\u0102-\u0170][\xa0-\xbf]"
    "|[^\\0-\\x7f\xa0\xab\u2000-\u206f][\xa1-\xba\xbc-\xbf\xd7\xf7]"
    "|[\xa1-\xaa\xac-\xbe\xd7\xf7][^\\0-\\x7f\xa0\xbb\u2000-\u206f]"
)
# Letters as web pages, mails and programs write them.
_WRITTEN_OUT: Final = re.compile(
    r"&(?!(?:amp|lt|gt|quot|apos|nbsp|deg|micro|plusmn|times);)(?:[A-Za-z]{2,8}|#[0-9]{2,6}|#[xX][0-9A-Fa-f]{2,6});"
    r"|(?<=[A-Za-z])(?:=[C-F][0-9A-F])(?:=[89AB][0-9A-F])*(?=[a-z]|\b)"
    r"|%[C-F][0-9A-F](?:%[89AB][0-9A-F])+|(?<=[A-Za-z])%[C-F][0-9A-F](?=[a-z])"
    r"|\\[uU][0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}"
)
# From here on letters mean others: an escape sequence, a shift, or the beginning of HZ. NUL is in UTF-16.
_SHIFTS: Final = re.compile("[\x0e\x0f\x1b]|~\\{")
_OTHER_WIDTH: Final = re.compile("\0|\ufffe")
_NO_ASCII: Final = re.compile("[^\\0-\\x7f]")
_C0: Final = re.compile("[\\x01-\\x08\\x0b\\x0e-\\x1a\\x1c-\\x1f\\x7f]")


def condensed(decoded: str) -> str:
    """The text with one U+FFFD for each run of characters that cannot be read for sure; without any, the same text."""
    decoded = _WRITTEN_OUT.sub(UNREADABLE, decoded)
    if not (_SIGNS.search(decoded) or _SHIFTS.search(decoded)):
        return decoded
    if _OTHER_WIDTH.search(decoded) or (_NO_ASCII.search(decoded) and _C0.search(decoded)):
        return UNREADABLE  # of UTF-16 any byte may look like an ASCII character, a blank included
    shift = _SHIFTS.search(decoded)
    if shift is not None:
        decoded = decoded[: shift.start()] + UNREADABLE
    return _RUN.sub(lambda run: UNREADABLE if _SIGNS.search(run[0]) else run[0], decoded)
