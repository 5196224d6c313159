"""What a run has to remember of millions of files, without having it in memory."""

from __future__ import annotations

import sqlite3


def scratch(*tables: str) -> sqlite3.Connection:
    """A temporary data base with these tables, which nobody else can open, and which is gone when it is closed."""
    database = sqlite3.connect("")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA cache_size = -512")  # KiB
    for table in tables:
        database.execute(f"CREATE TABLE {table} WITHOUT ROWID")
    return database
