"""Fields of a layout that the new values do not have: a month, or a serial of a link list, of the original's values.

A file says which: `deid --fields FILE`. They are filled into the template before it becomes a `Layout`.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword

from scp_anon.columns import Encoding, Form
from scp_anon.destinations.layout import OF_INPUTS, Layout
from scp_anon.documents import Document, Section, read
from scp_anon.errors import ConfigError, Permanent, Reason
from scp_anon.links import Links, Matching

_FIELD: Final = re.compile(r"\{(\w+)\}")
_DATE: Final = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_MONTHS: Final = 12
_CACHED: Final = 4096  # layouts: one for each folder that is written to at a time


class LinksSection(Section):
    """A link list."""

    file: Path
    number: str
    serial: str
    match: Matching = "word"
    delimiter: str = ","
    encoding: Encoding = "utf-8"
    header: bool = True


class FieldSection(Section):
    """One field: the serial that an attribute's original value leads to, or the month of an original date."""

    serial_of: str | None = None
    date: str | None = None
    form: Literal["M-YYYY", "YYYY-MM", "YYYY"] = "M-YYYY"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.serial_of is None) == (self.date is None):
            raise ValueError("must have one of serial_of and date")
        keyword = self.serial_of or self.date or ""
        if tag_for_keyword(keyword) is None:
            raise ValueError(f"{keyword} is no attribute of the standard")
        return self


class FieldsFile(Section):
    """The content of the file."""

    links: LinksSection | None = None
    fields: dict[str, FieldSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, section in self.fields.items():
            if not name.isidentifier() or name in OF_INPUTS or tag_for_keyword(name) is not None:
                why = "neither n nor Folder, nor that of an attribute"
                raise ValueError(f"fields: {name} must be a name of your own: {why}")
            if section.serial_of is not None and self.links is None:
                raise ValueError(f"fields: {name}: there is no link list: links is missing")
        return self


class LayoutFields:
    """The fields of a file, and a template that may name them."""

    def __init__(self, template: str, file: Path) -> None:
        """Raises ConfigError for a file that cannot be meant, and for a template that names none of its fields."""
        self.content = read(file)
        """What the file says, and the link list: with another one, the same originals may have other places."""
        settings = Document(self.content, str(file)).as_section(FieldsFile)
        self._template = template
        used = set(_FIELD.findall(template))
        self._fields = {name: section for name, section in settings.fields.items() if name in used}
        if not self._fields:
            raise ConfigError(f"layout: names none of the fields of {file}: {', '.join(settings.fields)}")
        self._links = _links(settings.links, file.parent) if settings.links is not None else None
        if settings.links is not None:
            self.content += hashlib.sha256((file.parent / settings.links.file).read_bytes()).hexdigest()
        keywords = [section.serial_of or section.date or "" for section in self._fields.values()]
        self._tags = [*keywords, "SpecificCharacterSet"]
        self.layout = lru_cache(_CACHED)(partial(Layout, numbers=True))
        self.layout(self._filled(dict.fromkeys(self._fields, "x")))  # a fault in the rest of it is told at once

    def fill(self, source: str | Path) -> str:
        """The template for an original file: with these fields filled in, those of new values still in braces.

        Raises Permanent for an instance that has none of a month, or of a serial, and OSError.
        """
        try:
            ds = dcmread(source, specific_tags=self._tags, stop_before_pixels=True, force=True)
            values = {name: str(ds.get(section.serial_of or section.date or "") or "") for name, section in self._of()}
        except OSError:
            raise
        except Exception as error:
            # pydicom raises whatever its parts do; the message may hold a value, so only its type is told.
            raise Permanent(Reason.UNREADABLE_RESULT, type(error).__name__) from None
        return self._filled({name: self._value(name, section, values[name]) for name, section in self._of()})

    def layout_of(self, source: str | Path) -> Layout:
        """The layout for an original file. Raises as `fill`."""
        return self.layout(self.fill(source))

    def _of(self) -> list[tuple[str, FieldSection]]:
        return list(self._fields.items())

    def _value(self, name: str, section: FieldSection, value: str) -> str:
        if section.serial_of is not None:
            found = self._links.serial(value) if self._links is not None and value else None
        else:
            found = _month(value, section.form)
        if found is None:
            raise Permanent(Reason.AWAITING_MAPPING, name)
        return found

    def _filled(self, values: dict[str, str]) -> str:
        return _FIELD.sub(lambda match: values.get(match[1], match[0]), self._template)


def _links(section: LinksSection, folder: Path) -> Links:
    form = Form(section.delimiter, section.encoding, section.header)
    return Links(folder / section.file, form, section.number, section.serial, section.match)


def _month(value: str, form: str) -> str | None:
    """The month of a DA or DT value, None where it has none."""
    match = _DATE.match(value)
    if match is None or not 1 <= int(match[2]) <= _MONTHS:
        return None
    year, month = match[1], match[2]
    return {"M-YYYY": f"{int(month)}-{year}", "YYYY-MM": f"{year}-{month}", "YYYY": year}[form]
