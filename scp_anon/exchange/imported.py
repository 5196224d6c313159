"""What an import gives, and what all importers share: tags, rules that our language can say, and notes on the rest."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from scp_anon.dicom.dictionary import attributes, keyword_of, keywords
from scp_anon.documents import read
from scp_anon.errors import ConfigError
from scp_anon.regex import compiled

PATIENT_NAME: Final = "00100010"
PATIENT_ID: Final = "00100020"

Rule: TypeAlias = dict[str, object]

_LARGEST: Final = 1 << 22  # characters: the rules of every tool fit many times over
_TAG: Final = re.compile(
    r"[\[(]?\s*(?:0x)?(?!0x)([0-9a-fx]{4})\s*,?\s*(?:0x)?(?!0x)([0-9a-fx]{4})\s*[\])]?", re.IGNORECASE
)

_TEXTS: Final = frozenset("AE CS LO LT PN SH ST UC UT".split())
_DATES: Final = frozenset(("DA", "DT", "TM"))
# Which VRs an action can write; those that are not here can write all.
_APPLIES_TO: Final = {
    "replace": _TEXTS | _DATES | {"AS", "DS", "IS", "UI", "UR"},
    "hash": _TEXTS,
    "uid": frozenset(("UI",)),
    "shift-date": _DATES,
    "pseudonym": _TEXTS,
    "regex": _TEXTS | _DATES | {"AS", "DS", "IS", "UR"},
    "lookup": _TEXTS | _DATES | {"AS", "DS", "IS", "UR"},
}
_LISTED: Final = _TEXTS | _DATES | {"AS", "DS", "IS", "UI", "UR"}  # keep, with values
_CREATES: Final = frozenset(("replace", "empty", "dummy", "hash", "pseudonym"))
LONGEST: Final = {"AE": 16, "CS": 16, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024, "UI": 64}
_FORMS: Final = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DA": re.compile(r"(\d{8})?"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "DT": re.compile(r"(\d{4,14}(\.\d{1,6})?([+-]\d{4})?)?"),
    "IS": re.compile(r"[+-]?\d+"),
    "TM": re.compile(r"(\d{2,6}(\.\d{1,6})?)?"),
    "UI": re.compile(r"[0-9.]{0,64}"),
}
# What an instance cannot be without, and what every result says of its own de-identification: no rule can change it.
_OURS: Final = frozenset((0x00080005, 0x00080016, 0x00120062, 0x00120063, 0x00120064, 0x00280303))
_SOP_INSTANCE_UID: Final = 0x00080018

# What makes the two one patient's, as `patients` of a profile says.
PATIENT: Final[dict[str, Rule]] = {
    PATIENT_ID: {"action": "pseudonym"},
    PATIENT_NAME: {"action": "replace", "value": "{PatientID}"},
}

NO_DUMMY: Final = "a sequence has no dummy with us: it is emptied"
NOT_CREATED: Final = "where the attribute is missing it is not added: only a new value can be"
LAST_COUNTS: Final = "is there twice, and the last one counts"
NEEDS_CREATOR: Final = "private: with us it needs its creator (private: CREATOR); without a rule it is removed"


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    `profile`: the content of a profile file, ready for YAML. `notes`: one line for each thing that could not be
    translated, or means something else with us, as "where: why". `unread`: those of them that tell of an entry of the
    file that cannot even be read, and was left out.
    """

    profile: dict[str, object]
    notes: tuple[str, ...]
    unread: tuple[str, ...] = ()


