"""`table`: lists of files and of who became whom, with dicommanager's columns; and `split`, which sorts files."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from pydicom import Dataset

from scp_anon import Deidentifier, splitting, table
from scp_anon.errors import ConfigError
from scp_anon.harmless import visible
from tests import samples
from tests.command import scp_anon
from tests.hostile import KINDS
from tests.peers import require_package
from tests.profiles import engine
from tests.samples import CANARY

ROOT = Path(__file__).resolve().parents[1]


def patient(name: str, patient_id: str, instance: str = "1") -> Dataset:
    """An instance of a patient."""
    ds = samples.image(instance)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = name, patient_id
    return ds


def written(path: Path, content: bytes) -> Path:
    """A file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def numbering(path: Path) -> Deidentifier:
    """An engine that numbers patients from 1000, as dicommanager does."""
    return engine(patients={"scheme": "sequential", "file": str(path), "start": 1000})


def cells(path: Path) -> list[list[str]]:
    """The rows of a table, the names of columns first."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    require_package("openpyxl")
    from openpyxl import load_workbook

    book = load_workbook(path)
    rows = [list(row) for sheet in book.worksheets for row in sheet.iter_rows()]
    assert {cell.data_type for row in rows for cell in row} <= {"s", "inlineStr", "n"}
    assert all(cell.data_type != "n" or cell.value is None for row in rows for cell in row)
    return [["" if cell.value is None else str(cell.value) for cell in row] for row in rows]


# ---------------------------------------------------------------------- dicommanager's own


def test_metadata_csv(tmp_path: Path) -> None:
    """Its `_metadata.csv`: running number, full path, bytes, of what is DICOM, in the order of the walk."""
    folder = tmp_path / "in"
    one = written(folder / "a.dcm", samples.encoded(patient("Nordmann^Kari", "01017012345")))
    two = written(folder / "deep" / "er" / "b", samples.encoded(patient("Hansen^Ola", "2")))
    written(folder / "notes.txt", b"no image " * 40)
    written(folder / "empty.dcm", b"")
    target = tmp_path / "_metadata.csv"
    done = scp_anon("table", str(folder), "-o", str(target))
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 DICOM, 2 others\n", "")
    assert cells(target) == [
        ["lp", "path", "size"],
        ["1", str(one), str(one.stat().st_size)],
        ["2", str(two), str(two.stat().st_size)],
    ]


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_the_report_of_a_run(tmp_path: Path, ending: str) -> None:
    """The row of its README, from the report of `deid`: who became whom, and what went wrong."""
    if ending == ".xlsx":
        require_package("xlsxwriter")
    source = written(tmp_path / "in" / "a.dcm", samples.encoded(patient("Nordmann^Kari", "01017012345")))
    held = written(tmp_path / "in" / "b.dcm", b"\0" * 128 + b"DICM\2\0")
    by = numbering(tmp_path / "patients")
    out = written(tmp_path / "out" / "out_1000_1.dcm", by.bytes(source.read_bytes()))
    lines: list[tuple[str, str, str | None, str | None]] = [
        (str(source), "delivered", "out_1000_1.dcm", None),
        (str(tmp_path / "in" / "x.txt"), "filtered", None, "not-dicom"),
        (str(held), "quarantined", None, "truncated"),
        (str(tmp_path / "in" / "gone.dcm"), "failed", None, "No such file or directory"),
        (str(tmp_path / "in" / "c.dcm"), "delivered", "out_1000_2.dcm", None),
    ]
    names = ("source", "status", "output", "reason")
    report = tmp_path / "report.jsonl"
    report.write_text("".join(json.dumps(dict(zip(names, line, strict=True))) + "\n" for line in lines))
    target = tmp_path / f"_out{ending}"
    done = scp_anon("table", str(tmp_path / "out"), "-o", str(target), "--report", str(report))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "4 DICOM, 1 others"
    assert set(done.stdout.splitlines()[1:]) == {"  1 truncated", "  2 No such file or directory"}
    assert done.stderr == f"{target}: holds values of originals, which identify; only you can read it\n"
    size = str(source.stat().st_size)
    assert cells(target) == [
        ["source_file", "patient_name", "patient_id_DICOM", "patient_index", "file_size", "destinaton_file", "status"],
        [str(source), "Nordmann^Kari", "01017012345", "1000", size, str(out), "OK"],
        [str(held), "", "", "0", "134", "NONE", "ERROR"],
        [str(tmp_path / "in" / "gone.dcm"), "", "", "0", "", "NONE", "ERROR"],
        [str(tmp_path / "in" / "c.dcm"), "", "", "0", "", "NONE", "ERROR"],
    ]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_patients_of_a_folder(tmp_path: Path) -> None:
    """Without a report: originals are sources, with a warning; de-identified files are destinations, without one."""
    original = samples.encoded(patient("Nordmann^Kari", "01017012345"))
    out = written(tmp_path / "out" / "1.dcm", numbering(tmp_path / "patients").bytes(original))
    target = tmp_path / "out.csv"
    done = scp_anon("table", str(tmp_path / "out"), "-o", str(target), "--columns", "patients")
    assert (done.returncode, done.stderr) == (0, "")
    assert cells(target)[1:] == [["", "1000", "1000", "1000", str(out.stat().st_size), str(out), "OK"]]
    source = written(tmp_path / "in" / "1.dcm", original)
    target = tmp_path / "in.csv"
    done = scp_anon("table", str(tmp_path / "in"), "-o", str(target), "--columns", "patients")
    assert (done.returncode, done.stdout) == (0, "1 DICOM, 0 others\n")
    assert "holds values of originals" in done.stderr
    assert "Nordmann" not in done.stderr
    size = str(source.stat().st_size)
    assert cells(target)[1:] == [[str(source), "Nordmann^Kari", "01017012345", "", size, "NONE", "OK"]]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_values_do_nothing_to_a_spreadsheet(tmp_path: Path, ending: str) -> None:
    """Formulas, links, numbers, controls and names of files that are hostile are text."""
    if ending == ".xlsx":
        require_package("xlsxwriter")
    values = ["=HYPERLINK(1)", "+1+1", "-2", "@SUM(A1)", "http://a.example", "00123", "a\x07\x1b[0mb", "x" * 60]
    for number, value in enumerate(values):
        written(tmp_path / "in" / f"{number}.dcm", samples.encoded(patient(value, value, str(number))))
    written(tmp_path / "in" / "9=\udcff\n.dcm", samples.encoded(patient("山田^太郎", "1")))
    target = tmp_path / f"out{ending}"
    done = scp_anon("table", str(tmp_path / "in"), "-o", str(target), "--columns", "patients")
    assert done.returncode == 0, done.stderr
    rows = cells(target)[1:]
    shown = [value.replace("\x07", r"\x07").replace("\x1b", r"\x1b") for value in values]
    quoted = [f"'{value}" if ending == ".csv" and value[0] in "=+-@" else value for value in shown]
    assert [row[2] for row in rows] == [*quoted, "1"]
    assert rows[-1][:2] == [f"{tmp_path}/in/9=\\udcff\\n.dcm", "山田^太郎"]
    if ending == ".xlsx":
        with zipfile.ZipFile(target) as archive:
            sheet = archive.read("xl/worksheets/sheet1.xml")
            assert b"<f>" not in sheet
            assert b"<hyperlink" not in sheet
            assert b'quotePrefix="1"' in archive.read("xl/styles.xml")


def test_hostile_headers(tmp_path: Path) -> None:
    """None ends it: each is a row, or a row that says ERROR, counted by its reason; exit code 1."""
    for kind in KINDS.values():
        if not any(word in kind.name for word in ("million", "thousand", "bomb")):
            written(tmp_path / "in" / kind.name, kind.file())
    target = tmp_path / "out.csv"
    done = scp_anon("table", str(tmp_path / "in"), "-o", str(target), "--columns", "patients")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
    rows = cells(target)[1:]
    told = Counter(row[-1] for row in rows)
    assert told["OK"] > 100
    assert told["ERROR"] > 10
    counts = {line.split()[1]: int(line.split()[0]) for line in done.stdout.splitlines()[1:]}
    assert {"truncated", "unknown-transfer-syntax", "unknown-character-set"} <= counts.keys()
    assert sum(counts.values()) == told["ERROR"]
    assert all(visible(cell) == cell for row in rows for cell in row)


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Never over another file; wrong usage says what would be right; nothing is left aside."""
    written(tmp_path / "in" / "1.dcm", samples.encoded(samples.image()))
    there = written(tmp_path / "there.csv", b"mine")
    report = written(tmp_path / "report.jsonl", b'{"source": "a"}\n')
    before = sorted(tmp_path.iterdir())
    for arguments, said in (
        (["-o", "there.csv"], "there.csv: a file is there already"),
        (["-o", "new.ods"], "new.ods: a table is a .csv or an .xlsx file"),
        (["-o", "new.csv", "--columns", "all"], "--columns: files or patients"),
        (["-o", "new.csv", "--columns", "files", "--report", "report.jsonl"], "with --report patients"),
        (["-o", "new.csv", "--report", "report.jsonl"], "report.jsonl:1: is no line of a report of deid"),
        (["-o", "new.csv", "--report", "missing.jsonl"], "missing.jsonl: cannot be read"),
        (["-o", "no/such/new.csv"], "no/such/new.csv: cannot be written: No such file or directory"),
    ):
        done = scp_anon("table", "in", *arguments, folder=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert there.read_bytes() == b"mine"
    assert report.exists()


def test_without_xlsxwriter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and leaves nothing."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(ConfigError, match=r"pip install 'scp-anon\[tables\]'"), table.table(tmp_path / "a.xlsx", ["a"]):
        pass
    assert not list(tmp_path.iterdir())


def test_more_rows_than_a_sheet_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on in another one, under the names of the columns again."""
    require_package("xlsxwriter")
    monkeypatch.setattr(table, "_LONGEST_SHEET", 3)
    with table.table(tmp_path / "a.xlsx", ("n",)) as add:
        for number in range(5):
            add((str(number),))
    assert cells(tmp_path / "a.xlsx") == [["n"], ["0"], ["1"], ["n"], ["2"], ["3"], ["n"], ["4"]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.xlsx"]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_memory_stays_flat(tmp_path: Path, ending: str) -> None:
    """A hundred thousand rows take no more than a thousand."""
    if ending == "xlsx":
        require_package("xlsxwriter")
    program = (
        "import resource, sys; from pathlib import Path; from scp_anon.table import PATIENTS, table\n"
        "with table(Path(sys.argv[1]), PATIENTS) as add:\n"
        "    for i in range(int(sys.argv[2])): add(tuple(f'{i} {n} {\"x\" * 40}' for n in range(7)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (1000, 100_000):
        command = [sys.executable, "-c", program, str(tmp_path / f"{count}.{ending}"), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 8 * 1024


# ---------------------------------------------------------------------- split


def tree(folder: Path) -> dict[str, str]:
    """The files below a folder, with what is in them."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def filled(folder: Path, *names: str) -> Path:
    """A folder with files that hold their own names."""
    for name in names:
        written(folder / name, name.encode())
    return folder


def test_the_example_of_splitby(tmp_path: Path) -> None:
    """17_001.png and 17_002.png go to 17; what has another ending, no delimiter or a folder stays."""
    folder = filled(tmp_path / "in", "17_001.png", "17_002.png", "18_001.png", "18_1.jpg", "plain.png", "deep/19_1.png")
    done = scp_anon("split", str(folder), "--mask", ".png", "--delimiter", "_")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 moved, 1 left\n", "")
    assert set(tree(folder)) == {
        "17/17_001.png",
        "17/17_002.png",
        "18/18_001.png",
        "18_1.jpg",
        "plain.png",
        "deep/19_1.png",
    }
    assert all(Path(place).name in content or "deep" in place for place, content in tree(folder).items())
    assert scp_anon("split", str(folder)).stdout == "0 moved, 1 left\n"


def test_dry_run(tmp_path: Path) -> None:
    """Says what would be moved, and moves nothing."""
    folder = filled(tmp_path / "in", "17_001.png", "17/17_001.png", "a\nb_1.png")
    before = tree(folder)
    done = scp_anon("split", str(folder), "--dry-run")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [r"a\nb_1.png -> a\nb/a\nb_1.png", "1 to move, 0 left"]
    assert done.stderr.splitlines() == ["17_001.png: in the way", "1 in the way, 0 failed"]
    assert tree(folder) == before


def test_nothing_is_overwritten_or_led_away(tmp_path: Path) -> None:
    """A file, a link or a dangling link in the way stays; no name leads out of the folder; exit code 1."""
    folder = filled(tmp_path / "in", "17_1.png", "18_1.png", "19_1.png", "20_1.png", ".._1.png", "_1.png", ".h_1.png")
    filled(folder, "17/17_1.png", "18")
    (folder / "17" / "17_1.png").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (folder / "19").symlink_to(tmp_path / "elsewhere")
    (folder / "20").mkdir()
    (folder / "20" / "20_1.png").symlink_to(tmp_path / "nowhere")
    (folder / "21_1.png").symlink_to("17_1.png")
    before = tree(tmp_path)
    done = scp_anon("split", str(folder))
    assert done.returncode == 1
    assert done.stdout == "0 moved, 3 left\n"
    assert done.stderr.splitlines()[-1] == "4 in the way, 0 failed"
    assert tree(tmp_path) == before
    assert not list((tmp_path / "elsewhere").iterdir())


def test_moved_by_a_rename(tmp_path: Path) -> None:
    """The same file, with its times and its mode; a kill in between leaves it where it was."""
    folder = filled(tmp_path / "in", "17_1.png")
    os.chmod(folder / "17_1.png", 0o640)
    before = (folder / "17_1.png").stat()
    list(splitting.split(folder, ".png", "_", Counter()))
    after = (folder / "17" / "17_1.png").stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays, and no empty one is left where it should have gone."""
    folder = filled(tmp_path / "in", "17_1.png")

    def fails(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "rename", fails)
    counts: Counter[str] = Counter()
    assert [move.fate for move in splitting.split(folder, ".png", "_", counts)] == ["failed"]
    assert tree(folder) == {"17_1.png": "17_1.png"}
    assert counts == {"failed": 1, "moved": 0}


def test_many_files(tmp_path: Path) -> None:
    """The folder changes while it is read: none is left behind, by another ending and a longer delimiter as well."""
    folder = filled(tmp_path / "in", *(f"{i % 30}--{i}.dcm" for i in range(3000)))
    done = scp_anon("split", str(folder), "--mask", ".dcm", "--delimiter", "--")
    assert done.stdout == "3000 moved, 0 left\n"
    assert {len(list(place.iterdir())) for place in folder.iterdir()} == {100}


def test_wrong_usage_of_split(tmp_path: Path) -> None:
    """Exit code 2."""
    assert scp_anon("split", str(tmp_path / "missing")).returncode == 2
    assert scp_anon("split", str(tmp_path), "--delimiter", "").returncode == 2
    assert scp_anon("split", str(tmp_path), "--delimiter", "a/b").returncode == 2
