"""The receivers that the benchmark compares, each a process of its own that stays up for the whole run.

python -m benchmarks.receivers commit|pynetdicom FOLDER PORT FSYNC
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pynetdicom import AE, AllStoragePresentationContexts, evt

from benchmarks.senders import AE_TITLE, answers
from scp_anon.intake import Intake
from scp_anon.network.admission import Admission
from scp_anon.network.scp import Server
from scp_anon.network.service import Limits
from scp_anon.places import Entry
from scp_anon.spool import Spool

ROOT: Final = Path(__file__).resolve().parents[1]
_VERIFICATION: Final = "1.2.840.10008.1.1"
_PATIENCE: Final = 30.0
_CONFIG: Final = """
key: {{file: {folder}/key, create: true}}
spool: {{path: {folder}/spool, reserve: 0, fsync: {fsync}}}
listen: [{{address: 127.0.0.1, port: {port}}}]
operations: null
routes: [{{called_ae_title: {title}, project: bench, acknowledge: {acknowledge}, destinations: [disk]}}]
destinations: {{disk: {{type: folder, path: {folder}/out}}}}
log: {{level: warning}}
"""


@dataclass(frozen=True)
class Receiver:
    """A kind of receiver: its command line for a folder and a port, and where in the folder its files end.

    `environment`: what it gets besides ours.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    out: str = "out"
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Running:
    """A receiver that runs."""

    name: str
    port: int
    out: Path
    pid: int

    def count(self) -> int:
        """How many whole files there are at the destination."""
        return sum(not name.startswith(".") for _, _, names in os.walk(self.out) for name in names)

    def clear(self) -> None:
        """Remove all files and directories at the destination, as nothing is under way."""
        for parent, directories, names in os.walk(self.out, topdown=False):
            for name in names:
                os.unlink(f"{parent}/{name}")
            # Our spool's directories stay: the process that runs has made them for itself.
            for name in directories if self.out.name == "out" else ():
                os.rmdir(f"{parent}/{name}")


def _storescp(*options: str) -> Callable[[Path, int], list[str]]:
    return lambda folder, port: ["storescp", "--fork", *options, "-od", str(folder / "out"), str(port)]


def _module(kind: str, fsync: bool = False) -> Callable[[Path, int], list[str]]:
    return lambda folder, port: [
        *(sys.executable, "-m", "benchmarks.receivers"),
        *(kind, str(folder), str(port), str(fsync)),
    ]


def _node(fsync: bool, acknowledge: str = "committed") -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        config = folder / "node.yaml"
        text = _CONFIG.format(
            folder=folder, port=port, fsync=str(fsync).lower(), title=AE_TITLE, acknowledge=acknowledge
        )
        config.write_text(text, encoding="utf-8")
        return [sys.executable, "-m", "scp_anon", "serve", "-c", str(config)]

    return command


# The first is what all others are compared with.
RECEIVERS: Final = (
    Receiver("storescp --fork", _storescp()),
    Receiver("storescp --fork +B -pdu 131072", _storescp("+B", "-pdu", "131072"), environment=(("TCP_NODELAY", "1"),)),
    Receiver("pynetdicom, stock", _module("pynetdicom")),
    Receiver("ours, receive + commit, no fsync", _module("commit"), "spool/active"),
    Receiver("ours, receive + commit, fsync", _module("commit", fsync=True), "spool/active"),
    Receiver("ours, to folder, no fsync", _node(False)),
    Receiver("ours, to folder, fsync", _node(True)),
    Receiver("ours, to folder, results acknowledged, no fsync", _node(False, "deidentified")),
    Receiver("ours, to folder, results acknowledged, fsync", _node(True, "deidentified")),
)


@contextlib.contextmanager
def running(receiver: Receiver, directory: Path) -> Iterator[Running]:
    """A receiver that runs, and answers, for the time of the block."""
    folder = Path(tempfile.mkdtemp(dir=directory))
    (folder / "out").mkdir()
    port = free_port()
    environment = {**os.environ, **dict(receiver.environment)}
    with (folder / "log").open("wb") as log:
        command = receiver.command(folder, port)
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{receiver.name} does not answer: {(folder / 'log').read_text(errors='replace')}")
            time.sleep(0.05)
        yield Running(receiver.name, port, folder / receiver.out, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commit_only(folder: Path, port: int, fsync: bool) -> None:
    """Our SCP and spool without workers or senders: what has been committed stays where it is."""

    def leave(entry: Entry, data_set: memoryview, transfer_syntax_uid: str) -> None:
        """Do nothing with an instance that is safe."""

    spool = Spool(folder / "spool", [], durable=fsync)
    server = Server(Intake(spool, leave), Admission({AE_TITLE: None}), Limits())
    server.listen("127.0.0.1", port)
    signal.pause()


def pynetdicom_only(folder: Path, port: int) -> None:
    """A storage SCP as pynetdicom's own examples have it."""

    def store(event: evt.Event) -> int:
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        data_set.save_as(folder / "out" / f"{data_set.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0

    entity = AE()
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(_VERIFICATION)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


def main(kind: str, folder: str, port: str, fsync: str) -> None:
    """Be one of the receivers until killed."""
    if kind == "commit":
        commit_only(Path(folder), int(port), fsync == "True")
    else:
        pynetdicom_only(Path(folder), int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
