"""The commands that tell what a profile does, and that take over rules of other tools."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from scp_anon.deid import load_profile
from tests import samples
from tests.command import scp_anon

DATA = Path(__file__).parent / "data" / "exchange"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile with something of everything."""
    path = tmp_path / "profile.yaml"
    path.write_text(
        "options: [clean-descriptors, retain-longitudinal-modified-dates]\nrules:\n"
        "  - {tag: InstitutionName, when: {Modality: CT}, action: replace, value: '{project}'}\n"
        "  - {tag: /Manufacturer, action: remove}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with canaries."""
    path = tmp_path / "ct.dcm"
    path.write_bytes(samples.encoded(samples.image()))
    return path


def test_explain(profile: Path) -> None:
    """One line for each rule that may decide, in their order."""
    done = scp_anon("explain", "InstitutionName", "(0008,0070)", "StudyDate", "0029,1010", "--profile", str(profile))
    assert done.stdout.splitlines() == [
        "(0008,0080) InstitutionName LO: replaced by a value of the profile when Modality equals CT; rule 1"
        f" ({profile}:3)",
        "(0008,0080) InstitutionName LO: dummy value where the IOD has it as Type 1, emptied where Type 2, else "
        "removed; PS3.15 Table E.1-1, by IOD",
        f"(0008,0070) Manufacturer LO: removed at the top level; rule 2 ({profile}:4)",
        "(0008,0070) Manufacturer LO: kept; no row in PS3.15 Table E.1-1",
        "(0008,0020) StudyDate DA: date moved; option retain-longitudinal-modified-dates",
        "0029,1010: private: removed; PS3.15 Table E.1-1",
    ]
    assert scp_anon("explain").stdout.count("\n") == 6
    assert scp_anon("explain", "PatientNam").stderr == (
        "scp-anon: unknown keyword PatientNam; did you mean PatientName?\n"
    )


def test_rules_in_every_format(profile: Path) -> None:
    """The same list, as a table, as CSV, as JSON."""
    markdown, comma, structured = (
        scp_anon("rules", "--profile", str(profile), "--format", form).stdout for form in ("md", "csv", "json")
    )
    rows = list(csv.DictReader(io.StringIO(comma)))
    assert rows == json.loads(structured)
    assert len(rows) > 650
    assert len([line for line in markdown.splitlines() if line.startswith("| (")]) == len(rows)
    assert [row["origin"] for row in rows if row["keyword"] == "Manufacturer"] == [
        "rule 2",
        "no row in PS3.15 Table E.1-1",
    ]
    assert scp_anon("rules", "--format", "xml").returncode == 2


def test_diff_shows_no_values(profile: Path, file: Path, tmp_path: Path) -> None:
    """Unless asked for; what is kept only with --all."""
    key = tmp_path / "key"
    scp_anon("keygen", str(key))
    common = ("diff", str(file), "--profile", str(profile), "--key", str(key))
    done = scp_anon(*common)
    assert done.returncode == 0
    assert samples.CANARY not in done.stdout
    lines = done.stdout.splitlines()
    assert "(0008,0070) Manufacturer LO removed" in lines
    assert "(0008,0020) StudyDate DA changed: *** -> ***" in lines
    assert "(0008,0050) AccessionNumber SH emptied" in lines
    assert "(0012,0062) PatientIdentityRemoved CS added" in lines
    assert not any(" kept" in line for line in lines)
    shown = scp_anon(*common, "--show-values", "--all").stdout
    assert f"(0008,0080) InstitutionName LO changed: '{samples.CANARY} Hospital' -> 'demo'" in shown
    assert "(0008,0060) Modality CS kept: 'CT'" in shown


def test_diff_of_what_is_not_passed_on(file: Path, tmp_path: Path) -> None:
    """The reason, and exit code 1."""
    held = tmp_path / "held.dcm"
    ds = samples.image()
    ds.BurnedInAnnotation = "YES"
    held.write_bytes(samples.encoded(ds))
    done = scp_anon("diff", str(held))
    assert (done.returncode, done.stdout) == (1, "")
    assert "pixels-may-identify" in done.stderr
    assert scp_anon("diff", str(held), "--pixels", "pass").returncode == 0


def test_pixel_rules_and_schemas(tmp_path: Path) -> None:
    """What is printed is a profile that can be meant; and a schema that knows the keys."""
    path = tmp_path / "pixels.yaml"
    path.write_text(scp_anon("rules", "--pixel-rules").stdout, encoding="utf-8")
    assert len(load_profile(path).pixel_rules or ()) > 8
    assert "routes" in json.loads(scp_anon("schema").stdout)["properties"]
    assert "pixel_rules" in json.loads(scp_anon("schema", "profile").stdout)["properties"]
    assert scp_anon("schema", "x").returncode == 2


def test_conformance() -> None:
    """It names what the node does, from its configuration."""
    text = scp_anon("conformance").stdout
    for said in (
        "SCP_ANON: project demo",
        "113100",
        "CT Image Storage",
        "1.2.840.10008.1.2.4.90",
        "held in quarantine",
    ):
        assert said in text
    assert "| (0010,0010) | PatientName | PN | pseudonym |" in text


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("mmiv", "mmiv-rules.json"),
        ("kitware", "kitware-dictionary.json"),
        ("kitware-extra", "kitware-extra.json"),
        ("dicom-anon", "dicom-anon-spec.dat"),
        ("dicom-anon-white-list", "dicom-anon-white-list.json"),
        ("ctp", "ctp-unspecified.script"),
    ],
)
def test_imported_profiles_can_be_meant(kind: str, name: str, tmp_path: Path, file: Path) -> None:
    """What is imported lints, and works; what is lost is listed."""
    path = tmp_path / "imported.yaml"
    done = scp_anon("import", kind, str(DATA / name), "-o", str(path))
    assert (done.returncode, done.stdout) == (0, "")
    assert "Basic Profile" in done.stderr
    assert scp_anon("lint", str(path)).returncode == 0
    assert load_profile(path).rules
    assert scp_anon("import", kind, str(DATA / name)).stdout == path.read_text(encoding="utf-8")
    assert scp_anon("import", kind, str(DATA / name), "-o", str(path)).returncode == 2


