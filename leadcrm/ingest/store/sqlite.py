"""The batch insert on SQLite: one statement through a temporary view, committed in a thread.

SQLite blocks its caller until the disk has finished, so a thread runs the commit, and nothing else: the statement is
built in the driving thread. This module and `postgres` alone use raw SQL for leads' rows; names of tables and columns
come from the entities' mapping.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import ARRIVAL_COLUMNS, FIELD_COLUMNS, RAW_COLUMNS
from leadcrm.database.migrations import REWRITE_SQL
from leadcrm.database.sqlite import busy_timeout, free_bytes
from leadcrm.database.sqlite_files import SqliteFiles
from leadcrm.database.states import KEY_HOLDING_SQL
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.driving import InThread, Operation
from leadcrm.ingest.raw_row import sqlite_lead_values, sqlite_raw_values, uuid_bytes
from leadcrm.ingest.store.store import (
    UNENCODABLE,
    Known,
    Ledger,
    Standing,
    WriteResult,
    receipts_for,
    settle,
    write_bisected,
)
from leadcrm.ingest.submission import Submission

LOCK_PAUSE_S = (0.0002, 0.001)
"""The pause between two attempts at SQLite's write lock, shorter than the commit for which another worker holds it."""

ROOM_CACHE_S = 0.05
"""How long a look at the disk's free space counts: far less than MIN_FREE_BYTES can be written in that time."""

_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)[
    : None if sqlite3.sqlite_version_info >= (3, 32) else 7
]
"""The possible numbers of rows in a statement; empty rows fill it up. Each size is prepared once and then cached, at
some 3 KB a row. SQLite before 3.32 allows only 999 values in a statement."""

MAX_STATEMENT_ROWS = _SIZES[-1]

_MAX_LOOK_UP_KEYS = 500

_ABSENT = 0
"""Bound in place of None, and made NULL again by `_given`. Python's driver looks for an adapter of None for 0.5 us, but
binds a number at once. No column except `is_test` can hold this number."""

_LEAD_VALUES = (*FIELD_COLUMNS, "normalizer_version", "is_test")
"""The columns of `leads` whose values `leads_raw` does not have."""

_LEAD_SQL = {
    "id": "NEW.raw_id",
    "status": "'new'",
    "assigned_to": "NULL",
    "created_at": "NEW.raw_received_at",
    "updated_at": "NEW.raw_received_at",
    "source": "NEW.raw_source",
    "is_test": "NEW.lead_is_test",
}
"""The values of the columns of `leads` that are not `_given` by a column of that name."""

Statement = tuple[str, list[Any]]


