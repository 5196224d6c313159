"""Conditions on the attributes of an instance: `when` of rules, of what is admitted, and of pixels to be held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from scp_anon.deid.targets import parse_attribute
from scp_anon.dicom.dictionary import vr_of
from scp_anon.errors import ConfigError, Reason, Undecodable
from scp_anon.regex import Expression, compiled

# What a condition may ask for besides attributes: what the node knows of the association.
CONTEXT: Final = ("CallingAETitle", "CalledAETitle", "TransferSyntaxUID")
_NUMBERS: Final = frozenset("DS FD FL IS SL SS SV UL US UV".split())

Name: TypeAlias = "int | str"


class Facts(Protocol):
    """What a condition looks at."""

    def values(self, name: Name) -> list[str] | None:
        """The values of a top-level attribute, without padding, or of one of `CONTEXT`; None where it is absent."""


Test: TypeAlias = Callable[[Facts], bool]


@dataclass(frozen=True)
class Condition:
    """A compiled condition: the test, the attributes that it looks at, and how to say it."""

    test: Test
    tags: frozenset[int]
    text: str


def compile_condition(when: Mapping[str, object]) -> Condition:
    """Compile the mapping of a `when`. Raises ConfigError for what cannot be meant."""
    if not when:
        raise ConfigError("when: has no condition")
    parts = [_part(name, wanted) for name, wanted in when.items()]
    return _all(parts)


def _part(name: str, wanted: object) -> Condition:
    if name in ("all", "any"):
        if not isinstance(wanted, list) or not wanted or not all(isinstance(inner, dict) for inner in wanted):
            raise ConfigError(f"{name}: must be a list of conditions")
        parts = [compile_condition(inner) for inner in wanted]
        return _all(parts) if name == "all" else _any(parts)
    if name == "not":
        if not isinstance(wanted, dict):
            raise ConfigError("not: must be a condition")
        inner = compile_condition(wanted)
        return Condition(lambda facts: not inner.test(facts), inner.tags, f"not ({inner.text})")
    tests = wanted if isinstance(wanted, dict) else {"equals": wanted}
    if not tests:
        raise ConfigError(f"{name}: has no test")
    return _all([_test(name, operator, operand) for operator, operand in tests.items()])


def _all(parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    tests = [part.test for part in parts]
    tags = frozenset().union(*(part.tags for part in parts))
    return Condition(lambda facts: all(test(facts) for test in tests), tags, " and ".join(part.text for part in parts))


def _any(parts: list[Condition]) -> Condition:
    tests = [part.test for part in parts]
    tags = frozenset().union(*(part.tags for part in parts))
    text = " or ".join(part.text for part in parts)
    return Condition(lambda facts: any(test(facts) for test in tests), tags, f"({text})" if len(parts) > 1 else text)


def _test(attribute: str, operator: str, operand: object) -> Condition:
    name: Name = attribute if attribute in CONTEXT else parse_attribute(attribute)
    if operator == "exists":
        if not isinstance(operand, bool):
            raise ConfigError(f"{attribute}: exists: must be true or false")
        test: Test = lambda facts: (facts.values(name) is not None) == operand  # noqa: E731 - one of several forms
    else:
        matches = _value_test(attribute, operator, operand)
        test = lambda facts: any(map(matches, facts.values(name) or ()))  # noqa: E731 - likewise
    tags = frozenset((name,)) if isinstance(name, int) else frozenset[int]()
    return Condition(test, tags, f"{attribute} {operator} {_said(operand)}")


def _value_test(attribute: str, operator: str, operand: object) -> Callable[[str], bool]:
    match operator:
        case "equals":
            wanted = frozenset((_text(attribute, operator, operand),))
            return wanted.__contains__
        case "in":
            if not isinstance(operand, list) or not operand:
                raise ConfigError(f"{attribute}: in: must be a list of values")
            return frozenset(_text(attribute, operator, value) for value in operand).__contains__
        case "matches":
            try:
                expression = compiled(_text(attribute, operator, operand))
            except ConfigError as error:
                raise ConfigError(f"{attribute}: matches: {error}") from None
            return lambda value: _search(expression, value)
        case "less" | "greater":
            return _number_test(attribute, operator, operand)
    raise ConfigError(f"{attribute}: unknown test {operator}; there is: equals, in, matches, exists, less, greater")


def _search(expression: Expression, value: str) -> bool:
    if len(value) > expression.longest:
        raise Undecodable(Reason.RULE_NOT_APPLICABLE, "text too long")
    return expression.pattern.search(value) is not None


def _number_test(attribute: str, operator: str, operand: object) -> Callable[[str], bool]:
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise ConfigError(f"{attribute}: {operator}: must be a number")
    vr = "DS" if attribute in CONTEXT else vr_of(parse_attribute(attribute))
    if vr not in _NUMBERS:
        raise ConfigError(f"{attribute}: {operator}: its values are no numbers, but of VR {vr}")
    limit, less = float(operand), operator == "less"

    def test(value: str) -> bool:
        try:
            number = float(value)
        except ValueError:
            return False
        return number < limit if less else number > limit

    return test


def _text(attribute: str, operator: str, operand: object) -> str:
    if isinstance(operand, bool) or not isinstance(operand, str | int | float):
        raise ConfigError(f"{attribute}: {operator}: must be a text or a number")
    return str(operand)


def _said(operand: object) -> str:
    return ", ".join(map(str, operand)) if isinstance(operand, list) else str(operand)