def test_import_that_leaves_something_out(tmp_path: Path) -> None:
    """The profile is written, what could not be read is told, and the exit code says so; `deid` does not go on then."""
    table, made = tmp_path / "rules.json", tmp_path / "made.yaml"
    table.write_text('[["0008", "1030", "StudyDescription", "remove"], ["0008"]]')
    done = scp_anon("import", "mmiv", str(table), "-o", str(made))
    assert (done.returncode, "row 2: must have 4 to 6 texts" in done.stderr) == (1, True)
    assert yaml.safe_load(made.read_text())["rules"] == [{"tag": "StudyDescription", "action": "remove"}]
    source = tmp_path / "in"
    source.mkdir()
    done = scp_anon("deid", str(source), "-o", str(tmp_path / "out"), "--rules", str(table))
    assert (done.returncode, f"{table}: row 2: must have 4 to 6 texts" in done.stderr) == (2, True)
    table.write_text("[1]")
    assert scp_anon("import", "mmiv", str(table)).returncode == 2


def test_changes_of_mmiv() -> None:
    """They come before the rules of the file, as they override them there."""
    done = scp_anon(
        *("import", "mmiv", str(DATA / "mmiv-rules.json")),
        *("--tag-change", "0008,0070=keep", "--regex-change", "0008,1030=(CT) (CHEST)"),
    )
    first, second, *_ = yaml.safe_load(done.stdout)["rules"]
    assert first == {"tag": "Manufacturer", "action": "keep"}
    assert (second["tag"], second["action"]) == ("StudyDescription", "regex")
    assert scp_anon("import", "kitware", str(DATA / "kitware-dictionary.json"), "--tag-change", "a").returncode == 2


def test_change_takes_the_place_of_its_row(tmp_path: Path) -> None:
    """A tag that has a row already is changed there: the profile can be meant, and has one rule for it."""
    table = tmp_path / "rules.json"
    table.write_text('[["0008", "1030", "StudyDescription", "remove"], ["0008", "0080", "InstitutionName", "remove"]]')
    for option, change in (("--tag-change", "0008,1030=hello"), ("--regex-change", "0008,1030=(CT) (CHEST)")):
        made = tmp_path / f"{option}.yaml"
        assert scp_anon("import", "mmiv", str(table), option, change, "-o", str(made)).returncode == 0
        done = scp_anon("lint", str(made))
        assert done.returncode == 0, done.stderr
        rules = yaml.safe_load(made.read_text())["rules"]
        assert [rule["tag"] for rule in rules] == ["StudyDescription", "InstitutionName"]
        assert rules[0]["action"] != "remove"


def test_misspelt_option() -> None:
    """The one that was meant is named."""
    done = scp_anon("rules", "--option", "retian-uids")
    assert done.returncode == 2
    assert "did you mean retain-uids?" in done.stderr


def test_export_and_import(tmp_path: Path) -> None:
    """The Basic Profile as mmiv's rules, and back: nothing is kept that was not."""
    done = scp_anon("export", "mmiv")
    rows = json.loads(done.stdout)
    assert len(rows) > 600
    assert ["0008", "0018", "SOPInstanceUID", "hashuid+PROJECTNAME"] in rows
    assert "mmiv" in done.stderr
    path = tmp_path / "rules.json"
    path.write_text(done.stdout, encoding="utf-8")
    back = yaml.safe_load(scp_anon("import", "mmiv", str(path)).stdout)["rules"]
    assert {rule["tag"] for rule in back if rule["action"] == "keep"} <= {row[2] for row in rows if row[3] == "keep"}
    assert scp_anon("export", "ctp").returncode == 2
    (tmp_path / "rules.csv").write_text(scp_anon("export", "mmiv", "--format", "csv").stdout, encoding="utf-8")
    assert yaml.safe_load(scp_anon("import", "mmiv", str(tmp_path / "rules.csv")).stdout)["rules"] == back
    assert scp_anon("export", "mmiv", "--format", "xml").returncode == 2


def test_explain_tells_what_it_can() -> None:
    """Tags with and without the comma; what is unknown is named behind the others."""
    done = scp_anon("explain", "00100010", "Patientname", "(0010,0020)", "FACE")
    assert done.returncode == 2
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["(0010,0010)", "(0010,0020)"]
    assert "did you mean PatientName?" in done.stderr
    assert "FACE" in done.stderr
