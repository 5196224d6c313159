"""The configuration: YAML → typed, frozen sections, one small one for each component.

How a YAML file becomes sections, and what is said of faults, is in `documents`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from scp_anon.deid.lint import load_profile
from scp_anon.destinations.layout import DEFAULT, Layout
from scp_anon.documents import Document, Section, misplaced, read
from scp_anon.errors import ConfigError

# Those that we may use, which in a container are fewer than there are.
_CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_SIZES: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES_BINARY: Final = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_TIMES: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def _size(value: object) -> int:
    return int(_quantity(value, {**_SIZES, **_SIZES_BINARY}, str.upper, "a size such as 5GB or 512MiB"))


def _duration(value: object) -> float:
    return _quantity(value, _TIMES, str.lower, "a time such as 30s, 5m or 1h")


def _quantity(value: object, units: Mapping[str, float], fold: Callable[[str], str], wanted: str) -> float:
    """A number with a unit as a number."""
    match = _QUANTITY.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None or fold(match[2]) not in units:
        raise ValueError(f"must be {wanted}")
    return float(match[1]) * units[fold(match[2])]


def ae_title(value: str) -> str:
    """An AE title without the blanks around it. Raises ValueError for what is none."""
    if not (1 <= len(value.strip()) <= 16 and value.isascii() and value.isprintable() and "\\" not in value):
        raise ValueError("must be an AE title: 1 to 16 printable ASCII characters without backslash")
    return value.strip()


def _layout(value: str) -> str:
    try:
        Layout(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("must be an IP address, or a network such as 10.1.0.0/16 (without bits of a host)") from None
    return value


def _profile(value: str) -> str:
    try:
        load_profile(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


Size: TypeAlias = Annotated[int, BeforeValidator(_size)]
Duration: TypeAlias = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
AETitle: TypeAlias = Annotated[str, AfterValidator(ae_title)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$")]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]


class KeySection(Section):
    """The master key of all pseudonyms, UIDs and dates."""

    file: Path = Field(description="The file that holds the key: mode 0600 or 0400, at least 32 bytes.")
    create: bool = Field(default=False, description="Make a new key on the first start, if there is none.")


class SpoolSection(Section):
    """The durable queue."""

    path: Path = Field(description="A directory on a local file system; made if missing, mode 0700.")
    reserve: Size = Field(default=5 * 10**9, description="Below this much free space nothing is received (A700H).")
    fsync: bool = Field(
        True, description="Bring everything to stable storage before it is acknowledged. False may lose instances."
    )
    encrypt: bool = Field(
        default=False, description="Seal originals on the disk by AES-256-GCM, with a key derived from the master key."
    )


class AdmissionSection(Section):
    """Who may connect at all."""

    addresses: list[Annotated[str, AfterValidator(_network)]] | None = Field(
        default=None, min_length=1, description="Networks and addresses; a connection from any other is closed."
    )


class ListenTlsSection(Section):
    """TLS for those who connect to us (PS3.15 B.12, B.13)."""

    certificate: Path = Field(description="Our certificate with its chain, as PEM; read again when it has changed.")
    key: Path = Field(description="Its private key, as PEM.")
    client: Literal["none", "optional", "required"] = Field(
        default="none", description="Whether clients have to show a certificate."
    )
    ca: Path | None = Field(default=None, description="The authorities whom we believe of clients, as PEM.")
    subjects: list[str] | None = Field(
        default=None, min_length=1, description="Common names or DNS names that a client's certificate may be of."
    )
    profile: Literal["b12", "b13"] = Field(default="b12", description="b12: BCP 195; b13: the modified one.")

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        if self.client != "none" and self.ca is None:
            raise misplaced(("client",), "client certificates need ca: the authorities that may have signed them")
        if self.subjects is not None and self.client != "required":
            raise misplaced(("subjects",), "a list of subjects needs client: required")
        return self


class DestinationTlsSection(Section):
    """TLS toward a destination, which has to show a certificate."""

    ca: Path | None = Field(default=None, description="The authorities whom we believe, as PEM; default: the system's.")
    certificate: Path | None = Field(default=None, description="Our own certificate, if the destination asks for one.")
    key: Path | None = Field(default=None, description="Its private key.")
    server_name: str | None = Field(
        default=None, description="The name that the destination's certificate is of; default: its host."
    )
    profile: Literal["b12", "b13"] = Field(default="b12", description="As of listen.")


class ListenSection(Section):
    """An address to listen on."""

    address: str = Field(default="127.0.0.1", description="The IP address of an interface; 0.0.0.0 for all.")
    port: Port = Field(default=11112, description="The TCP port; 0 for any free one.")
    tls: ListenTlsSection | None = Field(default=None, description="TLS on this address; without it, none.")


class RouteSection(Section):
    """What is done with what is sent to one called AE title."""

    called_ae_title: AETitle = Field(description="The AE title that senders call.")
    project: str = Field(description="Names the project: UIDs and pseudonyms of two projects never match.")
    calling_ae_titles: list[AETitle] | None = Field(
        default=None, min_length=1, description="The AE titles that may call; any other is rejected (1/1/3)."
    )
    profile: Annotated[str, AfterValidator(_profile)] = Field(
        default="basic", description="The de-identification profile: basic, or a profile file."
    )
    pixels: Literal["hold", "pass"] | None = Field(
        default=None, description="Hold what may carry text in its pixels, or pass it; else as the profile has it."
    )
    acknowledge: Literal["committed", "deidentified"] = Field(
        default="committed",
        description="When success is said: the original is safe, or its result is, and the original is not kept.",
    )
    verify: Literal["none", "residual"] = Field(
        default="none",
        description="residual: a result that still holds a value that its original is known by is quarantined.",
    )
    destinations: list[str] = Field(min_length=1, description="Names of the destinations that get every instance.")


class FolderSection(Section):
    """A destination that is a folder."""

    type: Literal["folder"] = Field(description="Says that this destination is a folder.")
    path: Path = Field(description="The folder; made if missing.")
    layout: Annotated[str, AfterValidator(_layout)] = Field(
        DEFAULT, description="Where in the folder: keywords of new values."
    )


class DicomSection(Section):
    """A destination that is an application entity, by C-STORE."""

    type: Literal["dicom"] = Field(description="Says that this destination is an application entity.")
    host: str = Field(description="Its host name or IP address.")
    port: Port = Field(description="Its TCP port.")
    called_ae_title: AETitle = Field(description="Its AE title.")
    calling_ae_title: AETitle = Field(default="SCP_ANON", description="Our AE title toward it.")
    timeout: Duration = Field(default=60.0, description="How long to wait for a connection or a reply.")
    associations: int = Field(default=1, ge=1, le=32, description="Associations with it at once.")
    commitment: Literal["none", "required"] = Field(
        default="none",
        description="Whether an instance stays in the queue until it commits to it (storage commitment).",
    )
    commitment_timeout: Duration = Field(
        default=3600.0, description="How long its report may take, before the instance is sent again."
    )
    tls: DestinationTlsSection | None = Field(default=None, description="TLS toward it; without it, none.")


class LimitsSection(Section):
    """Bounds on what peers can make the node hold or wait for."""

    associations: int = Field(
        default=64, ge=1, le=4096, description="Associations at once; one more is rejected (2/3/2)."
    )
    per_address: int = Field(default=32, ge=1, description="Connections from one address at once; one more is closed.")
    object_size: Size = Field(default=16 * 10**9, description="Largest instance; a larger one is refused (A700H).")
    handshake_timeout: Duration = Field(default=30.0, description="How long a connection may take to negotiate.")
    idle_timeout: Duration = Field(default=300.0, description="How long a peer may be silent.")
    minimum_rate: Size = Field(default=1000, description="Bytes a second that a message has to come at, after 30 s.")
    association_age: Duration = Field(default=86400.0, description="How long an association may last.")


class RetrySection(Section):
    """How long to wait after a failed delivery."""

    first: Duration = Field(default=30.0, description="After the first failure; doubled with each one that follows.")
    limit: Duration = Field(default=3600.0, description="At most.")


class OperationsSection(Section):
    """Health and metrics, over HTTP: /healthz, /readyz, /metrics."""

    address: str = Field(default="127.0.0.1", description="The IP address to answer on; nobody has to log in.")
    port: Port = Field(default=11180, description="The TCP port; 0 for any free one.")


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important events to log."
    )


Destination: TypeAlias = Annotated[FolderSection | DicomSection, Field(discriminator="type")]


class Config(Section):
    """The whole configuration of a node."""

    key: KeySection = Field(description="The master key.")
    spool: SpoolSection = Field(description="The durable queue.")
    listen: list[ListenSection] = Field(min_length=1, description="Addresses to listen on.")
    routes: list[RouteSection] = Field(
        min_length=1, description="By called AE title; a call to any other is rejected (1/1/7)."
    )
    destinations: dict[Name, Destination] = Field(description="By name.")
    admission: AdmissionSection = Field(default_factory=AdmissionSection, description="Who may connect.")
    limits: LimitsSection = Field(default_factory=LimitsSection, description="Bounds on what peers can do.")
    retry: RetrySection = Field(default_factory=RetrySection, description="Back-off after failed deliveries.")
    operations: OperationsSection | None = Field(
        default_factory=OperationsSection, description="Health and metrics; null for none."
    )
    log: LogSection = Field(default=LogSection(level="info"), description="The log.")
    processes: int = Field(
        default=min(2 * _CORES, 32),
        ge=1,
        le=64,
        description="Processes that receive and de-identify; default: two a core, at most 32.",
    )
    workers: int = Field(
        default=_CORES, ge=1, description="Threads that de-identify what is not in memory; default: one a core."
    )
    drain_timeout: Duration = Field(
        default=25.0, description="How long a stop waits for messages that are being received or sent."
    )

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        titles: set[str] = set()
        for i, route in enumerate(self.routes):
            if route.called_ae_title in titles:
                raise misplaced(
                    ("routes", i, "called_ae_title"), f"another route has the AE title {route.called_ae_title}"
                )
            titles.add(route.called_ae_title)
            for j, name in enumerate(route.destinations):
                if name not in self.destinations:
                    raise misplaced(
                        ("routes", i, "destinations", j),
                        f"there is no destination {name!r}; there is: {', '.join(self.destinations)}",
                    )
        return self


def load(path: Path | None) -> Config:
    """Read a configuration file, or the embedded default for None. Raises ConfigError with one line for each fault."""
    if path is None:
        return parse((files(__package__) / "default.yaml").read_text(encoding="utf-8"), "default.yaml")
    return parse(read(path), str(path))


def parse(text: str, name: str) -> Config:
    """Parse a configuration; `name` is that of its file, for errors. Raises ConfigError."""
    return Document(text, name).as_section(Config)
