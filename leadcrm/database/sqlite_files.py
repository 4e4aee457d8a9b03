"""The files of an open SQLite database: whether they are still those that were opened, and saving what is lost else.

Cleaners of "temporary files", `rsync --delete` and restore scripts delete `-wal` files under running servers. SQLite
goes on without a word: the newest commits are then in a file that has no name and ends with the process
(https://www.sqlite.org/howtocorrupt.html, 1.4).

People in a hurry copy a backup over the file of a running server: the same file with another content, over which SQLite
would lay the newer pages of the log. Only checkpoints write to the file, and the log's index tells of each. A change
that it does not tell of is somebody else's.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from leadcrm.database.log_index import LogIndex, is_plausible_successor, read_head
from leadcrm.database.overwritten import keep_overwritten, overwritten_files
from leadcrm.database.sqlite import LOG_HEAD_BYTES, busy_timeout, log_of

SAVE_TIMEOUT_MS = 2000
"""How long saving a log waits for readers of what is not saved yet, and for writers."""

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
        self._index = LogIndex(f"{path}-shm")
        self._is_overwritten = False
        self._kept_before = {*overwritten_files(path)}
        self._remember_content()

    def fault(self) -> str | None:
        """Return what has happened to the files, or None if they are those that were opened; some microseconds."""
        # Before the file's times: a checkpoint that has ended by now has changed them already.
        checkpoints = self._index.checkpoints()
        try:
            file = os.stat(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        if file.st_ino != self._inode:
            return f"{self._path} was replaced by another file"
        if _is_same_content(file, self._file):
            self._checkpoints = checkpoints
        elif self._is_foreign(file):
            self._is_overwritten = True
        if self._is_overwritten:
            return f"{self._path} was overwritten"
        return f"{self._log} was deleted or replaced" if self._has_lost_log() else None

    def save(self) -> None:
        """Save the commits of an overwritten file or of a deleted log; call it before the connection closes.

        It does nothing while the files are in place. Of a deleted log it can save nothing once another process has
        begun a new one.
        """
        if not self._has_file():
            return
        if self._is_overwritten:
            self._keep_overwritten()
        elif self._has_lost_log():
            self._save_log()

    def _remember_content(self) -> None:
        """Remember the file's content by its head, size and time of change, and the checkpoints that made it so."""
        while True:
            self._checkpoints = self._index.checkpoints()
            self._file: os.stat_result = os.stat(self._path)
            self._head = read_head(self._file)
            if _is_same_content(os.stat(self._path), self._file):
                return

    def _is_foreign(self, file: os.stat_result) -> bool:
        """Say whether something other than a checkpoint has changed the file; remember its content if not."""
        checkpoints = self._index.checkpoints()
        head = read_head(file)
        if checkpoints.moved != checkpoints.moving:
            is_foreign = False
        elif checkpoints == self._checkpoints:
            # `touch` changes neither.
            is_foreign = file.st_size != self._file.st_size or head != self._head
        elif checkpoints.salts != self._checkpoints.salts:
            # All of the last round may have been moved since, or nothing of it.
            is_foreign = not is_plausible_successor(head, self._head)
        else:
            is_foreign = False
        if is_foreign or self._is_kept():
            return True
        self._remember_content()
        return False

    def _is_kept(self) -> bool:
        """Say whether another process has noticed that the file was overwritten, and has begun a new log."""
        return not self._kept_before.issuperset(overwritten_files(Path(self._path)))

    def _keep_overwritten(self) -> None:
        """Keep the commits that the log and the connection's memory hold, then empty the log.

        The log belongs to the content that is gone. SQLite would lay its pages over what is there now.
        """
        try:
            with busy_timeout(self._connection, SAVE_TIMEOUT_MS):
                self._connection.execute("BEGIN IMMEDIATE")
            if self._has_lost_log() or self._is_kept():
                return
            kept = keep_overwritten(self._connection, Path(self._path))
            self._index.clear()
            os.truncate(self._log, LOG_HEAD_BYTES)
        except (OSError, sqlite3.Error) as error:
            told = f"what its log holds cannot be kept: {error}"
            hint = "make room on the disk; stop, keep copies of the file and its log, then `leadcrm restore` a backup"
        else:
            told = f"what its log and the memory held is kept as {kept}"
            hint = "replace a database with `leadcrm restore` alone"
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        text = f"{self._path} was overwritten under the running server; {told}"
        logger.error(text, extra={"action": "save_log", "hint": hint})

    def _save_log(self) -> None:
        """Move the commits in a deleted log into the database's file."""
        try:
            fault = self._move_pages()
        except sqlite3.Error as error:
            fault = str(error)
        if fault is None:
            told, hint = "its commits were saved into the database's file", "find out what deletes files there"
        else:
            told = f"its commits could not be saved: {fault}"
            hint = "compare the newest leads with what their senders know"
        text = f"{self._log} was deleted under the running server; {told}"
        logger.error(text, extra={"action": "save_log", "hint": hint})

    def _move_pages(self) -> str | None:
        """Move the log's pages into the file; return why not all of them could be, if so."""
        with suppress(FileNotFoundError):
            if os.stat(self._log).st_size > 0:
                return "another process has begun a new one"
        with busy_timeout(self._connection, SAVE_TIMEOUT_MS):
            busy, pages, saved = self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        return f"{saved} of {pages} pages were" if busy or saved < pages else None

    def _has_file(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def _has_lost_log(self) -> bool:
        try:
            return os.stat(self._log).st_ino != self._log_inode
        except FileNotFoundError:
            return True


def _is_same_content(one: os.stat_result, other: os.stat_result) -> bool:
    return one.st_mtime_ns == other.st_mtime_ns and one.st_size == other.st_size


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
