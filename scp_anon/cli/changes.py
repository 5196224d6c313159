"""What options of `deid` change in a profile: each is what a profile file could say as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from scp_anon.deid import ProfileFile, load_profile, with_changes, with_settings
from scp_anon.errors import ConfigError


@dataclass(frozen=True)
class Changes:
    """The options, as they were given."""

    options: Iterable[str] = ()
    pixels: str | None = None
    modalities: str | None = None
    admit: Iterable[str] = ()


def changed(profile: str, changes: Changes) -> ProfileFile:
    """The profile of that name, with the changes. Raises ConfigError."""
    settings = with_changes(load_profile(profile), changes.options, changes.pixels)
    found: dict[str, object] = {}
    if changes.modalities is not None:
        names = [name.strip().upper() for name in changes.modalities.split(",")]
        _check("--modalities", {"modalities": names})
        found["modalities"] = names
    if changes.admit:
        first = [_admit(text) for text in changes.admit]
        found["admit"] = (*first, *(section.model_dump() for section in settings.admit))
    return with_settings(settings, found) if found else settings


def _admit(text: str) -> Mapping[str, object]:
    """One entry of `admit`, as YAML. Raises ConfigError."""
    try:
        entry = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise ConfigError("--admit: must be as in a profile: {when: {Modality: CT}, then: accept}")
    _check("--admit", {"admit": [entry]})
    return entry


def _check(option: str, content: Mapping[str, object]) -> None:
    """Raise ConfigError where what an option says could not be in a profile file."""
    try:
        load_profile(content)
    except ConfigError as error:
        raise ConfigError(
            "\n".join(f"{option}: {line.partition(': ')[2]}" for line in str(error).split("\n"))
        ) from None
