"""Opens SQLite files so that their commits are durable.

Invariant: a connection acknowledges a commit only once it is on stable storage (WAL mode with `synchronous=FULL`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from leadcrm.database.data_dir import give_to_owner_of
from leadcrm.database.deleted_log import opening
from leadcrm.database.descriptors import OPENING
from leadcrm.database.driver_errors import store_error
from leadcrm.errors import StoreUnavailable

SQLITE_CACHE_KIB = 16_384

_FILE_MODE = 0o640
"""Leads are not for every user of the machine, whatever the umask. The folder's group may read them."""

SQLITE_LOG_BYTES = 64 * 1024 * 1024
"""What a log that grew beside a long read keeps of the disk once it is begun anew."""

LOG_HEAD_BYTES = 32
"""The size of a log without pages."""

SQLITE_CHECKPOINT_PAGES = 4000
"""Log pages of 4 KiB at which a store runs a checkpoint after a commit. At SQLite's default of 1,000, every hundredth
lead of a single sender waited milliseconds for one."""

SWITCH_S = 2.0
"""How long others may give a new file its log: milliseconds, on a busy machine."""

_LATEST_CHECKPOINT_PAGES = 4 * SQLITE_CHECKPOINT_PAGES
"""Log pages at which a commit of any other connection runs one, where no store does it sooner, right after a look at
the file: a copy over it that falls into a checkpoint is hard to tell from that."""


def open_sqlite(path: Path, *, busy_timeout_s: float, create: bool = False) -> sqlite3.Connection:
    """Open an autocommit connection in WAL mode that syncs every commit; the caller issues each `BEGIN`.

    Raises:
        StoreDamaged: A restore was cut off that has taken the log away.
        StoreUnavailable: The file cannot be used, is open with a log that was deleted, or is missing and `create` is
            false.
    """
    if not create and not path.exists():
        raise StoreUnavailable(f"{path} does not exist", hint="leadcrm migrate")
    if create:
        _create(path)
    mode = "rwc" if create else "rw"
    try:
        with opening(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            set_pragmas(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


def _create(path: Path) -> None:
    """Create an empty file, unless it exists, for the folder's owner; SQLite gives its other files the same one.

    A command that root runs before the service has ever started would else leave a file that the service cannot write.
    """
    # A folder that is missing or read-only SQLite reports better.
    with suppress(OSError), OPENING:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            give_to_owner_of(path.parent, descriptor)
        finally:
            os.close(descriptor)


def set_pragmas(connection: sqlite3.Connection, path: Path) -> None:
    """Make commits durable (https://www.sqlite.org/pragma.html#pragma_synchronous) and enforce foreign keys."""
    until = monotonic() + SWITCH_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if monotonic() > until:
                raise
            if _is_empty(log_of(path)):
                # A backup that was copied over the file says that it has no log, and SQLite takes an empty one for
                # none. Others who use it hold the file then. Appending harms no page that they write meanwhile.
                with open(log_of(path), "ab") as log:
                    log.write(bytes(LOG_HEAD_BYTES))
            elif "locked" not in str(error):
                raise
            # Of several that open a new file at once, one gives it its log, and SQLite lets the others not wait for it.
            sleep(0.01)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LATEST_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {SQLITE_LOG_BYTES}")
    # What is erased, or replaced by a newer value, leaves no bytes behind in the file.
    connection.execute("PRAGMA secure_delete = ON")


@contextmanager
def busy_timeout(connection: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    """Set the connection's busy timeout for the block, then restore it."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def log_of(path: Path) -> str:
    """Return the path of a database's log."""
    return f"{path}-wal"


def file_bytes(path: Path | str) -> int:
    """Return the size of a file, 0 if it is not there."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False


def free_bytes(folder: Path) -> int:
    """Return how many bytes an unprivileged process may still write to the disk of `folder`."""
    statistics = os.statvfs(folder)
    return statistics.f_bavail * statistics.f_frsize


def may_create_files(folder: Path) -> bool:
    """Say whether the disk of `folder` has an inode left for an unprivileged process. Some file systems count none."""
    statistics = os.statvfs(folder)
    return statistics.f_files == 0 or statistics.f_favail > 0
