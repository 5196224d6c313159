"""The files of chop-dbhi's dicom-anon: the spec file, two lines for each attribute, and the white list of values.

And that of its successor dicom-pseudon: a list of tags, all that stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scp_anon.exchange.imported import (
    LAST_COUNTS,
    PATIENT,
    Imported,
    Rule,
    Translation,
    name,
    parse_tag,
    read_json,
    read_text,
    unfit,
    vr_of_tag,
    wrong,
)

# The first letter of the basic profile's column is all that counts there; D and Z both write a dummy.
_ACTIONS: Final = {"X": "remove", "K": "keep", "U": "uid", "D": "dummy", "Z": "dummy"}
_REDACT: Final = "R"
_REDACTED: Final = "REDACTED"  # what -f says where it is not given
_BASIC: Final = 2
_CLEAN: Final = 9
_PRIVATE: Final = "(gggg,eeee)"
# What dicom-pseudon keeps besides its list: the pixel module; and what it blanks.
_PALETTES: Final = ("00281101", "00281102", "00281103", "00281201", "00281202", "00281203")
_PIXELS: Final = ("002800xx", "002801xx", *_PALETTES, "00282000", "7fe00010")
_BLANKED: Final = ("00200011", "00200013")
# What its comparison of values does not count, nor ours.
_UNCOUNTED: Final = re.compile(r"[\s\-_,.]")


def import_spec(path: Path) -> Imported:
    """Import a spec file (-s), as annexe_ext.dat. Raises ConfigError."""
    translation = Translation()
    translation.note(
        "all",
        "what is not in the file is removed there if it is text, else kept; with us the Basic Profile holds for it",
    )
    rows: dict[str, tuple[int, list[str]]] = {}
    is_any = False
    for line, tag, columns in _pairs(path, translation):
        is_any = True
        if tag == _PRIVATE:
            translation.note(f"line {line}", "private attributes: removed with us, where no rule names their creator")
            continue
        if tag in rows:
            translation.note(f"line {rows[tag][0]}", f"{name(tag)} is there again below, and the last one counts")
        rows[tag] = (line, columns)
    translation.check(path, is_any)
    for tag, (line, columns) in rows.items():
        _add(translation, f"line {line} {name(tag)}", tag, columns)
    return translation.result()


def _pairs(path: Path, translation: Translation) -> Iterator[tuple[int, str, list[str]]]:
    """Each attribute's line number, tag, and the columns of its second line. A line that is neither is left out."""
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip(" \r")]
    if not lines:
        raise wrong(path, "is empty: must have two lines for each attribute")
    first: tuple[int, str] | None = None
    for number, text in (*lines, (0, "")):
        tag = _tag(text)
        if tag is None and first is not None and number:
            yield *first, [column.strip() for column in text.split("\t")]
            first = None
            continue
        if first is not None:
            translation.leave_out(f"line {first[0]}", "the second line of the attribute, its columns, is missing")
        elif tag is None and number:
            translation.leave_out(
                f"line {number}", "must be the name of an attribute, a tabulator, and its tag as (gggg,eeee)"
            )
        first = (number, tag) if tag is not None else None


def _tag(text: str) -> str | None:
    """The tag of an attribute's first line; None for any other line."""
    columns = text.split("\t")
    written = columns[1].strip() if len(columns) > 1 else ""
    return _PRIVATE if written.lower().startswith(_PRIVATE) else parse_tag(written)


def _add(translation: Translation, place: str, tag: str, columns: list[str]) -> None:
    code = columns[_BASIC][:1].upper() if len(columns) > _BASIC else ""
    if len(columns) > _CLEAN and columns[_CLEAN].upper() == "C":
        translation.note(place, "C: in its profile clean a value on the white list stays; import that file as well")
    if "x" in tag:
        translation.note(place, "dicom-anon cannot read a tag with x; with us it means all of these attributes")
    if code not in (*_ACTIONS, _REDACT):
        translation.leave(place, tag, f"{code or 'nothing'}: is no action; must be X, K, U, D, Z or R")
    elif vr_of_tag(tag) == "SQ":
        if code != "X":
            translation.note(place, "dicom-anon removes every sequence, and so does this rule, whatever its code")
        translation.add(place, tag, {"action": "remove"})
    elif code in "DZR" and tag in PATIENT:
        translation.note(place, "numbered in each study there; with us a patient has a pseudonym, as patients: says")
        translation.add(place, tag, PATIENT[tag])
    elif code == _REDACT:
        _add_redacted(translation, place, tag)
    else:
        _add_plain(translation, place, tag, _ACTIONS[code])


