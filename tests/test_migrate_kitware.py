"""What users of Kitware's dicom-anonymizer and its fork find again: extra rules, private tags, the drift alarm."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian

from scp_anon.batch import Drift
from scp_anon.batch.manifest import NAME
from scp_anon.errors import ConfigError
from tests import samples
from tests.deid import deid, key_file, tree, write_tree
from tests.samples import CANARY


def rules(path: Path, content: object) -> Path:
    """A file of rules."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("extra.json", {"keep": [["0x0008", "0x0080"]]}),
        ("dictionary.json", {"(0x0008, 0x0080)": "keep"}),
        ("rules.json", [["0008", "0080", "InstitutionName", "keep"]]),
        ("rules.csv", "0008,0080,InstitutionName,keep"),
        ("rules.yaml", "rules: [{tag: InstitutionName, action: keep}]"),
    ],
)
def test_extra_rules(name: str, content: object, tmp_path: Path) -> None:
    """A file of rules of our language, or of any of the tools', comes before the profile's own rules."""
    key, source, out = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "out"
    profile = rules(tmp_path / "profile.yaml", "rules: [{tag: InstitutionName, action: remove}]")
    arguments = (source, "-o", out, "--key", key, "--layout", "mirror", "--profile", profile)
    assert deid(*arguments, "--rules", rules(tmp_path / name, content)).code == 0
    assert {dcmread(out / place).InstitutionName for place in tree(out)} == {f"{CANARY} Hospital"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rules.json", "{", "is not JSON"),
        ("rules.json", {"nonsense": []}, "there is no such action"),
        ("rules.yaml", "rules: [{tag: Nonsense, action: keep}]", "Nonsense"),
        ("rules.yaml", "pixels: pass", "only rules and variables"),
        ("missing.yaml", None, "there is no profile"),
    ],
)
def test_rules_that_cannot_be_meant(name: str, content: object, said: str, tmp_path: Path) -> None:
    """Exit code 2, with the fault."""
    path = tmp_path / name
    if content is not None:
        rules(path, content)
    done = deid(write_tree(tmp_path / "in"), "-o", tmp_path / "out", "--key", key_file(tmp_path), "--rules", path)
    assert (done.code, said in done.said) == (2, True), done.said


def test_keep_private(tmp_path: Path) -> None:
    """Everything private stays, and the result no longer claims the Basic Profile."""
    key, source = key_file(tmp_path), write_tree(tmp_path / "in", patients=1, images=1)
    for out, options in (("without", ()), ("with", ("--keep-private",))):
        assert deid(source, "-o", tmp_path / out, "--key", key, "--layout", "mirror", *options).code == 0
    without, kept = (dcmread(tmp_path / out / "p0" / "0.dcm") for out in ("without", "with"))
    assert not [element for element in without if element.tag.is_private]
    assert {int(element.tag) for element in kept if element.tag.is_private} == {0x00090010, 0x00091001, 0x00091002}
    codes = [{item.CodeValue for item in ds.get("DeidentificationMethodCodeSequence", ())} for ds in (without, kept)]
    assert ("113100" in codes[0], "113100" in codes[1]) == (True, False)


def test_drift_alarm(tmp_path: Path) -> None:
    """Attributes that were never seen before are named, at any depth, once; values never."""
    key, source, known = key_file(tmp_path), write_tree(tmp_path / "in"), tmp_path / "known"
    common = (source, "-o", tmp_path / "out", "--key", key, "--drift", known, "--processes", "2")
    assert "attributes are known from now on" in deid(*common).said
    lines = known.read_text().splitlines()
    assert lines == sorted(set(lines))
    assert {"(0010,0010) PatientName", "(0040,1001) RequestedProcedureID", "(0009,xx01) CANARY MAKER"} <= set(lines)
    assert "never seen before" not in deid(*common).said
    ds = samples.image("new", study="new")
    ds.PatientBirthName = CANARY
    ds.RequestAttributesSequence[0].ReasonForTheRequestedProcedure = CANARY
    ds.private_block(0x0011, "NEW MAKER", create=True).add_new(0x20, "LO", CANARY)
    (source / "new.dcm").write_bytes(samples.encoded(ds, ExplicitVRBigEndian))
    before = known.read_text()
    done = deid(*common, "--dry-run")
    assert known.read_text() == before
    named = (
        "never seen before: 3 attributes\n  (0010,1005) PatientBirthName\n  (0011,xx20) of an unknown creator\n"
        "  (0040,1002) ReasonForTheRequestedProcedure\n"
    )
    assert done.said.endswith(named)
    assert deid(*common).said.endswith(named)
    assert "never seen" not in deid(*common).said
    new = set(known.read_text().splitlines()) - set(lines)
    assert {line.replace("NEW MAKER", "of an unknown creator") for line in new} == {
        line.strip() for line in named.splitlines()[1:]
    }
    assert "(0011,xx20) NEW MAKER" in new, "in the file, which is its owner's"


