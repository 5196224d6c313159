"""Finding the real peers that the tests run against: DCMTK, dicom3tools, Orthanc."""

from __future__ import annotations

import os
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


def require_peer(name: str) -> str:
    """The path of a peer's program. Where it is missing the test is skipped, but fails under CI=true."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        message = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


def require_package(name: str) -> None:
    """See that a package of an extra is there; treated as a peer's program is where it is missing."""
    if find_spec(name) is None:
        message = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def corpus_files() -> list[Path]:
    """Every real DICOM file of the corpus, by its index; none where there is no corpus."""
    if not CORPUS.is_dir():
        return []
    lines = (CORPUS / "index.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [CORPUS / line.split(",", 1)[0] for line in lines]


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
