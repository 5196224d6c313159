"""Several processes as one: started, watched, started again when they die, replaced, and stopped together.

The supervisor does nothing else, and has no threads: what it has built is there in every process that it forks. A
process ends well when it gets SIGTERM, which it may get from elsewhere too. When the supervisor dies, however that
is, the processes see the end of a pipe whose other end only the supervisor held, and die at once: what they had in
hand is as safe as after any crash, and whoever starts the node again finds its addresses free.

SIGHUP has all processes replaced by new ones. Those whose role `overlaps` get SIGHUP themselves: they take on nothing
new, and end when what they have has come to its end, however long that takes. The others end before their successor
begins.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from scp_anon import log, metrics

_SIGNALS: Final = frozenset((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
# Seconds to wait before a process is started again: doubled with each death, unless it lived for long enough.
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0
_LONG_ENOUGH: Final = 60.0
_STOPPED_AT_ONCE: Final = 1
_DIED: Final = 1
_NEVER: Final = float("inf")
_LOOK_UP: Final = 0.5  # seconds


class Ending:
    """How a process learns that it is to end: `now`, or when all that it has has come to its end."""

    def __init__(self) -> None:
        self.now = threading.Event()
        self._asked = threading.Event()

    def retire(self) -> None:
        """Let it take on nothing new, and end in its own time."""
        self._asked.set()

    def stop(self) -> None:
        """Let it end as soon as that can be."""
        self.now.set()
        self._asked.set()

    def wait(self) -> None:
        """Until it is to end, in whichever way."""
        wait_awake(self._asked)


class Role(NamedTuple):
    """What one process does: `run` lives until it is told to end. `died` is called when it has died.

    `overlaps`: its process may go on beside the one that replaces it.
    """

    name: str
    run: Callable[[Ending], None]
    died: Callable[[], None] = lambda: None
    overlaps: bool = False


class _Process:
    """A role, and the process that has it at present, if there is one."""

    def __init__(self, role: Role, predecessor: _Process | None = None) -> None:
        self.role = role
        self.pid = 0
        self.row = 0
        self.start_at = 0.0
        self.kill_at = _NEVER
        self._predecessor = predecessor
        self._started = 0.0
        self._wait = _FIRST_WAIT / 2

    def is_due(self) -> bool:
        """Whether it is to be started now."""
        return self.is_waiting() and self.start_at <= time.monotonic()

    def is_waiting(self) -> bool:
        """Whether it does not run, and nothing but time is in its way."""
        return not self.pid and (self._predecessor is None or not self._predecessor.pid)

    def running(self) -> _Process | None:
        """It, or, where it waits for its predecessor to end, that one."""
        return self if self.pid or self._predecessor is None else self._predecessor.running()

    def started(self, pid: int, row: int) -> None:
        """It runs."""
        self.pid, self.row = pid, row
        self._predecessor = None
        self._started = time.monotonic()

    def ended(self) -> None:
        """It has ended: tells when to start it again."""
        now = time.monotonic()
        lived = now - self._started
        self._wait = _FIRST_WAIT if lived >= _LONG_ENOUGH else min(self._wait * 2, _LONGEST_WAIT)
        self.pid = 0
        self.start_at = now + self._wait

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Supervisor:
    """Runs a process for each role until it is told to stop."""

    def __init__(self, roles: Sequence[Role], stop_timeout: float) -> None:
        """`stop_timeout`: seconds after which a process that has not stopped is killed."""
        self._processes = [_Process(role) for role in roles]
        self._retired: list[_Process] = []
        self._stop_timeout = stop_timeout
        self._stopping = False
        self._lifeline, self._hold = os.pipe()

    def run(self, on_stop: Callable[[], None], on_reload: Callable[[], Sequence[Role] | None], noted: list[int]) -> int:
        """Until SIGTERM or SIGINT, and then until all processes have ended; returns the exit code.

        `on_stop` is called when the first of them comes. A second one kills all that is left. `on_reload` is called
        for SIGHUP; it returns the roles that there are from then on, or None for no change. `noted`: signals that have
        come already (`note_signals`).
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        code = 0
        while not self._stopping or any(process.pid for process in self._all()):
            if not self._stopping:
                self._start_due()
            number = noted.pop(0) if noted else self._next_signal()
            if number == signal.SIGHUP and not self._stopping:
                self._replace(on_reload())
            elif number in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
                on_stop()
                self._stop()
            elif number in (signal.SIGTERM, signal.SIGINT):
                code = _STOPPED_AT_ONCE
                self._kill(lambda process: True)
            self._kill(lambda process: process.kill_at <= time.monotonic())
            self._reap()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return code

    def _next_signal(self) -> int:
        """Wait for a signal; 0 where something else is to be done first."""
        came = signal.sigtimedwait(_SIGNALS, self._until_next())
        return came.si_signo if came is not None else 0

    def _all(self) -> Iterator[_Process]:
        yield from self._processes
        yield from self._retired

    def _start_due(self) -> None:
        for process in self._processes:
            if process.is_due():
                row = self._free_row()
                pid = os.fork()
                if not pid:
                    metrics.use_row(row)
                    self._live(process.role)
                process.started(pid, row)
                log.event("process-started", process=process.role.name)

    def _free_row(self) -> int:
        """A row of the metrics that no process has; the first is our own."""
        taken = {process.row for process in self._all() if process.pid}
        return next((row for row in range(1, metrics.ROWS) if row not in taken), 0)

    def _until_next(self) -> float:
        """Seconds until something is to be done that no signal tells of."""
        due = [process.kill_at for process in self._all() if process.pid]
        if not self._stopping:
            due += [process.start_at for process in self._processes if process.is_waiting()]
        return min(max(min(due, default=_NEVER) - time.monotonic(), 0.001), _LONGEST_WAIT)

    def _replace(self, roles: Sequence[Role] | None) -> None:
        """Have new processes for these roles; those that there are end, each as its role has it."""
        if roles is None:
            return
        old = self._processes
        self._retired += [process for process in old if process.pid]
        for process in old:
            if process.role.overlaps:
                process.signal(signal.SIGHUP)
            else:
                self._end(process)
        predecessors = {process.role.name: process.running() for process in old if not process.role.overlaps}
        self._processes = [_Process(role, predecessors.get(role.name)) for role in roles]

    def _stop(self) -> None:
        self._stopping = True
        for process in self._all():
            self._end(process)

    def _end(self, process: _Process) -> None:
        process.kill_at = min(process.kill_at, time.monotonic() + self._stop_timeout)
        process.signal(signal.SIGTERM)

    def _kill(self, chosen: Callable[[_Process], bool]) -> None:
        for process in self._all():
            if chosen(process):
                process.signal(signal.SIGKILL)

    def _reap(self) -> None:
        """Note which processes have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for process in list(self._all()):
                if process.pid == pid:
                    self._ended(process, os.waitstatus_to_exitcode(status))

    def _ended(self, process: _Process, code: int) -> None:
        metrics.clear_gauges(process.row)
        process.ended()
        process.role.died()
        if process in self._retired:
            self._retired.remove(process)
        elif not self._stopping:
            why = f"signal {-code}" if code < 0 else f"exit code {code}"
            log.error("process-died", process=process.role.name, detail=why)
            metrics.PROCESS_DEATHS.add()

    def _live(self, role: Role) -> NoReturn:
        """Be the process of this role, and never return."""
        code = _DIED
        try:
            ending = Ending()
            # A terminal sends SIGINT to all processes: it is the supervisor that decides.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            handle(signal.SIGTERM, ending.stop)
            handle(signal.SIGHUP, ending.retire)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(self._hold)
            threading.Thread(target=self._die_with_supervisor, name="lifeline", daemon=True).start()
            role.run(ending)
            code = 0
        except BaseException as error:  # whatever it is, nothing of the supervisor's may run in this process
            log.error("process-failed", process=role.name, detail=type(error).__name__)
        finally:
            os._exit(code)

    def _die_with_supervisor(self) -> None:
        os.read(self._lifeline, 1)
        os._exit(_DIED)


def note_signals() -> list[int]:
    """From now on, note the signals that are for a node, until somebody is there to act on them.

    To block them would not do: a thread that a library has made while it was imported would get them.
    """
    noted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: noted.append(number))
    return noted


def handle(number: int, act: Callable[[], object]) -> None:
    """Have a signal acted on, in a thread of its own.

    The thread that it interrupts may be about to wait for the event that `act` sets, and hold that one's lock.
    """
    signal.signal(number, lambda number, frame: _thread.start_new_thread(act, ()))


def wait_awake(event: threading.Event) -> None:
    """Wait for an event that a signal sets, for use in the main thread.

    Not asleep for ever: the system may give a signal to another thread, a library's perhaps, and Python acts on it when
    the main thread next does anything.
    """
    while not event.wait(_LOOK_UP):
        pass
