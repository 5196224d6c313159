"""The name that must not come out, in whatever writing and encoding."""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom.charset import python_encoding

from tests import samples

NAME: Final = "CANARY^PATIENT"
VALUE: Final = NAME.encode("ascii")  # of an even length
# The bird in other writings: what is left of one of them is not found by looking for letters of ASCII.
CYRILLIC: Final = "КАНАРЕЙКА"
GREEK: Final = "καναρίνι"
KATAKANA: Final = "カナリア"
KANJI: Final = "金糸雀"
CHINESE: Final = "金丝雀"
KOREAN: Final = "카나리아"
ARABIC: Final = "الكناري"
LATIN: Final = "KÄNÄRIENVÖGEL"
_WRITINGS: Final = (samples.CANARY, CYRILLIC, GREEK, KATAKANA, KANJI, CHINESE, KOREAN, ARABIC, LATIN)
_LARGE: Final = 1 << 20
_ZEROS: Final = bytes(4096)
_OTHER: Final = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp500", "cp1252", "shift_jis", "big5", "euc_jp")


@cache
def forms() -> frozenset[bytes]:
    """Every writing in every encoding that has its characters."""
    found = set()
    for encoding in {*python_encoding.values(), *_OTHER}:
        for writing in _WRITINGS:
            try:
                found.add(writing.encode(encoding))
            except UnicodeError:
                continue
    return frozenset(found)


def is_in(content: bytes) -> bool:
    """Whether the name is in it."""
    if len(content) > _LARGE:
        content = content.replace(_ZEROS, b"")
    return any(form in content for form in forms())
