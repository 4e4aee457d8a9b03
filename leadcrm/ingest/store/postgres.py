"""The batch insert on PostgreSQL: one autocommit statement for a batch of any size.

This module and `sqlite` alone use raw SQL for leads' rows: inserting entities one by one takes 27 times as much CPU on
the client (measured). Names of tables and columns come from the entities' mapping.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from time import monotonic, sleep
from typing import Any

import orjson
import psycopg2
import psycopg2.errors
import psycopg2.extensions

from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import ARRIVAL_COLUMNS, FIELD_COLUMNS, RAW_COLUMNS
from leadcrm.database.hosts import address_of, try_last
from leadcrm.database.postgres import PostgresConnection, schema_prefix
from leadcrm.database.states import KEY_HOLDING_SQL, State
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.driving import InThread, Operation, Readable, Writable
from leadcrm.ingest.raw_row import postgres_record
from leadcrm.ingest.store.store import (
    CONFLICT_ATTEMPTS,
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

MAX_LOOP_BYTES = 256 * 1024
"""The most that is encoded in the driving thread, which may be an event loop's: a mebibyte takes ten milliseconds."""

_RETRIED_SQLSTATES = ("40001", "40P01")  # serialization failure and deadlock: nothing was written

_POOLED_SQLSTATES = ("26000", "42P05")  # a prepared statement is missing or exists: a pooler changes our sessions

_PROVE_LOCK = 0x6C656166  # the key of the advisory lock that a proof holds until it is committed

_PROVE_SQL = f"""
    SELECT CASE WHEN pg_try_advisory_xact_lock({_PROVE_LOCK})
    THEN pg_logical_emit_message(true, 'leadcrm', '') IS NOT NULL END
"""

STANDING_SQL = """
    SELECT current_setting('synchronous_standby_names') <> ''
    AND current_setting('synchronous_commit') NOT IN ('off', 'local'),
    EXISTS (SELECT FROM pg_stat_replication WHERE state IS NULL OR state = 'streaming')
"""
"""A commit after that proves that there is a synchronous standby. A role without rights sees standbys without state."""

PROOF_S = 5.0
"""How old a proof may be before the next probe is another one, and a standing before the next batch reads it again."""

_PROVE_PAUSE_S = (0.01, 0.05)
"""The pause before a proof tries for the lock again, which a proof on a healthy server holds for milliseconds."""

_STANDBY_HINT = "is the synchronous standby up (pg_stat_replication)?"


