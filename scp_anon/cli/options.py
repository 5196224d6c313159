"""Options that several commands share."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from scp_anon.deid import generate_key, load_key
from scp_anon.deid.identity import KEY_BYTES

DEFAULT_KEY: Final = Path("var/key")

ProfileName: TypeAlias = Annotated[str, typer.Option("--profile", help="The profile: basic, mmiv, or a profile file.")]
Option: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", help="An option of PS3.15 to add to the profile's; may be repeated.")
]
Pixels: TypeAlias = Annotated[
    str | None,
    typer.Option("--pixels", help="hold what may carry text in its pixels, or pass it; else as the profile has it."),
]
Key: TypeAlias = Annotated[Path | None, typer.Option("--key", help="The key; without it var/key, made if missing.")]
Project: TypeAlias = Annotated[str, typer.Option("--project", help="Names of two projects never match.")]


def key_of(path: Path | None, make: bool = True) -> bytes:
    """The key that was named, or the default one, made if it is missing. Raises ConfigError.

    `make`: False writes none, but gives one for the moment.
    """
    if path is None and not DEFAULT_KEY.exists():
        if not make:
            typer.echo(f"{DEFAULT_KEY}: there is no key yet; this one is forgotten", err=True)
            return secrets.token_bytes(KEY_BYTES)
        generate_key(DEFAULT_KEY)
        typer.echo(f"{DEFAULT_KEY}: a new key was made; keep it", err=True)
    return load_key(path or DEFAULT_KEY)
