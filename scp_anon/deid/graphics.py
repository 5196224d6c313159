"""Curves and overlays under the option Clean Graphics (PS3.15 E.3.3); without it both are removed.

What is a number stays, what is text is cleaned, what is sound goes. The bits of an overlay can draw letters: only a
region of interest (Overlay Type R) with data of its own is kept, a graphic (G) goes as a whole, and so does an overlay
whose bits are in the pixel data.
"""

from __future__ import annotations

from typing import Final

from scp_anon.deid.actions import REMOVE, Rule
from scp_anon.deid.instance import Scope
from scp_anon.dicom.dictionary import repeating

_TYPE: Final = 0x0040
_DATA: Final = 0x3000
_KEPT_OF_OVERLAYS: Final = frozenset(
    (0x0010, 0x0011, 0x0015, 0x0040, 0x0050, 0x0051, 0x0100, 0x0102, 0x1301, 0x1302, 0x1303, 0x3000)
)
_KEPT_OF_CURVES: Final = frozenset(
    (0x0005, 0x0010, 0x0020, 0x0103, 0x0104, 0x0105, 0x0110, 0x0112, 0x0114, 0x2610, 0x3000)
)
_TEXTS: Final = frozenset((0x0022, 0x0030, 0x0040, 0x0045, 0x0106, 0x1001, 0x1500, 0x2500, 0x4000))


def graphics_rules(clean: Rule, done: int) -> dict[int, Rule]:
    """Rules for all curves and overlays; `clean` is the one for texts, `done` the bit of the option."""
    rules = {}
    kept = Rule("SQ", descends=True, done=done)
    for tag, vrs in repeating().items():
        element = tag & 0xFFFF
        is_curve = tag < 0x60000000
        if element in (_KEPT_OF_CURVES if is_curve else _KEPT_OF_OVERLAYS):
            rule = kept
        elif element in _TEXTS:
            rule = Rule(vrs[0], clean.act, otherwise=REMOVE, done=done)
        else:
            rule = REMOVE
        rules[tag] = rule if is_curve else _if_region(tag & 0xFFFF0000, rule)
    return rules


def _if_region(group: int, rule: Rule) -> Rule:
    def choose(scope: Scope) -> Rule:
        overlay_type = scope.value(group | _TYPE)
        is_region = overlay_type is not None and overlay_type.strip(b" \0") == b"R"
        return rule if is_region and scope.has(group | _DATA) else REMOVE

    return Rule("SQ", descends=True, choose=choose)
