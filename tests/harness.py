"""Real processes for the tests: a node, Orthanc, storescp; each on free ports in a folder of its own, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import yaml

from scp_anon.errors import AssociationError
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor
from tests.peers import free_port, require_peer

AE_TITLE = "SCP_ANON"
_PATIENCE = 30.0
T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = _PATIENCE) -> T:
    """What `condition` returns as soon as that is true. Fails with its last value when it never is."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {timeout} s"
        time.sleep(0.02)
    return value


class Node:
    """A node as a process, with its configuration, spool and output under one folder."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        """`changes` go over the configuration: one route, into the folder `out`, no reserve, quick retries."""
        self.folder = folder
        self.out = folder / "out"
        self.spool = folder / "spool"
        self.port = free_port()
        self.config: dict[str, Any] = {
            "key": {"file": str(folder / "key"), "create": True},
            "spool": {"path": str(self.spool), "reserve": 0},
            "listen": [{"address": "127.0.0.1", "port": self.port}],
            "routes": [{"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["disk"]}],
            "destinations": {"disk": {"type": "folder", "path": str(self.out)}},
            "retry": {"first": "200ms", "limit": "1s"},
            "operations": None,
            "log": {"level": "debug"},
            **changes,
        }
        self.log_path = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: Sequence[str] = ()  # of the command, to have the node run under something

    @property
    def config_path(self) -> Path:
        """The configuration, as it is now."""
        path = self.folder / "node.yaml"
        path.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return path

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it listens."""
        known = len(self.events("listening"))
        with self.log_path.open("ab") as log:
            command = [*self.prefix, sys.executable, "-m", "scp_anon", "serve", "-c", str(self.config_path)]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True)
        if wait:
            eventually(lambda: len(self.events("listening")) > known or self._ended())
            assert not self._ended(), self.log_path.read_text(encoding="utf-8")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(_PATIENCE)
        self.process = None
        return code

    def kill(self) -> None:
        """Have it gone with all its processes at once, whatever they are doing, if it runs at all."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(_PATIENCE)
            self.process = None

    def processes(self) -> list[int]:
        """The processes of the node, the one that was started first."""
        assert self.process is not None
        found = [self.process.pid]
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended just now
                if int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(path.parent.name))
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours with this node's configuration."""
        return scp_anon(*arguments, "-c", str(self.config_path))

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The logged events of a name, or all."""
        if not self.log_path.exists():
            return []
        lines = self.log_path.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in events if not name or event["event"] == name]

    def delivered(self) -> list[Path]:
        """The files in the output folder."""
        return sorted(self.out.rglob("*.dcm"))

    def in_spool(self, place: str) -> list[Path]:
        """The entries in a place of the spool."""
        # What goes away while one looks, as places of processes do, is no error here.
        return [Path(folder) / name for folder, _, names in os.walk(self.spool / place) for name in names]

    def quarantined(self) -> list[tuple[str, str]]:
        """Reason and detail of what was set aside, as the file names have them, in the order of arrival."""
        names = sorted(path.name for path in self.in_spool("quarantine"))
        return [(reason, unquote(detail)) for *_, reason, detail in (name.split(",") for name in names)]

    def peak_memory(self) -> int:
        """The most memory that one of the processes has had so far, in bytes."""
        return max(
            int(Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) * 1024
            for pid in self.processes()
        )

    def is_at_rest(self) -> bool:
        """Nothing waits and nothing is in hand."""
        return not any(self.in_spool(place) for place in ("tmp", "incoming", "active", "outgoing"))

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


@contextlib.contextmanager
def running_node(folder: Path, **changes: Any) -> Iterator[Node]:
    """A node that runs for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    node = Node(folder, **changes)
    try:
        node.start()
        yield node
    finally:
        node.kill()


class Orthanc:
    """An Orthanc as a process, and what of its REST interface the tests need."""

    def __init__(self, folder: Path, aet: str = "ORTHANC", config: dict[str, Any] | None = None) -> None:
        self.dicom_port, self._http_port = free_port(), free_port()
        self.aet = aet
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "UnknownSopClassAccepted": True,
            "DicomAlwaysAllowStore": True,
            "AuthenticationEnabled": False,
            "OverwriteInstances": True,
            **(config or {}),
            "DicomAet": aet,
            "DicomPort": self.dicom_port,
            "HttpPort": self._http_port,
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        with (folder / "orthanc.log").open("wb") as log:
            command = [require_peer("Orthanc"), str(folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def rest(self, path: str, body: bytes | str | dict[str, Any] | None = None, method: str = "") -> Any:
        """A REST call; returns the decoded answer, or bytes of a file."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._http_port}{path}", data, method=method or ("POST" if body is not None else "GET")
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            content = answer.read()
        return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.rest("/system"))
        except OSError:
            return False

    def instances(self) -> dict[str, bytes]:
        """What it holds: SOP Instance UID → DICOM file."""
        found = {}
        for identifier in self.rest("/instances"):
            uid = self.rest(f"/instances/{identifier}/simplified-tags")["SOPInstanceUID"]
            found[uid] = self.rest(f"/instances/{identifier}/file")
        return found

    def times_stored(self) -> int:
        """How often an instance came that it did not have; one that comes again replaces the first, and counts."""
        changes = self.rest("/changes?limit=100000")["Changes"]
        return sum(change["ChangeType"] == "NewInstance" for change in changes)

    def clear(self) -> None:
        """Forget everything."""
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", method="DELETE")
        self.rest("/changes", method="DELETE")

    def send(self, name: str, host: str, port: int, called: str) -> None:
        """Send all that it holds to a modality, which is registered as `name`."""
        self.rest(f"/modalities/{name}", {"AET": called, "Host": host, "Port": port}, "PUT")
        self.rest(f"/modalities/{name}/store", json.dumps(self.rest("/instances")))


@contextlib.contextmanager
def running_orthanc(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """An Orthanc that runs for the time of the block."""
    orthanc = Orthanc(folder, **options)
    try:
        eventually(orthanc.is_up)
        yield orthanc
    finally:
        orthanc.process.kill()
        orthanc.process.wait()


@contextlib.contextmanager
def running_storescp(folder: Path, port: int, *options: str) -> Iterator[Path]:
    """DCMTK's storescp that writes to `folder` for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [require_peer("storescp"), "-od", str(folder), "--accept-all", "--fork", *options, str(port)]
    with (folder.parent / "storescp.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(port))
        yield folder
    finally:
        process.kill()
        process.wait()


def answers(port: int, called: str = "ANY") -> bool:
    """Whether an application entity is there and answers a C-ECHO."""
    try:
        with Requestor(Peer("127.0.0.1", port, called, "ECHO", 5), [VERIFICATION_CONTEXT]) as requestor:
            return requestor.echo() == 0
    except AssociationError:
        return False


def scp_anon(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run our command line."""
    paths = (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "scp_anon", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=folder, env=environment, check=False
    )


def storescu(port: int, *arguments: str, called: str = AE_TITLE) -> subprocess.CompletedProcess[str]:
    """Run DCMTK's storescu against a node."""
    command = [require_peer("storescu"), "-aec", called, "127.0.0.1", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, errors="replace")


def dcmsend(port: int, *arguments: str, called: str = AE_TITLE) -> subprocess.CompletedProcess[str]:
    """Run DCMTK's dcmsend against a node."""
    command = [require_peer("dcmsend"), "-aec", called, "127.0.0.1", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, errors="replace")
