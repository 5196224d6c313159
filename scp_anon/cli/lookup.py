"""The command that leads a pseudonym back to its original: lookup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from scp_anon.cli.options import ProfileName, Project
from scp_anon.deid import load_key, load_profile, previewed, with_audit
from scp_anon.deid.audit import rows_of
from scp_anon.deid.identity import Identity
from scp_anon.deid.lookup import matches
from scp_anon.deid.profile import Profile
from scp_anon.errors import ConfigError
from scp_anon.harmless import visible
from scp_anon.version import VERSION

_WARNING = "this identifies people: what is printed is confidential, and so is the file it goes to"


def lookup(
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="A pseudonym or a new UID; with --reverse an original.")
    ],
    audit: Annotated[Path | None, typer.Option("--audit", help="The audit to look in.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Find what an original has become.")] = False,
    candidates: Annotated[
        Path | None, typer.Option("--candidates", help="Without an audit: a text file of originals, one a line.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="With --candidates: the key.")] = None,
    project: Project = "demo",
    profile: ProfileName = "basic",
) -> None:
    """Find the original of a pseudonym or a new UID, in an audit or among candidates. What is printed identifies."""
    if (audit is None) == (candidates is None):
        raise ConfigError("say where to look: --audit FILE, or --candidates FILE with --key FILE")
    if audit is not None:
        found = list(_in_audit(audit, value, reverse))
    elif key is None or candidates is None:
        raise ConfigError("--candidates needs --key: no other key leads back")
    elif reverse:
        raise ConfigError("--reverse is of an audit; of candidates each is tried in any case")
    else:
        found = list(_among(_compiled(profile, key, project), value, candidates))
    if not found:
        typer.echo("nothing found", err=True)
        raise typer.Exit(1)
    typer.echo(_WARNING, err=True)
    for line in found:
        typer.echo(line)


def _in_audit(path: Path, value: str, reverse: bool) -> Iterator[str]:
    for row in rows_of(path, value, reverse):
        yield "\t".join(map(visible, (row.new if reverse else row.original, row.attribute, row.project)))


def _among(compiled: tuple[Profile, Identity], value: str, path: Path) -> Iterator[str]:
    profile, identity = compiled
    try:
        with path.open(encoding="utf-8-sig") as file:
            originals = (stripped for line in file if (stripped := line.strip(" \r\n")))
            for match in matches(profile, identity, value, originals):
                yield "\t".join(map(visible, (match.candidate, match.kind, identity.project)))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None


def _compiled(profile: str, key: Path, project: str) -> tuple[Profile, Identity]:
    settings = previewed(with_audit(load_profile(profile), None))
    if settings.patients.scheme == "fixed":
        raise ConfigError("patients: fixed: the same pseudonym for all leads back to nobody")
    identity = Identity(load_key(key), project, settings.uids.root)
    return Profile(settings, identity, VERSION), identity
