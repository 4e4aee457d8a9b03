"""The batch insert on SQLite: one statement through a view of this connection's own, committed in a thread.

SQLite makes its caller wait for the disk, so nothing but the commit happens in the thread: the statement is made ready
where the operation is driven. One of the two places with raw SQL for rows of leads; names of tables and columns come
from the entities' own mapping.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import LEAD_COLUMNS, RAW_COLUMNS
from leadcrm.database.migrations import REWRITE_SQL
from leadcrm.database.sqlite import busy_timeout, free_bytes
from leadcrm.database.states import KEY_HOLDING_STATES
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.driving import InThread, Operation
from leadcrm.ingest.raw_row import sqlite_lead_values, sqlite_raw_values, uuid_bytes
from leadcrm.ingest.store.store import UNENCODABLE, Known, Ledger, WriteResult, receipts_for, settle, write_bisected
from leadcrm.ingest.submission import Submission

CHECKPOINT_TIMEOUT_MS = 100

LOCK_PAUSE_S = (0.0002, 0.001)
"""Between two attempts at SQLite's write lock: shorter than a commit, which another worker holds it for."""

ROOM_CACHE_S = 0.05
"""For how long a disk that had room is taken to have it: far less than MIN_FREE_BYTES can be written in that time."""

_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)[
    : None if sqlite3.sqlite_version_info >= (3, 32) else 7
]
"""Rows a statement, filled up with empty ones: each size is prepared once and then kept, some 3 KB a row. SQLite before
3.32 takes 999 values."""

MAX_STATEMENT_ROWS = _SIZES[-1]

_MAX_LOOK_UP_KEYS = 500

Statement = tuple[str, list[Any]]


