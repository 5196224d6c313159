"""What is remembered of many files while they are checked: on the disk, so that memory stays flat.

It lies in a folder of its own that only we can read, and is deleted at the end. UIDs in it are those of results, or
under the key; of originals it has the paths. Paths are bytes there, as not every name of a file is a text.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from scp_anon.verification.checks import Checked, Original, Uid

_SCHEMA: Final = """
    CREATE TABLE result (relative BLOB PRIMARY KEY, uid TEXT, study TEXT) WITHOUT ROWID;
    CREATE TABLE own (level TEXT, uid TEXT, PRIMARY KEY (level, uid)) WITHOUT ROWID;
    CREATE TABLE was (level TEXT, uid TEXT, PRIMARY KEY (level, uid)) WITHOUT ROWID;
    CREATE TABLE reference (level TEXT, uid TEXT, path TEXT, example BLOB, count INTEGER,
        PRIMARY KEY (level, uid, path)) WITHOUT ROWID;
    CREATE TABLE whole (level TEXT, uid TEXT, of TEXT, example BLOB, PRIMARY KEY (level, uid, of)) WITHOUT ROWID;
    CREATE TABLE original (relative BLOB PRIMARY KEY, uid TEXT, study TEXT) WITHOUT ROWID;
"""
_PAIRS: Final = "SELECT original.study, original.relative, result.relative FROM original LEFT JOIN result ON {on} "
# An instance that is there in two studies has a result in each.
_BY_UID: Final = (
    "result.uid = original.uid AND (result.study = original.study OR NOT EXISTS "
    "(SELECT 1 FROM result AS other WHERE other.uid = original.uid AND other.study = original.study))"
)
_BY_PLACE: Final = "result.relative = original.relative"
_DUPLICATES: Final = (
    "SELECT count(DISTINCT result.relative) - max(1, count(DISTINCT original.relative)) AS more, max(result.relative) "
    "FROM result LEFT JOIN original ON {on} WHERE result.uid != '?' GROUP BY result.uid HAVING more > 0 ORDER BY 2"
)
_OTHERS: Final = "SELECT relative FROM result WHERE NOT EXISTS (SELECT 1 FROM original WHERE {on}) ORDER BY relative"


class Dangling(NamedTuple):
    """References from one path that lead nowhere: how many, and a file that has one."""

    path: str
    times: int
    example: str


class Index:
    """The index of one run."""

    def __init__(self, folder: Path, mirror: bool) -> None:
        """`folder`: an empty one that nobody else can read. `mirror`: originals are matched by place, not by UID."""
        self._database = sqlite3.connect(folder / "index.sqlite", isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        self._database.execute("BEGIN")
        self._on = _BY_PLACE if mirror else _BY_UID

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add_result(self, checked: Checked) -> None:
        """Remember a result that is an instance."""
        run = self._database.execute
        study = next((own.uid for own in checked.own if own.level == "study"), "")
        relative = os.fsencode(checked.relative)
        run("INSERT INTO result VALUES (?, ?, ?)", (relative, checked.sop_instance_uid, study))
        self._database.executemany("INSERT OR IGNORE INTO own VALUES (?, ?)", checked.own)
        wholes = [(*whole, relative) for whole in checked.wholes if whole.uid]
        self._database.executemany("INSERT OR IGNORE INTO whole VALUES (?, ?, ?, ?)", wholes)
        rows = [(uid.level, uid.uid, path, relative) for uid, path in checked.references]
        self._database.executemany(
            "INSERT INTO reference VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", rows
        )

    def add_original(self, original: Original) -> None:
        """Remember an original."""
        row = os.fsencode(original.relative), original.sop_instance_uid or None, original.study
        self._database.execute("INSERT INTO original VALUES (?, ?, ?)", row)
        self._database.executemany("INSERT OR IGNORE INTO was VALUES (?, ?)", (*original.new, *original.hashed))

    def index(self) -> None:
        """Make what follows fast; all results and originals are known."""
        self._database.execute("CREATE INDEX by_uid ON result (uid, study)")
        self._database.execute("CREATE INDEX by_original ON original (uid)")

    def studies(self) -> Iterator[list[tuple[str, str | None]]]:
        """The originals with their results, study by study; those that cannot be read are alone."""
        order = "ORDER BY original.study, original.relative, result.relative"
        rows = self._database.execute(_PAIRS.format(on=self._on) + order)
        for study, pairs in groupby(rows, key=lambda row: str(row[0])):
            together = [(os.fsdecode(original), None if to is None else os.fsdecode(to)) for _, original, to in pairs]
            yield from [together] if study else ([pair] for pair in together)

    def without_original(self) -> Iterator[str]:
        """The results that no original is known of."""
        return (os.fsdecode(row[0]) for row in self._database.execute(_OTHERS.format(on=self._on)))

    def without_result(self) -> int:
        """How many originals have no result."""
        query = f"SELECT count(*) FROM original WHERE NOT EXISTS (SELECT 1 FROM result WHERE {self._on})"  # noqa: S608 - no value in it
        row: tuple[int] = self._database.execute(query).fetchone()
        return row[0]

    def duplicates(self) -> Iterator[tuple[int, str]]:
        """How many results too many have the same SOP Instance UID, more than originals; and one of them."""
        rows: Iterator[tuple[int, bytes]] = self._database.execute(_DUPLICATES.format(on=self._on))
        return ((more, os.fsdecode(example)) for more, example in rows)

    def mixed(self) -> Iterator[tuple[str, str]]:
        """The studies of more than one patient, and the series of more than one study: the level, and a file."""
        rows: Iterator[tuple[str, bytes]] = self._database.execute(
            "SELECT level, max(example) FROM whole GROUP BY level, uid HAVING count(*) > 1 ORDER BY 1, 2"
        )
        return ((level, os.fsdecode(example)) for level, example in rows)

    def unresolved(self) -> Iterator[tuple[Uid, Dangling]]:
        """The references to what is in no result."""
        rows = self._database.execute(
            "SELECT level, uid, path, count, example FROM reference WHERE NOT EXISTS "
            "(SELECT 1 FROM own WHERE own.level = reference.level AND own.uid = reference.uid) ORDER BY path, example"
        )
        for level, uid, path, count, example in rows:
            yield Uid(level, uid), Dangling(path, count, os.fsdecode(example))

    def had(self, uid: Uid) -> bool:
        """Whether an original was this."""
        return bool(self._database.execute("SELECT 1 FROM was WHERE level = ? AND uid = ?", uid).fetchone())
