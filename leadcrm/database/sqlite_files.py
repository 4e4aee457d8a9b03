"""The files of an open SQLite database: whether they are still those that were opened, and saving a deleted log.

Cleaners of "temporary files", `rsync --delete` and restore scripts delete `-wal` files under running servers. SQLite
goes on without a word: the newest commits are then in a file that has no name and ends with the process
(https://www.sqlite.org/howtocorrupt.html, 1.4).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from leadcrm.database.sqlite import busy_timeout

SAVE_TIMEOUT_MS = 2000
"""How long saving a log waits for readers of what is not saved yet."""

logger = logging.getLogger("leadcrm.database.sqlite_files")


class SqliteFiles:
    """A database file and its log, as a connection has opened them."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Remember which files they are. Raises `sqlite3.Error`, `OSError`."""
        self._connection = connection
        self._path = str(path)
        self._log = log_of(path)
        # The log is opened, and created if it is missing, by the first read.
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        self._inode = os.stat(self._path).st_ino
        self._log_inode = os.stat(self._log).st_ino

    def fault(self) -> str | None:
        """Return what has happened to the files, or None if they are those that were opened; two calls of `stat`."""
        try:
            if os.stat(self._path).st_ino != self._inode:
                return f"{self._path} was replaced by another file"
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return f"{self._log} was deleted or replaced" if self._has_lost_log() else None

    def save_log(self) -> None:
        """Move the commits in a log that was deleted into the database's file; call it before the connection closes.

        It does nothing while the log is in place, and cannot do anything once another process has begun a new log.
        """
        try:
            if os.stat(self._path).st_ino != self._inode or not self._has_lost_log():
                return
            fault = self._save()
        except (OSError, sqlite3.Error) as error:
            fault = str(error)
        if fault is None:
            told, hint = "its commits were saved into the database's file", "find out what deletes files there"
        else:
            told = f"its commits could not be saved: {fault}"
            hint = "compare the newest leads with what their senders know"
        text = f"{self._log} was deleted under the running server; {told}"
        logger.error(text, extra={"action": "save_log", "hint": hint})

    def _save(self) -> str | None:
        """Move the log's pages into the file; return why not all of them could be, if so."""
        with suppress(FileNotFoundError):
            if os.stat(self._log).st_size > 0:
                return "another process has begun a new one"
        with busy_timeout(self._connection, SAVE_TIMEOUT_MS):
            busy, pages, saved = self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        return f"{saved} of {pages} pages were" if busy or saved < pages else None

    def _has_lost_log(self) -> bool:
        try:
            return os.stat(self._log).st_ino != self._log_inode
        except FileNotFoundError:
            return True


def log_of(path: Path) -> str:
    """Return the path of a database's log."""
    return f"{path}-wal"


def holds_deleted_log(path: Path) -> bool:
    """Say whether this process still has a log of the database open that was deleted.

    SQLite shares the index of a log among a process's connections. A connection that opened a new log beside the
    deleted one would read its pages by the old one's index.
    """
    deleted = f"{os.path.realpath(path)}-wal (deleted)"
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == deleted:
                return True
    return False
