"""The command line from outside: exit codes, what is written and what is not, and never a traceback or a value."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from scp_anon import Reason, cli
from scp_anon.batch.manifest import NAME
from scp_anon.errors import Refused
from scp_anon.spool import Spool
from scp_anon.version import VERSION
from tests import samples
from tests.peers import free_port
from tests.samples import CANARY
from tests.test_scp_wire import Service, serving
from tests.test_spool import committed, published

ROOT = Path(__file__).resolve().parents[1]


class Done(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process, in a folder of its own; whatever it does, it says nothing it must not."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def command(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["scp-anon", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        code = end.value.code
        done = Done(code if isinstance(code, int) else 0, said.out, said.err)
        assert "Traceback" not in done.out + done.err
        assert CANARY not in done.out + done.err
        assert done.code in (0, 1, 2)
        return done

    return command


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder to de-identify: images at two depths, and what else is found in such folders."""
    folder = tmp_path / "source"
    write(folder / "1.dcm", samples.encoded(samples.image("1")))
    write(folder / "a" / "2", samples.encoded(samples.image("2"), ImplicitVRLittleEndian))
    write(folder / "a" / "b" / "3.dcm", samples.encoded(samples.image("3", study="other"), ExplicitVRBigEndian))
    write(folder / "README.txt", b"This is what the images are about, and long enough to be one, more or less. " * 4)
    write(folder / "a" / "empty.dcm", b"")
    write(folder / "DICOMDIR", dicomdir())
    return folder


def dicomdir() -> bytes:
    """A media directory."""
    ds = samples.image("directory", sop_class=MediaStorageDirectoryStorage)
    return samples.encoded(ds)


def write(path: Path, content: bytes) -> Path:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones as well, but the manifest of a run."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {place: path.read_bytes() for place, path in found.items() if place != NAME}


