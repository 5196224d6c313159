"""The audit, and the way back: which original has become what, where it is asked for, and for its owner only."""

from __future__ import annotations

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from scp_anon import ConfigError, Deidentifier, generate_key
from scp_anon.deid import load_profile, with_audit
from scp_anon.deid.audit import rows_of
from tests import samples
from tests.command import scp_anon
from tests.profiles import engine, result, write_csv


def auditing(path: Path, **content: object) -> Deidentifier:
    """An engine with an audit."""
    return Deidentifier(samples.KEY, "project", {"pixels": "pass", "audit": {"file": str(path)}, **content})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the audit is."""
    return tmp_path / "audit.db"


def rows(path: Path) -> list[tuple[str, str, str]]:
    """Attribute, original and new value of every row."""
    with sqlite3.connect(path) as connection:
        found = list(connection.execute("SELECT attribute, original, new FROM value ORDER BY tag, original"))
    connection.close()
    return found


@pytest.mark.parametrize(
    "syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=str
)
def test_originals_and_what_they_became(path: Path, syntax: str | None) -> None:
    """Of every attribute that identifies, and of UIDs: one row each, in whatever encoding it came."""
    source = samples.image()
    by = auditing(path)
    ds = result(source, by, syntax) if syntax else result(source, by)
    told = {attribute: (original, new) for attribute, original, new in rows(path)}
    assert told["PatientID"] == (source.PatientID, ds.PatientID)
    assert told["PatientName"] == (f"{samples.CANARY}^PÄTIENT", str(ds.PatientName))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert told[keyword] == (source[keyword].value, ds[keyword].value)
    assert told["StudyDate"] == ("20240229", ""), "emptied"
    assert told["InstitutionAddress"] == (f"{samples.CANARY} street", ""), "removed, among neighbours that are too"
    assert told["OperatorsName"] == (f"{samples.CANARY}^ONE\\{samples.CANARY}^TWO", "")
    assert not {"Modality", "SliceThickness", "Rows", "SOPClassUID"} & told.keys(), "what stays, or identifies nobody"


def test_the_result_is_the_same(path: Path) -> None:
    """An audit changes nothing else: not the result, nor the name of the profile in it."""
    assert result(samples.image(), auditing(path)) == result(samples.image(), engine())


def test_one_row_each(path: Path) -> None:
    """However many instances and engines; another new value of the same original is a row of its own."""
    for by in (auditing(path), auditing(path)):
        for name in ("1", "2", "1"):
            result(samples.image(name), by)
    found = rows(path)
    assert len(found) == len(set(found))
    assert [attribute for attribute, *_ in found].count("SOPInstanceUID") == 2
    assert [attribute for attribute, *_ in found].count("PatientID") == 1
    other = Deidentifier(samples.KEY, "other", {"pixels": "pass", "audit": {"file": str(path)}})
    result(samples.image(), other)
    assert [attribute for attribute, *_ in rows(path)].count("PatientID") == 2


def test_only_its_owner_reads_it(path: Path) -> None:
    """Mode 0600 whatever the umask, the files beside it too; it says what it is; an open one is refused."""
    mask = os.umask(0)
    try:
        by = auditing(path)
        assert not path.exists(), "nothing is made before there is something to write"
        result(samples.image(), by)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(mask)
    with sqlite3.connect(path) as connection:
        about = dict(connection.execute("SELECT name, value FROM about"))
    connection.close()
    assert about["warning"].startswith("CONFIDENTIAL: this file holds protected health information.")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="the audit is open to others"):
        auditing(path)


def test_what_cannot_be_written_down_is_not_passed_on(path: Path) -> None:
    """A file that is no audit: no result, and no value in what is said."""
    by = auditing(path)
    path.write_bytes(b"no database" * 100)
    path.chmod(0o600)
    with pytest.raises(OSError, match="the audit cannot be written") as raised:
        result(samples.image(), by)
    assert samples.CANARY not in str(raised.value)
    with pytest.raises(ConfigError, match="there is no folder"):
        auditing(path.parent / "missing" / "audit.db")


def test_many_at_once(path: Path) -> None:
    """Threads and engines that write to one file: every row is there, and none is lost."""
    engines = [auditing(path) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: result(samples.image(str(i)), engines[i % 4]), range(64)))
    assert [attribute for attribute, *_ in rows(path)].count("SOPInstanceUID") == 64


def test_after_a_fork(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was forked opens the file for itself: a connection must not be used on the other side."""
    connected = []
    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> Any:
        connected.append(os.getpid())
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", counted)
    by = auditing(path)
    result(samples.image("parent"), by)
    child = os.fork()
    if not child:
        try:
            result(samples.image("child"), by)
        finally:
            os._exit(connected.count(os.getpid()))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    result(samples.image("parent again"), by)
    assert connected == [os.getpid()]
    assert [attribute for attribute, *_ in rows(path)].count("SOPInstanceUID") == 3


