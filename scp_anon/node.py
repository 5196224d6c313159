"""The node: starts what a plan has, replaces it by another, drains it, stops it. Read it top-down.

`serve` has the parts of a node run: each in processes of its own, or all in one. SIGHUP has the configuration read
again: all of it is taken over, or, where there is a fault in it, nothing. Associations that are open then go on as they
were accepted, to their end.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from scp_anon import log, metrics
from scp_anon.announcements import Announcements, Reports
from scp_anon.config import Config
from scp_anon.errors import ConfigError
from scp_anon.network.occupancy import Occupancy
from scp_anon.network.scp import bind, occupancy_of
from scp_anon.parts import Delivering, Operating, Part, Parts, Receiving
from scp_anon.plan import Plan
from scp_anon.service_manager import notify
from scp_anon.supervisor import Ending, Role, Supervisor, handle, note_signals, wait_awake
from scp_anon.version import VERSION

_STOPPED_AT_ONCE: Final = 1
# For what has to be done besides waiting for messages in hand, before a process is taken to hang.
_MARGIN: Final = 10.0
# The processes of a node that was killed a moment ago may still have its addresses.
_ADDRESS_PATIENCE: Final = 2.0
_LOOK_AGAIN: Final = 0.2  # seconds between looks whether the last association has ended

Address = tuple[str, int]


def serve(read: Callable[[], Config]) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code.

    `read` reads the configuration: now, and again for each SIGHUP. Raises ConfigError for what cannot work.
    """
    noted = note_signals()
    node = Node(read)
    if node.plan.config.processes == 1 or not hasattr(signal, "sigtimedwait"):
        code = _in_one_process(node, noted)
    else:
        code = _in_processes(node, noted)
    log.event("stopped")
    return code


