"""The options of a command that change a profile: each is what a profile file could say as well.

They are listed once, here: a command that takes `Changes` has them all, so that what one makes the other can check.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from scp_anon.cli.options import Option, Pixels, ProfileName
from scp_anon.deid import ProfileFile, load_profile, with_changes, with_settings
from scp_anon.documents import Document
from scp_anon.errors import ConfigError
from scp_anon.exchange import import_file, regex_tag_change, tag_change

MODIFIED_DATES: Final = "retain-longitudinal-modified-dates"
_OF_OPTIONS: Final = ("event", "site", "siteid")  # variables that --tag-change may name
_ADDED: Final = frozenset(("base", "rules", "variables"))  # what a file of rules may have
_OF_OTHERS: Final = (".csv", ".json")  # the rules of other tools
_OLD_STYLE: Final = {"scheme": "mmiv", "old_style": True}
_ALL_PRIVATE: Final = {"private": "*", "action": "keep"}


@dataclass(frozen=True)
class Changes:
    """The options, as they were given."""

    profile: ProfileName = "basic"
    option: Option = None
    pixels: Pixels = None
    modalities: Annotated[str | None, typer.Option(help="Take these only, as MR,CT; any other is quarantined.")] = None
    admit: Annotated[
        list[str] | None,
        typer.Option(help="An entry of a profile's admit, before its own: '{when: ..., then: ...}'; may be repeated."),
    ] = None
    patient_id: Annotated[str | None, typer.Option(help="The Patient ID and Patient's Name of all.")] = None
    study_patients: Annotated[
        str | None, typer.Option(help="Where one study names two patients: hold, first, or separate.")
    ] = None
    site: Annotated[str | None, typer.Option(help="The profile's variable site.")] = None
    site_id: Annotated[str | None, typer.Option(help="The profile's variable siteid.")] = None
    event: Annotated[str | None, typer.Option(help="The profile's variable event.")] = None
    shift_days: Annotated[int | None, typer.Option(help="Move dates by so many days, or back.")] = None
    anchor: Annotated[
        str | None, typer.Option(help="Move dates so that this attribute of each instance becomes 1970-01-01.")
    ] = None
    uids: Annotated[
        str | None,
        typer.Option(help="keyed, or mmiv: as that tool makes UIDs and hashes; mmiv-old-style: ILLEGAL ones."),
    ] = None
    rules: Annotated[
        list[Path] | None,
        typer.Option(help="More rules, before the profile's: a profile file, or another tool's JSON or CSV."),
    ] = None
    tag_change: Annotated[list[str] | None, typer.Option(help="gggg,eeee=TEXT, before all rules; may be repeated.")] = (
        None
    )
    regex_change: Annotated[
        list[str] | None, typer.Option(help="gggg,eeee=REGEX: the value is what is in its groups; may be repeated.")
    ] = None
    keep_private: Annotated[
        bool, typer.Option("--keep-private", help="UNSAFE: keep all private attributes, whatever is in them.")
    ] = False

    @property
    def variables(self) -> Mapping[str, tuple[str, str | None]]:
        """Variable → option and value."""
        return {"site": ("--site", self.site), "siteid": ("--site-id", self.site_id), "event": ("--event", self.event)}


def taking_changes(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `Changes` in the place of its parameter `changes`."""
    hints = get_type_hints(Changes, include_extras=True)
    named = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(field.name, named, default=field.default, annotation=hints[field.name])
        for field in fields(Changes)
    ]
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        parameters += options if name == "changes" else [parameter.replace(kind=named)]

    @functools.wraps(command)
    def taken(**given: Any) -> None:
        command(changes=Changes(**{option.name: given.pop(option.name) for option in options}), **given)

    # Where typer looks for the options of a command.
    taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # every function may have one
    taken.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return taken