def test_with_audit(path: Path) -> None:
    """What a command adds to a profile, or takes from it."""
    settings = load_profile({"audit": {"file": "here.db"}})
    assert settings.audit is not None
    assert with_audit(settings, None).audit is None
    changed = with_audit(settings, path).audit
    assert changed is not None
    assert changed.file == path


# ---------------------------------------------------------------------- lookup


@pytest.fixture
def audit(path: Path) -> Path:
    """An audit of one instance."""
    result(samples.image(), auditing(path))
    return path


def test_lookup_in_an_audit(audit: Path) -> None:
    """From the pseudonym or the new UID to the original, and back; the warning is on standard error."""
    ds = result(samples.image(), engine())
    done = scp_anon("lookup", ds.PatientID, "--audit", str(audit))
    assert done.stdout == (f"{samples.CANARY}^PÄTIENT\tPatientName\tproject\n{samples.CANARY}-ID\tPatientID\tproject\n")
    assert "this identifies people" in done.stderr
    assert samples.CANARY not in done.stderr
    done = scp_anon("lookup", ds.StudyInstanceUID, "--audit", str(audit))
    assert done.stdout == f"{samples.uid('study')}\tStudyInstanceUID\tproject\n"
    done = scp_anon("lookup", f"{samples.CANARY}-ID", "--audit", str(audit), "--reverse")
    assert done.stdout == f"{ds.PatientID}\tPatientID\tproject\n"
    done = scp_anon("lookup", "nobody", "--audit", str(audit))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "nothing found\n")


