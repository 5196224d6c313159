"""The rules of KitwareMedical's dicom-anonymizer: the JSON of --dictionary, and the fork's --extra-rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from scp_anon.exchange.imported import (
    LAST_COUNTS,
    NEEDS_CREATOR,
    PATIENT,
    Imported,
    Rule,
    Translation,
    is_private,
    literal,
    name,
    parse_tag,
    read_json,
    regular,
    scoped,
    unfit,
    vr_of_tag,
    wrong,
)

# Its conditional actions do not look at the IOD: this is what they do.
_PLAIN: Final = {
    "keep": "keep",
    "replace": "dummy",
    "empty": "empty",
    "delete": "remove",
    "empty_or_replace": "dummy",
    "delete_or_empty": "empty",
    "delete_or_replace": "dummy",
    "delete_or_empty_or_replace": "dummy",
}
_REPLACE_UID: Final = "replace_UID"
_REPLACE_UID_OR_EMPTY: Final = "delete_or_empty_or_replace_UID"
_REGEXP: Final = "regexp"
_VALUE: Final = "replace_with_value"
_PARAMETERS: Final = {_REGEXP: ("find", "replace"), _VALUE: ("value",)}
_UNCONDITIONAL: Final = (*_PLAIN, _REPLACE_UID, _REPLACE_UID_OR_EMPTY)

_NO_TAG: Final = "is no tag; write it as (0xgggg, 0xeeee), or as a list of both"
_NO_REGEXP: Final = "regexp: is no regular expression with us, could take for ever, or its replacement has other groups"
_TOP_LEVEL: Final = "only the top level is looked at there; with us a rule holds at every depth of sequences"
_ELSE: Final = (
    "what has no rule falls under its own tables of PS3.15, or is left as it is; with us the Basic Profile holds"
)


def import_kitware(path: Path) -> Imported:
    """Import a --dictionary: tag → action, or {"action": ..} with its parameters. Raises ConfigError."""
    translation = _translation()
    content = read_json(path, translation)
    if not isinstance(content, dict):
        raise wrong(path, "must be an object: tag and action")
    rules: dict[str, tuple[str, dict[str, str]]] = {}
    for key, value in content.items():
        tag, found = _tag(key), _action(value)
        if tag is None:
            translation.leave_out(repr(key), _NO_TAG)
        elif isinstance(found, str):
            translation.leave_out(repr(key), found)
        else:
            _replace(translation, rules, tag, found)
    translation.check(path, bool(rules))
    for tag, (action, parameters) in rules.items():
        _add(translation, tag, action, parameters)
    return translation.result()


def import_extra(path: Path) -> Imported:
    """Import the fork's --extra-rules: action → list of tags, each a list of group and element. Raises ConfigError."""
    translation = _translation()
    content = read_json(path, translation)
    if not isinstance(content, dict):
        raise wrong(path, "must be an object: action and list of tags")
    rules: dict[str, tuple[str, dict[str, str]]] = {}
    are_lists = False
    for action, tags in content.items():
        if action not in _UNCONDITIONAL:
            translation.leave_out(repr(action), f"there is no such action; there is: {', '.join(_UNCONDITIONAL)}")
        elif not isinstance(tags, list):
            translation.leave_out(action, "must be a list of tags")
        else:
            are_lists = are_lists or not tags
            _read_tags(translation, rules, action, tags)
    translation.check(path, bool(rules) or are_lists)
    for tag, (action, parameters) in rules.items():
        _add(translation, tag, action, parameters)
    return translation.result()


