"""`deid` on what a folder, or a tired person, can do to it: inputs stay as they are, nothing waits, nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from scp_anon import Deidentifier
from scp_anon.batch.manifest import NAME
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.samples import CANARY

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images in two folders, in a folder where there is a key."""
    key_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    return write_tree(Path("in"))


# ---------------------------------------------------------------------- inputs stay as they are


def test_input_inside_the_output(source: Path) -> None:
    """A result could take its place, and it would be passed on with the results."""
    before = tree(source)
    (source / "p0" / "link").symlink_to("0.dcm")
    for path, output in (
        ("in/p0/0.dcm", "in/p0"),
        ("in/p0", "in"),
        ("in/p0/link", "in"),
        ("in/../in/p1", "in/p0/.."),
    ):
        done = deid(path, "p1", "-o", output, "--layout", "mirror", "--key", "key")
        assert (done.code, "no such file" in done.said or "inside the output" in done.said) == (2, True)
    done = deid("in/p0", "-o", "in", "--key", "key")
    assert (done.code, done.said) == (2, "in/p0: the input must not be inside the output in")
    (source / "p0" / "link").unlink()
    assert tree(source) == before


def test_link_out_of_the_output(source: Path) -> None:
    """What it leads to may be the input: such a place fails, and the others are done."""
    before = tree(source)
    Path("out").mkdir()
    Path("out/p0").symlink_to("../in/p0")
    done = deid("in", "-o", "out", "--layout", "mirror", "--key", "key")
    assert done.code == 1
    assert done.said == "3 delivered, 3 failed\n  3 a link leads out of the output folder\n"
    assert tree(source) == before
    Path("elsewhere").mkdir()
    Path("linked").symlink_to("elsewhere")
    assert deid("in", "-o", "linked", "--layout", "mirror", "--key", "key").code == 0
    assert len(tree(Path("elsewhere"))) == 6


def test_hard_links_to_inputs(source: Path) -> None:
    """An output takes the place of a link, and leaves the file that it was a link to."""
    before = tree(source)
    Path("out/p0").mkdir(parents=True)
    os.link("in/p0/0.dcm", "out/p0/0.dcm")
    assert deid("in", "-o", "out", "--layout", "mirror", "--key", "key").code == 0
    assert tree(source) == before
    assert tree(Path("out"))["p0/0.dcm"] != before["p0/0.dcm"]


@pytest.mark.parametrize("option", ["--report", "--summary", "--mapping", "--drift", "--audit", "--quarantine"])
@pytest.mark.parametrize("path", ["in/p0/0.dcm", "in/new", "key", "linked-key", "profile.yaml"])
def test_what_must_not_be_written_over(option: str, path: str, source: Path) -> None:
    """An input, the key, the profile: not by a slip of the pen, nor through a link."""
    Path("linked-key").hardlink_to("key")
    Path("profile.yaml").write_text("pixels: pass\n", encoding="utf-8")
    before = tree(Path())
    for inputs in (["in"], ["in/p0/0.dcm", "in/p1"]):
        done = deid(*inputs, "-o", "out", "--key", "key", "--profile", "profile.yaml", option, path)
        assert (done.code, tree(Path())) == (2, before) or (path == "in/new" and inputs != ["in"])
        for new in {*tree(Path())} - {*before}:
            Path(new).unlink()


def test_two_reports_in_one_place(source: Path) -> None:
    """The second would replace the first."""
    done = deid("in", "-o", "out", "--key", "key", "--report", "told", "--mapping", "./told")
    assert (done.code, done.said) == (2, "--mapping: told: is --report")