def test_only_known_creators_are_printed(tmp_path: Path) -> None:
    """A creator may be any text, such as a name; those of lists of creators, pydicom's and our own, are no secret."""
    key, source, known = key_file(tmp_path), write_tree(tmp_path / "in", 1, 1), tmp_path / "known"
    known.write_text("")
    ds = samples.image("new", study="new")
    for group, creator in ((0x0011, f"Anna {CANARY}"), (0x0019, "GEMS_ACQU_01"), (0x0029, "SIEMENS CSA HEADER")):
        block = ds.private_block(group, creator, create=True)
        block.add_new(0x10, "LO", CANARY)
        block.add_new(0x11, "LO", CANARY)
    (source / "new.dcm").write_bytes(samples.encoded(ds))
    done = deid(source, "-o", tmp_path / "out", "--key", key, "--drift", known)
    assert CANARY not in done.said
    for line in (
        *("(0011,xx10) of an unknown creator", "(0011,xx11) of an unknown creator", "(0019,xx10) GEMS_ACQU_01"),
        "(0029,xx10) SIEMENS CSA HEADER",
    ):
        assert f"\n  {line}\n" in done.said
    assert f"(0011,xx10) Anna {CANARY}" in known.read_text().splitlines()


def noted(part: Path, *names: str) -> set[str]:
    """What a run tells of that begins with this beside the file of known attributes, and ends."""
    known = part.with_name("known")
    alarm = Drift(known)
    alarm.add(names)
    told = set(alarm.new)
    alarm.finish()
    assert not part.exists()
    assert told <= set(known.read_text().splitlines())
    return told


def test_the_alarm_of_a_run_that_was_cut_off(tmp_path: Path) -> None:
    """What it has found is told by the next one, although --resume skips the file; half a line is not."""
    known, part = tmp_path / "known", tmp_path / "known.part"
    known.write_text("(0010,0010) PatientName\n")
    cut_off = Drift(known)
    cut_off.add(["(0010,0010) PatientName", "(0010,1005) PatientBirthName"])
    cut_off.sync()
    cut_off.close()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    part.write_text(f"{part.read_text()}(0040,10")
    assert Drift(known, writes=False).new == {"(0010,1005) PatientBirthName"}
    assert part.read_text().endswith("(0040,10"), "a dry run writes nothing"
    again = Drift(known)
    again.add(["(0040,1002) ReasonForTheRequestedProcedure"])
    again.close()
    assert noted(part, "(0010,4000) PatientComments") == {
        *("(0010,1005) PatientBirthName", "(0010,4000) PatientComments"),
        "(0040,1002) ReasonForTheRequestedProcedure",
    }
    assert noted(part) == set()


def test_attributes_are_noted_before_a_file_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a resumed run, which skips it, would never tell of them."""
    key, source, known = key_file(tmp_path), write_tree(tmp_path / "in", 1, 1), tmp_path / "known"
    known.write_text("")
    common = (source, "-o", tmp_path / "out", "--key", key, "--drift", known, "--processes", "1", "--resume")

    def fails(alarm: Drift) -> None:
        raise ConfigError("no space is left")

    for step, finished in (("sync", 0), ("finish", 1)):
        with monkeypatch.context() as cut_off:
            cut_off.setattr(Drift, step, fails)
            assert deid(*common).code == 2
        assert len((tmp_path / "out" / NAME).read_text().splitlines()) == 1 + finished
    assert known.read_text() == ""
    said = deid(*common).said
    assert said.startswith("1 skipped\nnever seen before: ")
    assert "\n  (0010,0010) PatientName\n" in said
    assert "never seen" not in deid(*common).said
