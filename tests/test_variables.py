"""`scp-anon variables`: variables with the pseudonyms of the images; what is not named goes, bad rows are told.

The golden runs are the documented examples of the UiT script.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from scp_anon import Deidentifier
from scp_anon.columns import harmless
from scp_anon.variables import DATE_FORMATS
from tests import samples
from tests.command import scp_anon
from tests.profiles import result, write_csv

PERSON = f"{samples.CANARY}-ID"


class Folder:
    """A folder with a key, in which the command is run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / "key"
        self.key.write_text(samples.KEY.hex())
        self.key.chmod(0o600)
        self.output = path / "out.csv"
        self.status, self.told = 0, ""

    def run(self, content: str | bytes, *arguments: str, project: str = "p") -> str:
        """The result of a file with this content, "" where there is none."""
        source = self.path / "in.csv"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.output.unlink(missing_ok=True)
        common = ("--key", str(self.key), "--project", project)
        done = scp_anon("variables", str(source), str(self.output), *common, *arguments)
        self.status, self.told = done.returncode, done.stderr.replace(f"{source}:", "in:")
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""

    def pseudonym(self, person: str, project: str = "p", **profile: object) -> str:
        """The Patient ID that the images of a person get."""
        source = samples.image()
        source.PatientID = person
        ds = result(source, Deidentifier(samples.KEY, project, {"pixels": "pass", **profile}))
        return str(ds.PatientID)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder to work in."""
    return Folder(tmp_path)


# ---------------------------------------------------------------------- golden: the README of the UiT script


def test_uit_example(folder: Folder) -> None:
    """Blanks between columns, a header that is not written, `<pseudonym> <M-YYYY> <4..9> <days> <others>`."""
    content = (
        "personalID invitationID screening a b c d e f diagnosis other\n"
        "p1 inv7 15.Jan.2016 0 0 0 0 0 0 15.Feb.2016 x\n"
        "p2 inv8 01.Dec.2015 1 2 3 4 5 6  y\n"
    )
    made = folder.run(
        content,
        *("--delimiter", " ", "--person", "1", "--month-year", "3", "--keep", "4-9", "--keep", "11"),
        *("--days", "10:3", "--drop-header"),
    )
    one, two = folder.pseudonym("p1"), folder.pseudonym("p2")
    assert made == f'{one} 1-2016 0 0 0 0 0 0 31 x\n{two} 12-2015 1 2 3 4 5 6 "" y\n'.replace('""', "")
    assert (folder.status, folder.told) == (0, "")


def test_uit_later_form(folder: Folder) -> None:
    """A link list by invitation number, semicolons, and rows without a link told and left out."""
    (folder.path / "links.csv").write_text("personID;x;invitationID;invitationNumber\np1;0;i1;1001\np2;0;i2;1002\n")
    made = folder.run(
        "person;invitation;date;result\np1;1001;2016-01-15;neg\np3;1003;2016-01-15;pos\n",
        *("--delimiter", ";", "--person", "person", "--month-year", "date", "--serial", "invitation"),
        *("--keep", "result", "--links", str(folder.path / "links.csv")),
        *("--links-number", "invitationNumber", "--links-serial", "invitationID"),
    )
    assert made == f"person;invitation;date;result\n{folder.pseudonym('p1')};i1;1-2016;neg\n"
    assert folder.status == 1
    assert folder.told == "in:3: column 2: has no serial in the link list; left out\n"


# ---------------------------------------------------------------------- the same person


@pytest.mark.parametrize(
    ("profile", "person"),
    [
        ("{}", PERSON),
        ("{patients: {scheme: hash, prefix: P-, length: 10}}", PERSON),
        ("{patients: {scheme: fixed, id: ANON}}", PERSON),
        ("{patients: {scheme: table, file: PATIENTS}}", PERSON),
        ("{uids: {scheme: mmiv}}", "Ærlig 17"),
    ],
)
def test_a_person_is_the_same_in_the_table_and_in_the_images(folder: Folder, profile: str, person: str) -> None:
    """By key, project and profile, whatever the scheme; blanks around an ID do not count, as in images."""
    write_csv(folder.path / "patients.csv", {"id": PERSON, "pseudonym": "P17"})
    path = folder.path / "profile.yaml"
    path.write_text(f"{profile.replace('PATIENTS', 'patients.csv')[:-1] or '{'}, pixels: pass}}".replace("{, ", "{"))
    made = folder.run(f"id,x\n{person},1\n  {person} ,2\n", "--person", "id", "--keep", "x", "--profile", str(path))
    source = samples.image()
    source.PatientID = person
    source.SpecificCharacterSet = "ISO_IR 192"
    expected = result(source, Deidentifier(samples.KEY, "p", path)).PatientID
    assert made == f"id,x\n{expected},1\n{expected},2\n"
    if "scheme" not in profile:
        assert folder.run(f"id\n{person}\n", "--person", "id", project="other") != f"id\n{expected}\n"


def test_issuer_counts_where_it_does_in_images(folder: Folder) -> None:
    """The same ID of another issuer is another person, if the profile says so."""
    path = folder.path / "profile.yaml"
    path.write_text("{patients: {scheme: hash, issuer: true}, pixels: pass}")
    source = samples.image()
    source.PatientID, source.IssuerOfPatientID = "7", "HOSPITAL"
    expected = result(source, Deidentifier(samples.KEY, "p", path)).PatientID
    common = ("--person", "1", "--profile", str(path))
    assert folder.run("id\n7\n", *common, "--issuer", "HOSPITAL") == f"id\n{expected}\n"
    assert folder.run("id\n7\n", *common) != f"id\n{expected}\n"


def test_dates_move_as_those_of_the_images(folder: Folder) -> None:
    """By the days of the patient, each in the form that it has."""
    path = folder.path / "profile.yaml"
    path.write_text("{options: [retain-longitudinal-modified-dates], dates: {window: 90}, pixels: pass}")
    moved = result(samples.image(), Deidentifier(samples.KEY, "p", path)).StudyDate
    content = f"id,a,b,c\n{PERSON},2024-02-29,20240229,29.02.2024\n{PERSON},,,\n"
    common = ("--person", "id", "--profile", str(path))
    made = folder.run(content, *common, "--shift-date", "a", "--shift-date", "b", "--shift-date", "c").splitlines()
    day = (moved[:4], moved[4:6], moved[6:])
    assert made[1].split(",")[1:] == ["-".join(day), moved, ".".join(day[::-1])]
    assert made[2].split(",")[1:] == ["", "", ""]


def test_variables_and_images_by_the_commands(folder: Folder) -> None:
    """`deid` and `variables`, side by side, with the same key and project: the folder has the name that the row has."""
    (folder.path / "images").mkdir()
    (folder.path / "images" / "ct.dcm").write_bytes(samples.encoded(samples.image()))
    output = folder.path / "cleaned"
    common = ("--key", str(folder.key), "--project", "trial")
    assert scp_anon("deid", str(folder.path / "images"), "-o", str(output), *common).returncode == 0
    made = folder.run(f"id,x\n{PERSON},1\n", "--person", "id", "--keep", "x", project="trial")
    assert [path.name for path in output.iterdir() if path.is_dir()] == [made.splitlines()[1].split(",")[0]]


# ---------------------------------------------------------------------- fails closed


def test_what_is_not_named_goes(folder: Folder) -> None:
    """Columns that nobody has kept, names among them; whatever the order of the options."""
    made = folder.run("name,id,phone,x\nRoe,1,555,9\n", "--keep", "x", "--person", "id")
    assert made == f"id,x\n{folder.pseudonym('1')},9\n"
    assert "555" not in made + folder.told


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("SECRET,2024-13-01,1", "in:2: column 2: is no date of a known form; left out"),
        ("SECRET,01/02/2024,1", "in:2: column 2: is no date of a known form; left out"),
        ("SECRET,2024115,1", "in:2: column 2: is no date of a known form; left out"),
        (",2024-01-01,1", "in:2: column 1: is empty; left out"),
        ("SECRET,2024-01-01", "in:2: has another number of columns; left out"),
        ("SECRET,2024-01-01,1,2", "in:2: has another number of columns; left out"),
        ('"SECRET"x,2024-01-01,1', "in:2: cannot be read; left out"),
        ("SECRET\N{LATIN SMALL LETTER A WITH RING ABOVE},2024-01-01,1", "in:2: cannot be read; left out"),
    ],
)
def test_bad_rows_are_told_by_line(folder: Folder, rows: str, said: str) -> None:
    """Without any value; the others are written, and the exit code is 1."""
    content = f"id,date,x\n{rows}\n\nother,2024-01-01,1\n".encode("latin-1")
    made = folder.run(content, "--person", "id", "--month-year", "date", "--keep", "x")
    assert folder.told == f"{said}\n"
    assert folder.status == 1
    assert "SECRET" not in made + folder.told
    assert len(made.splitlines()) == 2


@pytest.mark.parametrize(
    "rows", ['"SECRET,2024-01-01,1\nb,2024-01-01,1', '"SECRET,2024-01-01,1\n"b",2024-01-01,1', '"SECRET']
)
@pytest.mark.parametrize("before", ["", "a,2024-01-01,1\n"])
def test_a_quote_that_is_not_closed_is_a_fault_of_the_file(folder: Folder, before: str, rows: str) -> None:
    """As the rows behind it are in it, and nobody can count them: exit code 2, and no file."""
    made = folder.run(f"id,date,x\n{before}{rows}\n", "--person", "id", "--month-year", "date", "--keep", "x")
    assert (made, folder.status) == ("", 2)
    assert f"in:{3 if before else 2}: a quote is not closed" in folder.told
    assert "SECRET" not in folder.told
    assert not folder.output.exists()


def test_lines_in_a_cell(folder: Folder) -> None:
    """Quotes that are closed may have lines between them."""
    made = folder.run('id,x\n1,"a\nb"\n2,c\n', "--person", "id", "--keep", "x")
    assert folder.status == 0
    assert len(list(csv.reader(made.splitlines(keepends=True)))) == 3


def test_who_is_not_in_the_table_is_left_out(folder: Folder) -> None:
    """As their images wait in quarantine."""
    write_csv(folder.path / "patients.csv", {"id": "1", "pseudonym": "P1"})
    (folder.path / "profile.yaml").write_text("patients: {scheme: table, file: patients.csv}\n")
    made = folder.run("id\n1\n2\n", "--person", "1", "--profile", str(folder.path / "profile.yaml"))
    assert made == "id\nP1\n"
    assert folder.told == "in:3: column 1: is not in the table of patients; left out\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--person", "nobody"), "there is no column nobody; there are 3"),
        (("--person", "4"), "there is no column 4; there are 3"),
        (("--person", "0"), "there is no column 0"),
        (("--person", "x"), "more than one column has the name x: give its number"),
        (("--person", "1", "--keep", "1"), "column 1: is named twice"),
        (("--person", "1", "--keep", "3-2"), "the first column comes behind the last"),
        (("--person", "1", "--serial", "2"), "a serial needs a link list"),
        (("--person", "1", "--days", "2"), "must be COLUMN:SINCE"),
        (("--person", "1", "--delimiter", "::"), "the delimiter must be one character"),
        (("--person", "1", "--encoding", "ebcdic"), "there is no encoding ebcdic"),
        (("--person", "1", "--links-match", "like"), "must be one of equals"),
        (("--person", "1", "--links", "missing.csv"), "cannot be read"),
    ],
)
def test_what_cannot_be_meant(folder: Folder, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and no file."""
    assert folder.run("id,x,x\n1,2,3\n", *arguments) == ""
    assert folder.status == 2
    assert said in folder.told
    assert sorted(path.name for path in folder.path.iterdir()) == ["in.csv", "key"]


