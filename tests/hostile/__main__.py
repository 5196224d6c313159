"""All hostile kinds through the engine, in one process that is watched."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from scp_anon import Deidentifier, Undecodable
from scp_anon.dicom.part10 import read_file_meta
from tests import samples, wire
from tests.hostile import HUGE, KINDS
from tests.hostile.canary import is_in
from tests.hostile.source import DEFLATED, IMPLICIT

LARGE = 4 << 20
PATIENCE = 20  # seconds of the processor's time, so that a busy machine is no fault of a kind's


class Hangs(BaseException):
    """The engine has not come to an end in time; no handler of errors must mistake it for one."""


def _hangs(number: int, frame: FrameType | None) -> None:
    raise Hangs


def outcome(deidentify: Callable[[], bytes]) -> dict[str, object]:
    """How one input ended, what of it is wrong, and what it took."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted anew
    begin = time.monotonic()
    result = b""
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        result = deidentify()
        reason, wrong = None, ""
    except Undecodable as undecodable:
        reason, wrong = (
            str(undecodable.reason),
            "its error names the patient" if is_in(str(undecodable).encode()) else "",
        )
    except Hangs:
        reason, wrong = None, "it hangs"
    except Exception as error:
        reason, wrong = None, type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.monotonic() - begin
    memory = int(Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) * 1024
    return {"reason": reason, "wrong": wrong or fault(result), "seconds": round(seconds, 3), "memory": memory}


def fault(result: bytes) -> str:
    """What is wrong with a result, if there is one: by the letter of PS3.5, and by the canary."""
    if not result:
        return ""
    meta, start = read_file_meta(result)
    data_set = result[start:]
    if meta.transfer_syntax_uid == DEFLATED:
        data_set = zlib.decompress(data_set, -zlib.MAX_WBITS)
    if is_in(result[:start]) or is_in(data_set):
        return "the patient is named"
    try:
        # A million fragments are as well-formed as a few, but take their time.
        if len(data_set) < LARGE:
            wire.decode(data_set, meta.transfer_syntax_uid != IMPLICIT)
    except ValueError as error:
        return f"not well-formed: {error}"
    return ""


def tell(name: str, size: int, found: dict[str, object]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps({"kind": name, "size": size, **found}) + "\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    """Print a line for each kind."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _hangs)
    engine = Deidentifier(samples.KEY, "project", samples.PASS)
    # Huge ones first: what a process has had once, it seldom gives back, and it would count for all that follow.
    for huge in HUGE.values():
        path = folder / huge.name
        huge.write(path)
        tell(huge.name, huge.size, outcome(partial(file_to_file, engine, path)))
        path.unlink()
    for kind in KINDS.values():
        file = kind.file()
        tell(kind.name, len(file), outcome(partial(engine.bytes, file)))


def file_to_file(engine: Deidentifier, path: Path) -> bytes:
    """The result of a file on a disk."""
    target = path.with_name("result")
    engine.file(path, target)
    result = target.read_bytes()
    target.unlink()
    return result


if __name__ == "__main__":
    os.nice(5)
    main(Path(sys.argv[1]))
