"""The rule formats of earlier tools: imported into our profile language, and one of them exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from scp_anon.errors import ConfigError
from scp_anon.exchange.ctp import import_ctp
from scp_anon.exchange.dicom_anon import import_pseudon, import_spec, import_white_list
from scp_anon.exchange.imported import Imported, read_json
from scp_anon.exchange.kitware import import_extra, import_kitware
from scp_anon.exchange.mmiv import export_mmiv, import_mmiv, regex_tag_change, tag_change

__all__ = ["KINDS", "Imported", "export_mmiv", "import_file", "import_rules", "regex_tag_change", "tag_change"]

_IMPORTERS: Final[dict[str, Callable[[Path], Imported]]] = {
    "mmiv": import_mmiv,
    "kitware": import_kitware,
    "kitware-extra": import_extra,
    "dicom-anon": import_spec,
    "dicom-anon-white-list": import_white_list,
    "dicom-pseudon": import_pseudon,
    "ctp": import_ctp,
}
KINDS: Final[tuple[str, ...]] = tuple(_IMPORTERS)


def import_rules(kind: str, path: Path) -> Imported:
    """Import the rules of another tool, of one of `KINDS`.

    What the other tool leaves alone stays under the Basic Profile with us. Raises ConfigError, "path: what is wrong",
    for a file that cannot be read, or is not of this kind.
    """
    if kind not in _IMPORTERS:
        raise ConfigError(f"{path}: unknown kind {kind!r}; there is: {', '.join(KINDS)}")
    return _IMPORTERS[kind](path)


def import_file(path: Path) -> Imported:
    """Import a file of rules, whichever tool's it is: mmiv's is CSV or a JSON array, Kitware's a JSON object.

    Raises ConfigError as `import_rules` does.
    """
    content = read_json(path) if path.suffix.lower() == ".json" else []
    if isinstance(content, list):
        return import_mmiv(path)
    lists = isinstance(content, dict) and any(isinstance(value, list) for value in content.values())
    return import_extra(path) if lists else import_kitware(path)
