"""Rules of a profile file: a section → the rule for one attribute of this VR."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Final

from scp_anon.deid import actions, substitution, value_lists
from scp_anon.deid.actions import KEEP, REMOVE, Rule
from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.instance import Instance
from scp_anon.deid.mmiv import Scheme
from scp_anon.deid.promises import Promises
from scp_anon.deid.settings import RuleSection
from scp_anon.deid.tables import body_parts, ruled
from scp_anon.documents import read
from scp_anon.errors import ConfigError
from scp_anon.links import Matching
from scp_anon.regex import Expression, compiled

if TYPE_CHECKING:
    from scp_anon.deid.cleaning import TextCleaner

TEXTS: Final = frozenset("AE CS LO LT PN SH ST UC UT".split())
DATES: Final = frozenset(("DA", "DT", "TM"))
# Which VRs an action can write; None: all.
APPLIES_TO: Final[dict[str, frozenset[str] | None]] = {
    "keep": None,
    "remove": None,
    "empty": None,
    "dummy": None,
    "replace": TEXTS | DATES | {"AS", "DS", "IS", "UI", "UR"},
    "hash": TEXTS,
    "uid": frozenset(("UI",)),
    "shift-date": DATES,
    "pseudonym": TEXTS,
    "regex": TEXTS | DATES | {"AS", "DS", "IS", "UR"},
    "lookup": TEXTS | DATES | {"AS", "DS", "IS", "UR"},
    "clean-text": frozenset("LO LT SH ST UC UT".split()),
}
# Which VRs have values that can be listed, as texts.
LISTED: Final = TEXTS | DATES | {"AS", "DS", "IS", "UI", "UR"}
# What keeps more of the original than a code of Table E.1-1 that removes or replaces it.
WEAKENING: Final = frozenset(("keep", "shift-date", "regex", "clean-text"))
_DEFAULT_LENGTH: Final = 16
PATIENT_ID: Final = "PatientID"


class Rulebook:
    """Makes the rules of one profile: it knows what all of them share."""

    def __init__(
        self,
        variables: Mapping[str, str],
        days: actions.Days,
        cleaner: Callable[[], TextCleaner],
        tool: Scheme | None,
        promises: Promises,
    ) -> None:
        """`variables`: placeholder → value. `cleaner` is asked for only where a rule cleans text.

        `tool`: what makes UIDs and hashes in place of the keyed functions. `promises`: what rules can break.
        """
        self._variables = variables
        self._days = days
        self._cleaner = cleaner
        self._tool = tool
        self._promises = promises

    def rule(self, section: RuleSection, tag: int, vr: str) -> Rule:
        """The rule for the attribute `tag` of this VR. Raises ConfigError for parameters that do not fit."""
        rule = self._action(section, tag, vr)
        # Where the next rule decides, whoever knows the rules behind this one sees to it.
        otherwise = None if section.otherwise in ("quarantine", "next") else _plain(section.otherwise, tag, vr)
        kept = actions.keep(
            actions.WEAKENED * is_ruled(tag) | actions.DATES_KEPT * (vr in DATES) | self._promises.broken("keep", tag)
        )
        if section.otherwise == "keep":
            otherwise = kept
        elif section.action == "keep" and rule is KEEP and self._promises.holds_if_valid(tag, vr):
            return actions.kept(vr).with_(kept.done & ~self._promises.broken("keep", tag), kept)
        done = self._promises.broken(section.action, tag) if section.action in WEAKENING else 0
        if section.action in WEAKENING and is_ruled(tag):
            done |= actions.WEAKENED
        if vr in DATES and section.action in ("keep", "shift-date"):
            done |= actions.DATES_KEPT if section.action == "keep" else actions.DATES_MOVED
        elif vr in DATES and section.action in ("regex", "lookup"):
            rule = actions.noting_dates(rule)
        return rule.with_(done, otherwise) if done or otherwise else rule

    def _action(self, section: RuleSection, tag: int, vr: str) -> Rule:
        match section.action:
            case "keep" if is_of_values(section):
                return value_lists.kept_if_among(vr, allowed_values(section))
            case "keep" | "remove" | "empty" | "dummy" as name:
                return _plain(name, tag, vr)
            case "replace":
                return self._replace(_needed(section.value, "value"), tag, vr, section.otherwise != "quarantine")
            case "hash":
                if self._tool is not None and section.length is None:
                    return self._tool.hash_rule(tag, vr)
                return actions.hashed(vr, min(section.length or _DEFAULT_LENGTH, actions.LONGEST.get(vr, 64)))
            case "uid":
                return self._tool.uid_rule(tag) if self._tool is not None else actions.new_uid()
            case "shift-date":
                return actions.shifted(vr, self._days, tag)
            case "pseudonym":
                return actions.pseudonym(vr)
            case "regex":
                expression = _expression(_needed(section.pattern, "pattern"))
                value = template(expression.pattern, _needed(section.value, "value"))
                return (substitution.every if section.all else substitution.first)(vr, expression, value)
            case "lookup":
                rows = read_lookup(section.file or Path(_needed(None, "file")), section.match or "equals")
                return value_lists.looked_up(vr, rows, section.match or "equals")
            case "clean-text":
                return Rule(vr, self._cleaner().action(vr))

    def _replace(self, value: str, tag: int, vr: str, may_fail: bool) -> Rule:
        """`may_fail`: where the patient has no pseudonym, as nobody knows who it is."""
        names = placeholders(value)
        unknown = names - self._variables.keys() - {PATIENT_ID}
        if unknown:
            known = ", ".join(sorted({*self._variables, PATIENT_ID}))
            raise ConfigError(f"value: there is no variable {', '.join(sorted(unknown))}; there is: {known}")
        if PATIENT_ID not in names:
            return actions.constant(tag, vr, _ascii(value.format_map(self._variables), vr))
        before, after = (part.format_map(self._variables) for part in value.split("{" + PATIENT_ID + "}", 1))
        _ascii(before + after, vr)
        first, last = before.encode("ascii"), after.encode("ascii")

        def make(instance: Instance) -> bytes:
            if may_fail and not instance.patient:
                raise actions.Unfit
            return first + instance.patient + last

        return actions.replaced_by(vr, make)


def is_of_values(section: RuleSection) -> bool:
    """Whether a rule keeps an attribute only if its value is on a list."""
    return section.action == "keep" and any((section.values, section.file, section.terms))


def names_patient(section: RuleSection) -> bool:
    """Whether a rule writes the patient's pseudonym, which those have not of whom there is neither ID nor name."""
    return section.action == "replace" and "{" + PATIENT_ID + "}" in (section.value or "")


