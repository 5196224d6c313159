"""Where in a folder an instance goes: a template of attributes, whose values are made safe for paths.

Where outputs have an order, as those of `scp-anon deid` do, a template may number them: `{PatientID}/{n}.dcm`; and as
its inputs have a folder, it may name that: `{Folder}/{SOPInstanceUID}.dcm`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, Protocol

from pydicom.datadict import tag_for_keyword

from scp_anon.dicom.finding import Buffer, Irregular
from scp_anon.dicom.normalise import inflate_head
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from scp_anon.dicom.values import read_values
from scp_anon.errors import ConfigError, Permanent, Reason, Undecodable

DEFAULT: Final = "{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"

NUMBER: Final = "{n}"
"""The running number in a template, and in places that have not been given theirs yet."""

FOLDER: Final = "{Folder}"
"""The folder of the input in a template, and in places until they are filled."""

OF_INPUTS: Final = frozenset(("n", "Folder"))
_FIELD: Final = re.compile(r"\{(\w+)\}")
_RUNS_ON: Final = re.compile(r"[\d}]\{n\}|\{n\}[\d{]")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")
# Of a file, what tells its place: whatever comes behind it is too far away to be found.
_HEAD: Final = 1 << 16
_INFLATED: Final = 1 << 20
_LIMIT: Final = 64
_NOTHING: Final = "unknown"


class Result(Protocol):
    """A de-identified instance."""

    def values(self, tags: Iterable[int]) -> dict[int, bytes] | None:
        """Its values of top-level attributes; None where they have to be looked for."""

    def head(self, size: int) -> bytes:
        """Its first bytes, as a DICOM file."""


class Layout:
    """A compiled template, such as `DEFAULT`: keywords of top-level attributes in braces, of the new values."""

    def __init__(self, template: str, numbers: bool = False) -> None:
        """`numbers`: somebody fills each place with a number and a folder, so that the template may have these, once.

        Raises ConfigError for a template that names no attribute, leads out of the folder, or is not unique.
        """
        self.is_numbered = NUMBER in template
        if self.is_numbered:
            _check_number(template, numbers)
        if FOLDER in template:
            _check_folder(template, numbers)
        tags = {keyword: tag_for_keyword(keyword) for keyword in _FIELD.findall(template) if keyword not in OF_INPUTS}
        unknown = [keyword for keyword, tag in tags.items() if tag is None]
        if unknown:
            raise ConfigError(f"layout: {{{unknown[0]}}} is no attribute of the standard")
        if "SOPInstanceUID" not in tags and not self.is_numbered:
            raise ConfigError("layout: without {SOPInstanceUID} one instance would overwrite another")
        rest = _FIELD.sub("x", template)
        if rest.startswith("/") or ".." in PurePosixPath(rest).parts or not {"{", "}", "\0"}.isdisjoint(rest):
            raise ConfigError("layout: must be a path inside the folder, with keywords in braces")
        # Texts, and the attributes between them; the number and the folder stay places to be filled in.
        self._parts: list[str | int] = []
        for i, part in enumerate(_FIELD.split(str(PurePosixPath(template)))):
            self._parts.append((f"{{{part}}}" if part in OF_INPUTS else int(tags[part] or 0)) if i % 2 else part)
        self._tags = frozenset(part for part in self._parts if isinstance(part, int))

    def place(self, file: Buffer) -> str:
        """The path, relative to the folder, of the DICOM file whose head this is. Raises Permanent if it has none."""
        try:
            values = values_of(file, self._tags) if self._tags else {}
        except (Irregular, Undecodable, KeyError):  # KeyError: no transfer syntax of ours
            raise Permanent(Reason.UNREADABLE_RESULT) from None
        return self._place(values)

    def place_of(self, result: Result) -> str:
        """The same, of a result that may be no file yet. Raises Permanent."""
        values = result.values(self._tags)
        return self.place(result.head(_HEAD)) if values is None else self._place(values)

    def _place(self, values: Mapping[int, bytes]) -> str:
        return "".join(part if isinstance(part, str) else _safe(values.get(part, b"")) for part in self._parts)


def values_of(file: Buffer, tags: frozenset[int]) -> dict[int, bytes]:
    """Values of top-level attributes of a DICOM file whose head this is. Raises Irregular, Undecodable or KeyError."""
    meta, start = read_file_meta(file)
    syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
    if syntax.deflated:
        file, start = inflate_head(memoryview(file)[start:], _INFLATED), 0
    return read_values(file, start, len(file), syntax, tags)


def _check_number(template: str, numbers: bool) -> None:
    """Raise ConfigError where a number is not to be had, or where a place would not tell which number it has."""
    if not numbers:
        raise ConfigError(f"layout: {NUMBER} is for scp-anon deid: what a node receives has no order")
    if template.count(NUMBER) > 1:
        raise ConfigError(f"layout: {NUMBER} can be there once")
    before, after = next(part for part in template.split("/") if NUMBER in part).split(NUMBER)
    if "{" in before + after and (("{" in before and "{" in after) or _RUNS_ON.search(before + NUMBER + after)):
        raise ConfigError(f"layout: {NUMBER} must stand apart from a keyword, as in {{PatientID}}_{NUMBER}.dcm")


def _check_folder(template: str, is_known: bool) -> None:
    """Raise ConfigError where there is no folder of an input, or where it would be no folder of the output."""
    if not is_known:
        raise ConfigError(f"layout: {FOLDER} is for scp-anon deid: what a node receives comes from no folder")
    if template.count(FOLDER) > 1 or FOLDER not in template.split("/")[:-1]:
        raise ConfigError(f"layout: {FOLDER} can be there once, as a folder: {FOLDER}/{{SOPInstanceUID}}.dcm")


def filled(place: str, number: int | None, folder: str) -> str:
    """A place with its number, and with a folder, which may be none."""
    if number is not None:
        place = place.replace(NUMBER, str(number))
    return place.replace(f"{FOLDER}/", f"{folder}/" if folder else "")


@lru_cache(1024)
def _safe(value: bytes) -> str:
    """A value as one part of a path: never empty, never hidden, never a step up."""
    text = _UNSAFE.sub(b"_", value.strip(b"\0 ")).decode("ascii")[:_LIMIT].lstrip(".")
    return text or _NOTHING
