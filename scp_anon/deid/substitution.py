"""The action regex: a value is made anew of what a regular expression finds in it."""

from __future__ import annotations

from scp_anon.deid import text
from scp_anon.deid.actions import Rule, Unfit, encoded
from scp_anon.deid.instance import SINGLE, Scope
from scp_anon.dicom.elements import Value
from scp_anon.regex import Expression


def first(vr: str, expression: Expression, replacement: str) -> Rule:
    """What a regular expression's first match in the value makes of `replacement`."""

    def act(scope: Scope, value: bytes) -> Value:
        decoded = text.decode(value, scope.character_sets)
        match = expression.pattern.search(decoded) if len(decoded) <= expression.longest else None
        if match is None:
            raise Unfit
        return encoded(match.expand(replacement), vr, scope)

    # What comes of it may be anything, so that it cannot be told from what has not been through it.
    return Rule(vr, act, made=lambda scope, value: True)


def every(vr: str, expression: Expression, replacement: str) -> Rule:
    """Each of its values with all matches of a regular expression replaced; those without a match stay."""
    is_single = vr in SINGLE

    def act(scope: Scope, value: bytes) -> Value:
        decoded = text.decode(value, scope.character_sets)
        if len(decoded) > expression.longest:
            raise Unfit
        parts = [decoded] if is_single else [part.strip(" \0") for part in decoded.split("\\")]
        new = [expression.pattern.subn(replacement, part) for part in parts]
        if not any(count for _, count in new):
            raise Unfit
        return b"\\".join(encoded(part, vr, scope) for part, _ in new)

    return Rule(vr, act, made=lambda scope, value: True)
