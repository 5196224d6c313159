"""The commands that take over rules of earlier tools, and hand ours to one of them: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from scp_anon.deid import load_profile, with_changes
from scp_anon.deid.explain import plain_actions
from scp_anon.deid.profile import probe
from scp_anon.deid.targets import parse_target
from scp_anon.errors import ConfigError
from scp_anon.exchange import KINDS, export_mmiv, import_rules, regex_tag_change, tag_change

_MMIV = "mmiv"
_FORMS = ("json", "csv")


def import_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"Whose rules: {', '.join(KINDS)}.")],
    file: Annotated[Path, typer.Argument(help="The other tool's file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The profile file to write; else printed.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--tag-change", help="mmiv: gggg,eeee=TEXT, as its --tagchange; may be repeated."),
    ] = None,
    regex_change: Annotated[
        list[str] | None, typer.Option("--regex-change", help="mmiv: gggg,eeee=REGEX, as its --regtagchange.")
    ] = None,
) -> None:
    """Turn another tool's rules into a profile; what cannot be translated is listed on standard error.

    Exit code 1: something of the file cannot be read, and was left out.
    """
    imported = import_rules(kind, file)
    if kind != _MMIV and (change or regex_change):
        raise ConfigError("--tag-change and --regex-change are of mmiv")
    first = [*map(tag_change, change or ()), *map(regex_tag_change, regex_change or ())]
    rules = imported.profile.get("rules", [])
    assert isinstance(rules, list)  # of our own making
    changed = {tag for rule in first for tag in parse_target(str(rule["tag"])).tags}
    # A change takes the place of the row for its tag, as it does in mmiv.
    others = [rule for rule in rules if "tag" not in rule or not parse_target(rule["tag"]).tags <= changed]
    profile = {**imported.profile, "rules": [*first, *others]}
    text = yaml.safe_dump(profile, sort_keys=False, allow_unicode=True, width=120)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, text)
    for note in imported.notes:
        typer.echo(note, err=True)
    if imported.unread:
        raise typer.Exit(1)


def export(kind: str, profile: str, option: list[str] | None, form: str) -> None:
    """Print a profile as another tool's rules; what that tool cannot be told is listed on standard error."""
    if form not in _FORMS:
        raise ConfigError(f"--format: must be {' or '.join(_FORMS)}")
    if kind != _MMIV:
        raise ConfigError(
            f"{kind}: rules can be exported for {_MMIV}; for a picture of a file say where: export FILE OUT"
        )
    rules = plain_actions(probe(with_changes(load_profile(profile), option or ())))
    text, notes = export_mmiv(rules, form == "csv")
    typer.echo(text, nl=False)
    for note in notes:
        typer.echo(note, err=True)


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: a file is there already") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
