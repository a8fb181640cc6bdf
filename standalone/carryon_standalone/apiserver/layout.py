"""The layout of the database: which one a file has, how an older one becomes the newest, and that a newer one is left.

The version stands in SQLite's own `user_version`. A change of the layout is a further script at the end of `_STEPS`;
those before it are never changed, for files of all of them exist.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

EMPTY: Final = 1
"""The revision of an empty store. Nobody has seen one, so whoever asks for what came after it has it from elsewhere."""

# The first is written so that it fits files from before there were versions too: they have these tables, and version 0.
_STEPS: Final = (
    f"""
    CREATE TABLE IF NOT EXISTS objects (
        kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    );
    CREATE TABLE IF NOT EXISTS events (
        revision INTEGER PRIMARY KEY, type TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL,
        name TEXT NOT NULL, value BLOB NOT NULL, previous BLOB
    );
    CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind, revision);
    CREATE TABLE IF NOT EXISTS trimmed (kind TEXT PRIMARY KEY, revision INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS revision (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
    INSERT OR IGNORE INTO revision VALUES (1, {EMPTY});
    """,
)


class CannotOpen(Exception):
    """A database that this version can't work with: a sentence that says why, and what to do."""


def open_database(file: Path, steps: Sequence[str] = _STEPS) -> sqlite3.Connection:
    """A database in the newest layout, made where it is missing, readable by its owner only.

    Args:
        file: The database.
        steps: Scripts, each of which makes layout N + 1 out of layout N, counted from 0.

    Raises:
        CannotOpen: The file is of a newer version, and was left as it is, or is no database.
    """
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.chmod(file, 0o600)  # log and index of SQLite get the same rights
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found > len(steps):
            raise CannotOpen(
                f"{file} was written by a newer version of Carryon (layout {found}; this one knows layouts up to"
                f" {len(steps)}): install that version again, or choose another --data. Nothing was changed"
            )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        for version, step in enumerate(steps[found:], start=found + 1):
            _take(database, step, version)
    except sqlite3.DatabaseError as error:
        database.close()
        raise CannotOpen(f"the database {file} can't be used: {error}") from error
    except BaseException:
        database.close()
        raise
    return database


def _take(database: sqlite3.Connection, step: str, version: int) -> None:
    """One step, wholly or not at all."""
    try:
        database.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT;")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