class Node:
    """The configuration in force and the addresses that are listened on, whatever processes there are."""

    def __init__(self, read: Callable[[], Config]) -> None:
        """Raises ConfigError."""
        self._read = read
        config = read()
        log.start(config.log.level)
        self.plan = Plan(config)
        self.listeners: dict[Address, socket.socket] = {}
        self._occupancy: Occupancy | None = None
        self._listen(config)
        self.announcements = Announcements()
        self.reports = Reports()
        metrics.LOADED_AT.set(time.time())
        log.event("starting", version=VERSION, key=self.plan.key_id)
        self._tell_addresses()
        notify("READY=1")

    def reload(self) -> bool:
        """Read the configuration again; returns whether there is another plan now. Whole, or not at all."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self._read()
            if (config.spool.path, config.processes == 1) != (
                self.plan.config.spool.path,
                self.plan.config.processes == 1,
            ):
                raise ConfigError("spool.path, and processes: 1, are for a new start: nothing was changed")
            if not config.key.file.exists():
                raise ConfigError(f"{config.key.file}: is not there; a new key is only made at a start")
            plan = Plan(config)
            if plan.key_id != self.plan.key_id:
                raise ConfigError(f"{config.key.file}: is another key: every pseudonym would be another; start anew")
            self._listen(config)
        except ConfigError as error:
            log.error("configuration-refused", fault=str(error))
            metrics.RELOADS.add("refused")
            return False
        finally:
            notify("READY=1")
        before, after = self.plan.settings(), plan.settings()
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                log.event("setting-changed", setting=name)
        self.plan = plan
        log.start(config.log.level)
        log.event("configuration-loaded", key=plan.key_id)
        metrics.RELOADS.add("loaded")
        metrics.LOADED_AT.set(time.time())
        self._tell_addresses()
        return True

    def sockets(self) -> tuple[list[socket.socket], socket.socket | None]:
        """Those that associations come to, in the order of the configuration, and that of operations."""
        config = self.plan.config
        operations = config.operations
        return (
            [self.listeners[section.address, section.port] for section in config.listen],
            self.listeners[operations.address, operations.port] if operations is not None else None,
        )

    def occupancy(self, processes: int) -> Occupancy:
        """The table of connections for the plan in force; what is open since before a reload counts."""
        self._occupancy = occupancy_of(self.plan.limits, processes, self._occupancy)
        return self._occupancy

    def close(self) -> None:
        """Listen no more."""
        notify("STOPPING=1")
        self.leave()

    def leave(self, own: socket.socket | None = None) -> None:
        """Have no part in what others listen to, in this process; but for `own`."""
        for listener in self.listeners.values():
            if listener is not own:
                listener.close()

    def _listen(self, config: Config) -> None:
        """Listen on the addresses of a configuration, and on no other. Raises ConfigError, having changed nothing."""
        wanted: dict[Address, str] = {(section.address, section.port): "listen" for section in config.listen}
        if config.operations is not None:
            wanted[config.operations.address, config.operations.port] = "operations"
        opened: dict[Address, socket.socket] = {}
        try:
            for address, setting in wanted.items():
                if address not in self.listeners:
                    opened[address] = _listener(setting, *address)
        except ConfigError:
            for listener in opened.values():
                listener.close()
            raise
        for address in self.listeners.keys() - wanted.keys():
            self.listeners.pop(address).close()
        self.listeners |= opened

    def _tell_addresses(self) -> None:
        for listener in self.sockets()[0]:
            address, port, *_ = listener.getsockname()
            log.event("listening", address=address, port=port)


def _in_one_process(node: Node, noted: list[int]) -> int:
    asked = threading.Event()
    stopping = threading.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(_STOPPED_AT_ONCE)
        stopping.set()
        asked.set()

    acts = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: asked.set}
    for number, act in acts.items():
        handle(number, act)
    for came in noted:
        acts[signal.Signals(came)]()
    retired: list[Parts] = []
    parts = _all_parts(node)
    parts.start()
    while True:
        wait_awake(asked)
        asked.clear()
        if stopping.is_set():
            break
        if node.reload():
            others = _all_parts(node)
            parts.give_way(others)
            for old in [old for old in retired if old.are_idle()]:
                old.close()
                retired.remove(old)
            retired.append(parts)
            parts = others
    node.close()
    for old in (*retired, parts):
        old.drain()
    return 0


def _all_parts(node: Node) -> Parts:
    """All parts of a node, for one process."""
    plan = node.plan
    spool = plan.spool()
    listeners, operations = node.sockets()
    copies = [listener.dup() for listener in listeners]  # the server closes its own
    occupancy = node.occupancy(1).of_process(0)
    parts: list[Part] = [
        Receiving(plan, spool, copies, occupancy, plan.config.workers, node.reports),
        Delivering(plan, spool, node.reports),
    ]
    if operations is not None:
        parts.append(Operating(plan, operations.dup()))
    return Parts(parts, spool, plan.config.drain_timeout)


def _in_processes(node: Node, noted: list[int]) -> int:
    def on_reload() -> Sequence[Role] | None:
        return _roles(node) if node.reload() else None

    return Supervisor(_roles(node), node.plan.config.drain_timeout + _MARGIN).run(node.close, on_reload, noted)


def _roles(node: Node) -> Sequence[Role]:
    """The processes of a node by its plan."""
    plan, announcements = node.plan, node.announcements
    listeners, operations = node.sockets()
    count = plan.config.processes
    threads = -(-plan.config.workers // count)
    occupancy = node.occupancy(count)

    def receive(number: int, ending: Ending) -> None:
        if operations is not None:
            operations.close()
        spool = plan.spool(announcements.tell)
        receiving = Receiving(plan, spool, listeners, occupancy.of_process(number), threads, node.reports)
        _live(Parts([receiving], spool, plan.config.drain_timeout), ending)

    def deliver(ending: Ending) -> None:
        node.leave()
        spool = plan.spool()
        threading.Thread(target=announcements.listen, args=(spool.announced,), daemon=True).start()
        _live(Parts([Delivering(plan, spool, node.reports)], spool, plan.config.drain_timeout), ending)

    def operate(listener: socket.socket, ending: Ending) -> None:
        node.leave(listener)
        _live(Parts([Operating(plan, listener)], None, plan.config.drain_timeout), ending)

    roles = [
        Role(f"receiver-{number + 1}", partial(receive, number), partial(occupancy.clear, number), overlaps=True)
        for number in range(count)
    ]
    roles.insert(0, Role("delivery", deliver))
    if operations is not None:
        roles.append(Role("operations", partial(operate, operations)))
    # What has been built is the same in all processes: it stays shared if the collector leaves it alone.
    gc.freeze()
    return roles


def _live(parts: Parts, ending: Ending) -> None:
    """Be these parts until the process is to end."""
    parts.start()
    ending.wait()
    if not ending.now.is_set():
        parts.retire()
        while not parts.are_idle() and not ending.now.wait(_LOOK_AGAIN):
            pass
    parts.drain()


def _listener(setting: str, address: str, port: int) -> socket.socket:
    """Listen on an address. Raises ConfigError if that cannot be done."""
    deadline = time.monotonic() + _ADDRESS_PATIENCE
    while True:
        try:
            return bind(address, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: not even a host name
            number = getattr(error, "errno", 0) or 0  # the resolver's own are below zero
            if number != errno.EADDRINUSE or time.monotonic() > deadline:
                why = os.strerror(number) if number > 0 else "no such address"
                raise ConfigError(f"{setting}: {address}:{port}: {why}") from None
            time.sleep(0.05)
