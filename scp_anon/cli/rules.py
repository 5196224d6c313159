"""The commands that tell what a profile does: explain, rules, diff, lint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from scp_anon.cli.options import Key, Option, Pixels, ProfileName, Project, key_of
from scp_anon.deid import Deidentifier, load_profile, previewed, with_audit, with_changes
from scp_anon.deid.difference import Difference, differences
from scp_anon.deid.explain import FORMATS, explain
from scp_anon.deid.profile import Profile, probe
from scp_anon.deid.settings import pixel_rules_text
from scp_anon.dicom.dictionary import keyword_of
from scp_anon.documents import Document, read
from scp_anon.errors import ConfigError, Filtered, Undecodable
from scp_anon.harmless import visible

_HIDDEN = "***"
_RULE = re.compile(r"; rule (\d+)$")


def explain_command(
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[TAG...]", help="Keywords, or tags as gggg,eeee.")
    ] = None,
    profile: ProfileName = "basic",
    option: Option = None,
) -> None:
    """Say which row, option or rule decides of an attribute, and what it does."""
    compiled = _compiled(profile, option)
    place = _places(profile)
    faults = []
    for tag in tags or map(keyword_of, (0x00100010, 0x00100020, 0x00080018, 0x00080020, 0x00081030, 0x00080080)):
        try:
            for line in explain(compiled, tag):
                typer.echo(f"{line}{place(line)}")
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))


def rules(
    profile: ProfileName = "basic",
    option: Option = None,
    form: Annotated[str, typer.Option("--format", help="md, csv or json.")] = "md",
    pixel_rules: Annotated[
        bool, typer.Option("--pixel-rules", help="Print the shipped list of what is held for its pixels, as YAML.")
    ] = False,
) -> None:
    """List what becomes of every attribute that is not simply kept, or what is held for its pixels."""
    if pixel_rules:
        typer.echo(pixel_rules_text(), nl=False)
        return
    if form not in FORMATS:
        raise ConfigError(f"--format: there is no format {form}; there is: {', '.join(FORMATS)}")
    typer.echo(FORMATS[form](_compiled(profile, option)), nl=False)


def lint(file: Annotated[Path, typer.Argument(help="The profile file.")]) -> None:
    """Check a profile file: what is wrong, by file, line and rule."""
    profile = load_profile(file)
    typer.echo(f"{file}: {len(profile.rules)} rules, {len(profile.options)} options: nothing wrong")


def diff(
    file: Annotated[Path, typer.Argument(help="A DICOM file.", exists=True, dir_okay=False)],
    profile: ProfileName = "basic",
    option: Option = None,
    pixels: Pixels = None,
    key: Key = None,
    project: Project = "demo",
    show_values: Annotated[bool, typer.Option(help="Print values too: they identify the patient.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print what is kept as well.")] = False,
) -> None:
    """Show what de-identification changes in a file, without writing anything. Values only if asked for."""
    settings = with_audit(with_changes(load_profile(profile), option or (), pixels), None)
    original = file.read_bytes()
    try:
        result = Deidentifier(key_of(key), project, previewed(settings)).bytes(original)
    except (Undecodable, Filtered) as error:
        typer.echo(f"{file}: would not be passed on: {error or 'filtered'}", err=True)
        raise typer.Exit(1) from None
    _print(differences(original, result), show_values, everything)


def _print(found: Iterable[Difference], show_values: bool, everything: bool) -> None:
    for each in found:
        if each.fate == "kept" and not everything:
            continue
        before, after = map(visible, (each.before, each.after) if show_values else (_HIDDEN, _HIDDEN))
        values = {"changed": f": {before} -> {after}", "added": f": {after}", "kept": f": {after}"}
        shown = values.get(each.fate, f": {before}") if show_values or each.fate == "changed" else ""
        typer.echo(f"{each.path}{each.tag} {each.keyword} {each.vr} {each.fate}{shown}")


def _places(profile: str) -> Callable[[str], str]:
    """Where in the profile file the rule is that a line names at its end."""
    path = Path(profile)
    if not path.is_file():
        return lambda line: ""
    document = Document(read(path), str(path))

    def place(line: str) -> str:
        match = _RULE.search(line)
        return f" ({document.place(('rules', int(match[1]) - 1))})" if match else ""

    return place


def _compiled(profile: str, option: list[str] | None) -> Profile:
    return probe(with_changes(load_profile(profile), option or ()))
