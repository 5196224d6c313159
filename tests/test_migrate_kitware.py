"""What users of Kitware's dicom-anonymizer and its fork find again: extra rules, private tags, the drift alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian

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
        "never seen before: 3 attributes\n  (0010,1005) PatientBirthName\n  (0011,xx20) NEW MAKER\n"
        "  (0040,1002) ReasonForTheRequestedProcedure\n"
    )
    assert done.said.endswith(named)
    assert deid(*common).said.endswith(named)
    assert "never seen" not in deid(*common).said
    assert set(known.read_text().splitlines()) - set(lines) == {line.strip() for line in named.splitlines()[1:]}
