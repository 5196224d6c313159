"""The configuration: YAML → typed, frozen sections, one small one for each component.

An unknown key, a duplicate key, a wrong value is an error that says file, line, setting, and what would be right.
Nothing is ignored, and nothing is guessed.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from scp_anon.deid.profile import NAMES
from scp_anon.destinations.layout import DEFAULT, Layout
from scp_anon.errors import ConfigError

_SIZES: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES_BINARY: Final = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_TIMES: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_YAML_LIMIT: Final = 1 << 20


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


def _profile(value: str) -> str:
    if value not in NAMES:
        raise ValueError(f"there is no profile {value!r}; there is: {', '.join(NAMES)}")
    return value


Size: TypeAlias = Annotated[int, BeforeValidator(_size)]
Duration: TypeAlias = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
AETitle: TypeAlias = Annotated[str, AfterValidator(ae_title)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$")]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class ListenSection(Section):
    """An address to listen on."""

    address: str = Field(default="127.0.0.1", description="The IP address of an interface; 0.0.0.0 for all.")
    port: Port = Field(default=11112, description="The TCP port; 0 for any free one.")


class RouteSection(Section):
    """What is done with what is sent to one called AE title."""

    called_ae_title: AETitle = Field(description="The AE title that senders call.")
    project: str = Field(description="Names the project: UIDs and pseudonyms of two projects never match.")
    profile: Annotated[str, AfterValidator(_profile)] = Field(
        default="basic", description="The de-identification profile."
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


class LimitsSection(Section):
    """Bounds on what peers can make the node hold or wait for."""

    associations: int = Field(default=64, ge=1, description="Associations at once; one more is rejected (2/3/2).")
    object_size: Size = Field(default=16 * 10**9, description="Largest instance; a larger one is refused (A700H).")
    handshake_timeout: Duration = Field(default=30.0, description="How long a connection may take to negotiate.")
    idle_timeout: Duration = Field(default=300.0, description="How long a peer may be silent.")


class RetrySection(Section):
    """How long to wait after a failed delivery."""

    first: Duration = Field(default=30.0, description="After the first failure; doubled with each one that follows.")
    limit: Duration = Field(default=3600.0, description="At most.")


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
    limits: LimitsSection = Field(default_factory=LimitsSection, description="Bounds on what peers can do.")
    retry: RetrySection = Field(default_factory=RetrySection, description="Back-off after failed deliveries.")
    log: LogSection = Field(default=LogSection(level="info"), description="The log.")
    workers: int = Field(
        default=os.cpu_count() or 1, ge=1, description="Threads that de-identify; default: one a core."
    )
    drain_timeout: Duration = Field(
        default=25.0, description="How long a stop waits for messages that are being received or sent."
    )

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        titles: set[str] = set()
        for i, route in enumerate(self.routes):
            if route.called_ae_title in titles:
                raise _misplaced(
                    ("routes", i, "called_ae_title"), f"another route has the AE title {route.called_ae_title}"
                )
            titles.add(route.called_ae_title)
            for j, name in enumerate(route.destinations):
                if name not in self.destinations:
                    raise _misplaced(
                        ("routes", i, "destinations", j),
                        f"there is no destination {name!r}; there is: {', '.join(self.destinations)}",
                    )
        return self


def _misplaced(location: tuple[int | str, ...], problem: str) -> PydanticCustomError:
    """A fault that the whole configuration shows, and that is at `location`."""
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "location": location})


def load(path: Path | None) -> Config:
    """Read a configuration file, or the embedded default for None. Raises ConfigError with one line for each fault."""
    if path is None:
        return parse((files(__package__) / "default.yaml").read_text(encoding="utf-8"), "default.yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """Parse a configuration; `name` is that of its file, for errors. Raises ConfigError."""
    if len(text) > _YAML_LIMIT:
        raise ConfigError(f"{name}: larger than a configuration can be")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_nodes(root, name)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):  # ValueError: a date or a number that cannot be
        raise ConfigError(f"{name}:1: not YAML") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{name}:1: must be a mapping with the keys {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_described(fault, root, name) for fault in error.errors())) from None


def _check_nodes(root: yaml.Node | None, name: str) -> None:
    """Raise ConfigError for keys that are there twice, and for anchors, which can explode."""
    pending = [root] if root is not None else []
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise ConfigError(f"{name}:{line}: anchors and aliases are not used here; write the value again")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if str(key.value) in keys:
                    raise ConfigError(f"{name}:{key.start_mark.line + 1}: {key.value}: is there twice")
                keys.add(str(key.value))
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def _described(fault: ErrorDetails, root: yaml.Node | None, name: str) -> str:
    """One line of text for a fault: file:line: path: what is wrong, and what would be right."""
    line, path = 1, []
    for part, node in _walk(fault.get("ctx", {}).get("location", fault["loc"]), root):
        line = node.start_mark.line + 1
        path.append(str(part))
    missing = fault["type"] == "missing"
    if missing:
        path.append(str(fault["loc"][-1]))
    return f"{name}:{line}: {'.'.join(path) or 'configuration'}: {_problem(fault)}"


def _walk(location: tuple[int | str, ...], node: yaml.Node | None) -> Iterator[tuple[int | str, yaml.Node]]:
    """The parts of a location that the file has, each with the node that tells its line."""
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is not None:
                yield part, found[0]
                node = found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            yield part, node


def _problem(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "extra_forbidden":
            known = _known_keys(fault["loc"])
            close = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            return f"unknown key; {hint}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case _:
            return str(fault["msg"])


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section in which an unknown one was found."""
    sections: dict[str, type[Section]] = {
        "key": KeySection,
        "spool": SpoolSection,
        "listen": ListenSection,
        "routes": RouteSection,
        "folder": FolderSection,
        "dicom": DicomSection,
        "limits": LimitsSection,
        "retry": RetrySection,
        "log": LogSection,
    }
    inside = [sections[str(part)] for part in location[:-1] if str(part) in sections]
    return list((inside[-1] if inside else Config).model_fields)
