"""The script language of CTP's DicomAnonymizer: its calls, its conditions, and which rule of ours a function is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scp_anon.dicom.dictionary import keywords
from scp_anon.exchange.imported import (
    PATIENT,
    PATIENT_ID,
    Rule,
    Translation,
    is_private,
    literal,
    name,
    parse_tag,
    regular,
    scoped,
    tags_of,
)

When: TypeAlias = dict[str, object]

_ROOT: Final = re.compile(r"(?!1\.2\.840\.10008)[012](\.(0|[1-9][0-9]*))+")
_LONGEST_ROOT: Final = 24
_SHORTEST_HASH: Final = 4
_LONGEST_HASH: Final = 52
_MOST_DAYS: Final = 36500
# Functions that make another ID or name of a patient's: with us a pseudonym.
_RENAMING: Final = ("encrypt", "hash", "hashname", "hashptid", "initials", "integer", "lookup")


class Untranslated(Exception):
    """A script, or a part of it, that our language cannot say; the text says why."""


@dataclass(frozen=True)
class Call:
    """A call of a function: @name(arguments){clause}{clause}."""

    name: str
    arguments: tuple[str, ...]
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class Element:
    """What a script is for: a tag, the creator of a private one, and where it is, for notes."""

    place: str
    tag: str
    creator: str | None = None


@dataclass
class Scope:
    """What the elements of one file share, and what they find out for the whole profile."""

    parameters: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    translation: Translation = field(default_factory=Translation)
    settings: dict[str, object] = field(default_factory=dict)

    def tag(self, text: str, this: str) -> str | None:
        """The tag that an argument names: `this`, by keyword, by number, or as the file calls it."""
        if text in ("this", ""):
            return this
        tags = sorted(keywords().get(text, ()))
        return f"{tags[0]:08x}" if tags else parse_tag(text) or self.names.get(text)

    def value(self, argument: str) -> str:
        """An argument without its quotes, or the parameter that it names. Raises Untranslated."""
        if not argument.startswith(("@", "$")):
            return argument[1:-1] if len(argument) > 1 and argument[0] == argument[-1] == '"' else argument
        if argument[1:] not in self.parameters:
            raise Untranslated(f"{argument}: there is no such parameter")
        return self.parameters[argument[1:]]


# ---------------------------------------------------------------- calls


def parse(script: str) -> tuple[list[Call], str]:
    """The calls of a script in their order, and the text around them. Raises Untranslated."""
    calls, text, i = [], "", 0
    while i < len(script):
        if script[i] == "\\":
            text += script[i + 1 : i + 2]
            i += 2
        elif script[i] == "@":
            call, i = _call(script, i + 1)
            calls.append(call)
        else:
            text += script[i]
            i += 1
    return calls, text.strip()


def _call(script: str, start: int) -> tuple[Call, int]:
    """The call whose name begins at `start`, and where it ends."""
    opening = script.find("(", start)
    named = re.sub(r"\s", "", script[start:opening]) if opening > 0 else ""
    if not re.fullmatch(r"[A-Za-z]+", named):
        raise Untranslated("a function that cannot be read")
    arguments, i = [], opening
    while script[i] != ")" or i == opening:
        end = _end(script, i + 1, "(", ",)")
        arguments.append(script[i + 1 : end].strip())
        i = end
    clauses: list[str] = []
    i += 1
    # Only these have clauses: behind any other function braces are text.
    while named in ("if", "select", "append") and script[i:].lstrip().startswith("{") and len(clauses) < 2:
        opening = script.index("{", i)
        i = _end(script, opening + 1, "{", "}")
        clauses.append(script[opening + 1 : i])
        i += 1
    return Call(named, tuple(arguments), tuple(clauses)), i


def _end(script: str, start: int, opening: str, stops: str) -> int:
    """Where the first of `stops` is that is not quoted, escaped, in brackets, or between an inner pair."""
    depth, brackets, is_quoted, i = 0, 0, False, start
    while i < len(script):
        character = script[i]
        if character == "\\":
            i += 1
        elif character == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            if character in stops and not depth and not brackets:
                return i
            depth += (character == opening) - (character == stops[-1])
            brackets += (character == "[") - (character == "]")
        i += 1
    raise Untranslated("a function that has no end")


# ---------------------------------------------------------------- conditions


def conditions(scope: Scope, element: Element, call: Call) -> tuple[When, When]:
    """When the first clause of an @if holds, and when the second one. Raises Untranslated.

    Where CTP compares all values of an attribute as one text, and some of ours are equal to it and some are not,
    neither holds.
    """
    argument, test, wanted = (*call.arguments, "", "", "")[:3]
    tag = scope.tag(argument, element.tag)
    if tag is None or is_private(tag) or len(tags_of(tag)) != 1:
        raise Untranslated(f"@if({argument}): is no attribute of the dictionary")
    attribute = name(tag)
    if test == "exists":
        return {attribute: {"exists": True}}, {attribute: {"exists": False}}
    if test == "isblank":
        has_text: When = {attribute: {"matches": r"\S"}}
        return {"not": has_text}, has_text
    if test not in ("contains", "equals", "matches"):
        raise Untranslated(f"@if(..,{test}): there is nothing like it with us")
    wanted = scope.value(wanted)
    if test == "matches":
        return _compared(attribute, _java(wanted.strip()))
    if not wanted or "\\" in wanted:
        raise Untranslated(f"@if(..,{test}): cannot be said of this value")
    if test == "equals":
        return _compared(attribute, f"(?i:{re.escape(wanted)})")
    contains: When = {attribute: {"matches": f"(?i){re.escape(wanted)}"}}
    return contains, {"not": contains}


def _java(pattern: str) -> str:
    """A regular expression of theirs, which has to match all of a value. Raises Untranslated."""
    body = scoped(pattern)
    compiled = regular(body)
    if compiled is None or any("&&" in part.split("]")[0] for part in body.split("[")[1:]):
        raise Untranslated("@if(..,matches): is no regular expression with us, or means something else")
    if compiled.fullmatch(""):
        raise Untranslated("@if(..,matches): would hold for a missing attribute there, but not with us")
    return f"(?:{body})"


def _compared(attribute: str, body: str) -> tuple[When, When]:
    some: When = {attribute: {"matches": f"^{body}$"}}
    return {**some, "not": {attribute: {"matches": f"^(?!{body}$)"}}}, {"not": some}


# ---------------------------------------------------------------- functions


def rule(scope: Scope, element: Element, calls: list[Call], text: str) -> Rule:
    """The rule, without its target, for calls without conditions and the text around them. Raises Untranslated."""
    if not calls:
        return {"action": "replace", "value": literal(text)} if text else {"action": "empty"}
    if {call.name for call in calls} == {"remove"}:
        return {"action": "remove"}
    call = calls[0]
    if len(calls) > 1 or text:
        raise Untranslated(f"{', '.join(f'@{each.name}' for each in calls)}: more than one function, or text with it")
    if element.tag in PATIENT and call.name in _RENAMING:
        return _renamed(scope, element, call)
    if call.name not in _FUNCTIONS:
        raise Untranslated(f"@{call.name}: there is nothing like it with us")
    return _FUNCTIONS[call.name](scope, element, call)


def _renamed(scope: Scope, element: Element, call: Call) -> Rule:
    scope.translation.note(
        f"{element.place} @{call.name}", "with us a patient has the pseudonym that patients: says, here and elsewhere"
    )
    arguments = call.arguments
    is_table = call.name == "lookup" and len(arguments) == 2 and scope.tag(arguments[0], element.tag) == PATIENT_ID
    if is_table and element.tag == PATIENT_ID:
        file = _file(arguments[1])
        scope.settings["patients"] = {"scheme": "table", "file": file}
        scope.translation.note(f"patients {file}", "make it of the lookup table: CSV with the columns id, pseudonym")
    return dict(PATIENT[element.tag])


def _file(key_type: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key_type):
        raise Untranslated("@lookup: there can be no file of this name")
    return f"{key_type}.csv"


def _keep(scope: Scope, element: Element, call: Call) -> Rule:
    if call.name == "require":
        scope.translation.note(f"{element.place} @require", "a missing attribute is not added with us")
    return {"action": "keep"}


def _empty(scope: Scope, element: Element, call: Call) -> Rule:
    if call.name == "blank":
        scope.translation.note(f"{element.place} @blank", "blanks are padding with us: the value is emptied")
    return {"action": "empty"}


def _param(scope: Scope, element: Element, call: Call) -> Rule:
    value = scope.value(call.arguments[0])
    return {"action": "replace", "value": literal(value)} if value.strip() else {"action": "empty"}


def _of_this(scope: Scope, element: Element, call: Call, number: int) -> None:
    """Raise Untranslated where an argument is another attribute: our actions know only their own."""
    if len(call.arguments) <= number or scope.tag(call.arguments[number], element.tag) != element.tag:
        raise Untranslated(f"@{call.name}: of another attribute")


def _hashuid(scope: Scope, element: Element, call: Call) -> Rule:
    _of_this(scope, element, call, 1)
    if len(call.arguments) > 2:
        raise Untranslated("@hashuid: of more than one attribute")
    root = scope.value(call.arguments[0]).rstrip(".")
    if not _ROOT.fullmatch(root) or len(root) > _LONGEST_ROOT:
        scope.translation.note("@hashuid", f"its root cannot be one of ours, of at most {_LONGEST_ROOT} characters")
    elif scope.settings.setdefault("uids", {"scheme": "keyed", "root": root}) != {"scheme": "keyed", "root": root}:
        scope.translation.note(f"{element.place} @hashuid", "another root: with us all new UIDs have the first one")
    scope.translation.note("@hashuid", "new UIDs are keyed with us, and differ")
    return {"action": "uid"}


def _incrementdate(scope: Scope, element: Element, call: Call) -> Rule:
    _of_this(scope, element, call, 0)
    given = scope.value((*call.arguments, "", "")[1])
    days = int(given) if re.fullmatch(r"[+-]?\d{1,6}", given, re.ASCII) else 0
    if not 0 < abs(days) <= _MOST_DAYS:
        raise Untranslated(f"@incrementdate: its days are none that dates: {{days: N}} can have, 1 to {_MOST_DAYS}")
    if scope.settings.setdefault("dates", {"days": days}) != {"days": days}:
        raise Untranslated("@incrementdate: by other days than the first one; with us they are the same for all")
    return {"action": "shift-date", "otherwise": "empty"}


def _hash(scope: Scope, element: Element, call: Call) -> Rule:
    _of_this(scope, element, call, 0)
    scope.translation.note("@hash, @hashname, @hashptid", "hashes are keyed with us, of letters and digits, and differ")
    length = scope.value(call.arguments[1]) if call.name == "hash" and len(call.arguments) > 1 else ""
    if not re.fullmatch(r"\d{1,4}", length, re.ASCII):
        return {"action": "hash"}
    fitting = min(max(int(length), _SHORTEST_HASH), _LONGEST_HASH)
    if fitting != int(length):
        scope.translation.note(f"{element.place} @hash", f"with us of {fitting} characters")
    return {"action": "hash", "length": fitting}


def _hashptid(scope: Scope, element: Element, call: Call) -> Rule:
    of = scope.tag(call.arguments[1], element.tag) if len(call.arguments) > 1 else None
    if of == PATIENT_ID:
        return {"action": "replace", "value": "{PatientID}"}
    _of_this(scope, element, call, 1)
    return {"action": "pseudonym"}


def _lookup(scope: Scope, element: Element, call: Call) -> Rule:
    _of_this(scope, element, call, 0)
    key_type, otherwise = (*call.arguments, "", "")[1:3]
    if otherwise not in ("", "keep", "remove", "empty"):
        raise Untranslated(f"@lookup(..,{otherwise}): there is nothing like it with us")
    file = _file(key_type)
    scope.translation.note(file, "make it of the lookup table: CSV with the columns original, new")
    return {"action": "lookup", "file": file, **({"otherwise": otherwise} if otherwise else {})}


_FUNCTIONS: Final[dict[str, Callable[[Scope, Element, Call], Rule]]] = {
    "blank": _empty,
    "empty": _empty,
    "hash": _hash,
    "hashname": _hash,
    "hashptid": _hashptid,
    "hashuid": _hashuid,
    "incrementdate": _incrementdate,
    "keep": _keep,
    "lookup": _lookup,
    "param": _param,
    "process": _keep,
    "require": _keep,
}
