"""`base: allow-list`: everything is deleted but what the rules of a profile name.

What an IOD needs of the attributes of Table E.1-1 (Type 1, 1C, 2, 2C) is filled or emptied as the Basic Profile does;
nothing of the original is in that, but keyed UIDs and the pseudonym. Whatever else nobody has listed goes, at any
depth. So do the claims of an earlier de-identification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scp_anon.deid import actions
from scp_anon.deid.actions import REMOVE, Rule
from scp_anon.deid.dummies import BY_TAG
from scp_anon.deid.instance import PATIENT_ID, PATIENT_NAME, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Scope
from scp_anon.deid.standard_rules import Decided, Options, by_code, by_iod
from scp_anon.deid.tables import Row, attribute_rows, iod_actions, iod_needs
from scp_anon.dicom.dictionary import attributes, vr_of

_SERIES_INSTANCE_UID: Final = 0x0020000E
NOT_LISTED: Final = Decided(REMOVE, "X", "not on the list")
NEEDED: Final = "needed"  # the action, as it is told
_ORIGIN: Final = "not on the list, by IOD"


def allow_list_rules(options: Options) -> dict[int, Decided]:
    """Tag → what becomes of an attribute that no rule of the profile names, for every attribute of the dictionary."""
    places: dict[int, dict[int, Mapping[str, str]]] = {}
    for (tag, enclosing), by in (*iod_actions().items(), *iod_needs().items()):
        places.setdefault(tag, {})[enclosing] = by
    rules = dict.fromkeys(attributes(), NOT_LISTED)
    rules.update({row.tag: _needed(row, places.get(row.tag, {}), options) for row in attribute_rows()})
    # Whatever the class, an instance is nobody's and nowhere without these.
    for tag in (SOP_INSTANCE_UID, STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID):
        rules[tag] = _at_top_level(options.new_uid(tag), rules[tag], "U")
    rules[PATIENT_ID] = _at_top_level(actions.patient_id(), rules[PATIENT_ID], "pseudonym")
    rules[PATIENT_NAME] = _at_top_level(actions.patient_name(), rules[PATIENT_NAME], "pseudonym")
    return rules


def _needed(row: Row, places: Mapping[int, Mapping[str, str]], options: Options) -> Decided:
    """Filled or emptied by IOD and innermost enclosing sequence, else removed."""
    if not places:
        return NOT_LISTED
    codes = {code for by in places.values() for code in by.values()}
    branches = {code: _filled(code, row.tag, options) for code in codes}
    # Of a class without an IOD in the tables nobody knows what it needs.
    unknown = branches.get("U") or branches.get("Z") or branches.get("D") or REMOVE
    return Decided(by_iod(places, branches, unknown, REMOVE), NEEDED, _ORIGIN)


def _filled(code: str, tag: int, options: Options) -> Rule:
    vr = vr_of(tag) or "UN"
    if vr == "SQ" and code != "X" and tag not in BY_TAG:
        return actions.empty(tag, vr)  # references without what is in them are none
    return by_code(code, tag, vr, options)


def _at_top_level(rule: Rule, inside: Decided, action: str) -> Decided:
    def choose(scope: Scope) -> Rule:
        return inside.rule if scope.path else rule

    origin = "every instance has it; in items, where an IOD needs it"
    return Decided(Rule(rule.vr, descends=True, choose=choose), action, origin)
