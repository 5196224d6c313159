"""`verify` checks what `deid` has made with any of its options: it takes those that change a profile, all of them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from scp_anon.cli import app
from scp_anon.cli.changes import Changes
from tests import samples
from tests.command import scp_anon
from tests.test_verify import Folder

RULES = {"rules": [{"tag": "StationName", "action": "replace", "value": "{site}"}], "variables": {"site": "nowhere"}}
DICTIONARY = {"(0x0008, 0x1010)": {"action": "replace_with_value", "value": "somewhere"}}
ADMIT = "{when: {Modality: XA}, then: filter}"
OPTIONS = {
    "of each kind": (
        *("--profile", "mmiv", "--patient-id", "ONE", "--site", "Bergen", "--site-id", "07", "--event", "first"),
        *("--shift-days", "7", "--uids", "mmiv", "--tag-change", "0008,1030=CT", "--regex-change", "0008,103e=^(..)"),
    ),
    "filters": ("--modalities", "CT,MR", "--admit", ADMIT),
    "rules": ("--rules", "rules.yaml", "--site", "Oslo"),
    "rules of another tool": ("--rules", "dictionary.json"),
    "private": ("--keep-private",),
    "option": ("--option", "retain-longitudinal-modified-dates", "--shift-days", "-3"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An image with a private attribute, and files of rules."""
    made = Folder(tmp_path)
    ds = samples.image()
    ds.StationName, ds.SeriesDescription, ds.StudyDescription = "CT1", "AX 5mm", "CT of the head"
    ds.remove_private_tags()
    ds.private_block(0x0029, "MAKER", create=True).add_new(0x10, "LO", "kernel")
    made.original("image.dcm", samples.encoded(ds))
    (tmp_path / "rules.yaml").write_text(json.dumps(RULES))
    (tmp_path / "dictionary.json").write_text(json.dumps(DICTIONARY))
    return made


def parameters(command: str) -> dict[str, tuple[Any, ...]]:
    """What a command takes."""
    group = typer.main.get_command(app)
    found = group.commands[command].params  # type: ignore[attr-defined]  # a group, as there are several
    return {each.name: (each.opts, each.multiple, each.default, getattr(each, "help", "")) for each in found}


def test_both_commands_take_the_same() -> None:
    """Each option that changes a profile, by the same names, with the same meaning; and the project."""
    made, checked = parameters("deid"), parameters("verify")
    names = {field.name for field in fields(Changes)} | {"project"}
    assert {name: made[name] for name in names} == {name: checked[name] for name in names}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_was_made_with_options(folder: Folder, name: str) -> None:
    """With the same options nothing is found, alone and against the originals; without them it is."""
    options = [
        str(folder.path / text) if text.endswith((".yaml", ".json")) and text[0] != "{" else text
        for text in OPTIONS[name]
    ]
    folder.deidentify(*options)
    assert folder.verify(*options, code=0)["findings"] == []
    assert folder.is_clean(*options)["originals_without_result"] == 0
    assert folder.verify()["findings"]


def test_the_same_profile_from_another_folder(folder: Folder) -> None:
    """A profile that names files is the same one, whichever way it is named; another content is another one."""
    profile = {"vocabulary": "words.txt", "rules": [{"tag": "StudyID", "action": "lookup", "file": "list.csv"}]}
    (folder.path / "words.txt").write_text("abdomen\n")
    (folder.path / "list.csv").write_text("original,new\n1,one\n")
    (folder.path / "profile.yaml").write_text(json.dumps(profile))
    (folder.originals / "image.dcm").unlink()
    ds = samples.image()
    ds.StudyID = "1"
    folder.original("image.dcm", samples.encoded(ds))
    folder.deidentify("--profile", str(folder.path / "profile.yaml"))
    command = ["verify", "out", "--key", "key", "--project", "p", "--pixels", "pass", "--profile", "profile.yaml"]
    done = scp_anon(*command, folder=folder.path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder.path / "list.csv").write_text("original,new\n1,one\n2,two\n")
    assert "not-claimed" in scp_anon(*command, folder=folder.path).stdout
