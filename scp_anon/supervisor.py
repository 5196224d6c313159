"""Several processes as one: started, watched, started again when they die, and stopped together.

The supervisor does nothing else, and has no threads: what it has built is there in every process that it forks. A
process ends well when it gets SIGTERM, which it may get from elsewhere too. When the supervisor dies, however that
is, the processes see the end of a pipe whose other end only the supervisor held, and die at once: what they had in
hand is as safe as after any crash, and whoever starts the node again finds its addresses free.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from scp_anon import log

_SIGNALS: Final = frozenset((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))
# Seconds to wait before a process is started again: doubled with each death, unless it lived for long enough.
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0
_LONG_ENOUGH: Final = 60.0
_STOPPED_AT_ONCE: Final = 1
_DIED: Final = 1


class Role(NamedTuple):
    """What one process does: `run` lives until the event that it is given is set. `died` is called when it has died."""

    name: str
    run: Callable[[threading.Event], None]
    died: Callable[[], None] = lambda: None


class _Process:
    """A role, and the process that has it at present, if there is one."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.pid = 0
        self.start_at = 0.0
        self._started = 0.0
        self._wait = _FIRST_WAIT / 2

    def started(self, pid: int) -> None:
        """It runs."""
        self.pid = pid
        self._started = time.monotonic()

    def ended(self) -> None:
        """It has ended: tells when to start it again."""
        now = time.monotonic()
        lived = now - self._started
        self._wait = _FIRST_WAIT if lived >= _LONG_ENOUGH else min(self._wait * 2, _LONGEST_WAIT)
        self.pid = 0
        self.start_at = now + self._wait


class Supervisor:
    """Runs a process for each role until it is told to stop."""

    def __init__(self, roles: Sequence[Role], stop_timeout: float) -> None:
        """`stop_timeout`: seconds after which a process that has not stopped is killed."""
        self._processes = [_Process(role) for role in roles]
        self._stop_timeout = stop_timeout
        self._stopping = False
        self._kill_at = 0.0
        self._lifeline, self._hold = os.pipe()

    def run(self, on_stop: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT, and then until all processes have ended; returns the exit code.

        `on_stop` is called when the first of them comes. A second one kills all that is left.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        code = 0
        while not self._stopping or any(process.pid for process in self._processes):
            if not self._stopping:
                self._start_due()
            came = signal.sigtimedwait(_SIGNALS, self._until_next())
            if came is not None and came.si_signo != signal.SIGCHLD:
                if self._stopping:
                    code = _STOPPED_AT_ONCE
                    self._signal(signal.SIGKILL)
                else:
                    on_stop()
                    self._stop()
            elif self._stopping and time.monotonic() > self._kill_at:
                self._signal(signal.SIGKILL)
            self._reap()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return code

    def _start_due(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            if not process.pid and process.start_at <= now:
                pid = os.fork()
                if not pid:
                    self._live(process.role)
                process.started(pid)
                log.event("process-started", process=process.role.name)

    def _until_next(self) -> float:
        """Seconds until something is to be done that no signal tells of."""
        due = [self._kill_at] if self._stopping else [p.start_at for p in self._processes if not p.pid]
        return max(min(due, default=time.monotonic() + _LONGEST_WAIT) - time.monotonic(), 0.001)

    def _stop(self) -> None:
        self._stopping = True
        self._kill_at = time.monotonic() + self._stop_timeout
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if process.pid:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _reap(self) -> None:
        """Note which processes have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for process in self._processes:
                if process.pid == pid:
                    process.ended()
                    process.role.died()
                    if not self._stopping:
                        code = os.waitstatus_to_exitcode(status)
                        why = f"signal {-code}" if code < 0 else f"exit code {code}"
                        log.error("process-died", process=process.role.name, detail=why)

    def _live(self, role: Role) -> NoReturn:
        """Be the process of this role, and never return."""
        code = _DIED
        try:
            stop = threading.Event()
            # A terminal sends SIGINT to all processes: it is the supervisor that decides.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(self._hold)
            threading.Thread(target=self._die_with_supervisor, name="lifeline", daemon=True).start()
            role.run(stop)
            code = 0
        except BaseException as error:  # whatever it is, nothing of the supervisor's may run in this process
            log.error("process-failed", process=role.name, detail=type(error).__name__)
        finally:
            os._exit(code)

    def _die_with_supervisor(self) -> None:
        os.read(self._lifeline, 1)
        os._exit(_DIED)