def allowed_values(section: RuleSection) -> tuple[str, ...]:
    """The list: in the rule itself, shipped, or in a text file, one a line. Raises ConfigError for none."""
    if section.values is not None:
        return section.values
    if section.terms is not None:
        return body_parts()
    values = tuple(line.strip() for line in read(section.file or Path(_needed(None, "file"))).splitlines())
    if not any(values):
        raise ConfigError(f"{section.file}: has no values; write one a line")
    return tuple(filter(None, values))


def is_ruled(tag: int) -> bool:
    """Whether the Basic Profile does not simply keep an attribute; it does so with no private one (tag 0)."""
    return not tag or tag in ruled() or tag >> 24 in (0x50, 0x60)


def placeholders(value: str) -> set[str]:
    """The names in braces. Raises ConfigError for braces that do not pair, or hold something else than a name."""
    try:
        parts = list(Formatter().parse(value))
    except ValueError as error:
        raise ConfigError(f"value: {error}") from None
    names = {name for _, name, _, _ in parts if name is not None}
    if any(not name.isidentifier() or form or conversion for _, name, form, conversion in parts if name is not None):
        raise ConfigError("value: a placeholder is a name in braces, such as {project}")
    if sum(name == PATIENT_ID for _, name, _, _ in parts) > 1:
        raise ConfigError("value: {PatientID} can be there once")
    return names


def _expression(pattern: str) -> Expression:
    try:
        return compiled(pattern)
    except ConfigError as error:
        raise ConfigError(f"pattern: {error}") from None


def template(pattern: re.Pattern[str], value: str) -> str:
    """A replacement for matches of `pattern`. Raises ConfigError for a group that there is none of."""
    try:
        re.compile(f"(?:{pattern.pattern})|", pattern.flags).sub(value, "")
    except (re.error, IndexError) as error:
        raise ConfigError(f"value: {error}") from None
    return value


def read_lookup(path: Path, matching: Matching = "equals") -> dict[str, str]:
    """A table of `original` and `new` values, of which no two disagree. Raises ConfigError, which names no value."""
    rows: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not {"original", "new"} <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path}:1: must have the columns original and new")
            for row in reader:
                original, new = (row["original"] or "").strip(), (row["new"] or "").strip()
                if not original and matching != "equals":
                    raise ConfigError(f"{path}:{reader.line_num}: original is empty, which is in every value")
                if rows.setdefault(original, new) != new:
                    raise ConfigError(f"{path}:{reader.line_num}: this original has another new value above")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not CSV in UTF-8'}") from None
    return rows


def _plain(name: str, tag: int, vr: str) -> Rule:
    match name:
        case "keep":
            return KEEP
        case "remove":
            return REMOVE
        case "empty":
            return actions.empty(tag, vr)
    if vr != "UI" and vr not in BY_VR and tag not in BY_TAG:
        raise ConfigError(f"there is no dummy for an attribute of VR {vr}")
    return actions.dummy(tag, vr)


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise ConfigError(f"{name}: is missing")
    return value


def _ascii(value: str, vr: str) -> bytes:
    """A literal value, which has to be right in every character set. Raises ConfigError."""
    if not value.isascii() or not value.isprintable():
        raise ConfigError("value: must be printable ASCII, which every character set has")
    if len(value) > actions.LONGEST.get(vr, len(value)):
        raise ConfigError(f"value: longer than the {actions.LONGEST[vr]} characters of VR {vr}")
    if vr in _FORMS and not all(_FORMS[vr].fullmatch(part) for part in value.split("\\")):
        raise ConfigError(f"value: is none of VR {vr}")
    return value.encode("ascii")


_FORMS: Final = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DA": re.compile(r"(\d{8})?"),
    "DS": re.compile(r"\s*[+-]?\d*\.?\d*([eE][+-]?\d+)?\s*"),
    "DT": re.compile(r"(\d{4,14}(\.\d{1,6})?([+-]\d{4})?)?"),
    "IS": re.compile(r"\s*[+-]?\d*\s*"),
    "TM": re.compile(r"(\d{2,6}(\.\d{1,6})?)?"),
    "UI": re.compile(r"[0-9.]{0,64}"),
}
