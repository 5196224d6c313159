"""What a profile does, said in words: which row, option or rule decides of an attribute, and what it does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from scp_anon.deid.actions import Rule
from scp_anon.deid.allow_list import NEEDED, NOT_LISTED
from scp_anon.deid.chain import OURS, Step
from scp_anon.deid.instance import SPECIFIC_CHARACTER_SET
from scp_anon.deid.profile import Profile
from scp_anon.deid.settings import RuleSection
from scp_anon.deid.standard_rules import DESCRIPTORS
from scp_anon.deid.targets import parse_tags
from scp_anon.dicom.dictionary import attributes, keyword_of, vr_of

_WORDS: Final = {
    "X": "removed",
    "Z": "emptied",
    "D": "dummy value",
    "U": "new UID",
    "K": "kept",
    "C": "cleaned",
    "Z/D": "dummy value where the IOD has it as Type 1, else emptied",
    "X/Z": "emptied where the IOD has it as Type 1 or 2, else removed",
    "X/D": "dummy value where the IOD has it as Type 1 or 2, else removed",
    "X/Z/D": "dummy value where the IOD has it as Type 1, emptied where Type 2, else removed",
    "X/Z/U*": "kept with new UIDs where the IOD has it as Type 1 or 2 or refers to series, else removed",
    NEEDED: "filled or emptied where the IOD needs it, else removed",
    "keep": "kept",
    "remove": "removed",
    "empty": "emptied",
    "dummy": "dummy value",
    "replace": "replaced by a value of the profile",
    "hash": "keyed hash",
    "uid": "new UID",
    "shift-date": "date moved",
    "pseudonym": "pseudonym",
    "regex": "replaced by what a pattern finds",
    "lookup": "replaced by a table",
    "clean-text": "cleaned text",
    "function": "whatever the function says",
}
_PLAIN: Final = {
    "X": "remove",
    "Z": "empty",
    "D": "dummy",
    "U": "uid",
    "K": "keep",
    "Z/D": "dummy",
    "X/Z": "empty",
    "X/D": "dummy",
    "X/Z/D": "dummy",
    "X/Z/U*": "keep",
    NEEDED: "empty",
}
_CLEANED: Final = {
    "DA": "date moved",
    "DT": "date moved",
    "TM": "kept",
    "SQ": "kept, items cleaned",
    "AE": "keyed hash",
}
_OURS: Final = {
    0x00120062: ("YES", "PS3.15 E.1.1"),
    0x00120063: ("tool, profile and key, behind those that are there", "PS3.15 E.1.1"),
    0x00120064: ("codes of what was done, behind those that are there", "PS3.15 E.1.1"),
    0x00280303: ("REMOVED, MODIFIED or UNMODIFIED, as was done", "PS3.15 E.3.6"),
    0x00080005: ("kept, misspelt terms corrected", "refused if the standard has no such character set"),
    0x00080016: ("kept", "refused if it is no storage SOP class"),
}
_OTHERS: Final = "removed: private, or in no dictionary"


class Line(NamedTuple):
    """What becomes of one attribute: by `origin`, where `condition` says when; the first line that fits decides."""

    tag: str
    keyword: str
    vr: str
    action: str
    origin: str
    condition: str


def lines(profile: Profile) -> Iterator[Line]:
    """The effective list, in the order of tags: every attribute that is not simply kept.

    Of an allow-list, every one that is not simply removed because it is not on the list.
    """
    for tag in sorted(attributes()):
        if tag >> 16 >= 8 and (tag in _OURS or (profile.chain.has(tag) and not _is_unlisted(profile, tag))):
            yield from of_attribute(profile, tag)


def _is_unlisted(profile: Profile, tag: int) -> bool:
    return profile.chain.steps(tag)[0].decided is NOT_LISTED


def of_attribute(profile: Profile, tag: int) -> Iterator[Line]:
    """What becomes of one attribute of the dictionary."""
    name = (f"({tag >> 16:04X},{tag & 0xFFFF:04X})", keyword_of(tag), vr_of(tag) or "UN")
    if tag >> 16 < 8:
        yield Line(*name, "removed", "groups below 0008 have no place in a data set", "")
    elif tag in _OURS:
        action, origin = _OURS[tag]
        yield Line(*name, action, origin + (_sets(profile) if tag == SPECIFIC_CHARACTER_SET else ""), "")
    else:
        for step in profile.chain.steps(tag):
            yield Line(*name, _said(step, tag), step.decided.origin + _broken(profile, step.decided.rule), _when(step))


def _sets(profile: Profile) -> str:
    """What the profile's own `character_sets` says."""
    section = profile.settings.character_sets
    absent = f"; {section.absent} where it is absent and a text has bytes above 7FH" if section.absent else ""
    return absent + "".join(f"; {term} means {meaning}" for term, meaning in section.map.items())


def _broken(profile: Profile, rule: Rule) -> str:
    """What to tell of a rule that keeps more than options promise."""
    options = ", ".join(profile.promises.names(rule.done | (rule.otherwise.done if rule.otherwise is not None else 0)))
    return f"; may keep more than {options}, which is not claimed then" if options else ""


