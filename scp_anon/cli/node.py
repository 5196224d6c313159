"""The commands of the node itself: serve, check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from scp_anon import config
from scp_anon.conformance import statement
from scp_anon.deid import ProfileFile
from scp_anon.documents import Section
from scp_anon.errors import ConfigError
from scp_anon.node import serve as run
from scp_anon.plan import check as check_config

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file; without it, the embedded default.")
]


def serve(file: ConfigFile = None) -> None:
    """Run the node until SIGTERM or SIGINT: it then finishes what is in hand. A second signal ends it at once.

    SIGHUP has the configuration read again, without an end to any association.
    """
    raise typer.Exit(run(lambda: config.load(file)))


def check(file: ConfigFile = None) -> None:
    """Check a configuration, and what it points at, without starting anything."""
    settings = config.load(file)
    check_config(settings)
    routes = ", ".join(route.called_ae_title for route in settings.routes)
    typer.echo(
        f"{file or 'embedded default'}: good; routes: {routes}; destinations: {', '.join(settings.destinations)}"
    )


def schema(
    what: Annotated[str, typer.Argument(help="config or profile.")] = "config",
) -> None:
    """Print the JSON schema of the configuration, or of profile files: for editors that check as one types."""
    models: dict[str, type[Section]] = {"config": config.Config, "profile": ProfileFile}
    if what not in models:
        raise ConfigError(f"there is no schema of {what}; there is: {', '.join(models)}")
    typer.echo(json.dumps(models[what].model_json_schema(), indent=2))


def conformance(file: ConfigFile = None) -> None:
    """Print a DICOM conformance statement in the manner of PS3.2, from a configuration."""
    typer.echo(statement(config.load(file)), nl=False)
