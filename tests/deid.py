"""`scp-anon deid` in this process, and trees to run it on: for the tests of batches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from scp_anon.batch.manifest import NAME
from scp_anon.cli import app
from scp_anon.errors import ConfigError
from tests import samples
from tests.samples import CANARY


class Done(NamedTuple):
    """What became of a command: exit code, and all that it said."""

    code: int
    said: str


def deid(*arguments: object) -> Done:
    """Run `deid` by the key of the tests; whatever it does, it says nothing that it must not."""
    result = CliRunner().invoke(app, ["deid", *map(str, arguments)])
    error = result.exception
    said = result.output
    if isinstance(error, ConfigError):
        said += str(error)
    elif error is not None and not isinstance(error, SystemExit):
        raise error
    assert CANARY not in said
    return Done(2 if isinstance(error, ConfigError) else result.exit_code, said)


def key_file(folder: Path) -> Path:
    """A key."""
    path = folder / "key"
    path.write_bytes(samples.KEY)
    path.chmod(0o600)
    return path


def write_tree(folder: Path, patients: int = 2, images: int = 3) -> Path:
    """Images of some patients, each with a folder of its own."""
    for patient in range(patients):
        for number in range(images):
            ds = samples.image(f"{patient} {number}", study=f"study {patient}")
            ds.PatientID = f"{CANARY}-{patient}"
            path = folder / f"p{patient}" / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(samples.encoded(ds))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """All files below an output folder, hidden ones as well, but the manifest."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {place: path.read_bytes() for place, path in found.items() if place != NAME}