def test_report_of_a_run_that_is_at_work(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command once more, while it is at work: it ends, and the report of the first one is still whole."""
    monkeypatch.setattr("scp_anon.batch.manifest._PATIENCE", 0.1)
    command = ("in", "-o", "out", "--key", "key", "--report", "report")
    assert deid(*command).code == 0
    report = Path("report").read_text(encoding="utf-8")
    with Path("out", NAME).open("rb") as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        assert deid(*command) == (2, "out: another run is at work in this folder")
    assert (len(report.splitlines()), Path("report").read_text(encoding="utf-8")) == (6, report)
    Path("empty").mkdir()
    assert deid(*command[1:], "empty").code == 0
    assert Path("report").read_text(encoding="utf-8") == "", "it is that of the last run"


def test_known_attributes_are_for_their_owner(source: Path) -> None:
    """Private creators are among them, which may be any text."""
    assert deid("in", "-o", "out", "--key", "key", "--drift", "known").code == 0
    assert stat.S_IMODE(Path("known").stat().st_mode) == 0o600


# ---------------------------------------------------------------------- names


def test_inputs_whose_names_say_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` and `..` in a mirror of several inputs: each has a place of its own, inside the output folder."""
    write_tree(Path("x/in-2"), 1, 1)
    write_tree(Path("y/in"), 1, 1)
    monkeypatch.chdir("in/p0")
    done = deid(
        "..", "../../y/in", "../../x/in-2", ".", "-o", "../../o/out", "--layout", "mirror", "--key", "../../key"
    )
    assert (done.code, done.said) == (0, "11 delivered\n")
    found = tree(Path("../../o"))
    assert len(found) == 12, "and the manifest"
    assert {place.split("/")[1] for place in found} == {NAME, "in", "in-2", "in-2-2", "p0"}


def test_names_that_are_ours(source: Path) -> None:
    """An input that is called like what is written aside: it is not cleared away with that."""
    os.rename("in/p0/0.dcm", "in/.12-3.tmp")
    done = deid("in", "-o", "out", "--layout", "mirror", "--key", "key")
    assert (done.code, done.said) == (1, "5 delivered, 1 failed\n  1 the name is one of ours\n")


def test_folders_in_folders(source: Path) -> None:
    """Deeper than Python calls functions."""
    home = os.getcwd()
    os.chdir("in")
    for _ in range(1100):
        os.mkdir("a")
        os.chdir("a")
    Path("note").write_text("hello", encoding="utf-8")
    os.chdir(home)
    try:
        done = deid("in", "-o", "out", "--key", "key")
    finally:
        subprocess.run(["rm", "-r", "in"], check=True)  # pytest cannot
    assert (done.code, done.said.splitlines()[0]) == (0, "6 delivered, 1 filtered")


# ---------------------------------------------------------------------- what is no file


def test_link_that_nobody_can_follow(source: Path) -> None:
    """It fails by itself, and the rest of its folder is done."""
    Path("in/p0/loop").symlink_to("loop")
    done = deid("in", "-o", "out", "--key", "key")
    assert (done.code, done.said) == (1, "6 delivered, 1 failed\n  1 Too many levels of symbolic links\n")


def test_links_to_folders_and_to_nowhere_are_told(source: Path) -> None:
    """They are not followed, as nobody knows where they lead; but that is counted, in each run."""
    Path("in/p0/folder").symlink_to("../p1")
    Path("in/gone").symlink_to("nowhere")
    Path("in/file").symlink_to("p0/0.dcm")
    for begin in ("7 delivered", "7 skipped"):
        done = deid("in", "-o", "out", "--key", "key", "--resume", "--layout", "mirror", "--report", "told")
        assert (done.code, set(done.said.splitlines()[0].split(", "))) == (0, {begin, "2 filtered"})
        assert done.said.splitlines()[1] == "  2 link-not-followed"
    lines = [json.loads(line) for line in Path("told").read_text("utf-8").splitlines()]
    assert {line["source"] for line in lines if line["status"] == "filtered"} == {"in/p0/folder", "in/gone"}
    assert deid("in/gone", "-o", "out2", "--key", "key").code == 2
    assert "link" not in deid("in", "-o", "out3", "--key", "key", "--sample", "1").said


def test_what_is_no_file(source: Path) -> None:
    """A pipe that nobody writes to, and a device that never ends, are not waited for."""
    os.mkfifo("pipe")
    done = deid("pipe", "/dev/zero", "in/p0/0.dcm", "-o", "out", "--key", "key")
    assert (done.code, done.said) == (1, "1 delivered, 2 failed\n  2 not a regular file\n")
    os.mkfifo("in/pipe")
    Path("in/zero").symlink_to("/dev/zero")
    assert deid("in", "-o", "out", "--key", "key").said == "6 delivered\n"


@pytest.mark.parametrize("layout", ["mirror", "{PatientID}/{n}.dcm"])
def test_input_that_changes(layout: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is read: what was made of it is of neither version, and not passed on."""
    mapped = Deidentifier.mapped

    def meddling(self: Deidentifier, *arguments: Any, **others: Any) -> Any:
        result = mapped(self, *arguments, **others)
        if Path("in/p0/0.dcm").stat().st_size < 10_000:
            with Path("in/p0/0.dcm").open("ab") as file:
                file.write(bytes(10_000))
        return result

    monkeypatch.setattr(Deidentifier, "mapped", meddling)
    done = deid("in/p0/0.dcm", "-o", "out", "--layout", layout, "--key", "key", "--processes", "1")
    assert (done.code, done.said) == (1, "1 failed\n  1 changed while it was read\n")
    assert not tree(Path("out"))


# ---------------------------------------------------------------------- trouble


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`scp-anon` as a process of its own."""
    command = [sys.executable, "-m", "scp_anon", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("option", ["--report", "--mapping", "--summary", "--drift"])
def test_full_disk(option: str, source: Path) -> None:
    """What is asked for and cannot be written: a word about it, no traceback, exit code 2."""
    done = run("deid", "in", "-o", "out", "--key", "key", option, "/dev/full" if option == "--report" else "gone/there")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("scp-anon: ")


def test_errors_that_nobody_expects(source: Path) -> None:
    """Neither the text of an error nor a traceback is shown: both can hold values of an original."""
    program = (
        "from scp_anon import cli, batch\n"
        "def fail(*arguments):\n"
        f"    raise ValueError('{CANARY}')\n"
        "batch.inputs = fail\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", program, "deid", "in", "-o", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "scp-anon: unexpected error: ValueError at <string>:3\n"


@pytest.mark.parametrize(
    "line",
    [
        '["aa",1,1,"delivered",[1],null]',
        '["aa",99999999999999999999,1,"delivered","x",null]',
        '["aa",{},1,"delivered","x",null]',
        "[" * 100_000,
    ],
    ids=["place", "size", "kind", "depth"],
)
def test_manifest_of_nonsense(line: str, source: Path) -> None:
    """It is told, and nothing is done."""
    assert deid("in", "-o", "out", "--key", "key").code == 0
    with (Path("out") / NAME).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    done = deid("in", "-o", "out", "--key", "key", "--resume")
    assert (done.code, "is damaged; take another output folder" in done.said) == (2, True)


def test_interrupt_while_processes_start(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches none of those that have just been forked: on a terminal none of them prints a traceback."""
    program = (
        "import os, signal\n"
        "from scp_anon import cli\n"
        "def here(): os.kill(os.getpid(), signal.SIGINT)\n"
        "os.register_at_fork(after_in_child=here)\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", program, "deid", "in", "-o", "out", "--key", "key", "--processes", "2"]
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(terminal)
        said = b""
        while True:
            try:
                said += os.read(controller, 65536)
            except OSError:  # what Linux says when the last one has closed it
                break
    os.close(controller)
    assert b"Traceback" not in said
    assert (process.returncode, b"6 delivered" in said) == (0, True)


# ---------------------------------------------------------------------- what others write


ESCAPE = "\x1b]0;x\x07"


@pytest.fixture
def strange(source: Path) -> Path:
    """An image whose values do something to a terminal that takes them as they are."""
    ds = samples.image()
    ds.PatientID, ds.OperatorsName = f"{CANARY}{ESCAPE}", [f"A^{ESCAPE}", "B"]
    path = source / "strange.dcm"
    path.write_bytes(samples.encoded(ds))
    return path


def test_values_do_nothing_to_a_terminal(strange: Path) -> None:
    """Nor do those that are asked for: `lookup`, `diff --show-values`."""
    assert deid(strange, "-o", "out", "--key", "key", "--audit", "audit.db").code == 0
    value = f"{CANARY}{ESCAPE}"
    Path("candidates").write_text(value + "\n", encoding="utf-8")
    (pseudonym,) = (path.name for path in Path("out").iterdir() if path.is_dir())
    for arguments in (
        ("lookup", pseudonym, "--audit", "audit.db"),
        ("lookup", pseudonym, "--candidates", "candidates", "--key", "key"),
        ("diff", strange, "--key", "key", "--show-values"),
    ):
        done = run(*arguments)
        assert (done.returncode, "\x1b" in done.stdout, f"{CANARY}\\x1b]0;x\\x07" in done.stdout) == (0, False, True)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("{0},a\n{0},b\n", "table.csv:3: this original has another new value above"),
        ('"{0},a\nX,b\n', "table.csv: cannot be read: not CSV in UTF-8"),
    ],
)
def test_tables_of_two_minds(table: str, said: str, source: Path) -> None:
    """Two new values for one original, and a quote that never ends and swallows all below: told, and not guessed."""
    Path("table.csv").write_text("original,new\n" + table.format(f"{CANARY}ACC"), encoding="utf-8")
    rule = "rules: [{tag: AccessionNumber, action: lookup, file: table.csv}]\n"
    Path("profile.yaml").write_text(rule, encoding="utf-8")
    done = deid("in", "-o", "out", "--key", "key", "--profile", "profile.yaml")
    assert (done.code, said in done.said) == (2, True)


@pytest.mark.parametrize("row", [f'"{CANARY},x\nY,z\n', f"{CANARY * 40_000},x\n"], ids=["quote", "long"])
def test_table_of_patients_that_is_no_csv(row: str, source: Path) -> None:
    """Likewise."""
    Path("table.csv").write_text("id,pseudonym\n" + row, encoding="utf-8")
    Path("profile.yaml").write_text("patients: {scheme: table, file: table.csv}\n", encoding="utf-8")
    done = deid("in", "-o", "out", "--key", "key", "--profile", "profile.yaml")
    assert (done.code, "table.csv: cannot be read: not CSV in UTF-8" in done.said) == (2, True)


@pytest.mark.parametrize("form", ["%", "%(", "%Y %Y", "%s", "day"])
def test_forms_that_no_date_has(form: str, source: Path) -> None:
    """All rows would be left out, or a traceback be all that is said."""
    Path("table.csv").write_text("id,date\nx,2016-01-15\n", encoding="utf-8")
    common = ("--person", "id", "--month-year", "date", "--key", "key", "--date-format", form)
    done = run("variables", "table.csv", "new.csv", *common)
    if form == "day":
        assert (done.returncode, done.stderr) == (1, "table.csv:2: column 2: is no date of a known form; left out\n")
    else:
        assert (done.returncode, done.stderr) == (2, f"scp-anon: {form!r} is no form of dates; must be as %d/%m/%Y\n")
