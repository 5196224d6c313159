"""What the options that are on promise, and which rules of the project break it.

That an attribute is cleaned (code C of Table E.1-1) is a promise: whoever reads the option's code in (0012,0064) relies
on it. A rule that goes before the option and keeps more breaks it, and the instance does not claim the option then. To
remove, empty or replace is to do more than was promised. Codes that let something stay (K) promise nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from scp_anon.deid.standard_rules import MODIFIED_DATES, SAFE_PRIVATE, Decided, Options

_PRIVATE: Final = 0  # what stands for the tag of any private attribute
# What the option for modified dates keeps as it is, where it is valid.
_VALID_STAY: Final = frozenset(("TM", "SH"))


class Promises:
    """The promises of a profile's options, as bits of `Instance.done`."""

    def __init__(self, options: Options, standard: Mapping[int, Decided]) -> None:
        """`standard`: the standard's rules under these options."""
        names = options.names
        self._names = {options.broken(name): name for name in names}
        self._bits = {tag: decided.promised for tag, decided in standard.items() if decided.promised}
        self._dates = options.broken(MODIFIED_DATES) if MODIFIED_DATES in names else 0
        if SAFE_PRIVATE in names:
            self._bits[_PRIVATE] = options.broken(SAFE_PRIVATE)  # only what is known to be safe stays

    def broken(self, action: str, tag: int) -> int:
        """The bits that an action breaks, of those that let something of the original stay; tag 0: any private one."""
        bits = self._bits.get(tag, 0)
        if tag != _PRIVATE and action == "shift-date":
            return bits & ~self._dates  # by the same days as the option moves them
        if tag != _PRIVATE and action == "clean-text":
            return bits & self._dates  # by the same vocabulary as the options have
        return bits

    def holds_if_valid(self, tag: int, vr: str) -> bool:
        """Whether to keep an attribute is all that is promised, as long as its value is one of its VR."""
        return vr in _VALID_STAY and bool(self._dates) and self._bits.get(tag, 0) == self._dates

    def names(self, bits: int) -> Iterator[str]:
        """The options of such bits."""
        return (name for bit, name in self._names.items() if bits & bit)