def changed(changes: Changes) -> ProfileFile:
    """The profile that is named, with the changes. Raises ConfigError."""
    settings = with_changes(load_profile(changes.profile), changes.option or (), changes.pixels)
    found: dict[str, object] = {}
    if changes.modalities is not None:
        found["modalities"] = [name.strip().upper() for name in changes.modalities.split(",")]
        _check("--modalities", found)
    if changes.admit:
        first = [_admit(text) for text in changes.admit]
        found["admit"] = (*first, *(section.model_dump() for section in settings.admit))
    if changes.patient_id is not None:
        found["patients"] = {"scheme": "fixed", "id": changes.patient_id}
        _check("--patient-id", {"patients": found["patients"]})
    if changes.study_patients is not None:
        found["study_patients"] = changes.study_patients
        _check("--study-patients", {"study_patients": changes.study_patients})
    if changes.uids is not None:
        found["uids"] = _OLD_STYLE if changes.uids == "mmiv-old-style" else {"scheme": changes.uids}
        _check("--uids", {"uids": found["uids"]})
    found.update(_dates(changes))
    settings = _with_rules(with_settings(settings, found) if found else settings, changes)
    moves = MODIFIED_DATES in settings.options or any(rule.action == "shift-date" for rule in settings.rules)
    if "dates" in found and not moves:
        option = "--anchor" if changes.anchor is not None else "--shift-days"
        raise ConfigError(f"{option}: nothing in this profile moves dates; add --option {MODIFIED_DATES}")
    return settings


def _dates(changes: Changes) -> dict[str, object]:
    """How the options have dates moved, if they say so. Raises ConfigError."""
    if changes.anchor is not None and changes.shift_days is not None:
        raise ConfigError("--anchor and --shift-days each say how dates move: give one of both")
    for option, key, value in (("--shift-days", "days", changes.shift_days), ("--anchor", "anchor", changes.anchor)):
        if value is not None:
            _check(option, {"dates": {key: value}})
            return {"dates": {key: value}}
    return {}


def _with_rules(settings: ProfileFile, changes: Changes) -> ProfileFile:
    """The settings with more rules, and with values for their variables. Raises ConfigError."""
    rules: list[object] = []
    variables: dict[str, str] = {}
    for option, texts, read in (
        ("--tag-change", changes.tag_change, tag_change),
        ("--regex-change", changes.regex_change, regex_tag_change),
    ):
        for text in texts or ():
            variables.update(dict.fromkeys(_OF_OPTIONS, ""))
            rules.append(read(text))
            _check(option, {"rules": [rules[-1]], "variables": variables})
    for path in changes.rules or ():
        more = _rules_of(path)
        rules.extend(rule.model_dump(exclude_unset=True) for rule in more.rules)
        variables.update(more.variables)
    variables.update(settings.variables)
    for name, (option, value) in changes.variables.items():
        if value is not None and name not in variables:
            raise ConfigError(f"{option}: this profile has no variable {name}, which would be in any rule")
        variables.update({name: value} if value is not None else {})
    last = [_ALL_PRIVATE] if changes.keep_private else []
    if not rules and not last and variables == settings.variables:
        return settings
    own = (rule.model_dump(exclude_unset=True) for rule in settings.rules)
    return with_settings(settings, {"rules": (*rules, *own, *last), "variables": variables})


def _rules_of(path: Path) -> ProfileFile:
    """The rules of a file, of our language or of another tool's. Raises ConfigError."""
    if path.suffix.lower() in _OF_OTHERS:
        imported = import_file(path)
        if imported.unread:  # whoever has written it counts on it
            raise ConfigError("\n".join(f"{path}: {entry}" for entry in imported.unread))
        for note in imported.notes:
            typer.echo(f"{path}: {note}", err=True)
        return load_profile(imported.profile)
    settings = load_profile(path.absolute())
    more = settings.model_fields_set - _ADDED
    if more:
        raise ConfigError(f"--rules: {path}: only rules and variables can be added, not {', '.join(sorted(more))}")
    return settings


def _admit(text: str) -> Mapping[str, object]:
    """One entry of `admit`, as YAML. Raises ConfigError."""
    try:
        entry = Document(text, "--admit").content
    except ConfigError:
        entry = None
    if not isinstance(entry, dict):
        raise ConfigError("--admit: must be as in a profile: {when: {Modality: CT}, then: accept}")
    _check("--admit", {"admit": [entry]})
    return entry


def _check(option: str, content: Mapping[str, object]) -> None:
    """Raise ConfigError where what an option says could not be in a profile file."""
    try:
        load_profile(content)
    except ConfigError as error:
        problems = (line.removeprefix("profile:1: ").removeprefix("document: ") for line in str(error).split("\n"))
        lines = (f"{option}: {problem}" for problem in problems)
        raise ConfigError("\n".join(lines)) from None
