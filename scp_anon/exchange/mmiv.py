"""The rules of mmiv-center's DICOMAnonymizer: its JSON or CSV, --tagchange and --regtagchange; and both written."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from scp_anon.errors import ConfigError
from scp_anon.exchange.imported import (
    LONGEST,
    NEEDS_CREATOR,
    PATIENT_ID,
    PATIENT_NAME,
    Imported,
    Rule,
    Translation,
    is_private,
    literal,
    name,
    read_json,
    read_text,
    regular,
    scoped,
    unfit,
    vr_of_tag,
    wrong,
)

# What an option of its command line fills in: word → our value.
_WORDS: Final = {
    "ProjectName": "{project}",
    "PROJECTNAME": "{project}",
    "PatientID": "{PatientID}",
    "PATIENTID": "{PatientID}",
    "EventName": "{event}",
    "EVENTNAME": "{event}",
    "SITENAME": "{site}",
    "SITEID": "{siteid}",
}
# A row with one of these names gets that value, whatever action it has.
_NAMES: Final = ("PROJECTNAME", "ProjectName", "PATIENTID", "PatientID")
_OPTIONS: Final = {"event": "-e", "site": "-s", "siteid": "-w"}
_HASHES: Final = ("hash", "hashuid", "hashuid+PROJECTNAME")
_DATES: Final = ("incrementdate", "incrementdatetime")
_BODY_PART: Final = "BODYPART"
_BODY_PART_EXAMINED: Final = "00180015"
_CREATE: Final = "createIfMissing"
_COLUMNS: Final = 6
# What it does not do to sequences, of which it only cleans the items.
_OF_SEQUENCES: Final = ("remove", "empty")
_SEQUENCE: Final = (
    "mmiv does not remove or empty a sequence but cleans its items; with us the rule is left out, and the Basic "
    "Profile holds for it"
)
_NO_ROW: Final = "must have 4 to 6 texts: group and element in hexadecimal digits, name, action, flag, createIfMissing"

# The creators that its own rows mean, and the VR of what they have there, by group; the file has neither.
_CREATORS: Final = {
    "0009": ("SECTRA_Ident_01", "LO"),
    "0013": ("CTP", "LO"),
    "0033": ("MITRA OBJECT UTF8 ATTRIBUTES 1.0", "UT"),
    "0071": ("SIEMENS MED PT", "DT"),
}

# The tags of its own table. --tag-change has one of these added where it is missing, but no other.
_TABLE: Final = frozenset(
    """
