"""The command line.

Exit codes: 0 all well; 1 done, but something was quarantined or failed; 2 wrong usage or configuration, or a run that
could not go on.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import typer

from scp_anon import log
from scp_anon.cli import batch, exchange, files, lookup, node, rules, spool, transfer, variables, verify
from scp_anon.errors import ConfigError
from scp_anon.version import VERSION

app = typer.Typer(
    name="scp-anon",
    help="A DICOM network node that de-identifies on receipt.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(node.serve)
app.command()(node.check)
app.command()(batch.deid)
app.command()(variables.variables)
app.command()(verify.verify)
app.command()(transfer.send)
app.command()(transfer.echo)
app.command()(batch.keygen)
app.command("explain")(rules.explain_command)
app.command()(rules.rules)
app.command()(rules.diff)
app.command()(rules.lint)
app.command()(lookup.lookup)
app.command()(node.conformance)
app.command()(node.schema)
app.command("import")(exchange.import_command)
app.command()(files.export)
app.command()(files.metadata)
app.command("table")(files.table_command)
app.command()(files.split)
app.add_typer(spool.queue)
app.add_typer(spool.quarantine)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scp-anon {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the command line, and exit."""
    log.silence_libraries()
    try:
        app()
    except ConfigError as error:
        _end(str(error))
    except OSError as error:
        _end(error.strerror or type(error).__name__)  # its file may be an original, whose name identifies
    except Exception as error:
        # A fault of ours: its text, and the lines of a traceback, may hold values.
        _end(f"unexpected error: {type(error).__name__} at {_place_of(error)}")


def _end(why: str) -> NoReturn:
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.write(f"scp-anon: {why}\n")
    sys.exit(2)


def _place_of(error: Exception) -> str:
    """Where it was raised: module and line."""
    *_, last = traceback.walk_tb(error.__traceback__)
    frame, line = last
    return f"{Path(frame.f_code.co_filename).name}:{line}"
