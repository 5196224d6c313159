"""What a configuration comes to before anything runs: engines, destinations, lists, limits, the way to the spool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from scp_anon import log, metrics
from scp_anon.config import (
    Config,
    DicomSection,
    FolderSection,
    KeySection,
    ListenTlsSection,
    RouteSection,
    SpoolSection,
)
from scp_anon.deid import Deidentifier, generate_key, load_key, load_profile, with_changes
from scp_anon.deid.study_patients import SharedStudies, StudySeal
from scp_anon.destinations import Destination
from scp_anon.destinations.dicom import DicomDestination
from scp_anon.destinations.folder import FolderDestination
from scp_anon.destinations.layout import Layout
from scp_anon.errors import ConfigError
from scp_anon.filesystem import make_directory
from scp_anon.network.admission import Admission
from scp_anon.network.negotiation import prepare
from scp_anon.network.scu import Peer
from scp_anon.network.service import Limits
from scp_anon.network.tls import AcceptorTls, Credentials, RequestorTls
from scp_anon.sealing import Seal
from scp_anon.spool import Announce, Spool
from scp_anon.worker import Treatment

_STUDIES: Final = "studies.sqlite"  # in the spool: of which patient each study is


class Plan:
    """What a configuration comes to: engines and destinations, and how to open the spool. Nothing of it runs."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for what cannot work."""
        self.config = config
        key = node_key(config.key)
        # What is sealed already is read, also when nothing more is to be.
        self.unseal = Seal(key)
        self.seal = self.unseal if config.spool.encrypt else None
        self.destinations = {name: _places(section, config) for name, section in config.destinations.items()}
        self.spool().close()  # a fault in it is told before anything runs
        self.treatments = {
            route.called_ae_title: Treatment(
                _deidentifier(key, route, config.spool),
                route.destinations,
                _folder(config.spool.path, route, self.destinations),
                route.acknowledge == "deidentified",
            )
            for route in config.routes
        }
        networks = config.admission.addresses
        self.admission = Admission(
            {route.called_ae_title: _callers(route) for route in config.routes},
            tuple(map(ip_network, networks)) if networks is not None else None,
            _reporters(config),
        )
        self.tls = [_acceptor_tls(section.tls) for section in config.listen]
        self.limits = Limits(**config.limits.model_dump())
        prepare()
        self.key_id = next(iter(self.treatments.values())).deidentifier.key_id
        metrics.know(self.treatments, self.destinations)

    def spool(self, announce: Announce | None = None) -> Spool:
        """Open the spool, for one process. Raises ConfigError."""
        section = self.config.spool
        return Spool(section.path, list(self.destinations), section.reserve, section.fsync, announce, self.seal)

    def settings(self) -> dict[str, str]:
        """Every setting with its value, the content of profiles among them: to tell what a reload has changed."""
        settings = dict(_flat(self.config))
        for route, treatment in self.treatments.items():
            content = treatment.deidentifier.profile.settings.model_dump_json()
            settings[f"profile of {route}"] = hashlib.sha256(content.encode()).hexdigest()
        return settings


def _flat(section: object, name: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a section by their dotted names."""
    if isinstance(section, BaseModel):
        for field in type(section).model_fields:
            yield from _flat(getattr(section, field), f"{name}.{field}" if name else field)
    elif isinstance(section, Mapping):
        for key, value in section.items():
            yield from _flat(value, f"{name}.{key}")
    elif isinstance(section, list) and section and isinstance(section[0], BaseModel):
        for number, value in enumerate(section):
            yield from _flat(value, f"{name}[{number}]")
    else:
        yield name, repr(section)


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
    for listen in config.listen:
        _acceptor_tls(listen.tls)
    for name, section in config.destinations.items():
        if isinstance(section, FolderSection):
            _check_folder(name, section.path)
        else:
            _requestor_tls(section)


def _callers(route: RouteSection) -> frozenset[str] | None:
    return frozenset(route.calling_ae_titles) if route.calling_ae_titles is not None else None


def _reporters(config: Config) -> dict[str, frozenset[str]]:
    """Which destinations may report storage commitment, by the AE title of ours that they know."""
    reporters: dict[str, frozenset[str]] = {}
    for section in config.destinations.values():
        if isinstance(section, DicomSection) and section.commitment == "required":
            known = reporters.get(section.calling_ae_title, frozenset())
            reporters[section.calling_ae_title] = known | {section.called_ae_title}
    return reporters


def _deidentifier(key: bytes, route: RouteSection, spool: SpoolSection) -> Deidentifier:
    profile = with_changes(load_profile(route.profile), pixels=route.pixels)
    policy = profile.study_patients or "first"
    studies = None
    if policy != "separate":
        seal = StudySeal(key, route.project)
        studies = SharedStudies(spool.path / _STUDIES, seal, policy, spool.fsync)
    return Deidentifier(key, route.project, profile, residual=route.verify == "residual", studies=studies)


def _places(section: FolderSection | DicomSection, config: Config) -> Sequence[Destination]:
    """A destination, once for each association with it."""
    if isinstance(section, FolderSection):
        try:
            make_directory(section.path, durable=config.spool.fsync)
        except OSError as error:
            raise ConfigError(f"destination folder {section.path}: cannot be made: {error.strerror}") from None
        if not os.access(section.path, os.W_OK | os.X_OK):
            raise ConfigError(f"destination folder {section.path}: cannot be written to")
        return [FolderDestination(section.path, Layout(section.layout), config.spool.fsync)]
    titles = section.called_ae_title, section.calling_ae_title
    peer = Peer(section.host, section.port, *titles, section.timeout, _requestor_tls(section))
    return [DicomDestination(peer, section.commitment == "required") for _ in range(section.associations)]


def _folder(
    spool: Path, route: RouteSection, destinations: Mapping[str, Sequence[Destination]]
) -> FolderDestination | None:
    """The only destination of a route, if it is a folder to which the results can be moved."""
    only = destinations[route.destinations[0]][0] if len(route.destinations) == 1 else None
    return only if isinstance(only, FolderDestination) and only.shares_file_system(spool) else None


def _acceptor_tls(section: ListenTlsSection | None) -> AcceptorTls | None:
    if section is None:
        return None
    subjects = frozenset(section.subjects) if section.subjects is not None else None
    credentials = Credentials(section.certificate, section.key, section.ca, section.profile)
    return AcceptorTls(credentials, section.client, subjects)


def _requestor_tls(section: DicomSection) -> RequestorTls | None:
    tls = section.tls
    if tls is None:
        return None
    return RequestorTls(Credentials(tls.certificate, tls.key, tls.ca, tls.profile), tls.server_name or section.host)


def _check_folder(name: str, path: Path) -> None:
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise ConfigError(f"destinations.{name}.path: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"destinations.{name}.path: {existing} cannot be written to")
