"""The standard's tables in `standard/`, read into plain types. They are facts of PS3.15 2026d and PS3.16, © NEMA."""

from __future__ import annotations

import csv
import gzip
import io
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

EDITION: Final = "2026d"

_OPTION_COLUMNS: Final = {
    "retain-safe-private": "retain_safe_private",
    "retain-uids": "retain_uids",
    "retain-device-identity": "retain_device_identity",
    "retain-institution-identity": "retain_institution_identity",
    "retain-patient-characteristics": "retain_patient_characteristics",
    "retain-longitudinal-full-dates": "retain_long_full_dates",
    "retain-longitudinal-modified-dates": "retain_long_modified_dates",
    "clean-descriptors": "clean_descriptors",
    "clean-structured-content": "clean_structured_content",
    "clean-graphics": "clean_graphics",
}


# The tags of enclosing sequences, the outermost first.
Route: TypeAlias = tuple[int, ...]


class Row(NamedTuple):
    """A row of Table E.1-1: the Basic Profile's action code, and option → code."""

    tag: int
    basic: str
    options: dict[str, str]


class Concept(NamedTuple):
    """A row of Table E.3.4-1: what becomes of a content item by its concept name, and option → code."""

    code: str
    scheme: str
    value_type: str
    basic: str
    options: dict[str, str]


class SafePrivate(NamedTuple):
    """A private attribute that is known to be safe (Table E.3.10-1): by creator, group, and offset in its block."""

    creator: str
    group: int
    offset: int
    vr: str


class MethodCode(NamedTuple):
    """A code of CID 7050 De-identification Method."""

    value: str
    scheme: str
    meaning: str


@cache
def attribute_rows() -> tuple[Row, ...]:
    """Table E.1-1 but for the rows of repeating groups and private attributes, which other modules rule on."""
    rows = _table("ps3.15-table-E.1-1.csv")
    return tuple(
        Row(parse_tag(row["tag"]), row["basic_profile"], _codes(row)) for row in rows if not set("XG") & set(row["tag"])
    )


@cache
def unlisted_rows() -> tuple[Row, ...]:
    """Attributes without a row that refer to instances, places or organisations, by our own list (`unlisted.csv`).

    PS3.15 E.1.1 has every reference to an instance protected; a URL of a storage service holds the UIDs of originals.
    """
    with (files(__package__) / "unlisted.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    kept: dict[str, dict[str, str]] = {"U": {"retain-uids": "K"}}  # what is no UID may hold a name: a path, a query
    return tuple(Row(parse_tag(row["tag"]), row["code"], kept.get(row["code"], {})) for row in rows)


@cache
def concepts() -> tuple[Concept, ...]:
    """Table E.3.4-1."""
    return tuple(
        Concept(
            row["code_value"], row["coding_scheme_designator"], row["value_type"], row["basic_profile"], _codes(row)
        )
        for row in _table("ps3.15-table-E.3.4-1.csv")
    )


@cache
def method_codes() -> dict[str, MethodCode]:
    """CID 7050: option name, or "basic" → code."""
    names = {column: name for name, column in _OPTION_COLUMNS.items()} | {"basic_profile": "basic"}
    return {
        names[row["e11_column"]]: MethodCode(row["code_value"], row["coding_scheme_designator"], row["code_meaning"])
        for row in _table("cid7050.csv")
        if row["e11_column"]
    }


@cache
def body_parts() -> tuple[str, ...]:
    """The defined terms of Body Part Examined (PS3.16 Annex L), of humans and animals."""
    return tuple((files(__package__) / "standard" / "body-part-examined.txt").read_text(encoding="ascii").split())


@cache
def safe_private() -> tuple[SafePrivate, ...]:
    """Table E.3.10-1."""
    return tuple(
        SafePrivate(row["private_creator"], int(row["group"], 16), int(row["element_offset"], 16), row["vr"])
        for row in _table("safe-private.csv")
    )


@cache
def iod_actions() -> dict[tuple[int, int], dict[str, str]]:
    """What a conditional action code means in an IOD: (tag, innermost enclosing sequence or 0) → IOD → D, Z, X or U*.

    "*" stands for every IOD. Besides the conditional codes it has the places where an X or Z of Table E.1-1 meets an
    attribute of Type 1 or 2, which E.1.1 has us fill or empty.
    """
    result: dict[tuple[int, int], dict[str, str]] = {}
    content = gzip.decompress((files(__package__) / "standard" / "iod-actions.csv.gz").read_bytes()).decode("ascii")
    for row in csv.DictReader(io.StringIO(content)):
        enclosing = parse_tag(row["enclosing_sequence"]) if row["enclosing_sequence"] else 0
        place = result.setdefault((parse_tag(row["tag"]), enclosing), {})
        place.update(dict.fromkeys(row["iods"].split(), row["action"]))
    return result


@cache
def iod_needs() -> dict[tuple[int, int], dict[str, str]]:
    """Where an IOD has an attribute as Type 1, 1C, 2 or 2C: (tag, innermost enclosing sequence or 0) → IOD → D, Z or U.

    Of rows with an unconditional D, Z or U, whose code asks for no IOD; of all others `iod_actions` tells.
    """
    rows = {row.tag: row.basic for row in attribute_rows() if row.basic in ("D", "Z", "U")}
    result: dict[tuple[int, int], dict[str, str]] = {}
    for iod, places in iod_types().items():
        for (route, tag), kind in places.items():
            if tag in rows:
                by = result.setdefault((tag, route[-1] if route else 0), {})
                code = "U" if rows[tag] == "U" else {"1": "D", "2": "Z"}[kind[0]]
                by[iod] = "D" if by.get(iod) == "D" else code  # of several places the strictest
    return result


@cache
def ruled() -> frozenset[int]:
    """The attributes that are not simply kept: those with a row of either list."""
    return frozenset(row.tag for row in (*attribute_rows(), *unlisted_rows()))


@cache
def iod_types() -> dict[str, dict[tuple[Route, int], str]]:
    """The types of the attributes of Table E.1-1 in every IOD: IOD → enclosing sequences and tag → 1, 1C, 2 or 2C.

    Where an IOD has an attribute at a place several times, the strictest.
    """
    result: dict[str, dict[tuple[Route, int], str]] = {}
    content = gzip.decompress((files(__package__) / "standard" / "iod-attribute-types.csv.gz").read_bytes())
    routes: dict[str, Route] = {".": ()}
    for row in csv.DictReader(io.StringIO(content.decode("ascii"))):
        tags = [int(tag, 16) for tag in row["tags"].split()]
        for path in row["paths"].split():
            if path not in routes:
                routes[path] = tuple(int(tag, 16) for tag in path.split(">"))
        places = {(routes[path], tag): row["type"] for path in row["paths"].split() for tag in tags}
        for iod in row["iods"].split():
            result.setdefault(iod, {}).update(places)
    return result


def read_safe_private(path: Path) -> tuple[SafePrivate, ...]:
    """A site's own list of safe private attributes. Raises OSError, ValueError or KeyError for what is none."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            SafePrivate(row["private_creator"], int(row["group"], 16), int(row["element_offset"], 16), row["vr"])
            for row in csv.DictReader(file)
        )


def parse_tag(text: str) -> int:
    """The tag that is printed (gggg,eeee)."""
    return int(text[1:5] + text[6:10], 16)


def _codes(row: dict[str, str]) -> dict[str, str]:
    return {name: row[column] for name, column in _OPTION_COLUMNS.items() if row.get(column)}


def _table(name: str) -> list[dict[str, str]]:
    with (files(__package__) / "standard" / name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))
