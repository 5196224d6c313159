"""The log: one line an event, JSON for machines and text for a terminal, with no field that could hold an identity.

An event is a name and fields from the list below. There is no free text: a value of a data set, an exception's
message or a path that a peer or a user chose has no field to go to.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import IO, Final

FIELDS: Final = {
    "address": "IP address of the peer",
    "attempt": "how often this has been tried",
    "called": "called AE title",
    "calling": "calling AE title",
    "count": "how many",
    "destination": "name of a destination, from the configuration",
    "detail": "a tag, a status, an error's type or the name of an error: never a value",
    "entry": "id of an entry of the spool",
    "fault": "what is wrong with a configuration, by file, line and setting",
    "key": "id of the key, which does not tell the key",
    "port": "TCP port",
    "process": "name of one of the node's own processes",
    "project": "name of a project, from the configuration",
    "reason": "why: a quarantine reason, or what ended an association",
    "route": "called AE title of a route",
    "seconds": "how long",
    "setting": "name of a setting",
    "status": "DIMSE status, in hexadecimal",
    "version": "of scp-anon",
}

_logger = logging.getLogger("scp_anon")


def event(name: str, level: int = logging.INFO, **fields: str | int | float) -> None:
    """Log an event. Raises KeyError for a field that is not in `FIELDS`."""
    if _logger.isEnabledFor(level):
        for field in fields:
            FIELDS[field]
        _logger.log(level, name, extra={"fields": fields})


def warning(name: str, **fields: str | int | float) -> None:
    """Log an event that somebody may want to look at."""
    event(name, logging.WARNING, **fields)


def error(name: str, **fields: str | int | float) -> None:
    """Log an event that somebody has to look at."""
    event(name, logging.ERROR, **fields)


def silence_libraries() -> None:
    """Let no library say anything in this process: they put values of the original into warnings and messages."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    for library in ("pydicom", "pynetdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)


def start(level: str, stream: IO[str] = sys.stderr) -> None:
    """Send our events to `stream`, and everything else nowhere: libraries may put values into their messages."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Text() if stream.isatty() else _Json())
    _logger.handlers = [handler]
    _logger.setLevel(level.upper())
    _logger.propagate = False
    logging.getLogger().handlers = [logging.NullHandler()]
    threading.excepthook = _on_thread_error


def _on_thread_error(fault: threading.ExceptHookArgs) -> None:
    """Log a fault of ours that ended a thread: its type and place, as a traceback may hold values of the original."""
    trace = fault.exc_traceback
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    error("thread-died", detail=f"{fault.exc_type.__name__} {place}")


class _Json(logging.Formatter):
    """One JSON object a line: time, level, event, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        head = {"time": _time(record), "level": record.levelname.lower(), "event": record.msg}
        return json.dumps({**head, **fields}, ensure_ascii=True)


class _Text(logging.Formatter):
    """Time, level, event, and the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        # A peer chooses its AE title: what is not printable must not reach the terminal.
        pairs = "".join(
            f"  {name}={''.join(c if c.isprintable() else '?' for c in str(fields[name]))}" for name in fields
        )
        return f"{_time(record)} {record.levelname.lower():7} {record.msg}{pairs}"


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
