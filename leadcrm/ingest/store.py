"""The batch insert: many submissions, one commit, one answer each.

The one place with raw SQL for rows of leads (measured: an entity at a time costs 27 times the client's CPU). Names
of tables and columns come from the entities' own mapping.

Invariants:
- `write` returns after the commit, so what it answers may be acknowledged.
- It is idempotent by id: writing a batch again, whole or in part, after a commit in doubt changes nothing.
- Every raw row that is inserted is counted in the ledger of its day, in the same transaction: a row that is deleted
  later leaves a gap between the two.
- Of all rows with one Idempotency-Key exactly one holds it; the others point at it.
- A submission that the database refuses does not hurt its neighbours.

A store belongs to one thread at a time. May import entities, database, errors and submission.
"""

from __future__ import annotations

import random
import select
import sqlite3
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol
from uuid import UUID

import orjson
import psycopg2
import psycopg2.extensions
from uuid_utils import uuid7

from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import FIELD_COLUMNS, KEY_HOLDING_STATES, LEAD_COLUMNS, RAW_COLUMNS
from leadcrm.database.postgres import NO_ANSWER, PostgresConnection, deadline
from leadcrm.database.sqlite import busy_timeout, free_bytes
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.submission import Receipt, Submission, receipt_for

CONFLICT_ATTEMPTS = 5
"""A rival for a key can vanish between the insert that lost and the look-up; each try needs another rival."""

CHECKPOINT_PATIENCE_MS = 100

LOCK_PAUSE_S = (0.0002, 0.001)
"""Between two attempts at SQLite's write lock: shorter than a commit, which another worker holds it for."""

ROOM_LIFE_S = 0.05
"""For how long a disk that had room is taken to have it: far less than MIN_FREE_BYTES can be written in that time."""

_RETRIED_SQLSTATES = ("40001", "40P01")  # serialization failure, deadlock detected: nothing was written

_POOLED_SQLSTATES = ("26000", "42P05")  # a prepared statement is gone, or there already: a pooler changes our session

_EVENTS = {
    psycopg2.extensions.POLL_OK: None,
    psycopg2.extensions.POLL_READ: select.POLLIN,
    psycopg2.extensions.POLL_WRITE: select.POLLOUT,
}

_UNENCODABLE = (TypeError, ValueError, OverflowError)
"""What encoding a row can raise. A submission holds nothing that does; if one ever did, its neighbours go through."""

Answer = Receipt | SubmissionRefused

Known = dict[bytes, tuple[str, bytes]]
"""Key hash → id and body hash of the row that holds the key."""


class Store(Protocol):
    """A place that keeps batches of submissions."""

    def write(self, batch: Sequence[Submission]) -> list[Answer]:
        """Keep every submission of the batch and return an answer each, in order; durable on return.

        A receipt, or why the database refuses to hold even this raw row, which is then not kept.
        Raises `StoreUnavailable`, with the commit possibly in doubt; writing the batch again is safe.
        """

    def prove(self) -> None:
        """Commit a real write that changes nothing, after taking the locks of a batch. Raises `StoreUnavailable`."""

    def close(self) -> None:
        """Close the connection."""