def _add_redacted(translation: Translation, place: str, tag: str) -> None:
    redacted: Rule = {"action": "replace", "value": _REDACTED}
    if unfit(tag, redacted):
        translation.note(place, "R: its VR cannot hold a text of one's own; it has a dummy")
        translation.add(place, tag, {"action": "dummy"})
    else:
        translation.note(place, "R: the text is that of -f where it was not given")
        translation.add(place, tag, redacted)


def _add_plain(translation: Translation, place: str, tag: str, action: str) -> None:
    if action == "dummy" and vr_of_tag(tag) not in ("UI", "DA", "TM", "DT"):
        translation.note(place, "D, Z: CLEANED, or a number in each study, there; with us the same dummy for all")
    if action == "uid" and vr_of_tag(tag) == "UI":
        translation.note(place, "U: new UIDs are of the time of day there; with us keyed, the same for the same")
    translation.add(place, tag, {"action": action})


def import_white_list(path: Path) -> Imported:
    """Import a white list (-w): tag → list of values that may stay. Raises ConfigError."""
    translation = Translation()
    content = read_json(path, translation)
    if not isinstance(content, dict):
        raise wrong(path, "must be an object: tag and list of values")
    translation.note("all", "what is not on the list falls under the spec file there; with us the Basic Profile holds")
    translation.note("all", "holds at the top level only; dicom-anon removes every sequence")
    translation.note("all", "holds there only for what the spec file marks C or does not have")
    allowed: dict[str, list[str]] = {}
    for key, values in content.items():
        tag = parse_tag(key)
        if tag is None:
            translation.leave_out(repr(key), "is no tag; write it as gggg,eeee")
        elif not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            translation.leave_out(repr(key), "must be a list of texts")
        else:
            if tag in allowed:
                translation.note(name(tag), LAST_COUNTS)
            allowed[tag] = values
    translation.check(path, bool(allowed))
    for tag, values in allowed.items():
        _add_allowed(translation, tag, values)
    return translation.result()


def _add_allowed(translation: Translation, tag: str, values: list[str]) -> None:
    """A rule that keeps the attribute if each of its values is allowed: of several, one could be anybody's name."""
    allowed = []
    for number, value in enumerate(values, 1):
        if _UNCOUNTED.sub("", value):
            allowed.append(value)
        else:
            translation.note(f"{name(tag)} value {number}", "has neither letters nor digits")
    if allowed:
        rule: Rule = {"action": "keep", "values": list(dict.fromkeys(allowed)), "otherwise": "next"}
        translation.add(name(tag), tag, rule, anchored=True)


def import_pseudon(path: Path) -> Imported:
    """Import a white list of dicom-pseudon: one tag a line, all that stays. Raises ConfigError."""
    translation = Translation()
    translation.note("all", "AccessionNumber becomes a serial of links.csv there; with us by the action lookup")
    tags: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip().strip('"')
        if not text:
            continue
        tag = parse_tag(text)
        if tag is None:
            translation.leave_out(f"line {number}", "is no tag; write it as gggg,eeee")
        else:
            tags.setdefault(tag, number)
    translation.check(path, bool(tags))
    if not tags:
        raise wrong(path, "is empty: must have one tag a line")
    for tag, number in tags.items():
        if vr_of_tag(tag) == "SQ":
            translation.note(f"line {number} {name(tag)}", "with us its items keep only what is on the list as well")
        translation.add(f"line {number} {name(tag)}", tag, PATIENT.get(tag, {"action": "keep"}))
    for tag in _BLANKED:
        if tag not in tags:
            translation.add("all", tag, {"action": "empty"})
    for tag in _PIXELS:
        translation.add("pixels", tag, {"action": "keep"})
    return translation.result(base="allow-list")
