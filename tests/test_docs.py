"""Everything that a user can set, call or meet is documented; what the documents point at is there."""

from __future__ import annotations

import doctest
import re
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from scp_anon import Reason, config, log, metrics
from scp_anon.cli import app
from scp_anon.deid import ProfileFile, load_profile
from scp_anon.deid.settings import ActionName, Option, RuleSection
from scp_anon.inspection import Census, Inspection
from scp_anon.operations import Facts, Operations
from tests.harness import scp_anon

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_quarantine_reason() -> None:
    """The table has each reason, and no other."""
    assert set(re.findall(r"^\| `([\w-]+)`", page("quarantine.md"), re.MULTILINE)) == set(Reason)


def settings(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a section, by their names in the table, with their defaults."""
    lists: dict[str, tuple[str, list[type[BaseModel]]]] = {
        "listen": ("listen[].", [config.ListenSection]),
        "routes": ("routes[].", [config.RouteSection]),
        "destinations": ("destinations.NAME.", [config.FolderSection, config.DicomSection]),
    }
    for name, field in section.model_fields.items():
        inner = lists.get(prefix + name)
        if inner is not None:
            for part in inner[1]:
                yield from settings(part, inner[0])
        elif of_section := [kind for kind in (field.annotation, *get_args(field.annotation)) if is_section(kind)]:
            yield from settings(of_section[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def is_section(kind: Any) -> bool:
    """Whether a type is that of a section."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_every_setting_with_its_default() -> None:
    """The table has each setting, no other, and the default that the code has."""
    table = page("configuration.md").split("## The log")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    documented = {row[1].strip("` "): row[3].strip("` ") for row in rows}
    known = dict(settings(config.Config))
    assert documented.keys() == known.keys()
    for name, default in known.items():
        if name not in ("processes", "workers"):
            said = "" if default in (PydanticUndefined, None) else str(default)
            assert documented[name] == (said.lower() if isinstance(default, bool) else said), name


def test_every_log_field() -> None:
    """The table has each field of the log, and no other."""
    rows = [line for line in page("configuration.md").split("## The log")[1].splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in rows))) == set(log.FIELDS)


def test_every_metric() -> None:
    """The table has each metric with its labels, and no other."""
    rows = [line.split("|") for line in page("operations.md").splitlines() if line.startswith("| `scp_anon")]
    documented = {row[1].strip("` "): {name.strip() for name in row[2].split(",")} - {""} for row in rows}
    told = {
        family.name + "_total" * isinstance(family, metrics.Counter): set(family.labels) for family in metrics.FAMILIES
    }
    at_scrape = {name: labels for name, labels in documented.items() if name not in told}
    assert told == {name: labels for name, labels in documented.items() if name in told}
    facts = Facts(Path(), 0, "")
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Operations, "free", lambda self: 0)
        patch.setattr(Operations, "census", lambda self: Census({"incoming": (0, 0.0)}, {"empty": 0}))
        patch.setattr(Inspection, "__init__", lambda self, path: None)
        exposed = {family.name: family.samples for family in Operations(listener, facts).metrics()}
    assert at_scrape == {
        name: set(samples[0].labels)
        for name, samples in exposed.items()
        if name in at_scrape or (name not in told and f"{name}_total" not in told)
    }


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, by its words."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # a group, as there are several
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield f"{name} {inner_name}", inner
        if not hasattr(command, "commands"):
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_with_its_options(name: str, command: Any) -> None:
    """The page has each command, and each of its options."""
    text = page("commands.md")
    assert f"| `{name} " in text or f"| `{name}`" in text
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert f"`{option}" in text, option


def test_every_key_of_profiles() -> None:
    """The tables have each key, option, action and scheme of a profile file."""
    text = page("profiles.md")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text.split("## Options")[0], re.MULTILINE)) == set(
        ProfileFile.model_fields
    )
    actions = text.split("| action |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)`", actions, re.MULTILINE) == list(get_args(ActionName))
    options = text.split("## Options")[1].split("## Patients")[0]
    assert set(re.findall(r"`((?:retain|clean)-[a-z-]+)`", options)) == set(get_args(Option))
    for name in RuleSection.model_fields:
        assert f"`{name}`" in text or f"`{name}:" in text or f"{name}:" in text, name


def test_rules_in_the_documents_are_those_of_the_command() -> None:
    """docs/rules.md is what `rules` prints, and each row of the README's table is one of it."""
    printed = scp_anon("rules").stdout
    assert page("rules.md").endswith(printed)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*\|$", readme.split("## What becomes of an attribute")[1], re.MULTILINE)
    assert len(rows) > 10
    assert set(rows) <= set(printed.splitlines())


def test_examples_of_the_python_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run, and print what they say."""
    monkeypatch.chdir(ROOT)
    failed, attempted = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert (failed, attempted > 10) == (0, True)


def test_examples_of_profiles(tmp_path: Path) -> None:
    """Every example of the page is a part of a profile that can be meant."""
    (tmp_path / "patients.csv").write_text("id,pseudonym\n1,A\n")
    blocks = re.findall(r"(?:^    .*\n)+", page("profiles.md"), re.MULTILINE)
    for block in blocks:
        text = textwrap.dedent(block)
        if text.startswith("when:"):
            text = "".join(f"  - {{tag: Manufacturer, action: keep, {line}}}\n" for line in whens(text))
            text = f"rules:\n{text}"
        path = tmp_path / "profile.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_profile(path)
    assert len(blocks) == 7


def whens(text: str) -> Iterator[str]:
    """The conditions of an example, each without its comment."""
    yield from (line.split("  #")[0].rstrip() for line in text.splitlines())


def test_links_lead_somewhere() -> None:
    """Every relative link in the pages is to a file that is there."""
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_architecture_names_every_module() -> None:
    """The house plan has each module, and none that is gone."""
    text = page("architecture.md")
    modules = [path for path in (ROOT / "scp_anon").rglob("*.py") if path.parent.name != "cli"]
    names = {path.name for path in modules} - {"__init__.py", "__main__.py", "version.py"}
    named = set(re.findall(r"\b(\w+\.py)\b", text))
    assert names == named
