"""A profile: which rule each attribute has (PS3.15 E.1 and Table E.1-1), compiled for one look-up a tag.

The tables in `standard/` are DICOM PS3.15 2026d, © NEMA.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from scp_anon.deid import actions
from scp_anon.deid.actions import KEEP, REMOVE, Rule
from scp_anon.deid.dummies import BY_TAG, BY_VR, NEVER_EMPTY, code
from scp_anon.dicom.dictionary import dictionary, vr_of
from scp_anon.dicom.elements import DataSet
from scp_anon.dicom.encoding import Rules
from scp_anon.errors import ConfigError

PATIENT_IDENTITY_REMOVED: Final = 0x00120062
DEIDENTIFICATION_METHOD: Final = 0x00120063
DEIDENTIFICATION_METHOD_CODE_SEQUENCE: Final = 0x00120064
LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED: Final = 0x00280303

EDITION: Final = "2026d"
BASIC: Final = "basic"
NAMES: Final = (BASIC,)

# Table E.1-1a. A conditional code is resolved to its strictest branch: D before Z before X.
_BRANCHES: Final = {"Z/D": "D", "X/Z": "Z", "X/D": "D", "X/Z/D": "D", "X/Z/U*": "Z"}

# Rules of Table E.1-1 whose Z or D we make a pseudonym; Patient ID and Patient's Name must stay one patient's.
_PSEUDONYMS: Final = {actions.PATIENT_ID: actions.patient_id(), actions.PATIENT_NAME: actions.patient_name()}

# Groups that belong to commands, File Meta Information, directories and real-time streams (PS3.7, PS3.10, PS3.22):
# in a stored data set they are out of place, and are not passed on whatever the table says of them.
_FIRST_GROUP: Final = 0x0008
_LENGTH_TO_END: Final = 0x00080001  # retired, and wrong after any change


class Profile:
    """A compiled profile: `rules` for the pass, `required` for the attributes that every instance gets.

    `digest` changes whenever a rule does. What is in no dictionary, curves, overlays and private attributes all have
    the rule for other tags: they are removed. (An overlay without its data would be an invalid one, and its bits may
    be in the pixel data: so its whole group goes.)
    """

    def __init__(self, name: str, rules: Mapping[int, Rule], required: Mapping[int, Rule], digest: str) -> None:
        self.name = name
        self.digest = digest
        self.required = tuple(sorted(required))
        checked = {
            actions.SPECIFIC_CHARACTER_SET: actions.check_character_set(),
            # A class of the standard stays, as well-known UIDs do; whatever else is written there does not.
            actions.SOP_CLASS_UID: actions.new_uid(),
        }
        ruled = {tag: rule for tag, rule in {**rules, **checked, **required}.items() if tag >> 16 >= _FIRST_GROUP}
        kept = {tag for tag in dictionary() if tag >> 16 >= _FIRST_GROUP} - ruled.keys() - {_LENGTH_TO_END}
        self.rules = Rules(ruled, kept, REMOVE, KEEP)


def compile_profile(name: str, key_id: str, version: str) -> Profile:
    """The profile of this name, which notes `version` of the tool, itself and the key in De-identification Method.

    Raises ConfigError for a name that there is no profile of.
    """
    if name != BASIC:
        raise ConfigError(f"there is no profile {name!r}; there is: {', '.join(NAMES)}")
    codes = _basic_codes()
    digest = _digest(codes)
    methods = (f"scp-anon {version}", f"PS3.15 {EDITION} {name} {digest}", f"key {key_id}")
    required = {
        PATIENT_IDENTITY_REMOVED: actions.constant(PATIENT_IDENTITY_REMOVED, "CS", b"YES"),
        DEIDENTIFICATION_METHOD: actions.append_values("LO", *(method.encode("ascii") for method in methods)),
        DEIDENTIFICATION_METHOD_CODE_SEQUENCE: actions.append_items(_method_code("113100")),
        LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED: actions.constant(
            LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, "CS", b"REMOVED"
        ),
    }
    return Profile(name, {tag: _rule(tag, action) for tag, action in codes.items()}, required, digest)


def _rule(tag: int, action: str) -> Rule:
    """The rule of one row of Table E.1-1."""
    vr = vr_of(tag) or "UN"
    match action:
        case "X":
            return REMOVE
        case "U":
            return actions.new_uid()
        case _ if tag in _PSEUDONYMS:
            return _PSEUDONYMS[tag]
        case "Z":
            return actions.empty(tag, vr)
        case "D":
            return actions.dummy(tag, vr)
    raise AssertionError(f"action code {action}")


def _basic_codes() -> dict[int, str]:
    """Tag → action code of the Basic Profile, for all rows but those of repeating groups and private attributes."""
    rows = _table("ps3.15-table-E.1-1.csv")
    codes = {row["tag"]: row["basic_profile"] for row in rows}
    repeating = {tag: action for tag, action in codes.items() if "X" in tag[1:10] or "G" in tag}
    if set(repeating.values()) != {"X"}:
        raise AssertionError("a repeating group with a rule that is not the rule for other tags")
    return {
        int(tag[1:5] + tag[6:10], 16): _BRANCHES.get(action, action)
        for tag, action in codes.items()
        if tag not in repeating
    }


def _digest(codes: Mapping[int, str]) -> str:
    """Eight digits that tell this set of rules, and what we replace values with, from every other."""
    content = repr((sorted(codes.items()), sorted(BY_VR.items()), sorted({**BY_TAG, **NEVER_EMPTY}.items())))
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _method_code(value: str) -> DataSet:
    """The item of CID 7050 De-identification Method with this code value."""
    (row,) = (row for row in _table("cid7050.csv") if row["code_value"] == value)
    return code(value.encode(), row["coding_scheme_designator"].encode(), row["code_meaning"].encode())


def _table(name: str) -> list[dict[str, str]]:
    with (files(__package__) / "standard" / name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))
