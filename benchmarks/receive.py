"""How fast instances are received, committed, de-identified and delivered to a folder, against peers in the same run.

    python -m benchmarks.receive [--rounds 3] [--files 400] [--directory DIR] [--only 'TCP_NODELAY CT 1']

Each contestant gets the same files from the same sender; files are counted at the destination, and the time is from
the first byte to the last file there. Contestants take turns within each round; the table has medians and ratios.
Senders: stock storescu, whose small writes wait for acknowledgements, and ours, which sets TCP_NODELAY.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.images import write_images
from scp_anon.intake import Intake
from scp_anon.network.association import Context
from scp_anon.network.scp import Limits, Server
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta
from scp_anon.spool import Entry, Spool
from tests.peers import free_port, require_peer

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 120.0
_CONFIG = """
key: {{file: {folder}/key, create: true}}
spool: {{path: {folder}/spool, reserve: 0, fsync: {fsync}}}
listen: [{{address: 127.0.0.1, port: {port}}}]
routes: [{{called_ae_title: ANY, project: bench, destinations: [disk]}}]
destinations: {{disk: {{type: folder, path: {folder}/out}}}}
log: {{level: warning}}
"""


@dataclass(frozen=True)
class Contestant:
    """A receiver: how to start it, on a port, so that instances end as files below `out` of a folder."""

    name: str
    command: Callable[[Path, int], list[str]]
    out: str = "out"


def _node(fsync: bool) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        (folder / "node.yaml").write_text(_CONFIG.format(folder=folder, port=port, fsync=str(fsync).lower()))
        return [sys.executable, "-m", "scp_anon", "serve", "-c", str(folder / "node.yaml")]

    return command


def _commit(fsync: bool) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.receive", "--commit-only", f"{folder}:{port}:{int(fsync)}"]

    return command


def _storescp(*options: str) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        return [require_peer("storescp"), "--fork", *options, "-od", str(folder / "out"), str(port)]

    return command


def _pynetdicom(folder: Path, port: int) -> list[str]:
    program = (
        "import sys; from pynetdicom import AE, evt, AllStoragePresentationContexts as every\n"
        "def store(event):\n"
        "    ds = event.dataset; ds.file_meta = event.file_meta\n"
        "    ds.save_as(f'{sys.argv[1]}/{ds.SOPInstanceUID}.dcm', enforce_file_format=True); return 0\n"
        "ae = AE(); ae.supported_contexts = every; ae.add_supported_context('1.2.840.10008.1.1')\n"
        "ae.start_server(('127.0.0.1', int(sys.argv[2])), evt_handlers=[(evt.EVT_C_STORE, store)])\n"
    )
    return [sys.executable, "-c", program, str(folder / "out"), str(port)]


CONTESTANTS = [
    Contestant("storescp --fork", _storescp()),
    Contestant("storescp --fork +B -pdu 131072", _storescp("+B", "-pdu", "131072")),
    Contestant("pynetdicom, stock", _pynetdicom),
    Contestant("ours: receive + commit, no fsync", _commit(False), "spool/active"),
    Contestant("ours: receive + commit, fsync", _commit(True), "spool/active"),
    Contestant("ours: to folder, no fsync", _node(False)),
    Contestant("ours: to folder, fsync", _node(True)),
]


def commit_only(place: str) -> None:
    """A receiver that commits, and does nothing more: what has been claimed stays where it is."""
    folder, port, fsync = place.split(":")

    def leave(entry: Entry, data_set: memoryview, transfer_syntax_uid: str) -> None:
        pass

    spool = Spool(Path(folder) / "spool", [], durable=fsync == "1")
    server = Server(Intake(spool, leave), {"ANY"}.__contains__, Limits())
    server.listen("127.0.0.1", int(port))
    signal.pause()


@contextlib.contextmanager
def running(contestant: Contestant, directory: Path) -> Iterator[tuple[Path, int]]:
    """A contestant that runs for the time of the block; yields where its files end, and its port."""
    folder = Path(tempfile.mkdtemp(dir=directory))
    (folder / "out").mkdir()
    port = free_port()
    process = subprocess.Popen(
        contestant.command(folder, port), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(port):
            if time.monotonic() > deadline:
                raise SystemExit(f"{contestant.name} does not answer")
            time.sleep(0.05)
        yield folder / contestant.out, port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with Requestor(Peer("127.0.0.1", port, "ANY", "BENCH", 5), [VERIFICATION_CONTEXT]):
            return True
    except Exception:
        return False


def send_by_us(port: int, paths: list[Path]) -> None:
    """Send over one association, with TCP_NODELAY."""
    files = [(path, *read_meta(path)) for path in paths]
    contexts = {Context(meta.sop_class_uid, meta.transfer_syntax_uid) for _, meta, _ in files}
    with Requestor(Peer("127.0.0.1", port, "ANY", "BENCH", 60), contexts) as requestor:
        for path, meta, start in files:
            if requestor.store(path, meta, start):
                raise SystemExit("a file was refused")


def _send(sender: str, port: int, folders: list[Path]) -> list[subprocess.Popen[bytes]]:
    if sender == "storescu":
        return [
            subprocess.Popen([require_peer("storescu"), "-aec", "ANY", "+sd", "127.0.0.1", str(port), str(folder)])
            for folder in folders
        ]
    return [
        subprocess.Popen([sys.executable, "-m", "benchmarks.receive", "--send", f"{folder}:{port}"], cwd=ROOT)
        for folder in folders
    ]


def files_a_second(contestant: Contestant, sender: str, folders: list[Path], directory: Path) -> float:
    """One round: the files of all folders, each over an association of its own."""
    count = sum(1 for folder in folders for _ in folder.iterdir())
    with running(contestant, directory) as (out, port):
        begin = 0.0
        senders = _send(sender, port, folders)
        deadline = time.monotonic() + _PATIENCE
        while (there := _count(out)) < count:
            if not begin and there:
                begin = time.monotonic()
                first = there
            if time.monotonic() > deadline:
                raise SystemExit(f"{contestant.name}: {there} of {count} files after {_PATIENCE} s")
            time.sleep(0.01)
        end = time.monotonic()
        for process in senders:
            process.wait()
        # From the first file at the destination on: what a sender needs to start is not the receiver's time.
        return (count - first) / (end - begin)


def _count(folder: Path) -> int:
    total = 0
    for _, _, names in os.walk(folder):
        total += sum(not name.startswith(".") for name in names)
    return total


def main(
    rounds: Annotated[int, typer.Option(help="Rounds; the table has medians.")] = 3,
    files: Annotated[int, typer.Option(help="Files a round, over all associations.")] = 400,
    directory: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("/dev/shm"),  # noqa: S108
    only: Annotated[str, typer.Option(help="Sender, image and associations to run, such as 'TCP_NODELAY CT 1'.")] = "",
    send: Annotated[str, typer.Option(hidden=True)] = "",
    commit_only_at: Annotated[str, typer.Option("--commit-only", hidden=True)] = "",
) -> None:
    """Run all rounds, and print a table in Markdown."""
    if send:
        place, _, port = send.rpartition(":")
        send_by_us(int(port), sorted(Path(place).iterdir()))
        return
    if commit_only_at:
        commit_only(commit_only_at)
        return
    say = sys.stdout.write
    say("| sender | image | associations | receiver | files/s | of storescp --fork |\n|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory(dir=directory) as work:
        for sender, modality, associations in (
            (sender, modality, associations)
            for sender in ("TCP_NODELAY", "storescu")
            for modality in ("CT", "MR")
            for associations in (1, 4)
            if f"{sender} {modality} {associations}".startswith(only)
        ):
            few = files if sender == "TCP_NODELAY" else max(files // 8, 8)
            folders = [Path(work) / f"{sender}{modality}{associations}{i}" for i in range(associations)]
            paths = write_images(Path(work) / "all", modality, few)
            for i, folder in enumerate(folders):
                folder.mkdir()
                for path in paths[i::associations]:
                    path.rename(folder / path.name)
            results = [
                statistics.median(samples)
                for samples in zip(
                    *(
                        [files_a_second(each, sender, folders, Path(work)) for each in CONTESTANTS]
                        for _ in range(rounds)
                    ),
                    strict=True,
                )
            ]
            for contestant, result in zip(CONTESTANTS, results, strict=True):
                say(f"| {sender} | {modality} | {associations} | {contestant.name} | {result:.0f} | ")
                say(f"{result / results[0]:.2f} |\n")
            sys.stdout.flush()
            for folder in folders:
                shutil.rmtree(folder)


if __name__ == "__main__":
    typer.run(main)