def plain_actions(profile: Profile) -> Iterator[tuple[int, str, str]]:
    """Tag, keyword and action of every attribute that something is said of, for tools that know no conditions or IODs.

    It is what holds where no condition does, and the strictest that a code may mean; of a date that is moved if it is
    one, that. A value is `replace:VALUE`, or
    `replace-others:VALUE` where the defined terms of the attribute stay.
    """
    for tag in sorted(attributes()):
        if tag >> 16 >= 8 and profile.chain.has(tag) and tag not in OURS:
            *before, step = _plain_steps(profile, tag)
            action = _PLAIN.get(step.decided.action, step.decided.action)
            if step.decided.action == NEEDED and vr_of(tag) == "UI":
                action = "uid"
            if action == "C":
                vr = vr_of(tag)
                action = "shift-date" if vr in ("DA", "DT", "TM") else "keep" if vr == "SQ" else "clean-text"
            if action == "replace":
                are_kept = bool(before) and _keeps_terms(profile, before[-1])
                action = f"replace{'-others' * are_kept}:{_section(profile, step).value or ''}"
            yield tag, keyword_of(tag), action


def _plain_steps(profile: Profile, tag: int) -> list[Step]:
    """The steps up to the one that holds without a condition; what is no date such a tool empties by itself."""
    steps = profile.chain.steps(tag)
    for i, step in enumerate(steps):
        is_everywhere = step.condition is None and step.target.is_everywhere
        if is_everywhere and step.passes_on and step.decided.action == "shift-date":
            return steps[: i + 1]
    return steps


def _keeps_terms(profile: Profile, step: Step) -> bool:
    """Whether a rule keeps the standard's terms, wherever they are, and leaves all else to the next one."""
    is_own = step.passes_on and step.condition is None and step.target.is_everywhere
    return is_own and _section(profile, step).terms is not None


def _section(profile: Profile, step: Step) -> RuleSection:
    return profile.settings.rules[int(step.decided.origin.removeprefix("rule ")) - 1]


def explain(profile: Profile, name: str) -> list[str]:
    """One line for each rule that may decide of an attribute, by keyword or tag. Raises ConfigError for none."""
    text = name.strip("() ")
    if _is_private(text):
        return [f"{name}: private: {_private(profile)}"]
    found = [line for tag in sorted(parse_tags(name))[:1] for line in of_attribute(profile, tag)]
    return [
        f"{line.tag} {line.keyword} {line.vr}: {' '.join(filter(None, (line.action, line.condition)))}; {line.origin}"
        for line in found
    ]


def as_markdown(profile: Profile) -> str:
    """The effective list as a table."""
    head = "| tag | attribute | VR | what becomes of it | by |\n|---|---|---|---|---|\n"
    rows = (
        f"| {line.tag} | {line.keyword} | {line.vr} | {' '.join(filter(None, (line.action, line.condition)))} "
        f"| {line.origin} |\n"
        for line in lines(profile)
    )
    others = NOT_LISTED.origin if profile.is_allow_list else "no row in PS3.15 Table E.1-1"
    fate = "removed" if profile.is_allow_list else "kept"
    return head + "".join(rows) + f"| all others of PS3.6 | | | {fate} | {others} |\n| any else | | | {_OTHERS} | |\n"


def as_csv(profile: Profile) -> str:
    """The effective list as comma-separated values."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(Line._fields)
    writer.writerows(lines(profile))
    return target.getvalue()


def as_json(profile: Profile) -> str:
    """The effective list as JSON."""
    return json.dumps([line._asdict() for line in lines(profile)], indent=1) + "\n"


FORMATS: Final[dict[str, Callable[[Profile], str]]] = {"md": as_markdown, "csv": as_csv, "json": as_json}


def _said(step: Step, tag: int) -> str:
    action, vr = step.decided.action, vr_of(tag) or "UN"
    if action == "C":
        return _CLEANED.get(vr, "cleaned text" if DESCRIPTORS in step.decided.origin else "cleaned")
    return _WORDS[action]


def _when(step: Step) -> str:
    parts = []
    if step.target.path:
        parts.append("in " + "/".join(map(keyword_of, step.target.path)))
    elif step.target.anchored:
        parts.append("at the top level")
    if step.passes_on:
        parts.append("where it can be, else")
    if step.condition is not None:
        parts.append(f"when {step.condition.text}")
    return " ".join(parts)


def _is_private(text: str) -> bool:
    group = text.partition(",")[0]
    try:
        return len(group) == 4 and bool(int(group, 16) & 1)
    except ValueError:
        return False


def _private(profile: Profile) -> str:
    if profile.is_allow_list:
        return f"removed; {NOT_LISTED.origin}"
    if profile.private is None:
        return "removed; PS3.15 Table E.1-1"
    return "kept if its creator's element is known to be safe, or a rule of the profile keeps it; else removed"
