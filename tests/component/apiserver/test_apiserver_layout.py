"""The layout of the database: older ones are brought up to date, newer ones left alone, nobody else reads it."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.apiserver.layout import CannotOpen, open_database

MAPS = "/api/v1/namespaces/default/configmaps"
RELEASED_0_1 = """
CREATE TABLE objects (kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name));
CREATE TABLE events (revision INTEGER PRIMARY KEY, type TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL,
    name TEXT NOT NULL, value BLOB NOT NULL, previous BLOB);
CREATE INDEX events_by_kind ON events (kind, revision);
CREATE TABLE trimmed (kind TEXT PRIMARY KEY, revision INTEGER NOT NULL);
CREATE TABLE revision (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT INTO revision VALUES (1, 40);
INSERT INTO objects VALUES ('/configmaps', 'default', 'kept', CAST(
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept","namespace":"default","uid":"u","resourceVersion":"40"}}'
    AS BLOB));
"""
"""What release 0.1 left on disk: no version, one object."""


def version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_a_database_of_the_first_release_is_taken_over(own_server: Any) -> None:
    file = own_server.folder / "data" / "state.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database:
        database.executescript(RELEASED_0_1)
    own_server.start()
    assert own_server.get(f"{MAPS}/kept")["metadata"]["resourceVersion"] == "40"
    assert int(own_server.create(MAPS, {"metadata": {"name": "new"}})["metadata"]["resourceVersion"]) > 40
    assert version(file) == 1


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_was(own_server: Any) -> None:
    own_server.start()
    own_server.create(MAPS, {"metadata": {"name": "a"}})
    own_server.stop()
    file = own_server.folder / "data" / "state.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 7")
    before = file.read_bytes()
    refused = subprocess.run(own_server.command(), capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"{file} was written by a newer version of Carryon (layout 7; this one knows layouts up to 1):"
        " install that version again, or choose another --data. Nothing was changed\n"
    )
    assert file.read_bytes() == before


def test_steps_are_taken_in_order_and_each_wholly_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    first, second = "CREATE TABLE a (x)", "INSERT INTO a VALUES (1); ALTER TABLE a ADD COLUMN y DEFAULT 5"
    open_database(file, [first]).close()
    with pytest.raises(CannotOpen, match="no such table: missing"):
        open_database(file, [first, f"{second}; DELETE FROM missing"])
    assert version(file) == 1
    database = open_database(file, [first, second, "UPDATE a SET y = 6"])
    assert database.execute("SELECT * FROM a").fetchall() == [(1, 6)]
    database.close()
    assert version(file) == 3
    open_database(file, [first, second, "UPDATE a SET y = 6"]).close()


def test_a_file_that_is_no_database_is_one_sentence(own_server: Any) -> None:
    file = own_server.folder / "data" / "state.db"
    file.parent.mkdir()
    file.write_text("no database, but long enough to be taken for one" * 100)
    refused = subprocess.run(own_server.command(), capture_output=True, text=True, timeout=30)
    assert (refused.returncode, refused.stderr) == (
        1,
        f"the database {file} can't be used: file is not a database\n",
    )


def test_nobody_else_can_read_what_is_stored(own_server: Any) -> None:
    own_server.start()
    own_server.create(MAPS, {"metadata": {"name": "a"}})
    files = sorted((own_server.folder / "data").iterdir())
    assert {file.name for file in files} == {"lock", "state.db", "state.db-shm", "state.db-wal"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (own_server.folder / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"])
def test_only_this_machine_is_listened_to(own_server: Any, address: str) -> None:
    command = [address if each == "127.0.0.1:0" else each for each in own_server.command()]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert f"--listen {address}: only loopback addresses are served" in refused.stderr
