"""The digest of a profile: eight digits that tell one set of rules from another, in (0012,0063) and in manifests.

It is the beginning of the SHA-256 of what the rules do, in three parts:

1. `REVISION`. Raise it when our code does something else with the same settings and tables.
2. What the profile says (`said`): each setting that differs from its baseline, which is its default, or what
   `_BASELINES` has for it. So a setting that is left out, one that says its default, and one that the schema did not
   have yet are the same, and a new setting changes no digest. If a default changes, give `_BASELINES` the old value:
   then the digest of the profiles changes that have the new one. Of files that a profile names the content counts, not
   the path. What changes no attribute does not count: the audit, and who is in a table of patients.
3. What comes with us and decides (`decides`): the tables of the standard, our lists of attributes and words, the
   dummies, pydicom's dictionary and concepts, the pixel rules that hold, and the list of safe private attributes where
   it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from scp_anon.deid.dummies import BY_TAG, BY_VR
from scp_anon.deid.settings import PixelRule, ProfileFile, held_tests, shipped_pixel_rules
from scp_anon.deid.tables import EDITION
from scp_anon.documents import Section

REVISION: Final = 2
_DIGITS: Final = 8
_METHOD: Final = re.compile(rb"PS3\.15 \S+ ([a-z -]+) [0-9a-f]{8}")

# (section, setting) → the value that adds nothing to the digest, where that is not the default of the setting.
_BASELINES: Final[Mapping[tuple[str, str], object]] = {
    ("DatesSection", "window"): 365,
    ("RuleSection", "match"): "equals",
    ("RuleSection", "length"): 16,
}
# What changes no attribute, or is counted among what decides.
_NOT_COUNTED: Final = frozenset(
    (
        ("ProfileFile", "audit"),
        ("ProfileFile", "pixel_rules"),
        ("TablePatients", "file"),
        ("SequentialPatients", "file"),
        ("PreviewedPatients", "file"),
    )
)
# Lists whose order says nothing.
_SETS: Final = frozenset((("ProfileFile", "options"), ("ProfileFile", "hold"), ("ProfileFile", "modalities")))
_TABLES: Final = (".csv", ".csv.gz", ".txt")
_SAFE_PRIVATE: Final = "standard/safe-private.csv"
_OF_PYDICOM: Final = ("_dicom_dict.py", "sr/_concepts_dict.py")


def digest(settings: ProfileFile) -> str:
    """The digest of a profile."""
    # Only the scheme mmiv has another hash for a rule that says a length than for one that does not.
    lengths = [rule.length is not None for rule in settings.rules] if settings.uids.scheme == "mmiv" else []
    content = json.dumps([REVISION, said(settings), lengths, decides(settings)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]


def without_digest(method: bytes) -> bytes:
    """A value of (0012,0063) without edition and digest, for results of another version; any other value as it is."""
    return _METHOD.sub(rb"PS3.15 \1", method)


# ---------------------------------------------------------------- what a profile says


def said(section: Section) -> dict[str, object]:
    """The settings of a section that differ from their baselines, as JSON has them."""
    kind = type(section).__name__
    found: dict[str, object] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if (kind, name) in _NOT_COUNTED or value is None:
            continue
        plain = _plain(value)
        if plain != _plain(_BASELINES.get((kind, name), field.get_default(call_default_factory=True))):
            found[name] = sorted(plain) if (kind, name) in _SETS and isinstance(plain, list) else plain
    return found


def _plain(value: object) -> object:
    match value:
        case Section():
            return said(value)
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case Path():
            return hashlib.sha256(value.read_bytes()).hexdigest() if value.is_file() else ""
        case date():
            return value.isoformat()
    return value


# ---------------------------------------------------------------- what comes with us


def decides(settings: ProfileFile) -> str:
    """A hash of the tables, lists and rules of ours that decide under these settings."""
    content = hashlib.sha256(_shipped().encode())
    content.update(json.dumps([said(rule) for rule in _held(settings)], sort_keys=True).encode())
    if "retain-safe-private" in settings.options:
        content.update(_hash_of(_SAFE_PRIVATE).encode())
    return content.hexdigest()


def _held(settings: ProfileFile) -> Iterable[PixelRule]:
    """The pixel rules that hold: of a profile that says them again the same as of one that has the shipped ones."""
    own = settings.pixel_rules if settings.pixel_rules is not None else shipped_pixel_rules()
    return (*held_tests(sorted(settings.hold)), *(own if settings.pixels == "hold" else ()))


@cache
def _shipped() -> str:
    """A hash of what decides whatever a profile says."""
    return hashlib.sha256(repr(list(_hashes())).encode()).hexdigest()


def _hashes() -> Iterator[str]:
    yield repr((EDITION, sorted(BY_VR.items()), sorted(BY_TAG.items())))
    yield from (f"{name} {_hash_of(name)}" for name in tables() if name != _SAFE_PRIVATE)
    of_pydicom = (files("pydicom").joinpath(name).read_bytes() for name in _OF_PYDICOM)
    yield from (hashlib.sha256(content).hexdigest() for content in of_pydicom)


def tables() -> list[str]:
    """The tables and lists in this package, by their paths in it: whatever is added counts."""
    root = files(__package__)
    names = (
        f"{folder}{file.name}" for folder in ("", "standard/", "words/") for file in root.joinpath(folder).iterdir()
    )
    return sorted(name for name in names if name.endswith(_TABLES))


@cache
def _hash_of(name: str) -> str:
    """The hash of a file of ours, unpacked if it is packed."""
    content = files(__package__).joinpath(name).read_bytes()
    return hashlib.sha256(gzip.decompress(content) if name.endswith(".gz") else content).hexdigest()
