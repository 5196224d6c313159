"""What others say of our output: dciodvfy and dcmdump find nothing in it that they did not find in the input."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scp_anon import Deidentifier, Undecodable
from tests import samples
from tests.peers import corpus_files, require_peer

# What de-identifying brings about, in dciodvfy's words: dates are gone, and so are IDs; a pseudonym is no family and
# given name; our own attributes and dummies' references make some instances ones of a Standard Extended SOP Class.
EXPECTED = (
    "Missing attribute or value that would be needed to build DICOMDIR",
    "Value dubious for this VR - (#x#,#x#) PN",
    "Value dubious for this VR - (#x#,#xa#) PN",
    "this is a Standard Extended SOP Class",
    "Attribute is not present in standard DICOM IOD",
)
# dciodvfy takes a deflated data set for a plain one, and its complaints are noise.
DEFLATED = ("CT_small_deflated.dcm", "image_dfl.dcm")
# dciodvfy crashes on these as they are.
CRASHES = ("rtdose.dcm", "rtdose_expb_1frame.dcm")

ENGINE = Deidentifier(samples.KEY, "project", samples.PASS)
_TIMEOUT = 60


def complaints(command: list[str], path: Path) -> set[str] | None:
    """The kinds of complaints of a peer; None if it crashed, as some do on some inputs."""
    done = subprocess.run([*command, str(path)], capture_output=True, timeout=_TIMEOUT, check=False)
    if done.returncode < 0:
        return None
    lines = (done.stderr + done.stdout).decode("latin-1").splitlines()
    return {line for line in lines if re.search(r"\b(Error|Warning) -|^[EWF]: ", line)}


def kinds(lines: set[str]) -> set[str]:
    """Complaints without the values and numbers in them, but for those that de-identifying is expected to cause."""
    found = {re.sub(r"<[#.]+>", "<#>", re.sub(r"\d+", "#", line.split(" = ")[0])) for line in lines}
    return {line for line in found if not any(expected in line for expected in EXPECTED)}


def compared(command: list[str], source: Path, tmp_path: Path) -> tuple[set[str], set[str]]:
    """The complaints of a peer before and after."""
    target = tmp_path / "result.dcm"
    try:
        ENGINE.file(source, target)
    except Undecodable:
        pytest.skip("refused, so that there is no output")
    before, after = complaints(command, source), complaints(command, target)
    if before is None or after is None:
        assert source.name in CRASHES, "the peer crashes"
        pytest.skip("the peer crashes on the input")
    return kinds(before), kinds(after)


@pytest.mark.parametrize("source", corpus_files(), ids=lambda path: path.name)
def test_dciodvfy_finds_nothing_new(source: Path, tmp_path: Path) -> None:
    """The result is as valid an instance of its IOD as the original."""
    if source.name in DEFLATED:
        pytest.skip("dciodvfy cannot inflate")
    before, after = compared([require_peer("dciodvfy")], source, tmp_path)
    assert after <= before, after - before


@pytest.mark.parametrize("source", corpus_files(), ids=lambda path: path.name)
def test_dcmdump_finds_nothing_new(source: Path, tmp_path: Path) -> None:
    """The result is encoded as well as the original."""
    before, after = compared([require_peer("dcmdump"), "-q", "+L"], source, tmp_path)
    assert after <= before, after - before


@pytest.mark.parametrize("syntax", samples.NATIVE)
@pytest.mark.parametrize("undefined", [False, True])
def test_dcmdump_reads_the_sample(syntax: str, undefined: bool, tmp_path: Path) -> None:
    """A synthetic instance in every native encoding is read without a complaint."""
    source = tmp_path / "source.dcm"
    source.write_bytes(samples.encoded(samples.image(), syntax, undefined))
    _, after = compared([require_peer("dcmdump")], source, tmp_path)
    assert not after