def _read_tags(
    translation: Translation, rules: dict[str, tuple[str, dict[str, str]]], action: str, tags: list[object]
) -> None:
    """Read the tags of an action of the fork's."""
    for number, parts in enumerate(tags, 1):
        texts = [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
        tag = _tag(",".join(texts)) if isinstance(parts, list) and len(texts) == len(parts) else None
        if tag is None:
            translation.leave_out(f"{action} tag {number}", _NO_TAG)
        else:
            _replace(translation, rules, tag, (action, {}))


def _translation() -> Translation:
    translation = Translation()
    translation.note("all", _ELSE)
    translation.note("all", _TOP_LEVEL)
    return translation


def _replace(
    translation: Translation,
    rules: dict[str, tuple[str, dict[str, str]]],
    tag: str,
    rule: tuple[str, dict[str, str]],
) -> None:
    if tag in rules:
        translation.note(name(tag), LAST_COUNTS)
    rules[tag] = rule


def _tag(text: str) -> str | None:
    """A tag, or group and element with their masks, as eight digits, x where the mask has no bits; None for none."""
    numbers = [part.strip(" \t()[]").lower().removeprefix("0x") for part in text.split(",")]
    if len(numbers) == 4 and all(re.fullmatch("[0-9a-f]{1,4}", number) for number in numbers):
        digits = "".join(number.zfill(4) for number in numbers[:2])
        mask = "".join(number.zfill(4) for number in numbers[2:])
        if set(mask) <= {"0", "f"}:
            return "".join(digit if bits == "f" else "x" for digit, bits in zip(digits, mask, strict=True))
    return parse_tag(text)


def _action(value: object) -> tuple[str, dict[str, str]] | str:
    """The action, with its parameters; or why it is none."""
    action, given = (value.get("action"), value) if isinstance(value, dict) else (value, {})
    if not isinstance(action, str) or action not in (*_UNCONDITIONAL, *_PARAMETERS):
        return f"must have one of the actions {', '.join((*_UNCONDITIONAL, *_PARAMETERS))}"
    wanted = _PARAMETERS.get(action, ())
    parameters = {parameter: text for parameter, text in given.items() if parameter != "action"}
    if set(parameters) != set(wanted) or not all(isinstance(text, str) for text in parameters.values()):
        return f"{action} must have the texts: {', '.join(wanted) or 'none'}"
    return action, parameters


def _add(translation: Translation, tag: str, action: str, parameters: dict[str, str]) -> None:
    place, vr = name(tag), vr_of_tag(tag)
    if is_private(tag):
        translation.note(place, NEEDS_CREATOR)
    elif action == _REGEXP:
        _add_regexp(translation, place, tag, parameters)
    elif action == _VALUE:
        value = parameters["value"]
        if value.strip():
            translation.add(place, tag, {"action": "replace", "value": literal(value)})
        else:
            translation.add(place, tag, {"action": "empty"})
    elif action == _REPLACE_UID:
        translation.add(place, tag, {"action": "uid"})
    elif action == _REPLACE_UID_OR_EMPTY:
        translation.add(place, tag, {"action": "uid" if vr == "UI" else "empty"})
    elif _PLAIN[action] == "dummy" and tag in PATIENT:
        translation.note(place, "one value for all patients there; with us each has a pseudonym, as patients: says")
        translation.add(place, tag, PATIENT[tag])
    else:
        _note_plain(translation, place, _PLAIN[action], vr)
        translation.add(place, tag, {"action": _PLAIN[action]})


def _note_plain(translation: Translation, place: str, action: str, vr: str) -> None:
    if action == "remove" and vr == "DA":
        translation.note(place, "delete: a date becomes 00010101 there; with us it goes")
    elif action == "empty" and vr in ("DA", "DT", "TM", "DS", "IS", "FD", "FL", "SL", "SS", "UL", "US"):
        translation.note(place, "empty: dates and numbers have a dummy value there; with us they are emptied")
    elif action == "remove" and vr == "SQ":
        translation.note(place, "delete: the fork leaves a sequence with its items cleaned; with us it goes")


def _add_regexp(translation: Translation, place: str, tag: str, parameters: dict[str, str]) -> None:
    """Theirs replaces each match, and leaves a value without one as it is."""
    find, replacement = scoped(parameters["find"]), parameters["replace"]
    why = unfit(tag, {"action": "regex"})
    if why or "x" in tag or not _is_template(find, replacement):
        translation.leave(place, tag, why or _NO_REGEXP)
        return
    # At the top level only, as there, and as a condition looks nowhere else. What has no match comes first.
    without = {"not": {name(tag): {"matches": find}}}
    translation.add(place, tag, {"action": "keep", "when": without}, anchored=True)
    rule: Rule = {"action": "regex", "pattern": find, "value": replacement, "all": True}
    translation.add(place, tag, rule, anchored=True)
    translation.leave(place, tag, "regexp: at the top level only, as there; the values of one attribute each by itself")


def _is_template(find: str, replacement: str) -> bool:
    """Whether a replacement can be made of matches of an expression that is one of ours as well."""
    if regular(find) is None:
        return False
    try:
        re.compile(f"(?:{find})|").sub(replacement, "")
    except (re.error, IndexError):
        return False
    return True