def state(folder: Path) -> list[tuple[str, int, int, str]]:
    """Everything of a folder that could be changed."""
    return sorted(
        (
            str(path),
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in (folder, *folder.rglob("*"))
    )


def report(path: Path) -> list[dict[str, Any]]:
    """The lines of a report."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------------- as a process


def test_exit_codes_of_the_process(tmp_path: Path) -> None:
    """0 all well, 1 done but not all well, 2 wrong usage or configuration: as `python -m scp_anon`, for scripts."""
    image = write(tmp_path / "1.dcm", samples.encoded(samples.image()))
    cut = write(tmp_path / "2.dcm", image.read_bytes()[:-100])
    for arguments, code in (
        (["--version"], 0),
        (["deid", str(image), "-o", "out"], 0),
        (["deid", str(cut), "-o", "out"], 1),
        (["deid", str(tmp_path / "missing"), "-o", "out"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "scp_anon", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert CANARY not in done.stdout + done.stderr
        assert (VERSION in done.stdout) == (arguments == ["--version"])


@pytest.mark.parametrize("address", ["no-such-host.invalid", "a..b", "a" * 64, "192.0.2.1"])
def test_serve_on_an_address_that_is_none(address: str, tmp_path: Path) -> None:
    """One line that names the setting, exit code 2, and no process that hangs about."""
    config = write(
        tmp_path / "node.yaml",
        f"key: {{file: key, create: true}}\nspool: {{path: spool, reserve: 0}}\n"
        f"listen: [{{address: {address}, port: 0}}]\n"
        "routes:\n  - {called_ae_title: A, project: p, destinations: [disk]}\n"
        "destinations:\n  disk: {type: folder, path: out}\n".encode(),
    )
    done = subprocess.run(
        [sys.executable, "-m", "scp_anon", "serve", "-c", config],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"scp-anon: listen: {address}:0: ")
    assert "Unknown error" not in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_processes_say_nothing(start_method: str, tmp_path: Path, source: Path) -> None:
    """Libraries put values into their warnings: none comes out of a process of the pool, however it was started."""
    ds = samples.image("warned")
    ds.SpecificCharacterSet = "ISO_IR 100"
    file = samples.encoded(ds, ImplicitVRLittleEndian).replace(b"ISO_IR 100", b"ISO_IR 999")
    write(source / "4.dcm", file)
    write(source / "5.dcm", file[:-1])
    script = tmp_path / "run.py"
    script.write_text(
        "import multiprocessing\nfrom scp_anon.cli import main\n"
        f"if __name__ == '__main__':\n    multiprocessing.set_start_method({start_method!r})\n    main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", script, "deid", source, "-o", "out", "--processes", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["var/key: a new key was made; keep it"]
    assert "3 delivered, 3 filtered, 2 quarantined" in done.stdout


# ---------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["deid"],
        ["deid", "in"],
        ["deid", "in", "-o", "out", "--processes", "0"],
        ["deid", "in", "-o", "out", "--nonsense"],
        ["serve", "--nonsense"],
        ["send", "localhost"],
        ["send", "localhost", "104"],
        ["send", "localhost", "104", "missing"],
        ["echo", "localhost", "0"],
        ["echo", "localhost", "70000"],
        ["echo", "localhost", "high"],
        ["keygen"],
        ["queue", "nonsense"],
        ["quarantine", "show"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], run: Run) -> None:
    """Exit code 2, and a word about it on standard error."""
    done = run(*arguments)
    assert done.code == 2
    assert done.err
    assert not list(Path.cwd().iterdir())


def test_help_and_version(run: Run) -> None:
    """Every command is named in the help."""
    assert run("--version").out == f"scp-anon {VERSION}\n"
    text = run("--help").out
    assert all(name in text for name in ("serve", "check", "deid", "send", "echo", "keygen", "queue", "quarantine"))


# ---------------------------------------------------------------------- keygen, check


def test_keygen(run: Run) -> None:
    """A new key for its owner only; never over another."""
    assert run("keygen", "deep/key").code == 0
    first = Path("deep/key").read_bytes()
    assert Path("deep/key").stat().st_mode & 0o777 == 0o600
    done = run("keygen", "deep/key")
    assert (done.code, done.out) == (2, "")
    assert done.err == "scp-anon: deep/key: a file is there already; a key is never overwritten\n"
    assert Path("deep/key").read_bytes() == first
    assert first.decode().strip() not in done.err
    assert run("keygen", "deep/key/below").code == 2


def test_check(run: Run, tmp_path: Path) -> None:
    """Good, or one line for each fault, with file, line and path; nothing is started or made."""
    config = write(
        tmp_path / "node.yaml",
        b"key: {file: key}\nspool: {path: spool}\nlisten: [{port: 104}]\nroutes:\n"
        b"  - {called_ae_title: A, project: p, destinations: [disk]}\n"
        b"destinations:\n  disk: {type: folder, path: out}\n",
    )
    done = run("check", "-c", config)
    assert (done.code, done.err) == (2, "scp-anon: key: no such key; make one with: scp-anon keygen key\n")
    assert run("keygen", "key").code == 0
    done = run("check", "-c", config)
    assert done.code == 0
    assert "routes: A; destinations: disk" in done.out
    assert {path.name for path in Path.cwd().iterdir()} == {"key"}
    Path("key").chmod(0o644)
    assert "mode 0644" in run("check", "-c", config).err
    Path("key").chmod(0o600)
    Path("out").write_text("in the way")
    assert "destinations.disk.path: out is not a directory" in run("check", "-c", config).err
    wrong = config.read_bytes().replace(b"type: folder", b"type: folder, lay: x").replace(b"port: 104", b"port: x")
    write(config, wrong)
    done = run("check", "-c", config)
    assert done.code == 2
    assert f"{config}:3: listen.0.port: " in done.err
    assert f"{config}:7: destinations.disk.lay: unknown key; did you mean layout?" in done.err
    assert run("check", "-c", "missing.yaml").code == 2


# ---------------------------------------------------------------------- deid


def test_one_file(run: Run, tmp_path: Path) -> None:
    """By the default layout, of the new values; the input as it was; the key made and kept."""
    image = write(tmp_path / "in" / "1.dcm", samples.encoded(samples.image()))
    before = state(image.parent)
    done = run("deid", image, "-o", "out")
    assert (done.code, done.out) == (0, "1 delivered\n")
    assert done.err == "var/key: a new key was made; keep it\n"
    (place,) = files(Path("out"))
    new = dcmread(Path("out") / place)
    assert place == f"{new.PatientID}/{new.StudyInstanceUID}/{new.SeriesInstanceUID}/{new.SOPInstanceUID}.dcm"
    assert CANARY.encode() not in (Path("out") / place).read_bytes()
    assert state(image.parent) == before
    key = Path("var/key").read_bytes()
    assert run("deid", image, "-o", "again").err == ""
    assert Path("var/key").read_bytes() == key
    assert files(Path("again")) == files(Path("out"))


def test_folder(run: Run, source: Path) -> None:
    """Every image at every depth; what is no instance is filtered and does not count as trouble."""
    before = state(source)
    done = run("deid", source, "-o", "out", "--report", "report.jsonl")
    assert done.code == 0
    assert done.out.splitlines()[0] == "3 delivered, 3 filtered"
    assert len(files(Path("out"))) == 3
    assert state(source) == before
    lines = report(Path("report.jsonl"))
    assert [set(line) for line in lines] == [{"source", "status", "output", "reason"}] * 6
    assert [(line["source"], line["status"], line["reason"]) for line in lines] == [
        (f"{source}/1.dcm", "delivered", None),
        (f"{source}/DICOMDIR", "filtered", "dicomdir"),
        (f"{source}/README.txt", "filtered", "not-dicom"),
        (f"{source}/a/2", "delivered", None),
        (f"{source}/a/b/3.dcm", "delivered", None),
        (f"{source}/a/empty.dcm", "filtered", "empty"),
    ]
    assert {line["output"] for line in lines} == {None, *files(Path("out"))}


def test_mirror(run: Run, source: Path) -> None:
    """Each at the place that the input has."""
    assert run("deid", source, "-o", "out", "--layout", "mirror").code == 0
    assert sorted(files(Path("out"))) == ["1.dcm", "a/2", "a/b/3.dcm"]


def test_layout(run: Run, source: Path) -> None:
    """A template of new values."""
    assert run("deid", source, "-o", "out", "--layout", "{Modality}/{SOPInstanceUID}").code == 0
    assert {place.split("/")[0] for place in files(Path("out"))} == {"CT"}
    for template in ("{PatientID}", "../{SOPInstanceUID}", "{Nonsense}"):
        done = run("deid", source, "-o", "other", "--layout", template)
        assert done.code == 2
        assert done.err.startswith("scp-anon: layout: ")
    assert not Path("other").exists()


def test_processes_make_no_difference(run: Run, source: Path) -> None:
    """The same files, the same report, in the same order."""
    results = []
    for number in ("1", "2"):
        done = run("deid", source, "-o", f"out{number}", "--processes", number, "--report", f"{number}.jsonl")
        assert done.code == 0
        results.append((done.out, files(Path(f"out{number}")), report(Path(f"{number}.jsonl"))))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("name", "reason"), [("README.txt", "not-dicom"), ("a/empty.dcm", "empty"), ("DICOMDIR", "dicomdir")]
)
def test_given_by_name(name: str, reason: str, run: Run, source: Path) -> None:
    """Who names a file means it: then it is quarantined, not filtered."""
    done = run("deid", source / name, source / "1.dcm", "-o", "out", "--report", "report.jsonl")
    assert done.code == 1
    assert done.out == f"1 delivered, 1 quarantined\n  1 {reason}\n"
    assert [(line["status"], line["reason"]) for line in report(Path("report.jsonl"))] == [
        ("quarantined", reason),
        ("delivered", None),
    ]


def test_damaged_file_in_a_folder(run: Run, source: Path) -> None:
    """It is quarantined, with its reason; the others are delivered."""
    write(source / "a" / "cut.dcm", (source / "1.dcm").read_bytes()[:-200])
    done = run("deid", source, "-o", "out")
    assert done.code == 1
    assert done.out.startswith("3 delivered, 3 filtered, 1 quarantined\n")
    assert "1 truncated" in done.out
    assert len(files(Path("out"))) == 3


def test_another_project_is_another_world(run: Run, source: Path) -> None:
    """No UID or pseudonym is the same."""
    for project in ("one", "two"):
        assert run("deid", source, "-o", project, "--project", project).code == 0
    parts = [{part for place in files(Path(project)) for part in Path(place).parts} for project in ("one", "two")]
    assert parts[0].isdisjoint(parts[1])


def test_output_inside_the_input(run: Run, source: Path) -> None:
    """Refused before anything is made there."""
    before = state(source)
    for output in (source, source / "out", source / "a" / ".." / "out"):
        done = run("deid", source, "-o", output)
        assert done.code == 2
        assert "must not be inside the input" in done.err
        assert state(source) == before


def test_missing_input(run: Run, source: Path) -> None:
    """Nothing is done for the others either, and no output folder is made."""
    done = run("deid", source, "missing.dcm", "-o", "out")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "scp-anon: missing.dcm: no such file or folder"
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--key", "missing"], "missing: no such key"),
        (["--key", "short"], "short: the key has 5 bytes"),
        (["--key", "open"], "open: the key is open to others (mode 0644)"),
        (["--profile", "secret"], "there is no profile secret: name basic, mmiv, or a profile file"),
        (["--report", "no/such/folder/report"], "the report cannot be written: No such file"),
        (["-o", "short"], "short: "),
        (["-o", "short/below"], "short/below: "),
    ],
)
def test_what_cannot_work(arguments: list[str], said: str, run: Run, source: Path) -> None:
    """Exit code 2, and one line that says what."""
    write(Path("short"), b"short").chmod(0o600)
    write(Path("open"), bytes(32)).chmod(0o644)
    output = [] if "-o" in arguments else ["-o", "out"]
    done = run("deid", source, *output, *arguments)
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert done.out == ""


def test_nothing_to_do(run: Run) -> None:
    """An empty folder is no trouble."""
    Path("in").mkdir()
    assert run("deid", "in", "-o", "out")[:2] == (0, "nothing to do\n")


def test_links(run: Run, source: Path, tmp_path: Path) -> None:
    """A link to a file is that file; links to folders are counted, not followed, so that none goes round for ever."""
    outside = write(tmp_path / "outside" / "4.dcm", samples.encoded(samples.image("4")))
    (source / "link.dcm").symlink_to(outside)
    (source / "folder").symlink_to(outside.parent)
    (source / "loop").symlink_to(source)
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    done = run("deid", source, "-o", "out")
    assert (done.code, done.out.splitlines()[0]) == (0, "4 delivered, 6 filtered")
    assert (source / "link.dcm").is_symlink()


def test_strange_names(run: Run, source: Path) -> None:
    """Blanks, quotes, line ends, bytes that are not UTF-8: the report has one object a line all the same."""
    names = [b"with blank.dcm", b"with'quote\".dcm", b"with\nline.dcm", b"not-utf-8-\xff.dcm", "Größe.dcm".encode()]
    for i, name in enumerate(names):
        write(source / os.fsdecode(name), samples.encoded(samples.image(f"strange {i}")))
    done = run("deid", source, "-o", "out", "--report", "report.jsonl", "--layout", "mirror")
    assert done.code == 0
    sources = {line["source"] for line in report(Path("report.jsonl"))}
    assert {f"{source}/{os.fsdecode(name)}" for name in names} <= sources
    assert {os.fsdecode(name) for name in names} <= set(files(Path("out")))


def test_disk_trouble(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file fails for itself, with the system's word for it; nothing half written stays."""

    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run("keygen", "var/key").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        done = run("deid", source, "-o", "out", "--processes", "1", "--report", "report.jsonl")
    assert done.code == 1
    assert done.out.startswith("3 failed, 3 filtered\n")
    assert files(Path("out")) == {}
    failed = [line for line in report(Path("report.jsonl")) if line["status"] == "failed"]
    assert [(line["output"], line["reason"]) for line in failed] == [(None, "No space left on device")] * 3


def test_folder_that_cannot_be_listed(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails, by its name; the rest is done."""
    scandir = os.scandir

    def denied(path: Any) -> Any:
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    done = run("deid", source, "-o", "out", "--processes", "1", "--report", "report.jsonl")
    assert done.code == 1
    assert done.out.startswith("1 delivered, 1 failed, 2 filtered\n")
    assert [
        (line["source"], line["output"]) for line in report(Path("report.jsonl")) if line["status"] == "failed"
    ] == [(f"{source}/a", None)]


def test_file_that_goes_away(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between being found and being read."""
    from scp_anon import batch

    inputs = batch.inputs

    def vanishing(*arguments: Any) -> Iterator[batch.Input]:
        for found in list(inputs(*arguments)):
            if found.path.endswith("/1.dcm"):
                os.unlink(found.path)
            yield found

    monkeypatch.setattr(batch, "inputs", vanishing)
    done = run("deid", source, "-o", "out", "--processes", "1")
    assert done.code == 1
    assert done.out.startswith("2 delivered, 1 failed, 3 filtered\n")


def test_the_same_place_twice(run: Run, source: Path) -> None:
    """Where two inputs would have one place in a mirror, neither is lost in silence."""
    other = source.with_name("other")
    shutil.copytree(source / "a", other / "a")
    write(other / "a" / "2", samples.encoded(samples.image("another")))
    done = run("deid", source, other, "-o", "out", "--layout", "mirror")
    delivered = int(done.out.split()[0])
    assert delivered == len(files(Path("out")))


# ---------------------------------------------------------------------- echo, send


@pytest.fixture
def service() -> Iterator[Service]:
    """Our own SCP."""
    with serving() as running:
        yield running


def test_echo(run: Run, service: Service) -> None:
    """0 where it is answered; 1 where it is not, with the reason."""
    done = run("echo", "127.0.0.1", str(service.port))
    assert (done.code, done.out) == (0, f"127.0.0.1:{service.port}: status 0000H\n")
    done = run("echo", "127.0.0.1", str(service.port), "--called", "NOBODY")
    assert (done.code, done.out) == (1, "")
    assert "rejected 1/1/7" in done.err
    for host in ("127.0.0.1", "no-such-host.invalid", "bad..name"):
        done = run("echo", host, str(free_port()))
        assert done.code == 1
        assert "cannot connect" in done.err


@pytest.mark.parametrize("title", ["SEVENTEEN_LETTERS", "ÄRZTE", "B\\S", "", "  "])
@pytest.mark.parametrize("option", ["--called", "--calling"])
def test_titles_that_are_none(title: str, option: str, run: Run, service: Service, source: Path) -> None:
    """Wrong usage, before anybody is called."""
    for command in (["echo", "127.0.0.1", service.port], ["send", "127.0.0.1", service.port, source]):
        done = run(*map(str, command), option, title)
        assert done.code == 2
        assert "AE title" in done.err


def test_send(run: Run, service: Service, source: Path) -> None:
    """Files, and folders of them; each arrives as it is."""
    (source / "README.txt").unlink()
    (source / "DICOMDIR").unlink()
    (source / "a" / "empty.dcm").unlink()
    done = run("send", "127.0.0.1", str(service.port), source, source / "1.dcm", "--calling", "SENDER")
    assert (done.code, done.out, done.err) == (0, "4 sent, 0 failed\n", "")
    assert {reception.request.calling_ae_title for reception in service.storage.receptions} == {"SENDER"}
    sent = (source / "1.dcm").read_bytes()
    assert service.storage.receptions[0].content == sent[samples.data_set_start(sent) :]


def test_send_what_cannot_be_sent(run: Run, service: Service, source: Path) -> None:
    """By name and reason; the others are sent."""
    done = run("send", "127.0.0.1", str(service.port), source)
    assert done.code == 1
    assert done.out == "3 sent, 3 failed\n"
    assert {line.split(":")[0] for line in done.err.splitlines()} == {
        f"{source}/{name}" for name in ("README.txt", "DICOMDIR", "a/empty.dcm")
    }


def test_send_where_it_is_refused(run: Run, service: Service, source: Path) -> None:
    """The status is told for each."""
    service.storage.faults["commit"] = Refused(0xA700, "full")
    done = run("send", "127.0.0.1", str(service.port), source / "1.dcm", source / "a" / "2")
    assert (done.code, done.out) == (1, "0 sent, 2 failed\n")
    assert done.err.count("status A700H") == 2


def test_send_to_nobody(run: Run, source: Path) -> None:
    """The reason is told once."""
    done = run("send", "127.0.0.1", str(free_port()), source / "1.dcm", source / "a" / "2")
    assert (done.code, done.out) == (1, "0 sent, 2 failed\n")
    assert done.err.count("cannot connect") == 1


def test_send_until_the_association_breaks(run: Run, service: Service, source: Path) -> None:
    """What the peer has acknowledged counts as sent, all else as failed."""
    count = iter(range(10))

    class Breaks(OSError):
        """Ends the association on the server's side."""

    commit = service.storage.judge

    def judge(step: str) -> None:
        if step == "commit" and next(count) == 2:
            raise Breaks
        commit(step)

    service.storage.judge = judge  # type: ignore[method-assign]  # for this one test
    paths = [source / "1.dcm"] * 5
    done = run("send", "127.0.0.1", str(service.port), *paths)
    assert done.code == 1
    assert done.out == "2 sent, 3 failed\n"


@pytest.mark.parametrize("uid", ["not a UID", "1.2.\xff3", ""], ids=ascii)
def test_send_with_wrong_uids(uid: str, run: Run, service: Service, tmp_path: Path) -> None:
    """A word about the file, and the next one."""
    good = samples.encoded(samples.image())
    old = samples.uid("instance 1").encode()
    raw = uid.encode("latin-1").ljust(len(old) + len(old) % 2, b"\0")[: len(old) + len(old) % 2]
    bad = write(tmp_path / "bad.dcm", good.replace(old.ljust(len(raw), b"\0"), raw))
    class_old = b"1.2.840.10008.5.1.4.1.1.2\0"
    worse = write(tmp_path / "worse.dcm", good.replace(class_old, uid.encode("latin-1").ljust(26, b"\0")[:26]))
    done = run("send", "127.0.0.1", str(service.port), bad, worse, write(tmp_path / "good.dcm", good))
    assert done.code == 1
    assert done.out == "1 sent, 2 failed\n"


# ---------------------------------------------------------------------- queue, quarantine


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose spool holds an original in quarantine, two refused results, and one entry that waits."""
    spool = Spool(tmp_path / "spool", ["one", "two"])
    committed(spool, samples.encoded(samples.image("bad")))
    bad = spool.claim(0)
    assert bad is not None
    spool.quarantine(bad, Reason.MALFORMED, "(0010,0010)")
    committed(spool, b"original")
    good = spool.claim(0)
    assert good is not None
    published(spool, good, ["one", "two"])
    for name in ("one", "two"):
        entry = spool.depart(name, 0)
        assert entry is not None
        spool.quarantine(entry, Reason.REFUSED_BY_DESTINATION, "A900H", name)
    committed(spool, b"waits")
    spool.close()
    return write(
        tmp_path / "node.yaml",
        f"key: {{file: key}}\nspool: {{path: {tmp_path}/spool}}\nlisten: [{{port: 104}}]\nroutes:\n"
        "  - {called_ae_title: A, project: p, destinations: [one, two]}\ndestinations:\n"
        "  one: {type: folder, path: out}\n  two: {type: folder, path: out}\n".encode(),
    )


def test_lists(run: Run, config: Path) -> None:
    """Ids, reasons, where from and where to; no values."""
    done = run("quarantine", "list", "-c", config)
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 3
    assert "malformed  (0010,0010)  original  CALLER > ROUTE" in lines[0]
    assert [line.split("  ")[4] for line in lines[1:]] == ["refused by one", "refused by two"]
    (line,) = run("queue", "list", "-c", config).out.splitlines()
    assert "to be de-identified  attempts 0  due now  CALLER > ROUTE" in line


def test_show(run: Run, config: Path) -> None:
    """The envelope and the elements; no value, as the fixture sees to."""
    identifier = run("quarantine", "list", "-c", config).out.split()[0]
    done = run("quarantine", "show", identifier, "-c", config)
    assert done.code == 0
    assert "reason: malformed" in done.out
    assert "(0010,0010) PN PatientName 1\n" in done.out


def test_show_what_two_destinations_refused(run: Run, config: Path) -> None:
    """One id, two entries: both are shown."""
    identifier = run("quarantine", "list", "-c", config).out.splitlines()[1].split()[0]
    done = run("quarantine", "show", identifier, "-c", config)
    assert done.code == 0
    assert "destination: one" in done.out
    assert "destination: two" in done.out


def test_release_and_drop(run: Run, config: Path, tmp_path: Path) -> None:
    """An original goes to incoming, a result to its destination; what is dropped is gone."""
    identifier = run("quarantine", "list", "-c", config).out.split()[0]
    assert run("quarantine", "release", identifier, "-c", config).out == "1 released\n"
    assert run("quarantine", "release", "--all", "-c", config).out == "2 released\n"
    assert run("quarantine", "list", "-c", config).out == ""
    where = [line.split("  ")[1] for line in run("queue", "list", "-c", config).out.splitlines()]
    assert where == ["to be de-identified", "to be de-identified", "to one", "to two"]
    assert run("queue", "retry", "--all", "-c", config).out == "4 made due\n"
    assert run("queue", "drop", "--all", "-c", config).out == "4 dropped\n"
    assert run("queue", "list", "-c", config).out == ""
    assert not list((tmp_path / "spool").rglob("*,*"))
    assert run("quarantine", "drop", "--all", "-c", config).out == "0 dropped\n"


@pytest.mark.parametrize(
    "arguments", [["release"], ["release", "x", "--all"], ["drop", "no-such-id"], ["show", "no-such-id"], ["drop", ""]]
)
def test_ids_that_are_none(arguments: list[str], run: Run, config: Path) -> None:
    """Wrong usage; nothing is done."""
    before = files(config.parent / "spool")
    assert run("quarantine", *arguments, "-c", config).code == 2
    assert files(config.parent / "spool") == before


def test_no_spool(run: Run, config: Path) -> None:
    """It is not made for a look at it."""
    shutil.rmtree(config.parent / "spool")
    for command in ("queue", "quarantine"):
        done = run(command, "list", "-c", config)
        assert done.code == 2
        assert "there is no spool here" in done.err
    assert not (config.parent / "spool").exists()
