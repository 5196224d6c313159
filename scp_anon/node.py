"""The node: builds the parts from the configuration, starts them, drains them, stops them. Read it top-down."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from scp_anon import log
from scp_anon.awaiting import Awaiting, table_of
from scp_anon.config import Config, DicomSection, FolderSection, KeySection, RouteSection
from scp_anon.deid import Deidentifier, generate_key, load_key, load_profile, with_changes
from scp_anon.delivery import BackOff, Sender
from scp_anon.destinations import Destination
from scp_anon.destinations.dicom import DicomDestination
from scp_anon.destinations.folder import FolderDestination
from scp_anon.destinations.layout import Layout
from scp_anon.errors import ConfigError
from scp_anon.intake import Intake
from scp_anon.network.scp import Limits, Server, StoreRequest
from scp_anon.network.scu import Peer
from scp_anon.spool import Spool
from scp_anon.version import VERSION
from scp_anon.worker import Take, Treatment, Workers


class Node:
    """A running node: socket → spool → engine → spool → destinations."""

    def __init__(self, config: Config) -> None:
        """Build all parts and recover the spool; nothing runs yet. Raises ConfigError for what cannot work."""
        self._config = config
        key = node_key(config.key)
        destinations = {name: _destination(section, config) for name, section in config.destinations.items()}
        self._spool = Spool(config.spool.path, list(destinations), config.spool.reserve, config.spool.fsync)
        self._treatments = {
            route.called_ae_title: Treatment(
                _deidentifier(key, route), route.destinations, _take(config.spool.path, route, destinations)
            )
            for route in config.routes
        }
        back_off = BackOff(config.retry.first, config.retry.limit)
        self._senders = [Sender(self._spool, name, place, back_off) for name, place in destinations.items()]
        self._workers = Workers(self._spool, self._treatments, config.workers)
        limits = Limits(
            associations=config.limits.associations,
            object_size=config.limits.object_size,
            handshake_timeout=config.limits.handshake_timeout,
            idle_timeout=config.limits.idle_timeout,
        )
        intake = Intake(self._spool, self._workers.work, self._refuses)
        self._server = Server(intake, self._treatments.__contains__, limits)
        tables = {
            route: table
            for route, treatment in self._treatments.items()
            if (table := table_of(treatment.deidentifier)) is not None
        }
        self._awaiting = Awaiting(config.spool.path, tables)

    def _refuses(self, request: StoreRequest, data_set: memoryview) -> bool:
        context = {"CallingAETitle": request.calling_ae_title, "CalledAETitle": request.called_ae_title}
        treatment = self._treatments[request.called_ae_title]
        return treatment.deidentifier.refuses(data_set, request.transfer_syntax_uid, context)

    def start(self) -> None:
        """Begin to work: the queues first, then the doors. Raises ConfigError if an address cannot be listened on."""
        key_id = next(iter(self._treatments.values())).deidentifier.key_id
        log.event("starting", version=VERSION, key=key_id)
        for sender in self._senders:
            sender.start()
        self._workers.start()
        self._awaiting.start()
        for listen in self._config.listen:
            try:
                port = self._server.listen(listen.address, listen.port)
            except (OSError, UnicodeError) as error:  # UnicodeError: not even a host name
                number = getattr(error, "errno", 0) or 0  # the resolver's own are below zero
                why = os.strerror(number) if number > 0 else "no such address"
                raise ConfigError(f"listen: {listen.address}:{listen.port}: {why}") from None
            log.event("listening", address=listen.address, port=port)

    def drain(self) -> bool:
        """Stop: accept nothing more, finish what is in hand, leave the rest in the spool for the next start.

        Returns False if something was still busy at the end of the drain timeout; it is safe in the spool all the same.
        """
        deadline = time.monotonic() + self._config.drain_timeout
        log.event("draining")
        received = self._server.drain(_left(deadline))
        self._workers.stop()
        self._awaiting.stop()
        for sender in self._senders:
            sender.stop()
        self._spool.close_queues()
        worked = self._workers.join(_left(deadline))
        busy = [sender for sender in self._senders if not sender.join(_left(deadline))]
        self._spool.close()
        log.event("stopped")
        return received and worked and not busy


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)


def node_key(section: KeySection) -> bytes:
    """The master key of a configuration, made now if it may be. Raises ConfigError."""
    if section.create and not section.file.exists():
        generate_key(section.file)
        log.warning("key-made")
    return load_key(section.file)


def check(config: Config) -> None:
    """Raise ConfigError for what a start with this configuration would stumble over, without changing anything."""
    if not (config.key.create and not config.key.file.exists()):
        load_key(config.key.file)
    for name, section in config.destinations.items():
        if isinstance(section, FolderSection):
            _check_folder(name, section.path)


def _deidentifier(key: bytes, route: RouteSection) -> Deidentifier:
    return Deidentifier(key, route.project, with_changes(load_profile(route.profile), pixels=route.pixels))


def _destination(section: FolderSection | DicomSection, config: Config) -> Destination:
    if isinstance(section, FolderSection):
        try:
            section.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"destination folder {section.path}: cannot be made: {error.strerror}") from None
        if not os.access(section.path, os.W_OK | os.X_OK):
            raise ConfigError(f"destination folder {section.path}: cannot be written to")
        return FolderDestination(section.path, Layout(section.layout), config.spool.fsync)
    peer = Peer(section.host, section.port, section.called_ae_title, section.calling_ae_title, section.timeout)
    return DicomDestination(peer)


def _take(spool: Path, route: RouteSection, destinations: Mapping[str, Destination]) -> Take | None:
    """How the results of a route get to where they stay without a sender, if they can."""
    only = destinations[route.destinations[0]] if len(route.destinations) == 1 else None
    return only.take if isinstance(only, FolderDestination) and only.shares_file_system(spool) else None


def _check_folder(name: str, path: Path) -> None:
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise ConfigError(f"destinations.{name}.path: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"destinations.{name}.path: {existing} cannot be written to")
