"""Connections to SQLite files: how they are opened, and what makes their commits durable.

A connection acknowledges a commit only once it is on stable storage: WAL mode with `synchronous=FULL`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leadcrm.database.driver_errors import store_error
from leadcrm.errors import StoreUnavailable

SQLITE_CACHE_KIB = 16_384

SQLITE_CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the log before they are moved to the file, within a commit: at SQLite's own 1,000 every hundredth
lead of a lone sender waited milliseconds for that."""


def open_sqlite(path: Path, *, busy_timeout_s: float, create: bool = False) -> sqlite3.Connection:
    """Open an autocommit connection (`BEGIN` is ours to say) in WAL mode that syncs every commit.

    Raises `StoreUnavailable`, also where the file is missing and `create` is not given.
    """
    if not create and not path.exists():
        raise StoreUnavailable(f"{path} does not exist", hint="leadcrm migrate")
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            set_pragmas(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


def set_pragmas(connection: sqlite3.Connection) -> None:
    """Make commits durable (https://www.sqlite.org/pragma.html#pragma_synchronous) and foreign keys count."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")


@contextmanager
def busy_timeout(connection: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    """Let a connection wait that long for SQLite's locks, and afterwards as long as before."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def free_bytes(folder: Path) -> int:
    """Return how many bytes an unprivileged process may still write on the disk of `folder`."""
    statistics = os.statvfs(folder)
    return statistics.f_bavail * statistics.f_frsize
