"""docs/migrate.md: every command line of it runs as the page says, and every option that it names is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer
import yaml

from scp_anon.cli import app
from tests import samples
from tests.peers import require_package
from tests.profiles import engine
from tests.samples import CANARY

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "tests" / "data" / "exchange"
PAGE = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
SECTIONS = {section.splitlines()[0]: section for section in PAGE.split("\n## ")[1:]}
# What comes before a block of a file is its name.
BLOCK = re.compile(r"(?:`([\w.-]+)`(?:, [^\n]*)?:\n\n)?((?:^    .*\n)+)", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
FOLDERS = ("in", "data", "src", "identified")


def commands() -> dict[str, set[str]]:
    """Each command with its options."""
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()  # type: ignore[attr-defined]  # a group, as there are several
    }


def example(folder: Path) -> None:
    """The files that a reader has: images of two patients in each folder of input, tables, rules of other tools."""
    for name in FOLDERS:
        for number, patient in enumerate(("p1", "p1", "p2")):
            ds = samples.image(str(number), study=patient)
            ds.PatientID, ds.SeriesDescription = patient, "ST HEAD"
            path = folder / name / "ab"[number // 2] / f"{number + 1}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(samples.encoded(ds))
    blank, protocol = samples.image("blank"), samples.image("protocol")
    blank.PatientID, protocol.SeriesDescription = " ", "Patient Protocol"
    shutil.copy(ROOT / "docs" / "example.dcm", folder / "image.dcm")
    shutil.copy(SAMPLES / "dicom-anon-spec.dat", folder / "annexe_ext.dat")
    shutil.copy(SAMPLES / "ctp-unspecified.script", folder / "script.xml")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "17_001.png").touch()
    (folder / "variables.csv").write_text("a b c d e f g h i j\np1 inv7 15.Jan.2016 0 0 0 0 0 0 15.Feb.2016\n")
    (folder / "later.csv").write_text("person;number;date\np1;1001;2016-01-15\np2;1003;2016-01-15\n")
    (folder / "links.csv").write_text(f"original,new\n{CANARY}ACC,17\n")
    (folder / "invitations.csv").write_text("personID;x;invitationID;invitationNumber\np1;0;i1;1001\n")
    (folder / "in" / "blank.dcm").write_bytes(samples.encoded(blank))
    (folder / "identified" / "protocol.dcm").write_bytes(samples.encoded(protocol))


def blocks(section: str) -> list[tuple[str, str]]:
    """The blocks of a section, each with the name of the file that it is, "" for command lines."""
    return [(name, textwrap.dedent(text)) for name, text in BLOCK.findall(section)]


def lines(text: str) -> list[tuple[str, int]]:
    """The command lines of a block, each with the exit code that the page tells."""
    whole = text.replace("\\\n", " ").splitlines()
    return [(line, int(told[1]) if (told := re.search("# exit code ([0-9])$", line)) else 0) for line in whole]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does, in a folder."""
    command = f'scp-anon() {{ "{sys.executable}" -m scp_anon "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        check=False,
    )


EXAMPLES = [name for name, section in SECTIONS.items() if "\n    scp-anon " in section]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, tmp_path: Path) -> None:
    """They run in a folder with such files, and end as the page says; what they say holds nothing of an original."""
    if name == "dicommanager":
        for package in ("xlsxwriter", "PIL"):
            require_package(package)
    example(tmp_path)
    for file, text in blocks(SECTIONS[name]):
        if file:
            (tmp_path / file).write_text(text, encoding="utf-8")
            continue
        for line, code in lines(text):
            assert line.startswith("scp-anon "), line
            done = run(line, tmp_path)
            assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
            assert CANARY not in done.stderr
            assert CANARY not in done.stdout or line.startswith("scp-anon metadata "), line
            words = shlex.split(line, comments=True)
            if words[1] == "deid":
                assert list((tmp_path / words[words.index("-o") + 1]).rglob("*.dcm")), line


def test_each_tool_has_an_example() -> None:
    """And nothing that looks like a command line is left out."""
    assert len(EXAMPLES) == len(SECTIONS) - 1
    run_here = sum(len(lines(text)) for name in EXAMPLES for file, text in blocks(SECTIONS[name]) if not file)
    assert run_here == len(re.findall("^ *scp-anon ", PAGE, re.MULTILINE)) > 25


def ours() -> list[str]:
    """The cells of the tables that are about us, and all text outside of tables."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| there")]
    missing = SECTIONS["What is not there"].splitlines()
    cells = [" ".join(re.split(r" \| ", row)[1:]) for row in rows if row not in missing]
    return [*cells, *(line for line in PAGE.splitlines() if not line.startswith("|"))]


def test_options_are_there() -> None:
    """Each option that is named as ours is one of a command, and of the command where one is named with it."""
    known = commands()
    named = 0
    for code in (code for text in ours() for code in CODE.findall(text)):
        first = code.removeprefix("scp-anon ").split(" ")[0]
        of = known.get(first) or set().union(*known.values(), {"--version"})
        options = set(OPTION.findall(re.sub(r"'[^']*'", "", code)))
        assert options <= of, code
        named += len(options)
    assert named > 60


def test_rules_in_tables_are_rules() -> None:
    """What a cell has as a rule can be meant."""
    rules = [yaml.safe_load(code) for text in ours() for code in CODE.findall(text) if re.match(r"\{.*action:", code)]
    assert len(rules) > 2
    for rule in rules:
        assert engine(rules=[rule])


def test_page_is_linked() -> None:
    """From the README, and from the page of commands."""
    for page in (ROOT / "README.md", ROOT / "docs" / "commands.md"):
        assert "migrate.md)" in page.read_text(encoding="utf-8")
