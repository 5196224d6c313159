"""The shape of the house: who may know whom, how large a room may be, and that the tools have nothing to say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "scp_anon").rglob("*.py"))

# Lowest first. A module may import from its own row (within its package) and from rows above, never from below.
LAYERS = [
    ["errors", "log", "version"],
    ["metrics", "filesystem", "envelope", "documents", "service_manager", "harmless", "columns"],
    ["ready", "sealing", "announcements", "supervisor", "places", "breaker", "links", "months", "regex"],
    ["draft"],
    ["spool", "dicom"],
    ["deid", "network", "exchange"],
    ["destinations", "overlays"],
    ["intake", "worker", "settlement", "config", "batch", "inspection"],
    ["verification", "variables", "header", "picture", "splitting", "table"],
    ["delivery", "awaiting", "operations"],
    ["plan", "conformance"],
    ["parts"],
    ["node"],
    ["cli"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
_LONGEST_FILE = 400
_LONGEST_FUNCTION = 40
# The one hot loop: a call for each element would double its time.
_LONG = {"scp_anon/dicom/encoding.py:data_set"}


def room(path: Path) -> str:
    """The module or package right below scp_anon that a file belongs to."""
    return path.relative_to(ROOT / "scp_anon").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "scp_anon" else [f"scp_anon.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("scp_anon.")}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    """Every import is from the own room or from a lower one; rooms of one row do not know each other."""
    own = room(path)
    if own in ("__init__", "__main__"):
        return
    assert own in LEVEL, "a new room needs its place among the layers"
    for other in imported(path) - {own}:
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_stay_small(path: Path) -> None:
    """No file above 400 lines, no function above 40 without its docstring, none without a docstring."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            name = f"{path.relative_to(ROOT)}:{node.name}"
            assert length <= _LONGEST_FUNCTION or name in _LONG, f"{name} has {length} lines"


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_tools_have_nothing_to_say(command: list[str]) -> None:
    """Lint, format and types are clean."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_engine_knows_no_sockets_and_the_spool_no_dicom() -> None:
    """What must not be known is not reached by a detour either."""
    program = "import sys; import {0}; print(*sys.modules)"
    for module, forbidden in (
        ("scp_anon.deid", ("scp_anon.network", "scp_anon.spool", "pynetdicom")),
        ("scp_anon.spool", ("scp_anon.dicom", "scp_anon.deid", "pydicom", "pynetdicom")),
        ("scp_anon.network.scp", ("scp_anon.deid", "scp_anon.spool")),
    ):
        # The package itself offers the engine, so it is left out here.
        start = "import sys, types; p = types.ModuleType('scp_anon'); p.__path__ = ['scp_anon'];"
        command = [sys.executable, "-c", start + "sys.modules['scp_anon'] = p;" + program.format(module)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert not set(done.stdout.split()) & set(forbidden), module
