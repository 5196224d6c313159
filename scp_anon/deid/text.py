"""Text values and the Specific Character Set that they are encoded in (PS3.5 6.1.2, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Final

from pydicom.charset import decode_bytes, encode_string

from scp_anon.deid.character_sets import CODECS, STAND_ALONE, STANDARD, Terms

DEFAULT_REPERTOIRE: Final = ("",)
_ESCAPE: Final = b"\x1b"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
# Each value starts again in the first character set, as does each component and component group of a name.
_DELIMITERS: Final = set(b"\\^=")


def character_sets(value: bytes) -> Terms:
    """The terms of a Specific Character Set value. Raises Undecodable for one that the standard does not define."""
    return STANDARD.terms(value)


@lru_cache(1024)
def _codecs(terms: Terms) -> list[str]:
    """The Python codecs of terms. A set that stands alone has none beside it, and is none beside others."""
    if terms[0] in STAND_ALONE:
        return [CODECS[terms[0]]]
    return [CODECS[terms[0]], *(CODECS[term] for term in terms[1:] if term not in STAND_ALONE)]


def decode(value: bytes, terms: Terms) -> str:
    """A text value as a string without its padding.

    Bytes that the character set does not define are kept as surrogates, so that different values stay different.
    """
    value = value.strip(b" \0")
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    encodings = _codecs(terms)
    try:
        if _ESCAPE not in value:
            return value.decode(encodings[0])
        text = decode_bytes(value, encodings, _DELIMITERS)
    except (UnicodeError, LookupError):
        text = _REPLACEMENT
    # Where pydicom cannot decode, it puts the same character in place of whatever was there.
    return value.decode("utf-8", "surrogateescape") if _REPLACEMENT in text else text


def encode(text: str, terms: Terms) -> bytes:
    """A text in these character sets. Raises UnicodeError where they do not have one of its characters."""
    if text.isascii():
        return text.encode("ascii")
    encodings = _codecs(terms)
    if len(encodings) == 1:
        return text.encode(encodings[0])
    for character in set(text):
        _check_encodable(character, encodings)  # pydicom would put a question mark
    encoded = encode_string(text, encodings)
    if decode(encoded, terms) != text.strip(" \0"):
        raise UnicodeError
    return encoded


def _check_encodable(character: str, encodings: list[str]) -> None:
    for encoding in encodings:
        with contextlib.suppress(UnicodeError):
            character.encode(encoding)
            return
    raise UnicodeError
