"""The senders of the benchmark, as processes: DCMTK's storescu as it comes, and ours with TCP_NODELAY.

Ours is ready, with its association open, before the clock starts; storescu cannot wait, and is timed from its start.

    python -m benchmarks.senders PORT FOLDER COUNT
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta

AE_TITLE: Final = "ANY-SCP"  # what storescu calls where it is not told
STOCK: Final = "storescu"
NODELAY: Final = "TCP_NODELAY"
_TIMEOUT: Final = 60


class Senders:
    """One sender a folder, each with `count` of its files; they begin with `go`."""

    def __init__(self, kind: str, port: int, folders: list[Path], count: int) -> None:
        """Start what can be started ahead."""
        self._commands = [_command(kind, port, folder, count) for folder in folders]
        self._processes = [_started(command) for command in self._commands] if kind == NODELAY else []
        for process in self._processes:
            if not _output(process).readline():
                raise SystemExit("a sender did not get its association")

    def go(self) -> None:
        """Begin to send."""
        if not self._processes:
            self._processes = [_started(command) for command in self._commands]
        for process in self._processes:
            assert process.stdin is not None  # it is a pipe
            process.stdin.close()

    def wait(self) -> None:
        """Wait until all has been sent."""
        for process in self._processes:
            # What it says is nothing that anybody needs; a failure is.
            if process.wait():
                raise SystemExit(f"a sender failed: {process.args!r:.200}")
            _output(process).close()


def answers(port: int) -> bool:
    """Whether somebody at this port accepts an association."""
    try:
        with Requestor(Peer("127.0.0.1", port, AE_TITLE, "BENCH", _TIMEOUT), [VERIFICATION_CONTEXT]):
            return True
    except Exception:
        return False  # not yet, for whatever reason


def _command(kind: str, port: int, folder: Path, count: int) -> list[str]:
    if kind == NODELAY:
        return [sys.executable, "-m", "benchmarks.senders", str(port), str(folder), str(count)]
    return [STOCK, "127.0.0.1", str(port), *map(str, _files(folder, count))]


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # it is a pipe
    return process.stdout


def _files(folder: Path, count: int) -> list[Path]:
    return sorted(folder.iterdir())[:count]


def main(port: str, folder: str, count: str) -> None:
    """Open an association, say so, wait for the end of the input, then send."""
    files = [(path, *read_meta(path)) for path in _files(Path(folder), int(count))]
    contexts = {Context(meta.sop_class_uid, meta.transfer_syntax_uid) for _, meta, _ in files}
    with Requestor(Peer("127.0.0.1", int(port), AE_TITLE, "BENCH", _TIMEOUT), contexts) as requestor:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        for path, meta, start in files:
            status = requestor.store(path, meta, start)
            if status:
                raise SystemExit(f"status {status:04X}H")


if __name__ == "__main__":
    main(*sys.argv[1:])