class PostgresStore:
    """Writes batches to PostgreSQL: one autocommit statement, whatever the batch's size."""

    def __init__(
        self, connection: PostgresConnection, *, schema: str | None, timeout_s: float, may_prepare: bool = True
    ) -> None:
        """Take over an autocommit connection of `open_postgres`; `timeout_s` bounds each `write`.

        The session's statements are prepared, which spares PostgreSQL 0.2 ms a batch, unless `may_prepare` says that a
        pooler hands sessions round.
        """
        self._connection = connection
        self.descriptor = connection.fileno()
        self.timeout_s = timeout_s
        self._insert_sql = _postgres_insert(schema)
        # Named after its text: behind a pooler a session may still know the statement of an older program.
        self._insert_name = f"leadcrm_{sha256(self._insert_sql.encode()).hexdigest()[:16]}"
        self._may_prepare = may_prepare
        self._is_prepared = False
        self._ledger_entry = _new_ledger_entry()
        self._entry_batches = 0
        self._find_sql = _postgres_find(schema)
        self._sender = connection.cursor(cursor_factory=psycopg2.extensions.cursor)
        self._ends_at: float | None = None  # monotonic; of a batch that was begun
        self._begun: dict[str, Submission] = {}
        self._failure: StoreUnavailable | None = None

    def write(self, batch: Sequence[Submission]) -> list[Answer]:
        """Keep the batch; see `Store.write`."""
        if self._failure is not None:
            raise self._failure
        # What was begun in vain has had part of the time already.
        ends_at, self._ends_at = self._ends_at or monotonic() + self.timeout_s, None
        with deadline(ends_at - monotonic()):
            for attempt in range(CONFLICT_ATTEMPTS):
                try:
                    return self._write(batch)
                except _UNENCODABLE as error:
                    return _apart(batch, self.write, SubmissionRefused(f"it cannot be encoded: {type(error).__name__}"))
                except psycopg2.Error as error:
                    if error.pgcode in _POOLED_SQLSTATES and self._may_prepare:
                        self._may_prepare = False
                        continue
                    if error.pgcode not in _RETRIED_SQLSTATES or attempt == CONFLICT_ATTEMPTS - 1:
                        failure = store_error(error)
                        if isinstance(failure, StoreUnavailable):
                            raise failure from error
                        return _apart(batch, self.write, failure)
                    sleep(random.uniform(0, 0.01))  # noqa: S311 - two that met must not meet again
        raise StoreUnavailable("the session's prepared statements keep vanishing", hint="add pgbouncer=true to the URL")

    def prove(self) -> None:
        """See `Store.prove`. A disk or a standby that lets no commit through is found here, not by a lead."""
        self.write([])
        try:
            with deadline(self.timeout_s), self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_logical_emit_message(true, 'leadcrm', '')")
        except psycopg2.Error as error:
            # Not everything that speaks PostgreSQL's protocol has the function.
            if error.pgcode is None or not error.pgcode.startswith("42"):
                raise store_error(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # The event loop's way, which waits for nothing: the same statement, for a batch that brings new rows alone.

    def begin(self, batch: Sequence[Submission]) -> bool:
        """Send the batch; `awaits` and then `received` tell what became of it.

        False, and nothing is sent, where it takes more than one statement: `write` it.
        """
        self._begun = settle(batch, {})
        if self._failure is not None or _has_duplicates(self._begun) or (self._may_prepare and not self._is_prepared):
            return False
        self._ends_at = monotonic() + self.timeout_s
        try:
            self._execute_insert(self._sender, self._begun.values())
        except _UNENCODABLE:
            return False
        except psycopg2.Error as error:
            self._note(error)
            return False
        return True

    def awaits(self) -> int | None:
        """Return what the socket must be ready for before more can be said, as `select.poll` names it.

        None where the answer to what was begun is there.
        """
        try:
            state = self._connection.poll()
        except psycopg2.Error as error:
            self._note(error)
            self._begun = {}
            return None
        return _EVENTS[state]

    def received(self) -> list[Answer] | None:
        """Return the answers to what was begun; durable on return.

        None where they take more than one statement, or nothing may have been kept: `write` the batch.
        """
        rows, self._begun = self._begun, {}
        if not rows:
            return None
        ((inserted,),) = self._sender.fetchall()
        if inserted != len(rows):
            return None
        self._ends_at = None
        return _receipts(rows.values(), rows, "database")

    def give_up(self) -> None:
        """Close the connection on which what was begun is not answered, and let the next `write` say so."""
        self._failure = StoreUnavailable(NO_ANSWER)
        self.close()

    def _note(self, error: psycopg2.Error) -> None:
        failure = store_error(error)
        if isinstance(failure, StoreUnavailable) and error.pgcode not in (*_RETRIED_SQLSTATES, *_POOLED_SQLSTATES):
            self._failure = failure

    def _write(self, batch: Sequence[Submission]) -> list[Answer]:
        rows: dict[str, Submission] = {}
        left = list(batch)
        known: Known = {}
        for _ in range(2 * CONFLICT_ATTEMPTS):
            settled = settle(left, known)
            # Whoever comes behind a neighbour with its key follows in a statement of its own: that one may lose it yet.
            ahead = [row for row in settled.values() if row.duplicate_of not in settled]
            if self._insert(ahead) == len(ahead):
                if len(ahead) == len(left):
                    return _receipts(batch, rows | settled, "database")
                stored = {row.id: row for row in ahead}
                known.update(
                    (row.key_sha256, (row.id, row.body_sha256)) for row in ahead if row.key_sha256 and row.holds_key
                )
            else:
                # Some were there already, or their key is taken.
                stored, known = self._find(left)
            rows.update(stored)
            left = [row for row in left if row.id not in stored]
            if not left:
                return _receipts(batch, rows, "database")
        raise StoreUnavailable("rows that rival for a key keep vanishing")

    def _insert(self, rows: Iterable[Submission]) -> int:
        """Insert the rows and return how many were not there already and had no key that is taken."""
        with self._connection.cursor() as cursor:
            self._execute_insert(cursor, rows)
            ((inserted,),) = cursor.fetchall()
            return int(inserted)

    def _execute_insert(self, cursor: psycopg2.extensions.cursor, rows: Iterable[Submission]) -> None:
        # By key: two writers that take the same keys in opposite order would deadlock.
        ordered = sorted(rows, key=lambda row: row.key_sha256 or b"")
        document = orjson.dumps([_postgres_record(row) for row in ordered]).decode()
        cursor.execute(self._insert_statement(cursor), (document, self._entry()))

    def _insert_statement(self, cursor: psycopg2.extensions.cursor) -> str:
        if not self._may_prepare:
            return self._insert_sql
        if not self._is_prepared:
            prepared = self._insert_sql.replace("%s", "$1", 1).replace("%s", "$2", 1)
            cursor.execute(f"PREPARE {self._insert_name} (json, uuid) AS {prepared}")
            self._is_prepared = True
        return f"EXECUTE {self._insert_name} (%s, %s)"

    def _entry(self) -> str:
        """Return the ledger's entry of this batch: a new one now and then.

        Beside a long read PostgreSQL keeps every version of a row that is updated, and would search through them all.
        """
        self._entry_batches += 1
        if self._entry_batches > LEDGER_BATCHES:
            self._ledger_entry = _new_ledger_entry()
            self._entry_batches = 1
        return str(self._ledger_entry)

    def _find(self, rows: Sequence[Submission]) -> tuple[dict[str, Submission], Known]:
        """Return which of the rows are stored already, as they are stored, and who holds the others' keys."""
        by_id = {row.id: row for row in rows}
        keys = [row.key_sha256.hex() for row in rows if row.key_sha256]
        with self._connection.cursor() as cursor:
            cursor.execute(self._find_sql, {"ids": list(by_id), "keys": keys})
            found = cursor.fetchall()
        stored: dict[str, Submission] = {}
        known: Known = {}
        for id, key, body, state, duplicate_of in found:
            if id in by_id:
                stored[id] = by_id[id]._replace(state=state, duplicate_of=duplicate_of)
            if key is not None and state in KEY_HOLDING_STATES:
                known[bytes(key)] = (id, bytes(body))
        return stored, known


class SqliteStore:
    """Writes batches to a SQLite file: `leads_raw` and, unless it is the spool, `leads`."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, min_free_bytes: int, is_spool: bool = False
    ) -> None:
        """Take over an autocommit connection to the file at `path`; its busy timeout bounds each `write`.

        With less than `min_free_bytes` left on the file's disk `write` raises before anything fails. Raises
        `StoreUnavailable`.
        """
        self._connection = connection
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._has_room_until = 0.0  # monotonic
        self._inode = path.stat().st_ino
        self._is_spool = is_spool
        self._ledger_entry = _new_ledger_entry()
        self._expects_taken_keys = False
        self._begun: dict[str, Submission] = {}
        self._is_committed = False
        self._statement: tuple[str, list[object]] = _NO_STATEMENT
        self._failure: StoreUnavailable | None = None
        try:
            # What a statement may have to undo would else go to a file in a folder of its own.
            connection.execute("PRAGMA temp_store = MEMORY")
            for statement in _sqlite_incoming(is_spool=is_spool):
                connection.execute(statement)
        except sqlite3.Error as error:
            raise store_error(error, path) from error
        self._busy_timeout_ms: int = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        if not is_spool:
            # It waits for nothing but the write lock: `commit` tries that once, then `_take_write_lock` minds the wait.
            connection.execute("PRAGMA busy_timeout = 0")

    def write(self, batch: Sequence[Submission]) -> list[Answer]:
        """Keep the batch; see `Store.write`."""
        try:
            return self._write(batch)
        except _UNENCODABLE as error:
            return _apart(batch, self.write, SubmissionRefused(f"it cannot be encoded: {type(error).__name__}"))
        except sqlite3.Error as error:
            failure = store_error(error, self._path)
            if isinstance(failure, StoreUnavailable):
                raise failure from error
            return _apart(batch, self.write, failure)

    # The event loop's way: all but the commit is done by whoever holds the interpreter's lock anyway.

    def begin(self, batch: Sequence[Submission]) -> bool:
        """Make the batch ready for `commit`; `received` tells what became of it. It waits for nothing.

        False where it takes more than one statement, or the file is not as it should be: `write` it.
        """
        if self._failure is not None or self._expects_taken_keys or len(batch) > _SQLITE_ROWS:
            return False
        self._begun = settle(batch, {})
        self._is_committed = False
        if _has_duplicates(self._begun):
            return False
        try:
            self._insist_on_the_file()
            self._insist_on_room()
            self._statement = self._insert_statement([*self._begun.values()])
        except (StoreUnavailable, *_UNENCODABLE):
            return False
        return True

    def commit(self) -> None:
        """Commit what was begun; `received` tells whether it is."""
        statement, self._statement = self._statement, _NO_STATEMENT
        try:
            try:
                # A transaction of its own.
                self._connection.execute(*statement)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                # Asked for the lock again and again, it would bind its values each time.
                with self._transaction():
                    self._connection.execute(*statement)
            self._is_committed = True
        except _UNENCODABLE:
            # Which row it is, `write` finds out.
            return
        except sqlite3.Error as error:
            self._expects_taken_keys = isinstance(error, sqlite3.IntegrityError)
            failure = store_error(error, self._path)
            if isinstance(failure, StoreUnavailable):
                self._failure = failure

    def received(self) -> list[Answer] | None:
        """Return the answers to what was begun and committed; durable on return.

        None where they take more than one statement, or nothing may have been kept: `write` the batch.
        """
        rows, self._begun = self._begun, {}
        if not self._is_committed:
            return None
        try:
            self._insist_on_the_file()
        except StoreUnavailable:
            return None
        return _receipts(rows.values(), rows, "database")

    def prove(self) -> None:
        """See `Store.prove`. The log is begun anew.

        After a sync that failed, what the log's pages in memory say may not be what the disk has, and the next sync
        would not tell. Moved into the file, which is synced too, it is known (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        self.write([])
        try:
            # It keeps writers out while it waits for readers, of whom some take long.
            with busy_timeout(self._connection, CHECKPOINT_PATIENCE_MS):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with self._transaction():
                self._connection.execute("UPDATE leadcrm_migrations SET name = name")
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def known(self, keys: Sequence[bytes]) -> Known:
        """Return who holds which of the keys. Raises `StoreUnavailable`."""
        try:
            return self._known(keys)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _write(self, batch: Sequence[Submission]) -> list[Answer]:
        if self._failure is not None:
            raise self._failure
        # Before too: the log is found by its name, so what is written after a replacement would damage the new file.
        self._insist_on_the_file()
        self._insist_on_room()
        # Nearly every batch brings new rows and new keys alone: to ask for them first would cost each of them.
        rows = None if self._expects_taken_keys else self._insert_new(batch)
        if rows is None:
            rows = self._insert_settled(batch)
            self._expects_taken_keys = _has_duplicates(rows)
        # A commit that went into a file which was taken away meanwhile is none.
        self._insist_on_the_file()
        return _receipts(batch, rows, "spool" if self._is_spool else "database")

    def _insert_new(self, batch: Sequence[Submission]) -> dict[str, Submission] | None:
        """Commit the batch and return its rows; None, and nothing is kept, if a row or its key was there already."""
        rows = settle(batch, {})
        try:
            with self._transaction():
                self._insert([*rows.values()])
        except sqlite3.IntegrityError:
            return None
        return rows

    def _insert_settled(self, batch: Sequence[Submission]) -> dict[str, Submission]:
        """Commit what of the batch is not there yet and return all its rows as they are settled."""
        with self._transaction():
            rows = settle(batch, self._known([row.key_sha256 for row in batch if row.key_sha256]))
            there = self._there([*rows])
            self._insert([row for row in rows.values() if row.id not in there])
        return rows

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
        ends_at = monotonic() + self._busy_timeout_ms / 1000
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

    def _insert(self, rows: Sequence[Submission]) -> None:
        for start in range(0, len(rows), _SQLITE_ROWS):
            self._connection.execute(*self._insert_statement(rows[start : start + _SQLITE_ROWS]))

    def _insert_statement(self, rows: Sequence[Submission]) -> tuple[str, list[object]]:
        """Return the statement that inserts some rows, with their leads, and its values."""
        entry = self._ledger_entry.bytes
        values: list[object] = []
        for row in rows:
            values += _sqlite_raw(row)
            if not self._is_spool:
                values += _NO_LEAD if row.fields is None else _sqlite_lead(row)
                values.append(entry)
        width = _SPOOL_WIDTH if self._is_spool else _SQLITE_WIDTH
        size = next(size for size in _SQLITE_SIZES if size >= len(rows))
        values += [None] * ((size - len(rows)) * width)
        return _sqlite_insert(size, width), values

    def _insist_on_the_file(self) -> None:
        """Raise `StoreUnavailable` where the file was deleted or replaced: commits would go nowhere."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error
        if inode != self._inode:
            raise StoreUnavailable(f"{self._path} was replaced by another file")

    def _insist_on_room(self) -> None:
        now = monotonic()
        if now < self._has_room_until:
            return
        free = free_bytes(self._path.parent)
        if free < self._min_free_bytes:
            raise StoreUnavailable(
                f"{self._path.parent} has {free} bytes free, fewer than MIN_FREE_BYTES ({self._min_free_bytes})",
                hint="make room on the disk",
            )
        self._has_room_until = now + ROOM_LIFE_S

    def _known(self, keys: Sequence[bytes]) -> Known:
        known: Known = {}
        for start in range(0, len(keys), _SQLITE_VARIABLES):
            some = keys[start : start + _SQLITE_VARIABLES]
            sql = (
                "SELECT key_sha256, id, body_sha256 FROM leads_raw WHERE key_sha256 IS NOT NULL "  # noqa: S608
                f"AND state IN {KEY_HOLDING_STATES!r} AND key_sha256 IN ({', '.join('?' * len(some))})"
            )
            for key, id, body_sha256 in self._connection.execute(sql, some):
                known[key] = (str(UUID(bytes=id)), body_sha256)
        return known

    def _there(self, ids: Sequence[str]) -> set[str]:
        """Return which of the ids are those of rows."""
        there: set[str] = set()
        for start in range(0, len(ids), _SQLITE_VARIABLES):
            some = [*map(_uuid_bytes, ids[start : start + _SQLITE_VARIABLES])]
            sql = f"SELECT id FROM leads_raw WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608
            there.update(str(UUID(bytes=id)) for (id,) in self._connection.execute(sql, some))
        return there


_SQLITE_VARIABLES = 500


LEDGER_BATCHES = 256
"""Batches that are counted in one entry of the ledger."""


def _new_ledger_entry() -> UUID:
    """Return an entry that no other store counts in: nobody waits for another's commit, and nobody deadlocks."""
    return UUID(bytes=uuid7().bytes)


def settle(batch: Sequence[Submission], known: Known) -> dict[str, Submission]:
    """Decide by arrival which row of each key holds it, given who holds keys already; rows by id, in order."""
    keys = [row.key_sha256 for row in batch if row.key_sha256]
    if not known and len(set(keys)) == len(keys):
        return {row.id: row for row in batch}
    rows: dict[str, Submission] = {}
    holders = known.copy()
    for submission in batch:
        row = submission
        if row.holds_key:
            assert row.key_sha256 is not None
            first, body_sha256 = holders.setdefault(row.key_sha256, (row.id, row.body_sha256))
            if first != row.id:
                row = row.duplicating(first, body_sha256)
        rows[row.id] = row
    return rows


def _has_duplicates(rows: dict[str, Submission]) -> bool:
    return any(row.duplicate_of for row in rows.values())


def _receipts(batch: Iterable[Submission], rows: dict[str, Submission], stored: str) -> list[Answer]:
    receipts: list[Answer] = []
    for submission in batch:
        row = rows[submission.id]
        lead_id = row.id
        # A neighbour that lost its key to an earlier row leads on to that one.
        while (next_row := rows.get(lead_id)) and next_row.duplicate_of:
            lead_id = next_row.duplicate_of
        receipts.append(receipt_for(row.state, lead_id, stored))
    return receipts


def _apart(
    batch: Sequence[Submission],
    write: Callable[[Sequence[Submission]], list[Answer]],
    refusal: SubmissionRefused,
) -> list[Answer]:
    """Write a refused batch in halves, down to the row at fault, which is kept as `failed` if it can be."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [*write(batch[:middle]), *write(batch[middle:])]
    if batch[0].fields is None:
        return [refusal]
    return write([batch[0].failing(f"the database refused the lead: {refusal}")])


# The statements, from the entities' names.


def _qualified(schema: str | None, table: str) -> str:
    return '"{}".{}'.format(schema.replace('"', '""'), table) if schema else table


def _postgres_insert(schema: str | None) -> str:
    """Return the statement that inserts a JSON array of records and counts those that were not there yet.

    Leads are made of exactly the raw rows that this statement inserted.
    """
    types = {
        "id": "uuid",
        "received_at": "timestamp",
        "headers": "json",
        "duplicate_of": "uuid",
        "normalizer_version": "integer",
    }
    names = (*RAW_COLUMNS, *FIELD_COLUMNS, "normalizer_version")
    sources = {
        "body": "decode(body, 'base64')",
        "body_sha256": "decode(body_sha256, 'hex')",
        "key_sha256": "decode(key_sha256, 'hex')",
        "status": "'new'",
        "assigned_to": "NULL",
        "created_at": "input.received_at",
        "updated_at": "input.received_at",
    }
    return f"""
        WITH input AS MATERIALIZED (
            SELECT * FROM json_to_recordset(%s)
            AS record ({", ".join(f"{name} {types.get(name, 'text')}" for name in names)})
        ), raw AS (
            INSERT INTO {_qualified(schema, "leads_raw")} ({", ".join(RAW_COLUMNS)})
            SELECT {", ".join(sources.get(column, column) for column in RAW_COLUMNS)} FROM input
            ON CONFLICT DO NOTHING RETURNING id, received_at
        ), lead AS (
            INSERT INTO {_qualified(schema, "leads")} ({", ".join(LEAD_COLUMNS)})
            SELECT {", ".join(sources.get(column, column) for column in LEAD_COLUMNS)}
            FROM input JOIN raw USING (id) WHERE normalizer_version IS NOT NULL
        ), counted AS (
            INSERT INTO {_qualified(schema, "leads_ledger")} AS ledger (day, entry, received)
            SELECT received_at::date, %s::uuid, count(*) FROM raw GROUP BY 1
            ON CONFLICT (day, entry) DO UPDATE SET received = ledger.received + excluded.received
        )
        SELECT count(*) FROM raw
    """  # noqa: S608 - names of ours


def _postgres_find(schema: str | None) -> str:
    holding = ", ".join(f"'{state}'" for state in KEY_HOLDING_STATES)
    columns = "id::text, key_sha256, body_sha256, state, duplicate_of::text"
    table = _qualified(schema, "leads_raw")
    return f"""
        SELECT {columns} FROM {table} WHERE id = ANY (%(ids)s::uuid[])
        UNION ALL
        SELECT {columns} FROM {table}
        WHERE key_sha256 = ANY (ARRAY(SELECT decode(key, 'hex') FROM unnest(%(keys)s::text[]) AS key))
        AND key_sha256 IS NOT NULL AND state IN ({holding})
    """  # noqa: S608 - names of ours


_SQLITE_WIDTH = len(RAW_COLUMNS) + len(LEAD_COLUMNS)
"""Values a row: the raw row's, the lead's without its id, which is the same, and the ledger's entry."""

_SPOOL_WIDTH = len(RAW_COLUMNS)

_NO_STATEMENT: tuple[str, list[object]] = ("", [])

_SQLITE_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)[
    : None if sqlite3.sqlite_version_info >= (3, 32) else 7
]
"""Rows a statement, filled up with empty ones: each size is prepared once and then kept, some 3 KB a row. SQLite before
3.32 takes 999 values."""

_SQLITE_ROWS = _SQLITE_SIZES[-1]


def _sqlite_incoming(*, is_spool: bool) -> tuple[str, str]:
    """Return what makes, for a connection alone, the view through which one statement writes all of a row's parts.

    One, because the event loop may take the interpreter's lock whenever SQLite runs and then keeps the writer waiting
    for it; one is its own transaction, too. It fails, and nothing is kept, where a row or its key is there already.
    """
    raw = {column: f"raw_{column}" for column in RAW_COLUMNS}
    lead = {column: f"lead_{column}" for column in LEAD_COLUMNS[1:]}
    columns = [*raw.values()] if is_spool else [*raw.values(), *lead.values(), "entry"]
    of_lead = f"""
        INSERT INTO leads (id, {", ".join(lead)})
        SELECT NEW.raw_id, {", ".join(f"NEW.{name}" for name in lead.values())}
        WHERE NEW.lead_normalizer_version IS NOT NULL;
        INSERT INTO leads_ledger (day, entry, received) VALUES (substr(NEW.raw_received_at, 1, 10), NEW.entry, 1)
        ON CONFLICT (day, entry) DO UPDATE SET received = received + 1;
    """  # noqa: S608 - names of ours
    return (
        f"CREATE TEMP VIEW incoming AS SELECT {', '.join(f'NULL AS {column}' for column in columns)}",
        f"""
        CREATE TEMP TRIGGER keep_incoming INSTEAD OF INSERT ON incoming WHEN NEW.raw_id IS NOT NULL BEGIN
        INSERT INTO leads_raw ({", ".join(raw)}) VALUES ({", ".join(f"NEW.{name}" for name in raw.values())});
        {"" if is_spool else of_lead}
        END
        """,  # noqa: S608 - names of ours
    )


@cache
def _sqlite_insert(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO incoming VALUES {', '.join([row] * rows)}"  # noqa: S608 - names of ours


def _timestamp(moment: datetime) -> str:
    """Return an aware UTC time as both databases keep it: without its zone, to the microsecond."""
    return moment.isoformat(" ", "microseconds")[:26]


def _uuid_bytes(id: str) -> bytes:
    return bytes.fromhex(id.replace("-", ""))


def _postgres_record(row: Submission) -> dict[str, Any]:
    """Return a row's values by the names of their columns, as JSON can hold them."""
    record: dict[str, Any] = dict(zip(Submission._fields, row))  # noqa: B905 - `strict` would cost on the hot path
    del record["fields"]
    record["body_sha256"] = row.body_sha256.hex()
    if row.body is not None:
        record["body"] = b2a_base64(row.body, newline=False).decode()
    if row.key_sha256 is not None:
        record["key_sha256"] = row.key_sha256.hex()
    if row.fields is not None:
        record.update(zip(FIELD_COLUMNS, row.fields))  # noqa: B905
        record["normalizer_version"] = NORMALIZER_VERSION
    return record


def _sqlite_raw(row: Submission) -> tuple[Any, ...]:
    return (
        _uuid_bytes(row.id),
        _timestamp(row.received_at),
        row.request_id,
        row.idempotency_key,
        row.method,
        row.target,
        row.remote_addr,
        row.content_type,
        orjson.dumps(row.headers).decode(),
        row.body,
        row.body_sha256,
        row.state,
        row.key_sha256,
        row.error,
        _uuid_bytes(row.duplicate_of) if row.duplicate_of else None,
        row.node,
    )


def sqlite_submission(values: Sequence[Any]) -> Submission:
    """Return the submission of a row of `leads_raw`, its columns in order, before its body is processed again.

    Raises `ValueError`, `TypeError` where a value is not what the column holds.
    """
    row = dict(zip(RAW_COLUMNS, values, strict=True))
    row["id"] = str(UUID(bytes=row["id"]))
    row["received_at"] = datetime.fromisoformat(row["received_at"]).replace(tzinfo=timezone.utc)
    row["headers"] = orjson.loads(row["headers"])
    if row["duplicate_of"] is not None:
        row["duplicate_of"] = str(UUID(bytes=row["duplicate_of"]))
    return Submission(**row)


def _sqlite_lead(row: Submission) -> tuple[Any, ...]:
    """Return the values of a lead but its id."""
    received_at = _timestamp(row.received_at)
    assert row.fields is not None
    return (*row.fields, "new", None, received_at, received_at, NORMALIZER_VERSION)


_NO_LEAD = (None,) * (len(LEAD_COLUMNS) - 1)
