"""What a pass over an encoded data set looks for, and what it finds: the rules and the places of elements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from scp_anon.dicom.dictionary import SHORT_VRS, attributes, tag_text, vr_code
from scp_anon.errors import Reason, Undecodable

Buffer: TypeAlias = "bytes | bytearray | memoryview"

NO_TAG: Final = 1 << 32  # above every tag


class Irregular(Exception):
    """The strict pass refuses this encoding: `reason` says how, `tag` where."""

    def __init__(self, reason: Reason, tag: int = NO_TAG) -> None:
        super().__init__(reason, tag)
        self.reason = reason
        self.tag = tag

    def as_undecodable(self) -> Undecodable:
        """The same as an error that ends this input."""
        return Undecodable(self.reason, tag_text(self.tag) if self.tag < NO_TAG else "")


class Rule(Protocol):
    """What `scan` has to know of a rule: whether it looks into the items of a sequence."""

    @property
    def descends(self) -> bool:
        """Whether a kept sequence is looked into."""


R = TypeVar("R", bound=Rule)
R_co = TypeVar("R_co", bound=Rule, covariant=True)


class Item(Generic[R]):
    """One item and what was found in it: header at `start`, data set from `content` up to `stop`."""

    __slots__ = ("content", "found", "start", "stop", "undefined")

    def __init__(self, start: int, content: int, stop: int, undefined: bool, found: list[Found[R]]) -> None:
        self.start, self.content, self.stop, self.undefined, self.found = start, content, stop, undefined, found


class Sequence(Generic[R]):
    """A sequence: the items in which something was found (or all, if it has a rule of its own), and its encoding.

    `explicit` is the encoding of its items, which differs from the enclosing one for a sequence of VR UN;
    `end` is where its last item ends, before the delimitation if it has one.
    """

    __slots__ = ("end", "explicit", "items", "undefined")

    def __init__(self, items: list[Item[R]], end: int, explicit: bool, undefined: bool) -> None:
        self.items, self.end, self.explicit, self.undefined = items, end, explicit, undefined


class Private(Protocol[R_co]):
    """Rules for private elements, by the private creator that reserved their block (PS3.5 7.8.1)."""

    @property
    def creator(self) -> R_co:
        """The rule for a private creator in whose block something has a rule."""

    def knows(self, creator: bytes) -> bool:
        """Whether anything in blocks of this creator has a rule."""

    def rule(self, creator: bytes, group: int, offset: int, vr: int, length: int) -> R_co | None:
        """The rule for the element of this offset in a block of `creator`, of this encoded VR (0: not told), if any."""

    def is_sequence(self, rule: object) -> bool:
        """Whether a rule is for sequences only: where no VR tells one, its value must read as items."""


# rule, tag, start of the header, start of the value, end, the sequence if it is one and the rule descends.
# A plain tuple, as one is made for each element found and is unpacked with these names where it is used.
Found: TypeAlias = tuple[R, int, int, int, int, Sequence[R] | None]


class Stretch(NamedTuple):
    """Neighbours in a data set: their bytes, how many those are, and the tag of the last."""

    content: bytes
    size: int
    last: int


class Rules(Generic[R]):
    """What a pass looks for, compiled for one look-up an element.

    `rules`: tag → rule. `kept`: the tags that pass without a rule. `other`: the rule for all other tags (None: they
    pass too). `sequences`: the rule under which a kept sequence is reported when something was found in its items
    (None: kept sequences are not looked into). `private`: what is ruled on by private creator; without it private
    elements are as all other tags.
    """

    def __init__(
        self,
        rules: Mapping[int, R],
        kept: Collection[int],
        other: R | None,
        sequences: R | None,
        private: Private[R] | None = None,
    ) -> None:
        known = attributes()
        self.rules: dict[int, R | None] = {**dict.fromkeys(kept, sequences), **rules}
        self.other = other
        self.sequences = sequences
        self.private = private
        # For the fast path: kept tags that are no sequences, and their VR where explicit VR gives it a short length.
        self.plain = frozenset(tag for tag in kept if known[tag][0] != "SQ")
        self.short = {tag: vr_code(known[tag][0]) for tag in self.plain if known[tag][0] in SHORT_VRS}
        # Neighbours that passed, or that had the rule for others, as they last were: by the tag of the first. Those of
        # a series are mostly the same in every instance: what was read once is only compared then.
        self.passed: dict[int, Stretch] = {}
        self.removed: dict[int, Stretch] = {}

    def with_private(self, private: Private[R]) -> Rules[R]:
        """The same rules, with others for private elements."""
        other = copy(self)
        other.private = private
        return other
