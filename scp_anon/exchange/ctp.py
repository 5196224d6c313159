"""Scripts of the RSNA Clinical Trial Processor's DicomAnonymizer, in XML.

What is translated is what means the same with us; every other function is noted with its element. Conditions look at
the data set at hand there, at the top level with us: so a rule with a condition holds at the top level only.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

from scp_anon.dicom.dictionary import attributes
from scp_anon.exchange.ctp_script import Call, Element, Scope, Untranslated, When, conditions, parse, rule
from scp_anon.exchange.imported import (
    NEEDS_CREATOR,
    PATIENT,
    Imported,
    Rule,
    is_private,
    name,
    parse_tag,
    read_text,
    tags_of,
    wrong,
)

_STUDY_INSTANCE_UID: Final = "0020000d"
_SERIES_INSTANCE_UID: Final = "0020000e"
_UNSPECIFIED: Final = "unspecifiedelements"
_DEEPEST: Final = 8  # conditions within conditions
_PRIVATE: Final = re.compile(r"[\[(]?([0-9a-fA-F]{4}),?\[(.+)\]([0-9a-fA-F]{2})[\])]?")
# Groups that `unspecifiedelements` leaves there, or that are not passed on with us in any case.
_SPARED: Final = ("0000", "0002", "0004", "0012", "0028", "7fe0")


def import_ctp(path: Path) -> Imported:
    """Import a script. Raises ConfigError for what is no script, or has a document type or entities."""
    scope = Scope()
    parts = _parts(path, scope)
    for part in parts["p"]:
        scope.parameters[part.get("t", "")] = _text(part)
    scripts = _scripts(scope, parts["e"])
    groups = _groups(scope, parts["k"])
    scope.translation.check(path, bool(scripts or groups or scope.names or parts["p"] or parts["r"]))
    removals = {part.get("t", "").strip() for part in parts["r"] if _is_on(part)}
    _note_all(scope, parts, removals)
    admit: list[object] = []
    complete = {element.tag for element, script in scripts if _import_element(scope, element, script, removals, admit)}
    for group in groups:
        _import_group(scope, group, removals)
    _import_removals(scope, removals)
    if _UNSPECIFIED in removals:
        _import_unspecified(scope, groups, complete)
    return scope.translation.result(**scope.settings, **({"admit": admit} if admit else {}))


# ---------------------------------------------------------------- the file


def _parts(path: Path, scope: Scope) -> dict[str, list[ET.Element]]:
    """The elements of the file, by kind; any other is left out. Raises ConfigError for what is no script."""
    text = read_text(path)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise wrong(path, "has a document type or entities, which are not read here")
    try:
        root = ET.fromstring(text)  # noqa: S314 - document types and entities were refused
    except (ET.ParseError, ValueError) as error:
        line = f"line {error.position[0]}: " if isinstance(error, ET.ParseError) else ""
        raise wrong(path, f"{line}is not XML") from None
    if root.tag != "script":
        raise wrong(path, "must be a script of DicomAnonymizer: <script>")
    parts: dict[str, list[ET.Element]] = {"p": [], "e": [], "k": [], "r": []}
    for child in root:
        if child.tag not in parts or len(child):
            place = f"<{child.tag}> {child.get('t', '')}".strip()
            scope.translation.leave_out(place, "must be p, e, k or r, with text only")
        else:
            parts[child.tag].append(child)
    return parts


def _text(part: ET.Element) -> str:
    return (part.text or "").strip()


def _is_on(part: ET.Element) -> bool:
    return part.get("en") == "T"


def _scripts(scope: Scope, parts: list[ET.Element]) -> list[tuple[Element, str]]:
    """The elements that are on, with their scripts, and the names that all of them give to tags."""
    scripts: dict[str, tuple[Element, str]] = {}
    for part in parts:
        written = part.get("t", "").strip()
        element = _element(written)
        if element is None:
            scope.translation.leave_out(f"e t={written!r}", "is no tag; must be ggggeeee")
            continue
        if element.creator is None:
            scope.names.setdefault(part.get("n", "").strip(), element.tag)
        if _is_on(part):
            if element.place in scripts:
                scope.translation.note(element.place, "is there twice, and the last one counts")
            scripts[element.place] = (element, _text(part))
    return list(scripts.values())


def _element(written: str) -> Element | None:
    """What an element is for; None for what is no tag."""
    private = _PRIVATE.fullmatch(written)
    if private and is_private(private[1].lower()):
        return Element(written, f"{private[1]}10{private[3]}".lower(), private[2].strip())
    tag = parse_tag(written)
    if tag is None or "x" in tag:
        return None
    printed = f"({tag[:4]},{tag[4:]})"
    named = name(tag)
    # The block of CTP itself; of other private attributes nobody knows the creator.
    creator = "CTP" if tag.startswith("0013") and not tag.startswith("001300") else None
    return Element(printed if named.startswith("(") else f"{printed} {named}", tag, creator)


def _groups(scope: Scope, parts: list[ET.Element]) -> list[str]:
    """The groups that are kept, as four digits."""
    groups = []
    for part in filter(_is_on, parts):
        group = part.get("t", "").strip().lower()
        if group.startswith("safe"):
            scope.settings["options"] = ["retain-safe-private"]
            scope.translation.note(f"k {group}", "with us safe is what the option retain-safe-private takes for it")
        elif not re.fullmatch("[0-9a-f]{1,4}", group):
            scope.translation.leave_out(f"k t={group!r}", "is no group; must be four hexadecimal digits")
        elif group.zfill(4) not in groups:
            groups.append(group.zfill(4))
    return groups


def _note_all(scope: Scope, parts: dict[str, list[ET.Element]], removals: set[str]) -> None:
    note = scope.translation.note
    if _UNSPECIFIED not in removals:
        note("all", "what no element names is left as it is there; with us the Basic Profile holds for it")
    note("all", "items of sequences are left as they are there, but for @process; with us a rule holds at every depth")
    off = [part for kind in "ekr" for part in parts[kind] if not _is_on(part)]
    if off:
        note('en="F"', f"{len(off)} switched off, and skipped")
    for part in off:
        if part.tag == "r" and part.get("t") in ("curves", "overlays", "privategroups"):
            note(f"r {part.get('t')}", "switched off, so they stay there; with us the Basic Profile removes them")


# ---------------------------------------------------------------- elements


def _import_element(scope: Scope, element: Element, script: str, removals: set[str], admit: list[object]) -> bool:
    """Translate the script of one element, or note why not; tells whether a rule of ours now decides always."""
    if "overlays" in removals and element.tag.startswith("60"):
        scope.translation.note(element.place, "r overlays removes it, whatever its script says")
        return False
    if is_private(element.tag) and element.creator is None:
        scope.translation.note(element.place, NEEDS_CREATOR)
        return False
    return _Branches(scope, element, admit).translate(script, (), False)


class _Branches:
    """The script of one element, with what it does under conditions."""

    def __init__(self, scope: Scope, element: Element, admit: list[object]) -> None:
        self._scope = scope
        self._element = element
        self._admit = admit

    def translate(self, script: str, whens: tuple[When, ...], creates: bool) -> bool:
        """Translate a script that holds under conditions; tells whether it always decides."""
        try:
            calls, text = parse(script)
            creates = creates or any(call.name == "always" for call in calls)
            calls = [call for call in calls if call.name != "always"]
            if len(calls) == 1 and not text and calls[0].name == "select":
                return self._select(calls[0], whens, creates)
            if len(calls) == 1 and not text and calls[0].name in ("if", "quarantine"):
                return self._decide(calls[0], whens, creates)
            return self._add(rule(self._scope, self._element, calls, text), whens, creates)
        except Untranslated as error:
            self._scope.translation.leave(self._element.place, self._element.tag, str(error))
            return False

    def _decide(self, call: Call, whens: tuple[When, ...], creates: bool) -> bool:
        """A condition, with a branch for each outcome; or quarantine, which is not up to rules with us."""
        if self._element.creator is not None or not tags_of(self._element.tag) or len(whens) > _DEEPEST:
            raise Untranslated(f"@{call.name}: not possible here with us")
        if call.name == "quarantine":
            is_there: When = {name(self._element.tag): {"exists": True}}
            self._admit.append({"when": {"all": [is_there, *whens]} if whens else is_there, "then": "quarantine"})
        else:
            if not call.clauses:
                raise Untranslated("@if: has no clause")
            # Without a second clause the new value is none there.
            for clause, when in zip((*call.clauses, "")[:2], conditions(self._scope, self._element, call), strict=True):
                self.translate(clause, (*whens, when), creates)
        self._scope.translation.leave_open(self._element.tag)
        return False

    def _select(self, call: Call, whens: tuple[When, ...], creates: bool) -> bool:
        """One clause for the top level, and one for items of sequences."""
        if whens or self._element.creator is not None or len(call.clauses) != 2:
            raise Untranslated("@select: not possible here with us")
        at_top, inside = (rule(self._scope, self._element, *parse(clause)) for clause in call.clauses)
        return self._add(at_top, (), creates, anchored=True) and self._add(inside, (), False)

    def _add(self, found: Rule, whens: tuple[When, ...], creates: bool, anchored: bool = False) -> bool:
        element, translation = self._element, self._scope.translation
        if creates and found["action"] in ("replace", "empty"):
            found["create"] = True
        if element.creator is not None:
            translation.add_private(element.place, element.creator, element.tag, found, "LO")
            return True
        if whens:
            found["when"] = whens[0] if len(whens) == 1 else {"all": list(whens)}
        is_added = translation.add(element.place, element.tag, found, anchored=anchored or bool(whens))
        return is_added and not whens


# ---------------------------------------------------------------- groups


def _import_group(scope: Scope, group: str, removals: set[str]) -> None:
    if "overlays" in removals and group.startswith("60"):
        scope.translation.note(f"k {group}", "r overlays removes it all the same")
    elif scope.translation.add(f"k {group}", f"{group}xxxx", {"action": "keep"}):
        scope.translation.note(f"k {group}", "keeps what no element names, also against the Basic Profile")


def _import_removals(scope: Scope, removals: set[str]) -> None:
    for removal in sorted(removals):
        if removal == "curves":
            scope.translation.add("r curves", "50xxxxxx", {"action": "remove"})
        elif removal == "overlays":
            scope.translation.add("r overlays", "60xxxxxx", {"action": "remove"})
        elif removal not in ("privategroups", _UNSPECIFIED):
            scope.translation.note(f"r {removal}", "there is nothing like it with us")


def _import_unspecified(scope: Scope, groups: list[str], complete: set[str]) -> None:
    """Whatever no element names is removed: group by group, as some are spared."""
    needed: dict[str, Rule] = {
        _STUDY_INSTANCE_UID: {"action": "uid"},
        _SERIES_INSTANCE_UID: {"action": "uid"},
        **PATIENT,
    }
    place = f"r {_UNSPECIFIED}"
    for tag, found in needed.items():
        if tag not in complete and tag[:4] not in groups:
            scope.translation.add(place, tag, found)
            scope.translation.note(f"{place} {name(tag)}", "not removed: with us an instance cannot be without")
    scope.translation.note(place, "at the top level; in groups 0012 and 0028 and in items the Basic Profile holds")
    for group in sorted({f"{tag >> 16:04x}" for tag in attributes()}):
        if group not in (*_SPARED, *groups) and not group.startswith(("50", "60")):
            scope.translation.add(place, f"{group}xxxx", {"action": "remove"}, anchored=True)
