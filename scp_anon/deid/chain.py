"""Which rule decides: those of the project in their order, first match wins, then the standard's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from scp_anon.deid import actions
from scp_anon.deid.actions import KEEP, REMOVE, Rule
from scp_anon.deid.conditions import Condition
from scp_anon.deid.instance import Scope
from scp_anon.deid.rules import Rulebook
from scp_anon.deid.settings import RuleSection
from scp_anon.deid.standard_rules import Decided
from scp_anon.deid.targets import Target, parse_target
from scp_anon.dicom.dictionary import attributes, vr_of

# What an instance cannot be without, or what is said of its de-identification: no rule is asked.
OURS: Final = frozenset((0x00080005, 0x00080016, 0x00120062, 0x00120063, 0x00120064, 0x00280303))
_FIRST_BLOCK: Final = 0x10
_NO_TARGET: Final = Target(frozenset())


class Step(NamedTuple):
    """One of the rules that may decide of an attribute, and when it does."""

    decided: Decided
    target: Target
    condition: Condition | None
    passes_on: bool = False
    """Whether the next one decides where its action cannot be applied."""

    @property
    def is_always(self) -> bool:
        """Whether no rule behind it can ever decide."""
        return self.condition is None and self.target.is_everywhere and not self.passes_on


class Own:
    """A rule of the project."""

    def __init__(self, number: int, section: RuleSection, condition: Condition | None, book: Rulebook) -> None:
        """`number`: its place in the file, from 0 on. Raises ConfigError."""
        self.number = number
        self.section = section
        self.condition = condition
        self._book = book
        self.target = parse_target(section.tag) if section.tag is not None else _NO_TARGET
        self.passes_on = section.otherwise == "next"
        self.tags = self._tags()
        self._made: dict[int, Decided] = {}

    def _tags(self) -> frozenset[int]:
        """The attributes of the dictionary that it has as its target."""
        if self.section.private is not None:
            return frozenset()
        if self.section.tag is not None:
            return self.target.tags - OURS
        return frozenset(tag for tag, vrs in attributes().items() if vrs[0] == self.section.vr) - OURS

    def decided(self, tag: int) -> Decided:
        """Its rule for an attribute. Raises ConfigError."""
        if tag not in self._made:
            rule = self._book.rule(self.section, tag, vr_of(tag) or "UN")
            self._made[tag] = Decided(rule, self.section.action, f"rule {self.number + 1}")
        return self._made[tag]

    def step(self, tag: int) -> Step:
        """What it decides of an attribute, and when. Raises ConfigError."""
        return Step(self.decided(tag), self.target, self.condition, self.passes_on)

    def private_rules(self) -> Iterator[tuple[tuple[bytes, int | None, int | None], Rule]]:
        """Its rule for private attributes, by creator, group and offset."""
        section = self.section
        if section.private is None:
            return
        group = int(section.group, 16) if section.group is not None else None
        offset = int(section.element[-2:], 16) if section.element is not None else None
        rule = actions.for_any_tag(self._book.rule(section, 0, section.vr or "UN"))
        if self.condition is not None:
            rule = _on_condition(self.condition, rule)
        yield (section.private.encode("ascii", "replace"), group, offset), rule

    def written(self) -> dict[int, Rule]:
        """Its rules for the private element that it writes whether it is there or not, and for its creator, by tag.

        The block is the first of the group. Of what an item has in that group nothing stays.
        """
        section = self.section
        if section.private is None or not section.create:
            return {}
        group, offset = int(section.group or "", 16), int((section.element or "")[-2:], 16)
        creator, tag = group << 16 | _FIRST_BLOCK, group << 16 | _FIRST_BLOCK << 8 | offset
        rules = {
            creator: actions.constant(creator, "LO", section.private.encode("ascii", "replace")),
            tag: self._book.rule(section, tag, section.vr or "UN"),
        }
        return {tag: _only_at_top_level(rule) for tag, rule in rules.items()}


class Chain:
    """For each attribute the steps that may decide, in their order."""

    def __init__(self, standard: Mapping[int, Decided], own: tuple[Own, ...], functions: Mapping[int, Step]) -> None:
        """Raises ConfigError for a rule that does not fit an attribute."""
        self._standard = standard
        self._own: dict[int, list[Step]] = {tag: [step] for tag, step in functions.items()}
        for one in own:
            for tag in one.tags:
                steps = self._own.setdefault(tag, [])
                if not any(step.is_always for step in steps):
                    steps.append(one.step(tag))

    def has(self, tag: int) -> bool:
        """Whether anything is said of an attribute."""
        return tag in self._standard or tag in self._own

    def steps(self, tag: int) -> list[Step]:
        """The steps of an attribute; the last one always decides."""
        steps = list(self._own.get(tag, ()))
        if not any(step.is_always for step in steps):
            steps.append(Step(self._last(tag), Target(frozenset((tag,))), None))
        return steps

    def rule(self, tag: int) -> Rule:
        """The rule for an attribute, which chooses among the steps where there are several."""
        *steps, last = self.steps(tag)
        rule = last.decided.rule
        if any(step.passes_on for step in steps):
            for step in reversed(steps):
                rule = _chosen([step], rule)
            return rule
        return _chosen(steps, rule) if steps else rule

    def _last(self, tag: int) -> Decided:
        if tag in self._standard:
            return self._standard[tag]
        if tag >> 24 in (0x50, 0x60):
            return Decided(REMOVE, "X", "PS3.15 Table E.1-1")
        return Decided(KEEP, "keep", "no row in PS3.15 Table E.1-1")


def _only_at_top_level(rule: Rule) -> Rule:
    return Rule(rule.vr, choose=lambda scope: REMOVE if scope.path else rule)


def _chosen(steps: list[Step], last: Rule) -> Rule:
    """The rule of the first step that holds; `last` where none does, or where the step's own passes on."""
    held = [
        (step.target, step.condition, step.decided.rule.with_(otherwise=last) if step.passes_on else step.decided.rule)
        for step in steps
    ]

    def choose(scope: Scope) -> Rule:
        for target, condition, rule in held:
            if target.is_at(scope.path) and (condition is None or condition.test(scope.instance)):
                return rule
        return last

    return Rule("UN", choose=choose, descends=True)


def _on_condition(condition: Condition, rule: Rule) -> Rule:
    return Rule("UN", choose=lambda scope: rule if condition.test(scope.instance) else REMOVE, descends=True)
