"""Reading SQLite's files beside SQLite: its locks in this process stay."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from leadcrm.database.descriptors import find_descriptor
from leadcrm.database.sqlite import open_sqlite
from leadcrm.ingest.spool.sqlite_pages import Pages, lost_from_log

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM words").fetchone()
connection.close()
"""
"""A process that deletes the log when it closes its connection, if it is the last to do so."""


def read_pages(path: Path) -> None:
    with Pages(path) as pages:
        assert ["kept"] in [*pages.records()]


def read_index(path: Path) -> None:
    assert lost_from_log(path) is None


@pytest.fixture(params=[read_pages, read_index])
def read(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    reading: Callable[[Path], None] = request.param
    return reading


def descriptors_of(path: Path) -> list[str]:
    """Return the names of the process's open files of a database."""
    names = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in names if name.startswith(str(path))]


def with_a_row(path: Path) -> sqlite3.Connection:
    connection = open_sqlite(path, busy_timeout_s=5, create=True)
    connection.execute("CREATE TABLE words (word text)")
    connection.execute("INSERT INTO words VALUES ('kept')")
    return connection


def test_another_process_does_not_take_itself_for_the_last_one(tmp_path: Path, read: Callable[[Path], None]) -> None:
    path = tmp_path / "words.db"
    with closing(with_a_row(path)) as connection:
        read(path)
        subprocess.run([sys.executable, "-c", OTHER, path], check=True)
        assert Path(f"{path}-wal").exists()
        connection.execute("INSERT INTO words VALUES ('more')")


def test_what_cannot_be_closed_yet_is_read_from_again_and_closed_later(
    tmp_path: Path, read: Callable[[Path], None]
) -> None:
    path = tmp_path / "words.db"
    with closing(with_a_row(path)):
        before = len(descriptors_of(path))
        for _ in range(20):
            read(path)
        assert len(descriptors_of(path)) <= before + 3
    assert find_descriptor(path.stat()) is None, "SQLite has it open no longer"
    other = tmp_path / "others.db"
    with_a_row(other).close()
    read_pages(other)
    assert descriptors_of(path) == []
