"""Opens SQLite files so that their commits are durable.

Invariant: a connection acknowledges a commit only once it is on stable storage (WAL mode with `synchronous=FULL`).
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
"""Log pages of 4 KiB at which a commit also runs a checkpoint. At SQLite's default of 1,000, every hundredth lead of a
single sender waited milliseconds for one."""


def open_sqlite(path: Path, *, busy_timeout_s: float, create: bool = False) -> sqlite3.Connection:
    """Open an autocommit connection in WAL mode that syncs every commit; the caller issues each `BEGIN`.

    Raises:
        StoreUnavailable: The file cannot be used, or it is missing and `create` is false.
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
    """Make commits durable (https://www.sqlite.org/pragma.html#pragma_synchronous) and enforce foreign keys."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")


@contextmanager
def busy_timeout(connection: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    """Set the connection's busy timeout for the block, then restore it."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def free_bytes(folder: Path) -> int:
    """Return how many bytes an unprivileged process may still write to the disk of `folder`."""
    statistics = os.statvfs(folder)
    return statistics.f_bavail * statistics.f_frsize