def test_lookup_reads_only(audit: Path) -> None:
    """What is no audit, one that is open to others, and none: an error, and nothing is made."""
    audit.chmod(0o644)
    assert "open to others" in scp_anon("lookup", "x", "--audit", str(audit)).stderr
    missing = audit.parent / "missing.db"
    assert "there is no such audit" in scp_anon("lookup", "x", "--audit", str(missing)).stderr
    assert not missing.exists()
    missing.write_bytes(b"text")
    missing.chmod(0o600)
    with pytest.raises(ConfigError, match="is no audit that can be read"):
        rows_of(missing, "x", False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key file."""
    generate_key(tmp_path / "key")
    return tmp_path / "key"


def test_lookup_among_candidates(key: Path, tmp_path: Path) -> None:
    """By the key alone: each candidate becomes what it would, by the profile's own pseudonyms and UIDs."""
    candidates = tmp_path / "candidates.txt"
    candidates.write_text(
        f"other\n\n{samples.CANARY}-ID\r\n{samples.uid('study')}\n{samples.CANARY}ACC\nPÄR\n", "utf-8"
    )
    profile = tmp_path / "profile.yaml"
    profile.write_text(
        "pixels: pass\npatients: {scheme: hash, prefix: P-, length: 10}\nuids: {scheme: keyed, root: 1.2.3}\n"
        "rules: [{tag: AccessionNumber, action: hash, length: 12}]\n"
    )
    by = Deidentifier(bytes.fromhex(key.read_text()), "trial", profile)
    ds = result(samples.image(), by)
    common = ("--candidates", str(candidates), "--key", str(key), "--project", "trial", "--profile", str(profile))
    for value, line in (
        (ds.PatientID, f"{samples.CANARY}-ID\tPatient ID\ttrial\n"),
        (ds.StudyInstanceUID, f"{samples.uid('study')}\tUID\ttrial\n"),
        (ds.AccessionNumber, f"{samples.CANARY}ACC\thash\ttrial\n"),
    ):
        assert scp_anon("lookup", value, *common).stdout == line
    other = scp_anon("lookup", ds.PatientID, *common[:4], "--project", "other", "--profile", str(profile))
    assert (other.returncode, other.stdout) == (1, ""), "another project leads nowhere"


@pytest.mark.filterwarnings("ignore:.*UI:UserWarning:pydicom")  # the old style's UIDs are illegal, as pydicom says
def test_lookup_by_name_table_and_mmiv(key: Path, tmp_path: Path) -> None:
    """Who has no ID, who is in a table, and the UIDs of that tool."""
    candidates = tmp_path / "candidates.txt"
    candidates.write_text("Jane\nROE^JANE\n1.2.3\n", "utf-8")
    secret = bytes.fromhex(key.read_text())
    nameless = samples.image()
    nameless.PatientID, nameless.PatientName, nameless.SOPInstanceUID = "", "ROE^JANE", "1.2.3"
    common = ("--candidates", str(candidates), "--key", str(key), "--project", "p")
    made = result(nameless, Deidentifier(secret, "p", {"pixels": "pass"}))
    assert scp_anon("lookup", made.PatientID, *common).stdout == "ROE^JANE\tPatient's Name\tp\n"
    for old_style in (False, True):
        (tmp_path / "mmiv.yaml").write_text(f"uids: {{scheme: mmiv, old_style: {str(old_style).lower()}}}\n")
        uids = {"scheme": "mmiv", "old_style": old_style}
        made = result(nameless, Deidentifier(secret, "p", {"pixels": "pass", "uids": uids}))
        found = scp_anon("lookup", made.SOPInstanceUID, *common, "--profile", str(tmp_path / "mmiv.yaml"))
        assert found.stdout == "1.2.3\tUID\tp\n"
    write_csv(tmp_path / "patients.csv", {"id": "Jane", "pseudonym": "P1"})
    (tmp_path / "table.yaml").write_text("patients: {scheme: table, file: patients.csv}\n")
    found = scp_anon("lookup", "P1", *common, "--profile", str(tmp_path / "table.yaml"))
    assert found.stdout == "Jane\tPatient ID\tp\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--audit", "a", "--candidates", "b"),
        ("--candidates", "b"),
        ("--candidates", "b", "--key", "KEY", "--reverse"),
        ("--candidates", "missing", "--key", "KEY"),
        ("--candidates", "b", "--key", "KEY", "--profile", "FIXED"),
    ],
)
def test_lookup_that_cannot_be_meant(arguments: tuple[str, ...], key: Path, tmp_path: Path) -> None:
    """Nowhere to look, twice, without a key, or where all have the same pseudonym."""
    fixed = tmp_path / "fixed.yaml"
    fixed.write_text("patients: {scheme: fixed, id: ANON}\n")
    named = {"KEY": str(key), "FIXED": str(fixed)}
    assert scp_anon("lookup", "x", *(named.get(each, each) for each in arguments)).returncode == 2


def test_by_deid_in_several_processes(key: Path, tmp_path: Path) -> None:
    """A profile's audit holds for the command as well: each process writes to the one file."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.dcm").write_bytes(samples.encoded(samples.image(str(number))))
    (tmp_path / "profile.yaml").write_text("{pixels: pass, audit: {file: audit.db}}")
    profile = ("--profile", str(tmp_path / "profile.yaml"))
    common = ("--key", str(key), "--project", "p", "--processes", "2", *profile)
    done = scp_anon("deid", str(folder), "-o", str(tmp_path / "out"), *common)
    assert (done.returncode, done.stdout) == (0, "40 delivered\n")
    assert samples.CANARY not in done.stdout + done.stderr
    found = rows(tmp_path / "audit.db")
    assert [attribute for attribute, *_ in found].count("SOPInstanceUID") == 40
    assert len(found) == len(set(found))
    outputs = {path.stem for path in (tmp_path / "out").rglob("*.dcm")}
    assert outputs == {new for attribute, _, new in found if attribute == "SOPInstanceUID"}


def test_diff_and_explain_write_nothing(path: Path) -> None:
    """What only tells of a profile makes no audit."""
    profile, file = path.with_name("profile.yaml"), path.with_name("ct.dcm")
    profile.write_text("{pixels: pass, audit: {file: audit.db}}")
    file.write_bytes(samples.encoded(samples.image()))
    generate_key(path.with_name("key"))
    assert not scp_anon("diff", str(file), "--profile", str(profile), "--key", str(path.with_name("key"))).returncode
    for command in (
        ("explain", "--profile", str(profile)),
        ("rules", "--profile", str(profile)),
        ("lint", str(profile)),
    ):
        assert not scp_anon(*command).returncode
    assert not path.exists()
