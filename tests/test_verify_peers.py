"""Beside other tools, where they can be imported: what they leave behind in real files, and we remove, `verify` finds.

None of them is needed for anything else, so that nobody has to install them: where one is missing its test is skipped.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from tests import study
from tests.harness import scp_anon
from tests.peers import corpus_files

# What they say of real files, and of themselves, is their own business.
pytestmark = pytest.mark.filterwarnings("ignore")


def kitware(source: Path, target: Path) -> None:
    """KitwareMedical dicom-anonymizer, as its command has it by default."""
    importlib.import_module("dicomanonymizer").anonymize_dicom_file(str(source), str(target))


def dicognito(source: Path, target: Path) -> None:
    """dicognito, with a seed."""
    ds = dcmread(source, force=True)
    importlib.import_module("dicognito.anonymizer").Anonymizer(seed="seed").anonymize(ds)
    ds.save_as(target)


def deid(source: Path, target: Path) -> None:
    """deid, by its default recipe."""
    replace: Any = importlib.import_module("deid.dicom").replace_identifiers
    replace([str(source)], save=True, output_folder=str(target.parent), overwrite=True)


TOOLS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "dicom-anonymizer": ("dicomanonymizer", kitware),
    "dicognito": ("dicognito", dicognito),
    "deid": ("deid", deid),
}
# What each is known to leave behind in the study of tests/study.py, found by hand in its results.
LEFT: dict[str, set[tuple[str, str]]] = {
    "dicom-anonymizer": {("residual", "preamble or File Meta Information"), ("unresolved", "")},
    "dicognito": {("residual", "(0008,1030)"), ("residual", "(0010,21B0)")},
    "deid": {("residual", "(0008,1030)"), ("residual", "(0018,1000)")},
}


def findings(folder: Path, results: Path) -> list[dict[str, Any]]:
    """What is found in results that are at the places of their originals."""
    command = ["verify", str(results), "--against", str(folder / "in"), "--mirror", "--pixels", "pass", "--json"]
    done = scp_anon(*command, "--key", str(folder / "key"))
    assert done.returncode in (0, 1), done.stderr
    (report,) = json.loads(done.stdout).values()
    found: list[dict[str, Any]] = report["findings"]
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_what_another_tool_leaves_behind(tool: str, tmp_path: Path) -> None:
    """Values of originals, by where they are; in our own results of the same files there is none."""
    module, anonymize = TOOLS[tool]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module)
    originals, theirs, ours = (tmp_path / name for name in ("in", "theirs", "ours"))
    for place in (originals, theirs):
        place.mkdir()
    for number, path in enumerate(corpus_files()):
        shutil.copy(path, originals / f"{number}.dcm")
    for kind, file in study.files().items():
        (originals / f"{kind}.dcm").write_bytes(file)
    for path in sorted(originals.iterdir()):
        with contextlib.suppress(Exception):  # what they cannot read they leave out, as we do
            anonymize(path, theirs / path.name)
    scp_anon("keygen", str(tmp_path / "key"))
    command = ["deid", str(originals), "-o", str(ours), "--layout", "mirror", "--key", str(tmp_path / "key")]
    assert "delivered" in scp_anon(*command, "--pixels", "pass").stdout
    assert findings(tmp_path, ours) == []
    left = findings(tmp_path, theirs)
    found = {(each["kind"], each["where"]) for each in left}
    assert LEFT[tool] <= found
    counts: Counter[str] = Counter()
    for each in left:
        counts[each["kind"]] += each["count"]
    print(f"{tool} leaves behind: {dict(counts)}")  # noqa: T201 - figures to quote, shown with pytest -s