00080012 00080014 00080018 00080020 00080021 00080022 00080023 00080024 00080025 0008002a 00080030 00080031
00080032 00080033 00080034 00080035 00080050 00080058 00080070 00080080 00080081 00080082 00080090 00080092
00080094 00080096 0008010d 00080201 00081010 00081030 0008103e 00081040 00081048 00081049 00081050 00081052
00081060 00081062 00081070 00081072 00081080 00081084 00081090 00081111 00081120 00081150 00081155 00081195
00082111 00082112 00083010 00084000 00089123 00100010 00100020 00100021 00100030 00100032 00100040 00100050
00100101 00100102 00101000 00101001 00101002 00101005 00101010 00101020 00101030 00101040 00101050 00101060
00101080 00101081 00101090 00102000 00102110 00102150 00102152 00102154 00102160 00102180 001021a0 001021b0
001021c0 001021d0 001021f0 00102203 00102297 00102299 00104000 00120020 00120021 00120040 00120050 00120051
00120062 00120063 00120064 00180010 00180015 00181000 00181002 00181004 00181005 00181007 00181008 00181012
00181020 00181030 00181078 00181079 00181200 00181400 00184000 0018700a 0018700c 00189424 0018a003 0020000d
0020000e 00200010 00200052 00200200 00203401 00203404 00203406 00204000 00209158 00209161 00209164 00280301
00280303 00281199 00281214 00284000 00320012 00321000 00321020 00321021 00321030 00321032 00321033 00321040
00321050 00321060 00321070 00324000 00380004 00380010 00380011 0038001e 00380020 00380021 00380040 00380050
00380060 00380061 00380062 00380300 00380400 00380500 00384000 00400001 00400002 00400003 00400004 00400005
00400006 00400007 0040000b 00400010 00400011 00400012 00400241 00400242 00400243 00400244 00400245 00400250
00400253 00400254 00400275 00400280 00400555 00401001 00401004 00401005 00401010 00401011 00401101 00401102
00401103 00401400 00402001 00402008 00402009 00402010 00402016 00402017 00402400 00403001 00404023 00404025
00404027 00404028 00404030 00404034 00404035 00404036 00404037 0040a027 0040a073 0040a075 0040a078 0040a07a
0040a07c 0040a088 0040a123 0040a124 0040a730 0040db0c 0040db0d 00540016 00700084 00700086 0070031a 00880140
00880200 00880904 00880906 00880910 00880912 04000100 04000402 04000403 04000404 04000550 04000561 20300020
30060008 30060024 300600c2 300a0013 300e0008 40000010 40004000 40080042 40080102 4008010a 4008010b 4008010c
40080111 40080114 40080115 40080118 40080119 4008011a 40080202 40080300 40084000 fffafffa fffcfffc
""".split()
)

_CHANGE: Final = re.compile(r"([0-9a-fA-F]{4}),([0-9a-fA-F]{4})=(.*)", re.DOTALL)


def import_mmiv(path: Path) -> Imported:
    """Import rules as --exportanon writes them, JSON or CSV. Raises ConfigError for what is neither."""
    translation = Translation()
    translation.note("all", "what has no row is left as it is by mmiv; with us the Basic Profile holds for it")
    first: dict[str, str] = {}
    actions = set()
    for place, row in _rows(path):
        cells = _cells(row)
        if cells is None:
            translation.leave_out(place, _NO_ROW)
            continue
        tag = cells[0] + cells[1]
        if tag in first:
            translation.note(place, f"the tag is in {first[tag]} already, and the first one counts")
            continue
        first[tag] = place
        actions.add(cells[3])
        _import_row(translation, f"{place} {cells[2]}", tag, cells)
    translation.check(path, bool(first))
    _note_differences(translation, actions)
    variables = {word: "" for word, option in _OPTIONS.items() if _noted(translation, actions, word, option)}
    return translation.result(**({"variables": variables} if variables else {}))


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    """The rows, with their places: items of an array, or lines of CSV. Raises ConfigError."""
    text = read_text(path)
    if text.lstrip().startswith(("[", "{")):
        rows = read_json(path)
        if not isinstance(rows, list):
            raise wrong(path, "must be an array of rows")
        yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))
        return
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise wrong(path, "is empty: must have rows of rules, as JSON or CSV")
    yield from ((f"line {number}", _split(line)) for number, line in lines)


def _split(line: str) -> object:
    """The cells of a line, without empty ones behind the last that a row has; None for what cannot be split."""
    try:
        (cells,) = csv.reader([line], strict=True, skipinitialspace=True)
    except csv.Error:
        return None
    while len(cells) > _COLUMNS and not cells[-1]:
        cells.pop()
    return cells


def _cells(row: object) -> list[str] | None:
    """The six cells of a row, or None for what is none. Zeros that a spreadsheet has taken for none come back."""
    if not isinstance(row, list) or not 4 <= len(row) <= _COLUMNS or not all(isinstance(cell, str) for cell in row):
        return None
    if not all(re.fullmatch("[0-9a-fA-F]{1,4}", cell) for cell in row[:2]):
        return None
    return [*(cell.lower().zfill(4) for cell in row[:2]), *row[2:], *[""] * (_COLUMNS - len(row))]


def _import_row(translation: Translation, place: str, tag: str, cells: list[str]) -> None:
    _, _, named, action, flag, create = cells
    if tag in (PATIENT_ID, PATIENT_NAME):
        translation.note(place, "-p is not among the rules; with us patients have the pseudonyms that patients: says")
        return
    if named in _NAMES:
        action, flag = named, ""
    try:
        rule = _regular_rule(action) if flag == "regexp" else _meaning(action, tag)
    except ConfigError as error:
        translation.leave(place, tag, str(error))
        return
    if flag != "regexp" and action in _OF_SEQUENCES and vr_of_tag(tag) == "SQ":
        translation.note(place, _SEQUENCE)
        return
    _note_row(translation, place, tag, rule, flag, action)
    if create == _CREATE:
        rule["create"] = True
    if is_private(tag):
        _import_private(translation, place, tag, rule)
        return
    if flag != "regexp" and action == _BODY_PART:
        _import_body_part(translation, place, tag, rule)
    translation.add(place, tag, rule)


def _note_row(translation: Translation, place: str, tag: str, rule: Rule, flag: str, action: str) -> None:
    if flag == "regexp":
        translation.note(place, "no match: mmiv writes a text of its own; with us the value is emptied")
    elif flag:
        translation.note(place, f"the flag {flag!r} means nothing to us")
    elif action in ("hash", "hashuid") and rule["action"] == "uid":
        translation.note(place, "mmiv hashes without the project; with us UIDs are keyed by project")
    if rule["action"] == "replace" and action not in _WORDS and _cut(action, tag) != action:
        translation.note(place, "cut to what its VR can hold, as mmiv does")


def _import_private(translation: Translation, place: str, tag: str, rule: Rule) -> None:
    if tag[:4] not in _CREATORS:
        translation.note(place, NEEDS_CREATOR)
    elif int(tag[4:], 16) < 0x1000:
        translation.note(place, "a private creator: with us it stays where an attribute of its block does")
    else:
        creator, vr = _CREATORS[tag[:4]]
        translation.add_private(place, creator, tag, rule, vr)


def _import_body_part(translation: Translation, place: str, tag: str, rule: Rule) -> None:
    """Its terms are kept; what is none is left to the rule behind."""
    if unfit(tag, rule) is None:
        translation.add(place, tag, {"action": "keep", "terms": "body-part-examined", "otherwise": "next"})


def _note_differences(translation: Translation, actions: set[str]) -> None:
    if actions.intersection(_HASHES):
        translation.note(
            "hash, hashuid",
            "new UIDs and hashes are keyed with us, and differ; uids: {scheme: mmiv} makes those that mmiv made",
        )
    if actions.intersection(_DATES):
        translation.note(
            "incrementdate",
            "-d (42 where it was not given) is not among the rules; dates: {days: N} says it, else each patient has "
            "an offset",
        )


def _noted(translation: Translation, actions: set[str], word: str, option: str) -> bool:
    used = any(_WORDS.get(action) == "{" + word + "}" for action in actions)
    if used:
        translation.note(f"variables.{word}", f"{option} is not among the rules: give it here")
    return used


def _meaning(action: str, tag: str) -> Rule:
    """The rule, without its target, for an action. Raises ConfigError, without the place, for what has none."""
    vr = vr_of_tag(tag)
    if action in ("keep", "remove", "empty"):
        return {"action": action}
    if action in _DATES:
        return {"action": "shift-date", "otherwise": "empty"}
    if action in _HASHES:
        return {"action": "uid" if vr == "UI" else "hash"}
    if action in _WORDS:
        return {"action": "replace", "value": _WORDS[action]}
    if action == "process" and vr == "SQ":
        return {"action": "keep"}
    value = _cut(action, tag)
    return {"action": "replace", "value": literal(value)} if value.strip() else {"action": "empty"}


def _cut(value: str, tag: str) -> str:
    """A literal as mmiv writes it: never longer than the VR allows; only that of a name it does not cut."""
    vr = vr_of_tag(tag)
    return value if vr == "PN" else value[: LONGEST.get(vr)]


def _regular_rule(regex: str) -> Rule:
    """The rule for a regular expression, whose groups are the new value, a blank between them. Raises ConfigError."""
    pattern = scoped(regex)
    compiled = regular(pattern)
    if compiled is None:
        raise ConfigError("regexp: is no regular expression with us, or means something else")
    if not compiled.groups:
        raise ConfigError("regexp: has no group, and what is in the groups is the new value")
    value = " ".join(f"\\{number}" for number in range(1, compiled.groups + 1))
    return {"action": "regex", "pattern": pattern, "value": value, "otherwise": "empty"}


def tag_change(text: str) -> Rule:
    """One rule for what --tag-change was given: "gggg,eeee=TEXT".

    TEXT is an action of mmiv's or the new value. Of the words that its options fill in, EventName, SITENAME and SITEID
    become the placeholders {event}, {site} and {siteid}, which `variables` of the profile must have. Raises
    ConfigError for what is no such text, or cannot be said by one rule.
    """
    tag, action = _change(text, "--tag-change")
    if action == _BODY_PART:
        raise ConfigError(f"--tag-change {name(tag)}: BODYPART: needs more than one rule; import a rules.json instead")
    return _single(tag, _meaning(action, tag), "--tag-change")


def regex_tag_change(text: str) -> Rule:
    """One rule for what --regex-change was given: "gggg,eeee=REGEX". Raises ConfigError as `tag_change` does."""
    tag, regex = _change(text, "--regex-change")
    try:
        rule = _regular_rule(regex)
    except ConfigError as error:
        raise ConfigError(f"--regex-change {name(tag)}: {error}") from None
    return _single(tag, rule, "--regex-change")


def _change(text: str, option: str) -> tuple[str, str]:
    match = _CHANGE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{option}: must be gggg,eeee=TEXT, with group and element in hexadecimal digits")
    tag = (match[1] + match[2]).lower()
    if tag in (PATIENT_ID, PATIENT_NAME):
        raise ConfigError(f"{option} {name(tag)}: cannot be changed there either; patients: says what becomes of it")
    return tag, match[3]


def _single(tag: str, rule: Rule, option: str) -> Rule:
    why = unfit(tag, rule)
    if why:
        raise ConfigError(f"{option} {name(tag)}: {why}")
    create = {"create": True} if tag in _TABLE and rule["action"] in ("replace", "empty", "hash") else {}
    return {"tag": name(tag), **rule, **create}


def export_mmiv(rules: Iterable[tuple[int, str, str]], as_csv: bool = False) -> tuple[str, tuple[str, ...]]:
    """Write rules as the text of a rules.json, or as CSV without a header.

    `rules`: tag, keyword, and action of ours, with `replace:VALUE` for a value. Returns the text, and a note for each
    rule that mmiv cannot be told: such an attribute is emptied there, as mmiv would leave it as it is.
    """
    notes = ["all: what has no row is left as it is by mmiv", "uid, hash: mmiv makes them without a key"]
    rows: list[list[str]] = []
    removes = False
    for number, keyword, action in rules:
        tag = f"{number:08x}"
        if is_private(tag):
            notes.append(f"{keyword}: private: mmiv cannot be told its creator, and leaves it as it is")
            continue
        theirs, why = _exported(tag, action)
        if why:
            notes.append(f"{keyword}: {why}")
        removes = removes or theirs == "remove"
        rows.append([tag[:4], tag[4:], keyword, theirs])
    if removes:
        notes.append("remove: mmiv of 2024-03-22 and later leaves attributes that it should remove, and all sequences")
    return (_as_csv if as_csv else _as_json)(rows), tuple(notes)


def _as_json(rows: list[list[str]]) -> str:
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"


def _as_csv(rows: list[list[str]]) -> str:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    return target.getvalue()


def _exported(tag: str, action: str) -> tuple[str, str]:
    """The action of mmiv's for one of ours, and what is to be noted of it."""
    vr = vr_of_tag(tag)
    if tag in (PATIENT_ID, PATIENT_NAME):
        return "Re-Mapped", "mmiv always writes what -p says"
    if action in ("keep", "remove", "empty"):
        return action, ""
    if action == "uid":
        return "hashuid+PROJECTNAME", ""
    if action == "hash":
        return "hash", ""
    if action == "shift-date" and vr in ("DA", "DT"):
        return ("incrementdate" if vr == "DA" else "incrementdatetime"), ""
    if action == "shift-date" and vr == "TM":
        return "keep", ""
    if action == f"replace-others:{_BODY_PART}" and tag == _BODY_PART_EXAMINED:
        return _BODY_PART, ""
    if action.startswith(("replace:", "replace-others:")):
        return _exported_value(action.partition(":")[2], tag)
    return "empty", f"{action}: mmiv has no such action; exported as empty"


def _exported_value(value: str, tag: str) -> tuple[str, str]:
    word = next((word for word, ours in _WORDS.items() if ours == value), None)
    if word is not None:
        return word, ""
    if re.search(r"(?<!\{)(\{\{)*\{\w", value):
        return "empty", "replace: mmiv has no placeholders within a value; exported as empty"
    text = value.replace("{{", "{").replace("}}", "}")
    if _meaning(text, tag) != {"action": "replace", "value": value} or text == _BODY_PART:
        return "empty", "replace: to mmiv this value is an action, or too long; exported as empty"
    return text, ""
