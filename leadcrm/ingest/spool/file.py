"""The spool's files: finds the one in use, creates it, and sets a damaged one aside.

The first file is `spool.db`. Once it is damaged or gone, its successor `spool-2.db` is in use, and so on. The files
before the one in use are set aside: their rows are salvaged into the one in use, and `NAME.salvaged` beside each
records the result.

Invariants:
- A file appears whole: it is created under another name, synced, then linked into place. An empty file, or one that
  lacks its tables, was therefore damaged.
- No name is used twice. When the last connection to a file closes, SQLite deletes the log of that name, which would be
  the log of the file that took its place (https://www.sqlite.org/howtocorrupt.html, 2.4 and 4.4).
- A file that was set aside is read, never changed.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
from pathlib import Path

from leadcrm.database.data_dir import sync_folder
from leadcrm.database.driver_errors import store_error
from leadcrm.database.migrations import migrate_spool, newest_version
from leadcrm.database.overwritten import overwritten_files
from leadcrm.database.sqlite import open_sqlite
from leadcrm.errors import SpoolUnavailable, StoreDamaged, StoreUnavailable

_NAME = re.compile(r"spool(?:-([0-9]{1,9}))?\.db")

MAX_SET_ASIDE_FILES = 20
"""If so many files were damaged, the disk is at fault, and another file would not help."""

logger = logging.getLogger("leadcrm.ingest.spool.file")


class SpoolFile:
    """One thread's view of the spool's file in use."""

    def __init__(self, data_dir: Path) -> None:
        """Find the file in use, which need not exist yet."""
        self._data_dir = data_dir
        self._inode: int | None = None
        self._turn_to(spool_in_use(data_dir))

    def open(self, *, busy_timeout_s: float) -> sqlite3.Connection:
        """Open the file in use, after creating or upgrading it if necessary.

        Raises:
            StoreUnavailable: The file cannot be used now.
            StoreDamaged: The file is empty or damaged, or lacks its tables.
            SchemaTooNew: A newer program has migrated the file.
            OSError: The file or its folder cannot be read or written.
        """
        self._turn_to(max(self.path, spool_in_use(self._data_dir), key=parse_file_number))
        connection = open_spool_file(self.path, busy_timeout_s=busy_timeout_s)
        self._inode = self.path.stat().st_ino
        return connection

    def is_in_use(self) -> bool:
        """Say whether the opened file is still in use: not gone, and not set aside by another process."""
        try:
            return os.stat(self.path).st_ino == self._inode and not os.path.exists(self._successor)
        except FileNotFoundError:
            return False

    def set_aside(self, why: str) -> None:
        """Create the file's successor, unless another process has done so; durable on return.

        The caller must close its connections to the old file.

        Raises:
            SpoolUnavailable: Too many files are set aside, or the successor cannot be made.
        """
        if self._successor.exists():
            return
        if len(_files(self._data_dir)) > MAX_SET_ASIDE_FILES:
            raise SpoolUnavailable(f"{self.path}: {why}", hint="check the disk, then delete the files set aside")
        try:
            make_spool_file(self._successor)
        except (OSError, StoreUnavailable) as error:
            raise SpoolUnavailable(f"{self.path}: {why}; {self._successor} cannot be made: {error}") from error
        logger.error(
            "%s cannot be used as the spool any more, %s takes its place: %s",
            self.path,
            self._successor.name,
            why,
            extra={"action": "set_aside", "hint": "leadcrm salvages its rows; keep the file until then"},
        )

    def _turn_to(self, path: Path) -> None:
        self.path = path
        self._successor = path.with_name(f"spool-{parse_file_number(path) + 1}.db")


def spool_in_use(data_dir: Path) -> Path:
    """Return the file in use, which need not exist yet."""
    return max(_files(data_dir), key=parse_file_number, default=data_dir / "spool.db")


def set_aside_files(data_dir: Path) -> list[Path]:
    """Return the files that were set aside, oldest first."""
    return sorted(_files(data_dir), key=parse_file_number)[:-1]


def unsalvaged_files(data_dir: Path, database: Path | None = None) -> list[Path]:
    """Return the files set aside, and those kept of overwritten ones, whose rows are not in the file in use yet.

    Args:
        data_dir: The spool's folder.
        database: The embedded database, if what was kept of it counts too.
    """
    overwritten = [kept for path in _files(data_dir) for kept in overwritten_files(path)]
    if database is not None:
        overwritten += overwritten_files(database)
    return [path for path in (*set_aside_files(data_dir), *overwritten) if not _marker(path).exists()]


def salvaged_files(data_dir: Path) -> list[tuple[Path, str]]:
    """Return the files set aside whose rows are in the file in use, each with the salvage's result."""
    return [(path, marker.read_text()) for path in set_aside_files(data_dir) if (marker := _marker(path)).exists()]


def delete_set_aside(path: Path) -> None:
    """Delete a file that was set aside, and what lies beside it; durable on return."""
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")), _marker(path)):
        name.unlink(missing_ok=True)
    sync_folder(path.parent)


def mark_salvaged(path: Path, outcome: str) -> None:
    """Record that a file's rows are in the file in use, with the salvage's result; durable on return."""
    descriptor = os.open(_marker(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, outcome.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def make_spool_file(path: Path) -> None:
    """Create an empty spool at `path`, unless it exists; durable on return.

    Raises:
        StoreUnavailable: The file cannot be made.
        OSError: The file or its folder cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    log = Path(f"{new}-wal")
    try:
        migrate_spool(new)
        if log.exists():
            raise StoreUnavailable(f"{path} cannot be made: its rows stayed in its log")
        os.link(new, path)
    except FileExistsError:
        return
    finally:
        for leftover in (new, log, Path(f"{new}-shm")):
            leftover.unlink(missing_ok=True)
    sync_folder(path.parent)


def open_spool_file(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the spool at `path`, after creating or upgrading it if necessary.

    Raises:
        StoreUnavailable: The file cannot be used now.
        StoreDamaged: The file is empty or damaged, or lacks its tables.
        SchemaTooNew: A newer program has migrated the file.
        OSError: The file or its folder cannot be read or written.
    """
    if not path.exists():
        make_spool_file(path)
    if path.stat().st_size == 0:
        raise StoreDamaged(f"{path} is empty")
    if not os.access(path, os.W_OK):
        # A read-only connection would make all later ones of this process read-only too.
        raise StoreUnavailable(f"{path} is not writable", hint="make it and its folder writable for the service's user")
    connection = open_sqlite(path, busy_timeout_s=busy_timeout_s)
    try:
        if _version(connection, path) != newest_version("spool"):
            migrate_spool(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        return int(connection.execute("SELECT max(version) FROM leadcrm_migrations").fetchone()[0])
    except sqlite3.Error as error:
        if "no such table" in str(error):
            raise StoreDamaged(f"{path} lacks its tables") from error
        raise store_error(error, path) from error


def _files(data_dir: Path) -> list[Path]:
    try:
        return [data_dir / name for name in os.listdir(data_dir) if _NAME.fullmatch(name)]
    except (FileNotFoundError, PermissionError):
        return []


def parse_file_number(path: Path) -> int:
    """Return the number in the file's name, counted from 1; 0 if the name is no spool's."""
    match = _NAME.fullmatch(path.name)
    return int(match[1] or 1) if match else 0


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")
