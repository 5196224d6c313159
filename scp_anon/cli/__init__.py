"""The command line.

Exit codes: 0 all well; 1 done, but something was quarantined or failed; 2 wrong usage or configuration.
"""

from __future__ import annotations

import sys

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
        sys.stderr.write(f"scp-anon: {error}\n")
        sys.exit(2)