class SqliteStore:
    """Writes batches to a SQLite file: `leads_raw`, `leads` and the ledger."""

    stored = "database"
    """Where receipts say that a row is."""

    width = len(RAW_COLUMNS) + len(LEAD_COLUMNS)
    """Values a row: the raw row's, the lead's without its id, which is the same, and the ledger's entry."""

    is_connection_shared = False
    """Others read over the connection too, and rely on its busy timeout."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, min_free_bytes: int) -> None:
        """Take over an autocommit connection to the file at `path`; its busy timeout bounds each `write`.

        With less than `min_free_bytes` left on the file's disk `write` raises before anything fails. Raises
        `StoreUnavailable`.
        """
        self._connection = connection
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._has_room_until = 0.0  # monotonic
        self._inode = path.stat().st_ino
        self._ledger = Ledger()
        self._expects_taken_keys = False
        try:
            # What a statement may have to undo would else go to a file in a folder of its own.
            connection.execute("PRAGMA temp_store = MEMORY")
            for statement in self.incoming_sql():
                connection.execute(statement)
            self._lock_timeout_s: float = connection.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
            if not self.is_connection_shared:
                # It waits for nothing but the write lock, and that wait is `_take_write_lock`'s.
                connection.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            raise store_error(error, path) from error

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
        """See `Store.prove`. The log is begun anew.

        After a sync that failed, what the log's pages in memory say may not be what the disk has, and the next sync
        would not tell. Moved into the file, which is synced too, it is known (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        yield from self.write([])
        try:
            yield InThread(self._rewrite)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def known(self, keys: Sequence[bytes]) -> Known:
        """Return who holds which of the keys. Raises `StoreUnavailable`."""
        try:
            return self._known(keys)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def close(self) -> None:
        """Close the connection; the last one to the file moves its log into it."""
        self._connection.close()

    def _write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        # Before too: the log is found by its name, so what is written after a replacement would damage the new file.
        self._require_file()
        self._require_room()
        rows = settle(batch, {})
        # Nearly every batch brings new rows and new keys alone: to ask for them first would cost each of them.
        if self._expects_taken_keys or not (yield from self._insert_new([*rows.values()])):
            rows = yield InThread(partial(self._insert_settled, batch))
            self._expects_taken_keys = any(row.duplicate_of for row in rows.values())
        # A commit that went into a file which was taken away meanwhile is none.
        self._require_file()
        return receipts_for(batch, rows, self.stored)

    def _insert_new(self, rows: Sequence[Submission]) -> Operation[bool]:
        """Commit the rows; False, and nothing is kept, if one of them or its key was there already."""
        statements = self._statements(rows)
        try:
            yield InThread(partial(self._commit, statements))
        except sqlite3.IntegrityError:
            return False
        return True

    def _insert_settled(self, batch: Sequence[Submission]) -> dict[str, Submission]:
        """Commit what of the batch is not there yet and return all its rows as they are settled."""
        with self._transaction():
            rows = settle(batch, self._known([row.key_sha256 for row in batch if row.key_sha256]))
            stored = self._stored_ids([*rows])
            for statement in self._statements([row for row in rows.values() if row.id not in stored]):
                self._connection.execute(*statement)
        return rows

    def _commit(self, statements: Sequence[Statement]) -> None:
        if len(statements) == 1 and not self.is_connection_shared:
            try:
                # A transaction of its own, which spares two statements.
                self._connection.execute(*statements[0])
            except sqlite3.OperationalError as error:
                # Asked for the lock again and again, it would bind its values each time.
                if "locked" not in str(error):
                    raise
            else:
                return
        with self._transaction():
            for statement in statements:
                self._connection.execute(*statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the write lock from a look-up to the commit, so that nobody takes a key in between."""
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
        """Begin a transaction that holds the write lock, asking for it often.

        SQLite's own wait asks ever less often, in the end every 100 ms, and beside a busy rival nearly always in vain.
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
                sleep(random.uniform(*LOCK_PAUSE_S))  # noqa: S311 - two that met must not meet again

    def _rewrite(self) -> None:
        # It keeps writers out while it waits for readers, of whom some take long.
        with busy_timeout(self._connection, CHECKPOINT_TIMEOUT_MS):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._transaction():
            self._connection.execute(REWRITE_SQL.format(schema=""))

    def _statements(self, rows: Sequence[Submission]) -> list[Statement]:
        """Return the statements that insert the rows with all that belongs to them."""
        entry = self._ledger.entry().bytes
        return [
            self._statement(rows[start : start + MAX_STATEMENT_ROWS], entry)
            for start in range(0, len(rows), MAX_STATEMENT_ROWS)
        ]

    def _statement(self, rows: Sequence[Submission], entry: bytes) -> Statement:
        values: list[Any] = []
        for row in rows:
            self.add_values(values, row, entry)
        size = next(size for size in _SIZES if size >= len(rows))
        values += [None] * ((size - len(rows)) * self.width)
        return _insert_sql(size, self.width), values

    def add_values(self, values: list[Any], row: Submission, entry: bytes) -> None:
        """Add a row's values to a statement's, in the order of the view's columns."""
        values += sqlite_raw_values(row)
        values += sqlite_lead_values(row)
        values.append(entry)

    @staticmethod
    def incoming_sql() -> tuple[str, str]:
        """Return what makes the view through which one statement writes all of a row's parts; see `incoming_view`."""
        lead = {column: f"lead_{column}" for column in LEAD_COLUMNS[1:]}
        return incoming_view(
            (*lead.values(), "entry"),
            f"""
            INSERT INTO leads (id, {", ".join(lead)})
            SELECT NEW.raw_id, {", ".join(f"NEW.{name}" for name in lead.values())}
            WHERE NEW.lead_normalizer_version IS NOT NULL;
            INSERT INTO leads_ledger (day, entry, received) VALUES (substr(NEW.raw_received_at, 1, 10), NEW.entry, 1)
            ON CONFLICT (day, entry) DO UPDATE SET received = received + 1;
            """,  # noqa: S608 - names of ours
        )

    def _require_file(self) -> None:
        """Raise `StoreUnavailable` where the file was deleted or replaced: commits would go nowhere."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error
        if inode != self._inode:
            raise StoreUnavailable(f"{self._path} was replaced by another file")

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
                f"AND state IN {KEY_HOLDING_STATES!r} AND key_sha256 IN ({', '.join('?' * len(some))})"
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
    """Return what makes, for one connection alone, the view through which rows are inserted.

    One statement, because the event loop may take the interpreter's lock whenever SQLite runs and then keeps the writer
    waiting for it; one is its own transaction, too. It fails, and nothing is kept, where a row or its key is there
    already.

    Args:
        more_columns: the view's columns besides those of `leads_raw`, which are called `raw_` and the column's name.
        more_sql: the statements that write them, reading from NEW.
    """
    raw = {column: f"raw_{column}" for column in RAW_COLUMNS}
    columns = (*raw.values(), *more_columns)
    return (
        f"CREATE TEMP VIEW incoming AS SELECT {', '.join(f'NULL AS {column}' for column in columns)}",
        f"""
        CREATE TEMP TRIGGER keep_incoming INSTEAD OF INSERT ON incoming WHEN NEW.raw_id IS NOT NULL BEGIN
        INSERT INTO leads_raw ({", ".join(raw)}) VALUES ({", ".join(f"NEW.{name}" for name in raw.values())});
        {more_sql}
        END
        """,  # noqa: S608 - names of ours
    )


@cache
def _insert_sql(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO incoming VALUES {', '.join([row] * rows)}"  # noqa: S608 - names of ours