class PostgresStore:
    """Writes batches to PostgreSQL over one connection; it needs a thread only to encode large bodies and to pause."""

    def __init__(
        self,
        connection: PostgresConnection,
        *,
        schema: str | None,
        timeout_s: float,
        may_prepare: bool = True,
        requires_standby: bool = False,
    ) -> None:
        """Take ownership of an autocommit connection from `open_postgres`.

        Args:
            connection: The connection, which `close` closes.
            schema: The schema of the tables; None for the connection's default.
            timeout_s: The limit of each `write`.
            may_prepare: Whether to prepare the insert, which saves PostgreSQL 0.2 ms a batch. False behind a pooler,
                which may run each statement in another session.
            requires_standby: Whether a commit that no synchronous standby has confirmed counts as failed.
        """
        self._connection = connection
        self._address = address_of(connection.info.dsn_parameters)
        self._descriptor = connection.fileno()
        self._timeout_s = timeout_s
        self._insert_sql = _insert_sql(schema)
        # The name depends on the text: behind a pooler, a session may still know an older program's statement.
        self._insert_name = f"leadcrm_{sha256(self._insert_sql.encode()).hexdigest()[:16]}"
        self._find_sql = _find_sql(schema)
        self._may_prepare = may_prepare
        self._is_prepared = False
        # Whether what was written or found last may be missing on a synchronous standby.
        self._requires_standby = requires_standby
        self._is_in_doubt = False
        self._awaits_standby = False
        self._looked_at = -PROOF_S  # monotonic
        self.standing = Standing(str(self._address))
        self._ledger = Ledger()
        # The connection's default cursor would block until the statement has finished.
        self._cursor = connection.cursor(cursor_factory=psycopg2.extensions.cursor)

    def write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Keep the batch; see `Store.write`."""
        now = monotonic()
        if batch and now - self._looked_at > PROOF_S:
            yield from self._look(now + self._timeout_s)
        return (yield from self._write(now + self._timeout_s, batch))

    def prove(self) -> Operation[None]:
        """See `Store.prove`. This finds a disk or a standby that blocks commits before a lead does."""
        yield from self.write([])
        until = monotonic() + self._timeout_s
        yield from self._look(until)
        yield from self._prove_commit(until)

    def probe(self) -> Operation[None]:
        """See `Store.probe`. An empty write needs no commit, and so does not wait for a standby."""
        if monotonic() - self._looked_at > PROOF_S:
            yield from self.prove()
        else:
            yield from self.write([])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _write(self, until: float, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Keep the batch; all attempts and all parts end by `until` (monotonic)."""
        for attempt in range(CONFLICT_ATTEMPTS):
            try:
                return (yield from self._write_settled(until, batch))
            except UNENCODABLE as error:
                refusal = SubmissionRefused(f"it cannot be encoded: {type(error).__name__}")
                break
            except psycopg2.Error as error:
                if error.pgcode in _POOLED_SQLSTATES and self._may_prepare:
                    self._may_prepare = False
                    continue
                if error.pgcode not in _RETRIED_SQLSTATES or attempt == CONFLICT_ATTEMPTS - 1:
                    failure = store_error(error)
                    if isinstance(failure, StoreUnavailable):
                        raise failure from error
                    refusal = failure
                    break
                # Pause at random, so that the same two writers do not collide again.
                yield InThread(partial(sleep, random.uniform(0, 0.01)))  # noqa: S311
        else:
            hint = "add pgbouncer=true to the URL"
            raise StoreUnavailable("the session's prepared statements keep vanishing", hint=hint)
        write, prove = partial(self._write, until), partial(self._prove_commit, until)
        return (yield from write_bisected(batch, write, refusal, prove))

    def _look(self, until: float) -> Operation[None]:
        """See who confirms commits."""
        self._looked_at = monotonic()
        try:
            ((self._awaits_standby, is_followed),) = yield from self._execute(until, STANDING_SQL)
        except psycopg2.Error as error:
            # Some databases that speak PostgreSQL's protocol know nothing of standbys.
            if error.pgcode is not None and error.pgcode.startswith("42"):
                return
            raise store_error(error) from error
        replication = "synchronous" if self._awaits_standby else "asynchronous" if is_followed else "none"
        self.standing = self.standing._replace(replication=replication)

    def _prove_commit(self, until: float) -> Operation[None]:
        """Commit a write that needs none of our tables, and with it all that is visible now.

        While no standby answers, a proof waits in the server for as long as that lasts, even if its client has gone.
        The lock lets only one of them wait: else they would take all of the server's connections in time.

        Raises:
            StoreUnavailable: No commit reaches the disk, or the synchronous standby, now.
        """
        try:
            while not (yield from self._execute(until, _PROVE_SQL))[0][0]:
                if monotonic() > until:
                    raise self._not_committing("another commit waits for the disk or the standby")
                yield InThread(partial(sleep, random.uniform(*_PROVE_PAUSE_S)))  # noqa: S311
        except psycopg2.Error as error:
            # Some databases that speak PostgreSQL's protocol lack the function.
            if error.pgcode is not None and error.pgcode.startswith("42"):
                self._is_in_doubt = False
                return
            failure = store_error(error)
            # No row is in it that could be at fault, whatever the class of the SQLSTATE says.
            raise StoreUnavailable(str(failure), hint=failure.hint, sqlstate=failure.sqlstate) from error
        except StoreUnavailable as error:
            raise self._not_committing(str(error)) from error
        self._is_in_doubt = self._was_warned()
        yield from self._require_standby(until)
        if self._is_in_doubt:
            raise self._not_committing("the database committed with a warning: a standby may lack the commit")

    def _require_standby(self, until: float) -> Operation[None]:
        """Raise `StoreUnavailable` if a standby is required and the last commit may have waited for none.

        Whoever takes the last standby out of `synchronous_standby_names` ends the waits of all commits, with success.
        The postmaster tells the sessions before that, so that this one sees it in its next statement.
        """
        if not self._requires_standby:
            return
        yield from self._look(until)
        if not self._awaits_standby:
            raise StoreUnavailable(
                "REQUIRE_SYNC is on, and commits wait for no synchronous standby",
                hint="set synchronous_standby_names, or REQUIRE_SYNC=off to trust one disk",
                public=f"REQUIRE_SYNC waits for a synchronous standby of {self.standing.host}",
            )

    def _not_committing(self, text: str) -> StoreUnavailable:
        what = "a synchronous standby" if self._awaits_standby else "the disk"
        return StoreUnavailable(text, hint=_STANDBY_HINT, public=f"commits on {self.standing.host} wait for {what}")

    def _was_warned(self) -> bool:
        """Return whether the last statement came with a notice, and forget the notice.

        PostgreSQL answers success with a warning if a commit's wait for its standby was cancelled (its documentation,
        section 26.2.8.3). The text is translated, so any notice counts.
        """
        notices = self._connection.notices
        was_warned = bool(notices)
        if was_warned:
            notices.clear()
        return was_warned

    def _write_settled(self, until: float, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Insert the rows that may hold their keys first, and look up the holders of the other rows' keys."""
        rows: dict[str, Submission] = {}
        left = batch
        known: Known = {}
        for _ in range(2 * CONFLICT_ATTEMPTS):
            settled = settle(left, known)
            # A duplicate of a row in this batch follows in a later statement, because that row may still lose its key.
            ahead = [row for row in settled.values() if row.duplicate_of not in settled]
            if (yield from self._insert(until, ahead)) == len(ahead):
                if len(ahead) == len(left):
                    rows.update(settled)
                    break
                stored = {row.id: row for row in ahead}
                known.update(
                    (row.key_sha256, (row.id, row.body_sha256)) for row in ahead if row.key_sha256 and row.holds_key
                )
            else:
                # Some rows exist already, or their keys are taken.
                stored, known = yield from self._find(until, left)
                # Others see a commit as soon as its wait for the standby has ended, even if it ended in vain.
                self._is_in_doubt = True
            rows.update(stored)
            left = [row for row in left if row.id not in stored]
            if not left:
                break
        else:
            raise StoreUnavailable("rival rows for a key keep vanishing")
        if self._is_in_doubt:
            yield from self._prove_commit(until)
        yield from self._require_standby(until)
        return receipts_for(batch, rows, "database")

    def _insert(self, until: float, rows: Sequence[Submission]) -> Operation[int]:
        """Insert the rows, except those whose id or key exists already, and return how many were inserted."""
        if self._may_prepare and not self._is_prepared:
            prepared = self._insert_sql.replace("%s", "$1", 1).replace("%s", "$2", 1)
            yield from self._execute(until, f"PREPARE {self._insert_name} (json, uuid) AS {prepared}")
            self._is_prepared = True
        statement: bytes
        if sum([row.held_bytes for row in rows]) > MAX_LOOP_BYTES:
            statement = yield InThread(partial(self._encode, rows))
        else:
            statement = self._encode(rows)
        ((inserted,),) = yield from self._execute(until, statement)
        was_warned = self._was_warned()
        if inserted:
            # A commit that was waited for covers all commits before it.
            self._is_in_doubt = was_warned
        return int(inserted)

    def _encode(self, rows: Iterable[Submission]) -> bytes:
        """Return the statement that inserts the rows."""
        # Sorted by key: two writers that insert the same keys in opposite order would deadlock.
        ordered = sorted(rows, key=lambda row: row.key_sha256 or b"")
        document = orjson.dumps([postgres_record(row) for row in ordered]).decode()
        sql = f"EXECUTE {self._insert_name} (%s, %s)" if self._may_prepare else self._insert_sql
        return self._cursor.mogrify(sql, (document, str(self._ledger.entry())))

    def _find(self, until: float, rows: Sequence[Submission]) -> Operation[tuple[dict[str, Submission], Known]]:
        """Return the rows that exist already, as they are stored, and the holders of the rows' keys."""
        by_id = {row.id: row for row in rows}
        keys = [row.key_sha256.hex() for row in rows if row.key_sha256]
        matches = yield from self._execute(until, self._find_sql, {"ids": list(by_id), "keys": keys})
        stored: dict[str, Submission] = {}
        known: Known = {}
        for id, key, body_sha256, state, duplicate_of in matches:
            if id in by_id:
                stored[id] = by_id[id]._replace(state=State(state), duplicate_of=duplicate_of)
            if key is not None and State(state).holds_key:
                known[bytes(key)] = (id, bytes(body_sha256))
        return stored, known

    def _execute(self, until: float, sql: str | bytes, values: Any = None) -> Operation[list[tuple[Any, ...]]]:
        """Execute a statement and return its rows, if any. Raises psycopg2's errors."""
        self._cursor.execute(sql, values)
        try:
            while (state := self._connection.poll()) != psycopg2.extensions.POLL_OK:
                wait = Readable if state == psycopg2.extensions.POLL_READ else Writable
                yield wait(self._descriptor, until)
        except psycopg2.errors.ReadOnlySqlTransaction:
            try_last(self._address)
            raise
        return self._cursor.fetchall() if self._cursor.description else []


def _insert_sql(schema: str | None) -> str:
    """Return the statement that inserts a JSON array of records and counts the inserted raw rows.

    It makes leads of exactly the raw rows that it inserted.
    """
    types = {
        "id": "uuid",
        "received_at": "timestamp",
        "headers": "json",
        "duplicate_of": "uuid",
        "mapping_version": "integer",
        "part_of": "uuid",
        "normalizer_version": "integer",
        "is_test": "boolean",
    }
    names = (*RAW_COLUMNS, *FIELD_COLUMNS, "normalizer_version", "is_test")
    sources = {
        "body": "decode(body, 'base64')",
        "body_sha256": "decode(body_sha256, 'hex')",
        "key_sha256": "decode(key_sha256, 'hex')",
        "status": "'new'",
        "assigned_to": "NULL",
        "created_at": "input.received_at",
        "updated_at": "input.received_at",
        "is_test": "is_test IS TRUE",
    }
    prefix = schema_prefix(schema)
    return f"""
        WITH input AS MATERIALIZED (
            SELECT * FROM json_to_recordset(%s)
            AS record ({", ".join(f"{name} {types.get(name, 'text')}" for name in names)})
        ), raw AS (
            INSERT INTO {prefix}leads_raw ({", ".join(RAW_COLUMNS)})
            SELECT {", ".join(sources.get(column, column) for column in RAW_COLUMNS)} FROM input
            ON CONFLICT DO NOTHING RETURNING id, received_at
        ), lead AS (
            INSERT INTO {prefix}leads ({", ".join(ARRIVAL_COLUMNS)})
            SELECT {", ".join(sources.get(column, column) for column in ARRIVAL_COLUMNS)}
            FROM input JOIN raw USING (id) WHERE normalizer_version IS NOT NULL
        ), counted AS (
            INSERT INTO {prefix}leads_ledger AS ledger (day, entry, received)
            SELECT received_at::date, %s::uuid, count(*) FROM raw GROUP BY 1
            ON CONFLICT (day, entry) DO UPDATE SET received = ledger.received + excluded.received
        )
        SELECT count(*) FROM raw
    """  # noqa: S608 - names of ours


def _find_sql(schema: str | None) -> str:
    columns = "id::text, key_sha256, body_sha256, state, duplicate_of::text"
    table = f"{schema_prefix(schema)}leads_raw"
    return f"""
        SELECT {columns} FROM {table} WHERE id = ANY (%(ids)s::uuid[])
        UNION ALL
        SELECT {columns} FROM {table}
        WHERE key_sha256 = ANY (ARRAY(SELECT decode(key, 'hex') FROM unnest(%(keys)s::text[]) AS key))
        AND key_sha256 IS NOT NULL AND {KEY_HOLDING_SQL}
    """  # noqa: S608 - names of ours
