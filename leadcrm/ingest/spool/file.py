"""The spool's file: which one is in use, how it comes to be, and how a damaged one is set aside.

The first is `spool.db`; once that is damaged or gone its successor `spool-2.db` is in use, and so on. Those before
the one in use are set aside: their rows are salvaged into it, and `NAME.salvaged` beside them says with what success.

Invariants:
- A file comes to be whole (made under another name, synced, then linked into place), so one that is empty or lacks
  its tables was damaged.
- No name is used twice. When the last connection to a file closes, SQLite deletes the log of that name, which would
  be the log of the file that took its place (https://www.sqlite.org/howtocorrupt.html, 2.4 and 4.4).
- A file that was set aside is read, never changed.

May import database, migrations and errors.
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
from leadcrm.database.sqlite import open_sqlite
from leadcrm.errors import SpoolUnavailable, StoreDamaged, StoreUnavailable

_NAME = re.compile(r"spool(?:-([0-9]{1,9}))?\.db")


MAX_SET_ASIDE_FILES = 20
"""Damaged one after the other, the disk is at fault, and more files are no help."""

logger = logging.getLogger("leadcrm.ingest.spool.file")


class SpoolFile:
    """The file that is the spool, as one thread knows it."""

    def __init__(self, data_dir: Path) -> None:
        """Look which file is in use; it need not exist yet."""
        self._data_dir = data_dir
        self._inode: int | None = None
        self._turn_to(spool_in_use(data_dir))

    def open(self, *, busy_timeout_s: float) -> sqlite3.Connection:
        """Open the file in use, made or upgraded if need be.

        Raises `StoreUnavailable`, `StoreDamaged`, `SchemaTooNew`, `OSError`.
        """
        self._turn_to(max(self.path, spool_in_use(self._data_dir), key=parse_file_number))
        connection = open_spool_file(self.path, busy_timeout_s=busy_timeout_s)
        self._inode = self.path.stat().st_ino
        return connection

    def is_in_use(self) -> bool:
        """Say whether the file that was opened is still the spool: not gone, not set aside by another process."""
        try:
            return os.stat(self.path).st_ino == self._inode and not os.path.exists(self._successor)
        except FileNotFoundError:
            return False

    def set_aside(self, why: str) -> None:
        """Let the successor take the file's place, unless another process already did so; durable on return.

        Raises `SpoolUnavailable`. What this thread has open of the old file is for it to close.
        """
        if self._successor.exists():
            return
        if len(_files(self._data_dir)) > MAX_SET_ASIDE_FILES:
            raise SpoolUnavailable(f"{self.path}: {why}", hint="see to the disk, then delete the files set aside")
        try:
            make_spool_file(self._successor)
        except (OSError, StoreUnavailable) as error:
            raise SpoolUnavailable(f"{self.path}: {why}; {self._successor} cannot be made: {error}") from error
        logger.error(
            "%s cannot be used as the spool any more, %s takes its place: %s",
            self.path,
            self._successor.name,
            why,
            extra={"action": "set_aside", "hint": "its rows are salvaged by themselves; keep the file until then"},
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


def unsalvaged_files(data_dir: Path) -> list[Path]:
    """Return the files set aside whose rows are not in the file in use yet."""
    return [path for path in set_aside_files(data_dir) if not _marker(path).exists()]


def mark_salvaged(path: Path, outcome: str) -> None:
    """Note that a file's rows are in the file in use; durable on return."""
    descriptor = os.open(_marker(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, outcome.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def make_spool_file(path: Path) -> None:
    """Make an empty spool at `path`, unless there is one; durable on return.

    Raises `StoreUnavailable`, `OSError`.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    log = Path(f"{new}-wal")
    try:
        migrate_spool(new)
        if log.exists():
            raise StoreUnavailable(f"{path} cannot be made: what was written stayed in its log")
        os.link(new, path)
    except FileExistsError:
        return
    finally:
        for leftover in (new, log, Path(f"{new}-shm")):
            leftover.unlink(missing_ok=True)
    sync_folder(path.parent)


def open_spool_file(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the spool at `path`, made or upgraded if need be.

    Raises `StoreUnavailable`, `StoreDamaged`, `SchemaTooNew`, `OSError`.
    """
    if not path.exists():
        make_spool_file(path)
    if path.stat().st_size == 0:
        raise StoreDamaged(f"{path} is empty")
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
    """Return which one of a node's files it is, counted from 1."""
    match = _NAME.fullmatch(path.name)
    return int(match[1] or 1) if match else 0


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")
