"""The senders of the benchmark: ours, and DCMTK's storescu as it comes or with TCP_NODELAY.

A sender is on the machine of the receiver, so that it must cost little. Ours has its association open and its messages
as whole PDUs in memory before the clock starts; then it writes one after the other, and waits for each response.
storescu cannot wait, and is timed from its start.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self

from benchmarks.processes import AE_TITLE, NO_STALL, NotMeasured
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.network import dimse, negotiation, pdu
from scp_anon.network.association import Association, Context
from scp_anon.network.connection import Connection, connect
from scp_anon.network.scu import read_meta

STOCK: Final = "storescu"
NODELAY: Final = "TCP_NODELAY"
STOCK_NODELAY: Final = "storescu, TCP_NODELAY"
_SILENCE: Final = 60.0  # seconds that a receiver may take for one response
_READY: Final = 60.0
_PATIENCE: Final = 120.0
_UNLIMITED: Final = 1 << 20  # what we put into one PDU for a peer that sets no limit

# A fork is there at once: a new interpreter would take longer to start than many a round.
_context = multiprocessing.get_context("fork")


class Senders:
    """One sender a folder, each with `count` of its files. They begin with `go`, and none outlives the block."""

    def __init__(self, kind: str, port: int, folders: list[Path], count: int) -> None:
        """Start what can be started ahead. Raises NotMeasured."""
        self._port = port
        self._files = [sorted(folder.iterdir())[:count] for folder in folders]
        self._environment = {**os.environ, **(NO_STALL if kind == STOCK_NODELAY else {})}
        self._forked: list[tuple[BaseProcess, Pipe]] = []
        self._stock: list[subprocess.Popen[bytes]] = []
        self._is_ours = kind == NODELAY

    def __enter__(self) -> Self:
        try:
            if self._is_ours:
                for files in self._files:
                    self._forked.append(_forked(self._port, files))
                self._expect("ready", _READY)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def go(self) -> None:
        """Begin to send."""
        for _, pipe in self._forked:
            pipe.send("go")
        if not self._is_ours:
            self._stock = [self._storescu(files) for files in self._files]

    def wait(self) -> None:
        """Wait until all has been sent and acknowledged. Raises NotMeasured."""
        self._expect("sent", _PATIENCE)
        for process in self._stock:
            try:
                status = process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                raise NotMeasured(f"storescu did not end within {_PATIENCE:.0f} s") from None
            if status:
                raise NotMeasured(f"storescu failed with {status}")

    def _expect(self, word: str, patience: float) -> None:
        for _, pipe in self._forked:
            try:
                said = pipe.recv() if pipe.poll(patience) else f"not {word} within {patience:.0f} s"
            except EOFError:
                said = "it has ended"
            if said != word:
                raise NotMeasured(f"a sender failed: {said}")

    def _storescu(self, files: list[Path]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["storescu", "127.0.0.1", str(self._port), *map(str, files)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _end(self) -> None:
        for process, pipe in self._forked:
            pipe.close()
            process.join(1)  # it releases its association
            process.kill()
            process.join()
        for program in self._stock:
            program.kill()
            program.wait()


def _forked(port: int, files: list[Path]) -> tuple[BaseProcess, Pipe]:
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_send, args=(port, files, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _send(port: int, files: list[Path], pipe: Pipe) -> None:
    """Say "ready" with an association open, wait, send, say "sent"; or say what went wrong."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has forked us ends us
    try:
        with _association(port, files) as association:
            messages = [_message(association, path, i & 0xFFFF) for i, path in enumerate(files, 1)]
            pipe.send("ready")
            if not pipe.poll(_PATIENCE):
                return  # who has forked us is gone
            pipe.recv()
            for message in messages:
                association.connection.send(message)
                _, response = association.read_command()
                if status := dimse.number(response, dimse.STATUS):
                    raise NotMeasured(f"status {status:04X}H")
            pipe.send("sent")
    except Exception as error:  # whatever it is: it goes to who has forked us
        with contextlib.suppress(OSError):
            pipe.send(f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _association(port: int, files: list[Path]) -> Iterator[Association]:
    """An association with the contexts that these files need, released behind the block."""
    metas = [read_meta(path)[0] for path in files]
    contexts = {Context(meta.sop_class_uid, meta.transfer_syntax_uid) for meta in metas}
    connection = Connection(connect("127.0.0.1", port, _SILENCE), _SILENCE)
    try:
        association = negotiation.request(connection, "BENCH", AE_TITLE, contexts)
        yield association
        connection.send(pdu.release_request())
        connection.read(pdu.HEADER_LENGTH + 4)
    finally:
        connection.close()


def _message(association: Association, path: Path, message_id: int) -> bytes:
    """A C-STORE request as it goes over the wire."""
    file = memoryview(path.read_bytes())
    meta, start = read_file_meta(file)
    wanted = Context(meta.sop_class_uid, meta.transfer_syntax_uid)
    context_id = next((number for number, context in association.contexts.items() if context == wanted), None)
    if context_id is None:
        raise NotMeasured("no presentation context was accepted")
    command = dimse.store_request(message_id, meta.sop_class_uid, meta.sop_instance_uid)
    parts: list[bytes | memoryview] = [pdu.data_header(context_id, pdu.COMMAND | pdu.LAST, len(command)), command]
    limit = min(association.peer_maximum_length or _UNLIMITED, _UNLIMITED)
    step = limit - pdu.PDV_HEADER_LENGTH & ~1  # fragments are even (PS3.7 Annex F)
    for offset in range(start, len(file), step):
        value = file[offset : offset + step]
        last = pdu.LAST if offset + step >= len(file) else 0
        parts += [pdu.data_header(context_id, last, len(value)), value]
    return b"".join(parts)