def test_no_file_is_replaced(folder: Folder) -> None:
    """Neither another one, nor the input."""
    source = folder.path / "in.csv"
    source.write_text("id\n1\n")
    done = scp_anon("variables", str(source), str(source), "--person", "1", "--key", str(folder.key))
    assert (done.returncode, source.read_text()) == (2, "id\n1\n")
    assert folder.run("", "--person", "1") == ""
    assert "cannot be read as CSV" in folder.told


# ---------------------------------------------------------------------- forms


def test_encodings(folder: Folder) -> None:
    """UTF-8, with a mark of byte order or without, and Latin-1; the result is of the same."""
    for encoding, python in (("utf-8", "utf-8"), ("utf-8", "utf-8-sig"), ("latin-1", "latin-1")):
        content = "id\tstæd\n1\tOsløy\n".encode(python)
        folder.run(content, "--person", "id", "--keep", "stæd", "--delimiter", "tab", "--encoding", encoding)
        made = folder.output.read_bytes().decode(encoding)
        assert made == f"id\tstæd\n{folder.pseudonym('1')}\tOsløy\n"


def test_without_header(folder: Folder) -> None:
    """Columns by number, and the first line is a row."""
    made = folder.run("1,2024-01-05\n2,2024-02-05\n", "--person", "1", "--month-year", "2", "--no-header")
    assert [line.split(",")[1] for line in made.splitlines()] == ["1-2024", "2-2024"]