class Translation:
    """The rules and notes of one import, as they are gathered.

    A tag is eight hexadecimal digits, with `x` for any. Rules for patterns come behind all others, so that what is
    said of one attribute holds over what is said of its group.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._patterns: list[tuple[str, Rule]] = []
        self._open: dict[str, None] = {}
        self._notes: dict[str, dict[str, None]] = {}  # why → places, in their order
        self._unread: list[str] = []

    def note(self, place: str, why: str) -> None:
        """Note something. Notes that say the same become one, with all of its places."""
        self._notes.setdefault(why, {})[place] = None

    def leave_out(self, place: str, why: str) -> None:
        """Note an entry that cannot be read: the others hold."""
        self.note(place, why)
        self._unread.append(_one_line(f"{place}: {why}"))

    def check(self, path: Path, is_any: bool) -> None:
        """Raise ConfigError for a file of which nothing could be read: it is of another kind."""
        if self._unread and not is_any:
            raise wrong(path, self._unread[0])

    def leave(self, place: str, tag: str, why: str) -> None:
        """Note that what is said of a tag could not be translated, or not all of it."""
        self.note(place, why)
        self.leave_open(tag)

    def leave_open(self, tag: str) -> None:
        """Remember that the rules for a tag do not say all: no `keep` of its whole group may decide instead."""
        self._open[tag] = None

    def add(self, place: str, tag: str, rule: Rule, *, anchored: bool = False) -> bool:
        """Add a rule for a tag or a pattern of tags. Where ours cannot say it, note that; tells which of both.

        `rule`: as in our language, without its target. `anchored`: only at the top level.
        """
        why = unfit(tag, rule)
        if why:
            self.leave(place, tag, why)
            return False
        fitting = dict(rule)
        if rule["action"] == "dummy" and "SQ" in _vrs(tag):
            fitting["action"] = "empty"
            self.note(place, NO_DUMMY)
        if rule.get("create") and (rule["action"] not in _CREATES or "x" in tag):
            del fitting["create"]
            self.note(place, NOT_CREATED)
        slash = "/" if anchored else ""
        if "x" not in tag:
            self._rules.append({"tag": slash + name(tag), **fitting})
            return True
        for part in _without(tag, _OURS if rule["action"] in ("uid", "keep") else _OURS | {_SOP_INSTANCE_UID}):
            self._patterns.append((part, {"tag": slash + name(part), **fitting}))
        return True

    def add_private(self, place: str, creator: str, tag: str, rule: Rule, vr: str) -> None:
        """Add a rule for the private element of this group and offset in a block of its creator, or note why not.

        `vr`: what a new value is to be written with, as no dictionary says.
        """
        why = _unfit_value(str(rule.get("value", "")), vr) if rule["action"] == "replace" else None
        if why:
            self.note(place, why)
            return
        fitting = dict(rule)
        if fitting.pop("create", False):
            self.note(place, "a private attribute that is missing is not added")
        target: Rule = {"private": creator, "group": tag[:4], "element": tag[6:]}
        if rule["action"] not in ("keep", "remove"):
            target["vr"] = vr
        self._rules.append({**target, **fitting})

    def result(self, **settings: object) -> Imported:
        """The profile of all rules, with other settings of a profile file, and the notes."""
        self._decide_open()
        rules = [*self._rules, *self._deciding_patterns()]
        notes = tuple(_one_line(f"{', '.join(places)}: {why}") for why, places in self._notes.items())
        profile: dict[str, object] = {"base": "basic", **settings, "rules": rules}
        # Of parts that are one object YAML would make anchors, which a profile may not have.
        return Imported(json.loads(json.dumps(profile)), notes, tuple(self._unread))

    def _decide_open(self) -> None:
        """Add rules for what could not be translated, and would be kept because its whole group is."""
        kept = [pattern for pattern, rule in self._patterns if rule["action"] == "keep" and _decides(rule)]
        for tag in self._open:
            rule = PATIENT.get(tag) or {"action": "uid" if vr_of_tag(tag) == "UI" else "remove"}
            if any(_covers(pattern, tag) for pattern in kept) and unfit(tag, rule) is None:
                self.note(name(tag), f"{rule['action']}, where no other rule holds, although all of its group is kept")
                self.add(name(tag), tag, rule)

    def _deciding_patterns(self) -> Iterator[Rule]:
        """The rules for patterns, the narrower ones first, without those that others leave nothing to."""
        decided: dict[str, set[int]] = {"": set(), "/": set()}

        def decide(target: str, tags: Iterable[int]) -> None:
            decided["/"].update(tags)
            if not target.startswith("/"):
                decided[""].update(tags)

        for rule in self._rules:
            target = str(rule.get("tag", ""))
            tag = _tag_named(target.removeprefix("/"))
            if tag is not None and _decides(rule):
                decide(target, (tag,))
        for pattern, rule in sorted(self._patterns, key=lambda each: each[0].count("x")):
            target, tags = str(rule["tag"]), tags_of(pattern)
            if not tags <= decided["/" if target.startswith("/") else ""]:
                yield rule
                if _decides(rule):
                    decide(target, tags)


def _decides(rule: Rule) -> bool:
    """Whether a rule leaves nothing to those behind it."""
    return "when" not in rule and rule.get("otherwise") != "next"


def _tag_named(target: str) -> int | None:
    """The one attribute that `name` has named so."""
    tag = parse_tag(target)
    if tag is not None:
        return int(tag, 16)
    return min(keywords().get(target, ()), default=None)


def _without(pattern: str, tags: frozenset[int]) -> Iterator[str]:
    """Patterns for all that one means but `tags`: nearest to the one given, and none that means nothing."""
    meant = tags_of(pattern)
    if not meant & tags:
        if meant:
            yield pattern
    elif "x" in pattern:
        for digit in "0123456789abcdef":
            yield from _without(pattern.replace("x", digit, 1), tags)


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def unfit(tag: str, rule: Rule) -> str | None:
    """Why our language has no such rule for a tag or a pattern, or None if it has."""
    action = str(rule["action"])
    tags = tags_of(tag)
    if is_private(tag):
        return NEEDS_CREATOR
    if not tags:
        return "no attribute of the dictionary: with us it is removed in any case"
    if any(known >> 16 < 0x0008 for known in tags):
        return "File Meta Information is written anew with us, whatever it was"
    if tags <= _OURS:
        return "what becomes of it is not up to rules with us: scp-anon itself says it in every result"
    if tags == {_SOP_INSTANCE_UID} and action not in ("uid", "keep"):
        return f"{action}: a SOP Instance UID has to stay unique; with us it is always a new UID, or kept"
    vrs = _vrs(tag)
    if "values" in rule and not vrs <= _LISTED:
        return f"a list of values: not possible with us for a value of VR {', '.join(sorted(vrs))}"
    if not vrs <= _APPLIES_TO.get(action, vrs):
        return f"{action}: not possible with us for a value of VR {', '.join(sorted(vrs))}"
    if action == "replace":
        return next((why for vr in sorted(vrs) if (why := _unfit_value(str(rule.get("value", "")), vr))), None)
    return None


def _unfit_value(value: str, vr: str) -> str | None:
    # A pseudonym is of capitals and digits; what else is filled in may be anything.
    sample = value.replace("{{", "(").replace("}}", ")").replace("{PatientID}", "X")
    sample = re.sub(r"\{\w+\}", "x", sample)
    if not sample.isascii() or not sample.isprintable():
        return "replace: the value is not printable ASCII, which every character set has"
    if len(sample) > LONGEST.get(vr, len(sample)):
        return f"replace: the value is longer than the {LONGEST[vr]} characters of VR {vr}"
    if vr in _FORMS and not all(_FORMS[vr].fullmatch(part) for part in sample.split("\\")):
        return f"replace: the value is none of VR {vr}"
    return None


def literal(value: str) -> str:
    """A value for `replace` that is meant as it is: braces are those of placeholders otherwise."""
    return value.replace("{", "{{").replace("}", "}}")


def parse_tag(text: str) -> str | None:
    """The tag that a text is, in any of the tools' spellings, as eight digits in lower case; None for no tag."""
    match = _TAG.fullmatch(text.strip())
    return (match[1] + match[2]).lower() if match else None


