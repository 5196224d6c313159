"""The command that de-identifies a CSV of variables: variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from scp_anon.cli.options import Key, ProfileName, Project, key_of
from scp_anon.columns import Encoding, Form
from scp_anon.deid import load_profile, with_audit
from scp_anon.errors import ConfigError
from scp_anon.links import Links, Matching
from scp_anon.months import Months
from scp_anon.variables import DATE_FORMATS, NUMERIC_FORMATS, People, Wanted, deidentify

_MATCHINGS = ("equals", "word", "contains")


def variables(
    source: Annotated[Path, typer.Argument(metavar="IN.csv", help="The variables.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.csv", help="The new file; it must not exist.")],
    person: Annotated[str, typer.Option("--person", help="The column of Patient IDs: name, or number from 1.")],
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="A column that stays, or numbers as 4-9; all others go.")
    ] = None,
    month_year: Annotated[
        list[str] | None, typer.Option("--month-year", help="A column of dates that become month and year.")
    ] = None,
    days: Annotated[
        list[str] | None, typer.Option("--days", help="COLUMN:SINCE, which becomes the days since the other.")
    ] = None,
    shift_date: Annotated[
        list[str] | None, typer.Option("--shift-date", help="A column of dates, moved as those of the images are.")
    ] = None,
    serial: Annotated[
        list[str] | None, typer.Option("--serial", help="A column of numbers that become serials of the link list.")
    ] = None,
    date_format: Annotated[
        list[str] | None, typer.Option("--date-format", help="How dates are written, as %d/%m/%Y; may be repeated.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Whose names months have, as nb; may be repeated.")
    ] = None,
    links: Annotated[Path | None, typer.Option("--links", help="The link list: a CSV of the same form.")] = None,
    number: Annotated[str, typer.Option("--links-number", help="Its column of numbers.")] = "1",
    link: Annotated[str, typer.Option("--links-serial", help="Its column of serials.")] = "2",
    matching: Annotated[str, typer.Option("--links-match", help="equals, word or contains.")] = "equals",
    delimiter: Annotated[str, typer.Option("--delimiter", help="One character, or tab.")] = ",",
    encoding: Annotated[str, typer.Option("--encoding", help="utf-8 or latin-1.")] = "utf-8",
    header: Annotated[bool, typer.Option("--header/--no-header", help="Whether the first line names columns.")] = True,
    drop_header: Annotated[bool, typer.Option("--drop-header", help="Write no line of names.")] = False,
    issuer: Annotated[str, typer.Option("--issuer", help="Issuer of the Patient IDs, if the profile counts it.")] = "",
    profile: ProfileName = "basic",
    key: Key = None,
    project: Project = "demo",
) -> None:
    """De-identify a CSV of variables, with the pseudonyms that the images of the same people get."""
    form = Form({"tab": "\t"}.get(delimiter, delimiter), cast(Encoding, encoding), header)
    if matching not in _MATCHINGS:
        raise ConfigError(f"--links-match: must be one of {', '.join(_MATCHINGS)}")
    listed = Links(links, form, number, link, cast(Matching, matching)) if links is not None else None
    wanted = Wanted(
        person,
        tuple(month_year or ()),
        dict(_pair(text) for text in days or ()),
        tuple(shift_date or ()),
        tuple(serial or ()),
        tuple(keep or ()),
        tuple(date_format or (NUMERIC_FORMATS if language else DATE_FORMATS)),
        Months(language) if language else None,
    )
    people = People(key_of(key), project, with_audit(load_profile(profile), None), issuer)
    good = bad = 0
    for left_out in deidentify(source, target, form, wanted, people, listed, not drop_header):
        if left_out is None:
            good += 1
        else:
            bad += 1
            where = f": column {left_out.column}" if left_out.column else ""
            typer.echo(f"{source}:{left_out.line}{where}: {left_out.why}; left out", err=True)
    typer.echo(f"{good} rows, {bad} left out")
    if bad:
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    column, _, since = text.rpartition(":")
    if not column or not since:
        raise ConfigError(f"--days: {text}: must be COLUMN:SINCE")
    return column, since
