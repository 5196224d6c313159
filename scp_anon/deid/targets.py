"""What a rule or a condition names: an attribute by keyword, tag, pattern of tags, or path through sequences."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from scp_anon.dicom.dictionary import attributes, keywords, vr_of
from scp_anon.errors import ConfigError

# (gggg,eeee) or ggggeeee, with x for any digit.
_TAG: Final = re.compile(r"\(?([0-9A-Fa-fxX]{4})(?:,\s?)?([0-9A-Fa-fxX]{4})\)?")


@dataclass(frozen=True)
class Target:
    """Attributes, and where: directly inside the sequences of `path`, from the top level on if it is `anchored`."""

    tags: frozenset[int]
    path: tuple[int, ...] = ()
    anchored: bool = False

    def is_at(self, path: tuple[int, ...]) -> bool:
        """Whether the target is in a data set that is reached through these sequences."""
        if self.anchored:
            return path == self.path
        return not self.path or path[-len(self.path) :] == self.path

    @property
    def is_everywhere(self) -> bool:
        """Whether it holds at every place."""
        return not self.path and not self.anchored


@cache
def parse_target(text: str) -> Target:
    """The target that a rule's `tag` names. Raises ConfigError for what names no attribute of the dictionary."""
    *enclosing, last = text.lstrip("/").split("/")
    path = tuple(_sequence(part) for part in enclosing)
    return Target(parse_tags(last), path, text.startswith("/"))


def parse_attribute(text: str) -> int:
    """The one attribute that a keyword or a tag names; of repeating groups, the first. Raises ConfigError."""
    return min(parse_tags(text))


def parse_tags(text: str) -> frozenset[int]:
    """The tags that a keyword, a tag or a pattern names. Raises ConfigError."""
    text = text.strip()
    match = _TAG.fullmatch(text)
    if match is None:
        return _by_keyword(text)
    pattern = re.compile((match[1] + match[2]).upper().replace("X", "."))
    if "." not in pattern.pattern:
        tag = int(pattern.pattern, 16)
        if tag >> 16 & 1:
            raise ConfigError(f"{text} is private: name it by its creator, as private: CREATOR, element: xx")
        if tag not in attributes():
            raise ConfigError(f"{text} is no attribute of the dictionary; such ones are removed in any case")
        return frozenset((tag,))
    tags = frozenset(tag for tag in attributes() if pattern.fullmatch(f"{tag:08X}"))
    if not tags:
        raise ConfigError(f"{text} matches no attribute of the dictionary")
    return tags


def _by_keyword(keyword: str) -> frozenset[int]:
    tags = keywords().get(keyword)
    if tags is None:
        close = difflib.get_close_matches(keyword, keywords(), 1)
        hint = f"did you mean {close[0]}?" if close else "write a keyword, or a tag as (gggg,eeee)"
        raise ConfigError(f"unknown keyword {keyword}; {hint}")
    return tags


def _sequence(text: str) -> int:
    tag = parse_attribute(text)
    if vr_of(tag) != "SQ":
        raise ConfigError(f"{text} is no sequence, and has nothing in it")
    return tag
