"""The command line in this process: for tests that ask what it says, of which there are many, not how it starts."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from scp_anon import cli


def scp_anon(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run our command line; as `tests.harness.scp_anon`, which has a process of its own."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code: object = 0
    named = mock.patch.object(sys, "argv", ["scp-anon", *arguments])
    with named, chdir(folder or Path()), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    said = []
    for stream in (out, err):
        stream.seek(0)
        said.append(stream.read())
    return subprocess.CompletedProcess(arguments, code if isinstance(code, int) else 0, *said)
