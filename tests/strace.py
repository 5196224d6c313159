"""The system calls of a node, as strace notes them, in the order in which they begin and end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from scp_anon.config import Config
from tests.harness import Node, eventually

NAMES = "openat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
CONTENT = "write,writev,pwrite64,sendfile,fsync,fdatasync"
NETWORK = "sendto,sendmsg"
ALL = f"{NAMES},{CONTENT},{NETWORK}"

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")

# Seconds in which a call returns whose effect has been seen.
_RETURN = 0.1
# Longer strings are cut off.
_LONGEST = 1 << 16
_HEX = r"(?:\\x[0-9a-f]{2})*"
_STRING = re.compile(f'"({_HEX})"')
_DESCRIPTOR = re.compile(f"(?:AT_FDCWD|[0-9]+)<({_HEX})>")
_LINE = re.compile(r"(\d+) +(.*)")
_WHOLE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_BEGUN = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)")


class Call(NamedTuple):
    """A system call that has ended.

    `strings`: what stands in quotes among its arguments, `paths`: those of its descriptors. `begin` and `end`: lines of
    the trace, so that a call whose `end` is before the `begin` of another has been over before that one was made.
    """

    thread: int
    name: str
    arguments: str
    strings: list[bytes]
    paths: list[str]
    result: int
    error: str
    injected: bool
    begin: int
    end: int

    @property
    def path(self) -> str:
        """The file that it is about: its first descriptor's, else that of its first string."""
        if self.paths and self.name not in ("openat", "renameat", "renameat2", "linkat", "unlinkat", "mkdirat"):
            return self.paths[0]
        return self.names[0]

    @property
    def names(self) -> list[str]:
        """The absolute paths that it is given."""
        directories = self.paths or [""]
        return [
            os.path.join(directories[min(i, len(directories) - 1)], os.fsdecode(name))
            for i, name in enumerate(self.strings)
        ]

    @property
    def content(self) -> bytes:
        """What it writes or sends."""
        return b"".join(self.strings)


def command(trace: Path, *options: str, calls: str = ALL) -> list[str]:
    """What to put before a command, to have its calls noted in a file. The command keeps its process ID."""
    return ["strace", "-D", "--seccomp-bpf", *_options(trace, calls), *options]


@contextlib.contextmanager
def traced(node: Node, trace: Path, *options: str, calls: str = ALL) -> Iterator[None]:
    """Have the calls of all processes of a node noted in a file, for the time of the block."""
    count = node.config.get("processes", Config.model_fields["processes"].default)
    processes = eventually(lambda: found if len(found := node.processes()) == (count + 2 if count > 1 else 1) else [])
    attach = [f"--attach={process}" for process in processes]
    with subprocess.Popen(["strace", *_options(trace, calls), *options, *attach], stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        for _ in processes:
            assert b"attached" in tracer.stderr.readline()
        try:
            yield
            time.sleep(_RETURN)
        finally:
            tracer.terminate()


def read(trace: Path) -> list[Call]:
    """The calls of a trace, in the order in which they ended."""
    calls: list[Call] = []
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in enumerate(trace.read_text(encoding="ascii").splitlines()):
        found = _LINE.fullmatch(line)
        assert found, line
        thread, rest = found.groups()
        if match := _BEGUN.fullmatch(rest):
            begun[thread, match[1]] = number, match[2]
        elif match := _ENDED.fullmatch(rest):
            begin, arguments = begun.pop((thread, match[1]), (number, ""))
            calls.append(_call(int(thread), match[1], arguments + match[2], match[3], match[4], begin, number))
        elif match := _WHOLE.fullmatch(rest):
            calls.append(_call(int(thread), match[1], match[2], match[3], match[4], number, number))
    return calls


def _options(trace: Path, calls: str) -> Sequence[str]:
    return ["-f", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={calls}", "-e", "signal=none", "-o", str(trace)]


def _call(thread: int, name: str, arguments: str, result: str, rest: str, begin: int, end: int) -> Call:
    strings = [_decoded(text) for text in _STRING.findall(arguments)]
    paths = [os.fsdecode(_decoded(text)) for text in _DESCRIPTOR.findall(arguments)]
    error = rest.split()[0] if result == "-1" else ""
    number = int(result) if result != "?" else -1
    return Call(thread, name, arguments, strings, paths, number, error, "(INJECTED)" in rest, begin, end)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
