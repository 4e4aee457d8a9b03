"""The files of an open SQLite database: whether they are still those that were opened, and saving what is lost else.

Cleaners of "temporary files", `rsync --delete` and restore scripts delete `-wal` files under running servers. SQLite
goes on without a word: the newest commits are then in a file that has no name and ends with the process
(https://www.sqlite.org/howtocorrupt.html, 1.4).

People in a hurry copy a backup over the file of a running server: the same file with another content, over which SQLite
would lay the newer pages of the log. Only checkpoints write to the file. So ours begin right after a look, and the next
look is right after them. Of a checkpoint that another process has made, the log and its index tell what it wrote.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from math import inf
from pathlib import Path
from time import time_ns

from leadcrm.database.descriptors import find_descriptor, is_open_as
from leadcrm.database.file_check import look_through
from leadcrm.database.log_frames import SAMPLE_FRAMES, lacks_moved_pages
from leadcrm.database.log_index import (
    NAMES_LOG,
    NAMES_LOG_AT,
    Checkpoints,
    LogIndex,
    is_head_of_database,
    is_plausible_successor,
    names_no_log,
)
from leadcrm.database.overwritten import keep_overwritten, overwritten_files
from leadcrm.database.sqlite import LOG_HEAD_BYTES, SQLITE_CHECKPOINT_PAGES, busy_timeout, log_of
from leadcrm.errors import StoreDamaged, StoreUnavailable

SAVE_TIMEOUT_MS = 2000
"""How long saving a log waits for readers of what is not saved yet, and for writers."""

MAX_LOOK_S = 2.0
"""How long a file that seems to be overwritten is looked through for damage."""

CHECKPOINT_TIMEOUT_MS = 100

_PAGES_BETWEEN_CHECKPOINTS = SQLITE_CHECKPOINT_PAGES // 4
"""How much a log grows until the next attempt, after a reader has held up a checkpoint."""

_CLOCK_TICK_NS = 20_000_000
"""Files changed within this time may bear the same time of change."""

_LOOKS = 3
"""How often a file is looked at that changes meanwhile."""

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
        # All checkpoints of this connection are those of `checkpoint`.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._inode = os.stat(self._path).st_ino
        self._log_inode = os.stat(self._log).st_ino
        self._index = LogIndex(f"{path}-shm")
        self._pages = 0
        self._due_pages = SQLITE_CHECKPOINT_PAGES
        self._descriptor: int | None = None
        self._is_overwritten = False
        self._kept_before = {*overwritten_files(path)}
        while not self._remember_content(*self._look()):
            pass

    def fault(self) -> str | None:
        """Return what has happened to the files, or None if they are those that were opened; some microseconds."""
        # Before the file's times: a checkpoint that has ended by now has changed them already.
        checkpoints, self._pages, _ = self._index.look()
        try:
            file = os.stat(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        if file.st_ino != self._inode:
            return f"{self._path} was replaced by another file"
        if _is_same_content(file, self._file) and time_ns() < self._look_again_ns:
            self._checkpoints = checkpoints
        else:
            self._has_foreign_content()
        if self._is_overwritten:
            return f"{self._path} was overwritten"
        return f"{self._log} was deleted or replaced" if self._has_lost_log() else None

    def commits(self) -> bytes:
        """Return what every commit changes, by any process, in a microsecond. Raises `OSError`."""
        return self._index.commits()

    def count_commits(self) -> int:
        """Return a number that every commit raises by one, by any process, in a microsecond. Raises `OSError`."""
        return self._index.look()[2]

    @property
    def is_checkpoint_due(self) -> bool:
        """Say whether the log had grown so much at the last look that its pages should be moved into the file."""
        if self._pages < SQLITE_CHECKPOINT_PAGES:
            self._due_pages = SQLITE_CHECKPOINT_PAGES
        return self._pages >= self._due_pages

    def checkpoint(self, mode: str = "PASSIVE") -> bool:
        """Move the log's pages into the file, unless it is faulty; the next `fault` tells what befell it meanwhile.

        Returns:
            Whether it was done as the mode asks: readers and writers may stand in the way.

        Raises:
            sqlite3.Error: They cannot be moved.
        """
        if self.fault() or self._has_foreign_content(at_leisure=True):
            return False
        self._due_pages = self._pages + _PAGES_BETWEEN_CHECKPOINTS
        # It locks out writers while it waits for readers, some of which take long.
        with busy_timeout(self._connection, CHECKPOINT_TIMEOUT_MS):
            is_busy, _, _ = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._has_foreign_content(at_leisure=True)
        return not is_busy

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

    def _look(self) -> tuple[Checkpoints, os.stat_result, bytes]:
        checkpoints = self._index.checkpoints()
        file = os.stat(self._path)
        return checkpoints, file, self._read_head(file)

    def _remember_content(self, checkpoints: Checkpoints, file: os.stat_result, head: bytes) -> bool:
        """Remember the file's content by its head, size and time of change; return False if it changes meanwhile."""
        now_ns = time_ns()
        if not _is_same_content(os.stat(self._path), file) or self._index.checkpoints() != checkpoints:
            return False
        self._checkpoints = checkpoints
        self._file: os.stat_result = file
        self._head = head
        is_settled = abs(now_ns - file.st_mtime_ns) > _CLOCK_TICK_NS
        self._look_again_ns: float = inf if is_settled else now_ns + _CLOCK_TICK_NS
        return True

    def _has_foreign_content(self, *, at_leisure: bool = False) -> bool:
        self._is_overwritten = self._is_overwritten or self._is_foreign(at_leisure=at_leisure) or self._is_kept()
        return self._is_overwritten

    def _is_foreign(self, *, at_leisure: bool) -> bool:
        """Say whether something other than a checkpoint has changed the file; remember its content if not."""
        for _ in range(_LOOKS):
            checkpoints, file, head = self._look()
            if file.st_size and not head:
                continue  # another connection closed the descriptor meanwhile
            if checkpoints.moving - checkpoints.moved > SAMPLE_FRAMES and not at_leisure:
                # A checkpoint writes just now. Its connection looks when it is through.
                return False
            is_foreign = self._differs(checkpoints, file, head, at_leisure=at_leisure)
            if self._index.checkpoints() != checkpoints:
                continue
            if is_foreign:
                return True
            # After a checkpoint that was cut off, the file may hold any part of what it was to get.
            if checkpoints.moved != checkpoints.moving or self._remember_content(checkpoints, file, head):
                break
        return False

    def _differs(self, checkpoints: Checkpoints, file: os.stat_result, head: bytes, *, at_leisure: bool) -> bool:
        """Say whether checkpoints alone cannot have made the file what it is."""
        if checkpoints.moved == checkpoints.moving:
            # `touch` changes neither.
            if checkpoints == self._checkpoints and (file.st_size != self._file.st_size or head != self._head):
                return True
            if not is_plausible_successor(head, self._head):
                return True
        with suppress(OSError):
            descriptor = self._find_descriptor(file)
            if descriptor is not None and not self._has_lost_log():
                with open(self._log, "rb", buffering=0) as log:
                    lacks = lacks_moved_pages(descriptor, log.fileno(), checkpoints, at_leisure=at_leisure)
                return lacks and is_open_as(descriptor, file)
        return False

    def _read_head(self, file: os.stat_result) -> bytes:
        """Return the file's head; empty if it cannot be read."""
        with suppress(OSError):
            descriptor = self._find_descriptor(file)
            if descriptor is not None:
                head = os.pread(descriptor, 100, 0)
                # The connection may have been closed meanwhile, and its number given to another file.
                if is_open_as(descriptor, file):
                    return head
        return b""

    def _find_descriptor(self, file: os.stat_result) -> int | None:
        if self._descriptor is None or not is_open_as(self._descriptor, file):
            self._descriptor = find_descriptor(file)
        return self._descriptor

    def _is_kept(self) -> bool:
        """Say whether another process has noticed that the file was overwritten, and has begun a new log."""
        return not self._kept_before.issuperset(overwritten_files(Path(self._path)))

    def _keep_overwritten(self) -> None:
        """Keep the commits that the log and the connection's memory hold, then empty a log of another content.

        SQLite would lay the pages of a content that is gone over what is there now.
        """
        try:
            with busy_timeout(self._connection, SAVE_TIMEOUT_MS):
                self._connection.execute("BEGIN IMMEDIATE")
            if self._has_lost_log() or self._is_kept():
                return
            kept = keep_overwritten(self._connection, Path(self._path))
            if self._has_foreign_log():
                self._name_log()
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

    def _has_foreign_log(self) -> bool:
        """Say whether the log belongs to another content. If the file is whole with it, it holds the newest commits."""
        file = os.stat(self._path)
        head = self._read_head(file)
        if not file.st_size or (head and not is_head_of_database(head)):
            return True
        try:
            return not look_through(Path(self._path), timeout_s=MAX_LOOK_S, also_indexes=True)
        except StoreDamaged:
            return True
        except StoreUnavailable:
            return False

    def _name_log(self) -> None:
        """Let the new content say that it has a log, as backups do not: else it would seem foreign after a crash."""
        with suppress(OSError):
            file = os.stat(self._path)
            if (descriptor := self._find_descriptor(file)) is not None and names_no_log(self._read_head(file)):
                os.pwrite(descriptor, NAMES_LOG, NAMES_LOG_AT)

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
