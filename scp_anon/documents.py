"""YAML documents → typed, frozen sections: the configuration, and profiles.

An unknown key, a duplicate key, a wrong value is an error that says file, line, setting, and what would be right.
Nothing is ignored, and nothing is guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from scp_anon.errors import ConfigError

_LARGEST: Final = 1 << 24  # characters: what has more is nothing that anybody has written
_TOLD: Final = 100  # faults
_YAML_LIMIT: Final = 1 << 20
_LONGEST_NUMBER: Final = 64  # digits: YAML has numbers to the base of 60, whose time grows with the square of these
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Section(BaseModel):
    """A part of a document: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Section)


def misplaced(location: tuple[int | str, ...], problem: str) -> PydanticCustomError:
    """A fault that the whole document shows, and that is at `location`."""
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "location": location})


def read(path: Path) -> str:
    """The text of a document. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None
    if len(text) > _LARGEST:
        raise ConfigError(f"{path}: larger than any such file can be")
    return text


class Document:
    """The text of a YAML file, parsed: its content, and the line of each part."""

    def __init__(self, text: str, name: str) -> None:
        """`name` is that of the file, for errors. Raises ConfigError for what is no YAML, or has a key twice."""
        self.name = name
        if len(text) > _YAML_LIMIT:
            raise ConfigError(f"{name}: larger than a configuration can be")
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            _check_nodes(self._root, name)
            self.content: object = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{name}:{line}: not YAML: {error.problem}") from None
        except (yaml.YAMLError, RecursionError, ValueError):  # ValueError: a date or a number that cannot be
            raise ConfigError(f"{name}:1: not YAML") from None

    def as_section(self, model: type[S]) -> S:
        """The content as a section. Raises ConfigError with one line for each fault, but for those of very many."""
        if not isinstance(self.content, dict):
            raise ConfigError(f"{self.name}:1: must be a mapping with the keys {', '.join(model.model_fields)}")
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            found = error.errors()
            faults = [_described(fault, model, self._root, self.name) for fault in found[:_TOLD]]
            if len(found) > _TOLD:
                faults.append(f"{self.name}: {len(found) - _TOLD} faults more")
            raise ConfigError("\n".join(faults)) from None

    def place(self, location: tuple[int | str, ...]) -> str:
        """Where a part is: file and line."""
        line = 1
        for _, node in _walk(location, self._root):
            line = node.start_mark.line + 1
        return f"{self.name}:{line}"


def _check_nodes(root: yaml.Node | None, name: str) -> None:
    """Raise ConfigError for keys that are there twice, and for what can explode: anchors, keys of parts, numbers."""
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
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(f"{name}:{key.start_mark.line + 1}: a key must be a word")
                if key.value in keys:
                    raise ConfigError(f"{name}:{key.start_mark.line + 1}: {key.value}: is there twice")
                keys.add(key.value)
                pending.extend((key, value))
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        elif node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise ConfigError(f"{name}:{line}: not YAML: no number is that long; in quotes it is a text")


def _described(fault: ErrorDetails, model: type[Section], root: yaml.Node | None, name: str) -> str:
    """One line of text for a fault: file:line: path: what is wrong, and what would be right."""
    line, path = 1, []
    for part, node in _walk(fault.get("ctx", {}).get("location", fault["loc"]), root):
        line = node.start_mark.line + 1
        path.append(str(part))
    missing = fault["type"] == "missing"
    if missing:
        path.append(str(fault["loc"][-1]))
    return f"{name}:{line}: {'.'.join(path) or 'document'}: {_problem(fault, model)}"


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


def _problem(fault: ErrorDetails, model: type[Section]) -> str:
    match fault["type"]:
        case "extra_forbidden":
            known = _known_keys(model, fault["loc"])
            close = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            return f"unknown key; {hint}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case _:
            return str(fault["msg"])


def _known_keys(model: type[Section], location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section in which an unknown one was found."""
    sections = [model]
    for part in location[:-1]:
        fields = [section.model_fields[str(part)] for section in sections if str(part) in section.model_fields]
        if fields:
            sections = [inner for field in fields for inner in _sections_in(field.annotation)]
        else:
            # Of several kinds of sections, the location names the kind.
            sections = [section for section in sections if part in _kinds(section)] or sections
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections_in(inner)]


def _kinds(section: type[Section]) -> list[object]:
    """The values that tell a kind of section from the others of a union."""
    annotations = [field.annotation for field in section.model_fields.values()]
    return [value for annotation in annotations if get_origin(annotation) is Literal for value in get_args(annotation)]
