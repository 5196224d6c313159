"""Rules that are functions of the caller: the way into the engine for what no profile can say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from scp_anon.deid import actions, text
from scp_anon.deid.actions import REMOVE, Rule, Unfit
from scp_anon.deid.instance import SOP_INSTANCE_UID, Scope
from scp_anon.deid.rules import DATES
from scp_anon.dicom.dictionary import CHARACTER_SET_VRS, keyword_of


class Verdict(Enum):
    """What a function may say instead of a new value."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"


@dataclass(frozen=True)
class Attribute:
    """What a function is given: the attribute at hand, and who the patient has become.

    `value` is text for VRs of text, without its padding, several values with a backslash between them; else the bytes,
    little endian. `path`: the keywords of the sequences that it is in. `patient`: the patient's pseudonym.
    """

    tag: int
    keyword: str
    vr: str
    value: str | bytes
    path: tuple[str, ...]
    patient: str


Custom: TypeAlias = "Callable[[Attribute], str | bytes | Verdict]"

_TEXTS = CHARACTER_SET_VRS | frozenset("AE AS CS DA DS DT IS TM UI UR".split())


def custom_rule(tag: int, vr: str, function: Custom, broken: int) -> Rule:
    """The rule that asks `function` for the new value; what it raises comes out of the engine.

    `broken`: the bits of the options that promise to clean the attribute. What the function keeps nobody knows.
    """
    done = actions.WEAKENED | broken
    choices = {
        Verdict.KEEP: actions.keep(done),
        Verdict.REMOVE: REMOVE,
        Verdict.EMPTY: actions.empty(tag, vr),
    }

    def choose(scope: Scope) -> Rule:
        original = scope.value(tag) or b""
        said = function(_attribute(tag, vr, original, scope))
        if not isinstance(said, Verdict | str | bytes):
            raise TypeError(f"function for {keyword_of(tag)}: must return text, bytes or a Verdict, not {type(said)}")
        if tag == SOP_INSTANCE_UID and (not said or said in (Verdict.REMOVE, Verdict.EMPTY)):
            raise ValueError("the function for SOPInstanceUID must return a UID, or keep it")
        if isinstance(said, Verdict):
            if vr in DATES and said is Verdict.KEEP:
                actions.note_date(scope, original, original)
            return choices[said]
        encoded = _encoded(said, vr, scope)
        if vr in DATES:
            actions.note_date(scope, original, encoded)
        return Rule(vr, lambda scope, value: encoded, done=done)

    return Rule("UN", choose=choose, descends=True)


def _attribute(tag: int, vr: str, original: bytes, scope: Scope) -> Attribute:
    value: str | bytes = text.decode(original, scope.character_sets) if vr in _TEXTS else original
    path = tuple(keyword_of(sequence) for sequence in scope.path)
    return Attribute(tag, keyword_of(tag), vr, value, path, scope.instance.patient.decode("ascii"))


def _encoded(said: str | bytes, vr: str, scope: Scope) -> bytes:
    """What a function said, encoded. Raises Unfit for what the character set of the data set does not have."""
    if isinstance(said, bytes):
        return said
    if len(said) > actions.LONGEST.get(vr, len(said)):
        raise Unfit
    try:
        return text.encode(said, scope.character_sets)
    except UnicodeError:
        raise Unfit from None
