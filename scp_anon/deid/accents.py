"""Words with the accents that they are written with: without them they would be other words."""

from __future__ import annotations

import unicodedata
from typing import Final

POSSESSIVE: Final = ("'s", "\N{RIGHT SINGLE QUOTATION MARK}s")
# What is the same letter or digit in another form. An accent is none of them.
_SAME: Final = {
    **{ord(digit): str(value) for value, digit in enumerate("\u2070\xb9\xb2\xb3\u2074\u2075\u2076\u2077\u2078\u2079")},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # as wide as Chinese characters
    0xB5: "\u03bc",
    0xFB01: "fi",
    0xFB02: "fl",
}


def as_written(word: str) -> str:
    """A word in lower case and composed, with its accents, and without a possessive's ending."""
    if not word.isascii():
        word = unicodedata.normalize("NFC", word.translate(_SAME))
    word = word.lower()
    return word[:-2] if word.endswith(POSSESSIVE) and len(word) > len("'s") else word