def name(tag: str) -> str:
    """How our rules name a tag: by its keyword, or as (gggg,eeee)."""
    printed = f"({tag[:4]},{tag[4:]})".upper().replace("X", "x")
    if "x" in tag:
        return printed
    keyword = keyword_of(int(tag, 16))
    # The keyword of a repeating group would mean all of them.
    return keyword if keywords().get(keyword) == frozenset((int(tag, 16),)) else printed


def tags_of(tag: str) -> frozenset[int]:
    """The attributes of the dictionary that a tag or a pattern means."""
    if "x" not in tag:
        return frozenset((int(tag, 16),)) & attributes().keys()
    pattern = re.compile(tag.replace("x", "."))
    return frozenset(known for known in attributes() if pattern.fullmatch(f"{known:08x}"))


def is_private(tag: str) -> bool:
    """Whether the group of a tag is an odd one."""
    return tag[3] in "13579bdf"


def vr_of_tag(tag: str) -> str:
    """The dictionary's VR of a tag, "UN" for one that it does not know, and for patterns."""
    vrs = sorted(_vrs(tag))
    return vrs[0] if len(vrs) == 1 else "UN"


def _vrs(tag: str) -> frozenset[str]:
    return frozenset(attributes()[known][0] for known in tags_of(tag))


def _covers(pattern: str, tag: str) -> bool:
    return all(one in ("x", other) for one, other in zip(pattern, tag, strict=True))


def regular(pattern: str) -> re.Pattern[str] | None:
    """A regular expression of another language, if it is one of ours as well.

    None if it is not, means something else, or could take for ever.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # sets within sets: what others have there means something else with us
            return compiled(pattern).pattern
    except (ConfigError, Warning):
        return None


def scoped(pattern: str) -> str:
    """The same expression with its leading flags held to a group, so that more can be written around it."""
    match = re.match(r"\(\?([ims]+)\)", pattern)
    return f"(?{match[1]}:{pattern[match.end() :]})" if match else pattern


def wrong(path: Path, problem: str) -> ConfigError:
    """The error for a file that is not what it should be."""
    return ConfigError(f"{path}: {problem}")


def read_text(path: Path) -> str:
    """The text of a file of rules. Raises ConfigError."""
    text = read(path)
    if len(text) > _LARGEST:
        raise wrong(path, "larger than a file of rules can be")
    return text.removeprefix("\ufeff")


def read_json(path: Path, translation: Translation | None = None) -> object:
    """The content of a JSON file; a key that is there twice is noted in `translation`. Raises ConfigError."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1 and translation is not None:
                translation.note(repr(key), LAST_COUNTS)
        return dict(pairs)

    try:
        content: object = json.loads(read_text(path), object_pairs_hook=once)
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a character could not be written again
    except json.JSONDecodeError as error:
        raise wrong(path, f"line {error.lineno}: is not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise wrong(path, "is not JSON that can be read") from None
    return content