class SqliteStore:
    """Writes batches to a SQLite file: `leads_raw`, `leads` and the ledger."""

    stored = "database"
    """The place that receipts name."""

    width = len(RAW_COLUMNS) + len(_LEAD_VALUES) + 1
    """The number of values in a row: the raw row's, the lead's, and the ledger entry."""

    is_connection_shared = False
    """Whether other code reads over the connection too and relies on its busy timeout."""

    keeps_rows = True
    """Whether no row ever leaves it again."""

    standing = Standing()

    def __init__(self, connection: sqlite3.Connection, path: Path, *, min_free_bytes: int) -> None:
        """Take ownership of an autocommit connection to the file at `path`; its busy timeout bounds each `write`.

        With less than `min_free_bytes` left on the file's disk, `write` raises before the disk is full.

        Raises:
            StoreUnavailable: The file cannot be used.
        """
        self._connection = connection
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._has_room_until = 0.0  # monotonic
        self._ledger = Ledger()
        self._expects_taken_keys = False
        self._last_id = ""  # of a row that was committed
        self._commits = 0  # up to which commit that row was there
        try:
            # Else SQLite would put the statement journal into a temporary file in another folder.
            connection.execute("PRAGMA temp_store = MEMORY")
            for statement in self.incoming_sql():
                connection.execute(statement)
            self.files = SqliteFiles(connection, path)
            self._lock_timeout_s: float = connection.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
            if not self.is_connection_shared:
                # The only wait is the one for the write lock, in `_take_write_lock`.
                connection.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            raise store_error(error, path) from error
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error

    def write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Keep the batch; see `Store.write`."""
        try:
            return (yield from self._write(batch))
        except UNENCODABLE as error:
            refusal = SubmissionRefused(f"it cannot be encoded: {type(error).__name__}")
        except sqlite3.Error as error:
            failure = store_error(error, self._path)
            if isinstance(failure, StoreUnavailable):
                raise failure from error
            refusal = failure
        return (yield from write_bisected(batch, self.write, refusal))

    def prove(self) -> Operation[None]:
        """See `Store.prove`. It also starts a new log.

        After a failed sync, the log's pages in memory may differ from the disk, and the next sync would not report it
        (https://wiki.postgresql.org/wiki/Fsync_Errors). A checkpoint moves the log into the file, which is synced too.
        """
        yield from self.write([])
        try:
            yield InThread(self._rewrite)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error
        self._require_file()

    def known(self, keys: Sequence[bytes]) -> Known:
        """Return the holders of those keys that a row holds.

        Raises:
            StoreUnavailable: The file cannot be read now.
        """
        try:
            return self._known(keys)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def probe(self) -> Operation[None]:
        """See `Store.probe`. A file on this machine needs no commit for that."""
        yield from self.write([])

    def close(self) -> None:
        """Close the connection; the last one to close runs a checkpoint. What files lose is saved before."""
        self.files.save()
        self._connection.close()

    def _write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        # Check before the commit too: SQLite finds the log by its name, so a write after a replacement would damage the
        # new file.
        self._require_file()
        self._require_room()
        rows = settle(batch, {})
        # Nearly every batch holds only new rows and new keys, so insert first and look up only after a failure.
        if self._expects_taken_keys or not (yield from self._insert_new([*rows.values()])):
            rows = yield InThread(partial(self._insert_settled, batch))
            self._expects_taken_keys = any(row.duplicate_of for row in rows.values())
        # A commit does not count if its file was taken away meanwhile.
        self._require_file()
        if self.files.is_checkpoint_due:
            yield InThread(self._checkpoint)
            self._require_file()
        return receipts_for(batch, rows, self.stored)

    def _insert_new(self, rows: Sequence[Submission]) -> Operation[bool]:
        """Commit the rows and return True; return False and keep none if a row or its key exists already."""
        statements = self._statements(rows)
        try:
            yield InThread(partial(self._commit, statements, rows))
        except sqlite3.IntegrityError:
            return False
        return True

    def _insert_settled(self, batch: Sequence[Submission]) -> dict[str, Submission]:
        """Commit the batch's rows that do not exist yet, and return all of its rows as settled."""
        self._require_last_row(self._commits)
        with self._transaction():
            rows = settle(batch, self._known([row.key_sha256 for row in batch if row.key_sha256]))
            stored = self._stored_ids([*rows])
            new = [row for row in rows.values() if row.id not in stored]
            for statement in self._statements(new):
                self._connection.execute(*statement)
            if not new:
                # A killed process may have written the rows without a sync; only a commit that changes something syncs.
                self._connection.execute(REWRITE_SQL.format(schema=""))
        self._remember_last(batch)
        return rows

    def _commit(self, statements: Sequence[Statement], rows: Sequence[Submission]) -> None:
        # Before the commit: else its events would get numbers that readers of the feed have passed.
        self._require_last_row(self._commits)
        self._execute(statements)
        self._remember_last(rows)

    def _require_last_row(self, commits: int) -> None:
        """Raise `StoreUnavailable` if others have committed and the last row is gone: another content was restored."""
        now = self.files.count_commits()
        if now != commits and self._last_id and not self._stored_ids([self._last_id]):
            raise StoreUnavailable(
                f"{self._path} lacks a row that was committed: another content was restored into it while leadcrm ran",
                hint="replace a database with `leadcrm restore` alone",
            )
        self._commits = now

    def _remember_last(self, rows: Sequence[Submission]) -> None:
        if self.keeps_rows and rows:
            # It may have been restored right before this commit too.
            self._require_last_row(self._commits + 1)
            self._last_id = rows[-1].id

    def _execute(self, statements: Sequence[Statement]) -> None:
        if len(statements) == 1 and not self.is_connection_shared:
            try:
                # The statement is its own transaction, which saves BEGIN and COMMIT.
                self._connection.execute(*statements[0])
            except sqlite3.OperationalError as error:
                # Repeating the statement until the lock is free would bind its values each time; take the lock first.
                if "locked" not in str(error):
                    raise
            else:
                return
        with self._transaction():
            for statement in statements:
                self._connection.execute(*statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the write lock until the commit, so that no other writer takes a key after a look-up."""
        connection = self._connection
        self._take_write_lock()
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _take_write_lock(self) -> None:
        """Begin a transaction that holds the write lock, retrying at short intervals.

        SQLite's own wait retries less and less often, in the end every 100 ms, and hardly ever wins against a busy
        writer.
        """
        ends_at = monotonic() + self._lock_timeout_s
        with busy_timeout(self._connection, 0):
            while True:
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or monotonic() > ends_at:
                        raise
                else:
                    return
                sleep(random.uniform(*LOCK_PAUSE_S))  # noqa: S311 - at random, so that two writers do not collide again

    def _rewrite(self) -> None:
        with self._transaction():
            self._connection.execute(REWRITE_SQL.format(schema=""))
        self.files.checkpoint("TRUNCATE")

    def _checkpoint(self) -> None:
        # The commit is in the log, so this may fail; it is tried again.
        with suppress(sqlite3.Error):
            self.files.checkpoint()

    def _statements(self, rows: Sequence[Submission]) -> list[Statement]:
        """Return the statements that insert the rows with their leads and their ledger entries."""
        entry = bytearray(self._ledger.entry().bytes)
        return [
            self._statement(rows[start : start + MAX_STATEMENT_ROWS], entry)
            for start in range(0, len(rows), MAX_STATEMENT_ROWS)
        ]

    def _statement(self, rows: Sequence[Submission], entry: bytearray) -> Statement:
        values: list[Any] = []
        for row in rows:
            self.add_values(values, row, entry)
        size = next(size for size in _SIZES if size >= len(rows))
        values = [_ABSENT if value is None else value for value in values]
        values += [_ABSENT] * ((size - len(rows)) * self.width)
        return _insert_sql(size, self.width), values

    def add_values(self, values: list[Any], row: Submission, entry: bytearray) -> None:
        """Append a row's values to a statement's values, in the order of the view's columns."""
        values += sqlite_raw_values(row)
        values += sqlite_lead_values(row)
        values.append(entry)

    @staticmethod
    def incoming_sql() -> tuple[str, str]:
        """Return the statements that create the view and its trigger; see `incoming_view`."""
        lead = [_LEAD_SQL.get(column) or _given(f"lead_{column}") for column in ARRIVAL_COLUMNS]
        return incoming_view(
            (*(f"lead_{column}" for column in _LEAD_VALUES), "entry"),
            f"""
            INSERT INTO leads ({", ".join(ARRIVAL_COLUMNS)})
            SELECT {", ".join(lead)} WHERE NEW.lead_normalizer_version <> {_ABSENT};
            INSERT INTO leads_ledger (day, entry, received) VALUES (substr(NEW.raw_received_at, 1, 10), NEW.entry, 1)
            ON CONFLICT (day, entry) DO UPDATE SET received = received + 1;
            """,  # noqa: S608 - names of ours
        )

    def _require_file(self) -> None:
        """Raise `StoreUnavailable` if the file or its log was taken away or overwritten, so that commits are lost."""
        if fault := self.files.fault():
            raise StoreUnavailable(fault)

    def _require_room(self) -> None:
        now = monotonic()
        if now < self._has_room_until:
            return
        free = free_bytes(self._path.parent)
        if free < self._min_free_bytes:
            raise StoreUnavailable(
                f"{self._path.parent} has {free} bytes free, fewer than MIN_FREE_BYTES ({self._min_free_bytes})",
                hint="make room on the disk",
            )
        self._has_room_until = now + ROOM_CACHE_S

    def _known(self, keys: Sequence[bytes]) -> Known:
        known: Known = {}
        for start in range(0, len(keys), _MAX_LOOK_UP_KEYS):
            some = keys[start : start + _MAX_LOOK_UP_KEYS]
            sql = (
                "SELECT key_sha256, id, body_sha256 FROM leads_raw WHERE key_sha256 IS NOT NULL "  # noqa: S608
                f"AND {KEY_HOLDING_SQL} AND key_sha256 IN ({', '.join('?' * len(some))})"
            )
            for key, id, body_sha256 in self._connection.execute(sql, some):
                known[key] = (str(UUID(bytes=id)), body_sha256)
        return known

    def _stored_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are ids of rows."""
        stored: set[str] = set()
        for start in range(0, len(ids), _MAX_LOOK_UP_KEYS):
            some = [*map(uuid_bytes, ids[start : start + _MAX_LOOK_UP_KEYS])]
            sql = f"SELECT id FROM leads_raw WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608
            stored.update(str(UUID(bytes=id)) for (id,) in self._connection.execute(sql, some))
        return stored


def incoming_view(more_columns: tuple[str, ...], more_sql: str) -> tuple[str, str]:
    """Return the statements that create a temporary view and its trigger, through which rows are inserted.

    With them a batch is one statement. Whenever SQLite runs, the event loop may take the interpreter's lock, and the
    writer must wait to get it back; fewer statements mean fewer waits. One statement is also its own transaction: if a
    row or its key exists already, it fails and keeps nothing.

    Args:
        more_columns: The view's columns besides those of `leads_raw`, whose names get the prefix `raw_`.
        more_sql: The trigger's statements that write `more_columns`, reading from NEW.
    """
    raw = [f"raw_{column}" for column in RAW_COLUMNS]
    columns = (*raw, *more_columns)
    return (
        f"CREATE TEMP VIEW incoming AS SELECT {', '.join(f'NULL AS {column}' for column in columns)}",
        f"""
        CREATE TEMP TRIGGER keep_incoming INSTEAD OF INSERT ON incoming WHEN NEW.raw_id <> {_ABSENT} BEGIN
        INSERT INTO leads_raw ({", ".join(RAW_COLUMNS)}) VALUES ({", ".join(map(_given, raw))});
        {more_sql}
        END
        """,  # noqa: S608 - names of ours
    )


def _given(column: str) -> str:
    """Return the SQL of a value that was bound for a column of the view."""
    return f"nullif(NEW.{column}, {_ABSENT})"


@cache
def _insert_sql(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO incoming VALUES {', '.join([row] * rows)}"  # noqa: S608 - names of ours
