"""Clean Structured Content (PS3.15 E.3.4): content items ruled on by their concept names, Table E.3.4-1.

A content item is an item of Content Sequence, Acquisition Context Sequence, Specimen Preparation Step Content Item
Sequence or Waveform Annotation Sequence. What the table removes goes with all that it contains; what it has no row
for is treated by its value type: numbers and codes stay, text is cleaned, names get a dummy, dates follow the dates
option, UIDs and references are mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from scp_anon.deid.actions import KEEP, Rule
from scp_anon.deid.instance import Scope, unpadded
from scp_anon.deid.tables import Concept, concepts

CONTENT_SEQUENCE: Final = 0x0040A730
# The sequences whose items are content items.
SEQUENCES: Final = (CONTENT_SEQUENCE, 0x00400555, 0x00400612, 0x0040B020)
SPECIMEN_PREPARATION: Final = 0x00400610

CODE_VALUE: Final = 0x00080100
_LONG_CODE_VALUE: Final = 0x00080119
_URN_CODE_VALUE: Final = 0x00080120
CODING_SCHEME: Final = 0x00080102
_CONCEPT_NAME: Final = 0x0040A043
_VALUE_TYPE: Final = 0x0040A040
DATE_TIME, DATE, TIME, PERSON_NAME, UID = 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123, 0x0040A124
TEXT: Final = 0x0040A160
ANNOTATION_TEXT: Final = 0x00700006
# What has to be found in items, besides the values, to know what they are.
NOTED: Final = (CODE_VALUE, _LONG_CODE_VALUE, _URN_CODE_VALUE, CODING_SCHEME, _CONCEPT_NAME, _VALUE_TYPE)

# SNOMED CT under the designators that it had before (PS3.16 8.1).
_SAME_SCHEME: Final = {"SRT": "SCT", "SNM3": "SCT", "99SDM": "SCT"}

_Key = tuple[str, str]


class ContentRules:
    """What becomes of content items: `for_item` is the `items` of a rule for a sequence of them."""

    def __init__(self, codes: Callable[[Concept], str], by_code: Mapping[str, Mapping[int, Rule]]) -> None:
        """`codes`: the action code of a row under the options that are on.

        `by_code`: action code, or "" for a concept without a row → rules for the values; "X" is not among them.
        """
        self._by_code = by_code
        self._codes: dict[tuple[_Key, str], str] = {}
        self._any_type: dict[_Key, str] = {}
        for concept in concepts():
            key = (concept.code, concept.scheme)
            code = codes(concept)
            self._codes[key, concept.value_type] = code
            # An item of another value type than the row's is not what the row means; the strictest then holds.
            self._any_type[key] = "X" if code == "X" or self._any_type.get(key) == "X" else code

    def for_item(self, scope: Scope) -> Mapping[int, Rule]:
        """The rules for an item; none, to remove it."""
        code = self._code(scope)
        return _NOTHING if code == "X" else self._by_code[code]

    def _code(self, scope: Scope) -> str:
        for name in scope.items(_CONCEPT_NAME):
            value = next((raw for tag in NOTED[:3] if (raw := name.value(tag)) is not None), b"")
            scheme = unpadded(name.value(CODING_SCHEME) or b"").decode("latin-1")
            key = unpadded(value).decode("latin-1"), _SAME_SCHEME.get(scheme, scheme)
            value_type = unpadded(scope.value(_VALUE_TYPE) or b"").decode("latin-1")
            found = self._codes.get((key, value_type)) or self._any_type.get(key)
            if found is not None:
                return found
        return ""


_NOTHING: Final[Mapping[int, Rule]] = {}


def value_rules(
    dummies: Mapping[int, Rule], texts: Mapping[int, Rule], dates: Mapping[int, Rule]
) -> dict[str, Mapping[int, Rule]]:
    """Action code → rules for the values of a content item, by the attribute that holds it.

    `dummies`: what D writes. `texts`: the rules for text, each with its dummy where nothing is left. `dates`: the rules
    of the dates option, or dummies.
    """
    cleaned = {**dummies, **dates, **texts}
    return {
        "D": dummies,
        "Z": dummies,
        "C": cleaned,
        "K": dict.fromkeys(dummies, KEEP) | {PERSON_NAME: dummies[PERSON_NAME]},
        "": cleaned,
    }