def test_date_formats(folder: Folder) -> None:
    """Those of the caller in place of the known ones."""
    made = folder.run(
        "id,a,b\n1,03/04/2024,01/04/2024\n",
        "--person",
        "1",
        "--days",
        "a:b",
        "--keep",
        "b",
        "--date-format",
        "%d/%m/%Y",
    )
    assert made.splitlines()[1].endswith(",2,01/04/2024")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+cmd|x", "'+cmd|x"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("  =1", "'  =1"),
        *((number, number) for number in ("-5", "+1.5", "-1,5", "-2e-3", "5", "a=b", "")),
    ],
)
def test_no_cell_is_a_formula(cell: str, expected: str) -> None:
    """What a spreadsheet would run gets an apostrophe; numbers stay numbers."""
    assert harmless(cell) == expected


def test_no_cell_of_the_result_is_a_formula(folder: Folder) -> None:
    """Nor a name of a column."""
    folder.run('id,=x\n1,"=1+1"\n', "--person", "1", "--keep", "2")
    with folder.output.open(newline="") as file:
        assert [row[1] for row in csv.reader(file)] == ["'=x", "'=1+1"]


def test_no_original_date_format_is_a_guess() -> None:
    """No known form can read a date of another one."""
    shapes = [re.sub(r"%\w", "0", form) for form in DATE_FORMATS]
    assert len(set(DATE_FORMATS)) == len(DATE_FORMATS)
    assert "0/0/0" not in shapes
