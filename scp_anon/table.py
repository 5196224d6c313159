"""Tables of the DICOM files in a folder, as CSV or XLSX, with the columns of dicommanager: what `table` writes.

Every cell is text, and none a formula. Values of originals may be among them: the file is for its owner only. Rows are
written as they come, so that memory stays flat.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from scp_anon.deid.instance import PATIENT_ID, PATIENT_NAME, SPECIFIC_CHARACTER_SET
from scp_anon.deid.text import DEFAULT_REPERTOIRE, character_sets, decode
from scp_anon.dicom.whole import read_head
from scp_anon.errors import ConfigError, Reason, Undecodable
from scp_anon.filesystem import written_aside
from scp_anon.harmless import no_formula, visible

Row: TypeAlias = "tuple[str, ...]"

# Names of columns as dicommanager has them, its slip of the pen included: scripts look for them.
FILES: Final = ("lp", "path", "size")
PATIENTS: Final = (
    "source_file",
    "patient_name",
    "patient_id_DICOM",
    "patient_index",
    "file_size",
    "destinaton_file",
    "status",
)
_OK: Final = "OK"
_ERROR: Final = "ERROR"
_NONE: Final = "NONE"
_NOBODY: Final = "0"

_PATIENT_IDENTITY_REMOVED: Final = 0x00120062
_TAGS: Final = frozenset((SPECIFIC_CHARACTER_SET, PATIENT_NAME, PATIENT_ID, _PATIENT_IDENTITY_REMOVED))
_NO_INSTANCE: Final = frozenset((Reason.NOT_DICOM, Reason.EMPTY))
_LONGEST_CELL: Final = 32_000  # a spreadsheet takes 32,767 characters
_LONGEST_SHEET: Final = 1_048_576  # rows
_FOLDER: Final = "folder that cannot be read"


@dataclass
class Found:
    """What was met on the way: DICOM files, other files, faults by reason, and whether a value is of an original."""

    files: int = 0
    others: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    identifies: bool = False


@dataclass(frozen=True)
class Head:
    """What a table says of one file."""

    name: str
    patient_id: str
    is_deidentified: bool


def files_of(folder: Path, found: Found) -> Iterator[Row]:
    """A row of `FILES` for each DICOM file below a folder: a running number, its path, its bytes."""
    for number, (path, _, size) in enumerate(_dicom_files(folder, found), 1):
        yield str(number), path, str(size)


def patients_of(folder: Path, found: Found) -> Iterator[Row]:
    """A row of `PATIENTS` for each DICOM file below a folder.

    A de-identified one is a destination, whose Patient ID is the index; any other one is a source.
    """
    for path, head, size in _dicom_files(folder, found):
        if head is None:
            yield path, "", "", _NOBODY, str(size), _NONE, _ERROR
        elif head.is_deidentified:
            yield "", head.name, head.patient_id, head.patient_id, str(size), path, _OK
        else:
            found.identifies = True
            yield path, head.name, head.patient_id, "", str(size), _NONE, _OK


def patients_of_run(report: Path, folder: Path, found: Found) -> Iterator[Row]:
    """A row of `PATIENTS` for each instance in the report of a `deid` whose output is `folder`: who became whom.

    Name and ID are those of the source, as far as it is still there. Raises ConfigError for what is no such report.
    """
    for line in _lines(report):
        if line["status"] == "filtered":
            found.others += 1
            continue
        found.files += 1
        source = str(line["source"])
        original, size = _source(source)
        found.identifies |= original is not None and not original.is_deidentified
        name, patient_id = (original.name, original.patient_id) if original else ("", "")
        output = str(folder / str(line["output"])) if line["status"] == "delivered" else ""
        try:
            new = _head(Path(output)) if output else None
        except (Undecodable, OSError) as error:
            new = None
            found.faults[_reason(error)] += 1
        if new is None:
            if not output:
                found.faults[str(line["reason"] or line["status"])] += 1
            yield source, name, patient_id, _NOBODY, size, _NONE, _ERROR
        else:
            yield source, name, patient_id, new.patient_id, size, output, _OK


@contextmanager
def table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """A new table, CSV or XLSX by its ending, that is at `path` when the block has ended well; takes rows.

    Raises ConfigError for another ending, a file that is there already, or a package that is missing; OSError.
    """
    kinds = {".csv": _csv, ".xlsx": _xlsx}
    if path.suffix.lower() not in kinds:
        raise ConfigError(f"{path}: a table is a .csv or an .xlsx file")
    try:
        with written_aside(path, 0o600) as aside, kinds[path.suffix.lower()](aside, columns) as add:
            yield add
    except FileExistsError:
        raise ConfigError(f"{path}: a file is there already") from None


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield lambda row: writer.writerow([no_formula(_cell(value)) for value in row])


@contextmanager
def _xlsx(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    try:
        from xlsxwriter import Workbook
    except ImportError:
        raise ConfigError("a table as .xlsx needs XlsxWriter: pip install 'scp-anon[tables]'") from None
    # What does not fit into memory goes through files beside ours, for our eyes only as well.
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}-") as beside:
        book = Workbook(str(path), {"constant_memory": True, "tmpdir": beside})
        # As with an apostrophe in front: text, and no formula after an edit either.
        text = book.add_format({"num_format": "@", "quote_prefix": True})
        sheet: Any = None
        rows = _LONGEST_SHEET

        def add(row: Row) -> None:
            nonlocal sheet, rows
            if rows == _LONGEST_SHEET:
                sheet, rows = book.add_worksheet(), 0
                if row is not columns:
                    add(tuple(columns))
            for column, value in enumerate(row):
                sheet.write_string(rows, column, _cell(value), text)
            rows += 1

        try:
            add(tuple(columns))
            yield add
        finally:
            book.close()


def _cell(value: str) -> str:
    return visible(value, _LONGEST_CELL)


def _dicom_files(folder: Path, found: Found) -> Iterator[tuple[str, Head | None, int]]:
    """Path, head (None if it cannot be read) and size of each DICOM file below a folder, in the order of names."""

    def unreadable(error: OSError) -> None:
        found.faults[_FOLDER] += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            head = None
            size = 0
            try:
                if not path.is_file():
                    continue
                size = path.stat().st_size
                head = _head(path)
            except (Undecodable, OSError) as error:
                if isinstance(error, Undecodable) and error.reason in _NO_INSTANCE:
                    found.others += 1
                    continue
                found.faults[_reason(error)] += 1
            found.files += 1
            yield str(path), head, size


def _source(path: str) -> tuple[Head | None, str]:
    """What is known of a source that may not be there any more, nor be readable; and its size."""
    try:
        size = str(os.stat(path).st_size)
        return _head(Path(path)), size
    except OSError:
        return None, ""
    except Undecodable:
        return None, size


def _head(path: Path) -> Head:
    values = read_head(path, _TAGS)
    terms = character_sets(values[SPECIFIC_CHARACTER_SET]) if SPECIFIC_CHARACTER_SET in values else DEFAULT_REPERTOIRE
    removed = values.get(_PATIENT_IDENTITY_REMOVED, b"").strip(b" \0") == b"YES"
    name, patient_id = (decode(values.get(tag, b""), terms) for tag in (PATIENT_NAME, PATIENT_ID))
    return Head(name, patient_id, removed)


def _reason(error: Undecodable | OSError) -> str:
    return str(error.reason) if isinstance(error, Undecodable) else error.strerror or type(error).__name__


def _lines(report: Path) -> Iterator[dict[str, Any]]:
    """The objects of a report. Raises ConfigError."""
    try:
        with report.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                    if not {"source", "status", "output", "reason"} <= line.keys():
                        raise ValueError
                except (ValueError, AttributeError):
                    raise ConfigError(f"{report}:{number}: is no line of a report of deid") from None
                yield line
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{report}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None
