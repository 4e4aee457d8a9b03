"""The local spool: raw rows that wait on this node's disk for the database.

One SQLite file a node, of the shape of `leads_raw`, shared by the node's workers so that a key is known to all of
them. It writes batches as the main database does, with one fsync each, and without leads: those are made when the
rows are drained.

Invariants:
- `write` returns after the commit; nothing leaves the spool before the database has committed it.
- Every id given out from here stays the id of a row, here or in the database.
- Full, locked, damaged or on a full disk, it raises `SpoolUnavailable`; the sender then hears 503.

May import entities, database, migrations, errors, submission and store.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

from pony.orm import db_session, delete, select

from leadcrm.database import bind_spool, open_sqlite, store_error
from leadcrm.entities import Entities
from leadcrm.errors import LeadcrmError, SpoolFull, SpoolUnavailable, StoreUnavailable
from leadcrm.ingest.store import Answer, Known, SqliteStore
from leadcrm.ingest.submission import Submission
from leadcrm.migrations import migrate_spool

SPOOL_FILE = "spool.db"
DRAIN_LOCK_FILE = "spool.lock"

BUSY_TIMEOUT_S = 1.0
"""Another worker's commit takes milliseconds; a lead must be answered within 3 s, the database's part included."""


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How much waits: rows, of them refused by the database, bytes on disk, arrival of the oldest (aware UTC)."""

    depth: int
    refused: int
    bytes: int
    oldest: datetime | None


class Spool:
    """The spool of this node, for one thread: every thread that works with it opens its own."""

    def __init__(self, data_dir: Path, *, max_bytes: int, min_free_bytes: int) -> None:
        """Name the spool's place and limits; nothing is opened before it is needed."""
        self.path = data_dir / SPOOL_FILE
        self._data_dir = data_dir
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._connection: sqlite3.Connection | None = None
        self._store: SqliteStore | None = None
        self._entities: Entities | None = None

    def write(self, batch: Sequence[Submission]) -> list[Answer]:
        """Keep the batch and return a receipt each, in order; durable on return.

        Raises `SpoolUnavailable`, and `SpoolFull` past the limits: then nothing of the batch is kept.
        """
        with self._faults():
            store = self._opened()
            self._insist_on_room(sum(len(row.body or b"") for row in batch))
            return store.write(batch)

    def known(self, keys: Sequence[bytes]) -> Known:
        """Return who holds which of the keys in here. Raises `SpoolUnavailable`."""
        with self._faults():
            return self._opened().known(keys)

    def is_empty(self) -> bool:
        """Say whether no row waits; some microseconds, for every batch. Raises `SpoolUnavailable`."""
        with self._faults():
            self._opened()
            assert self._connection is not None
            return self._connection.execute("SELECT 1 FROM leads_raw LIMIT 1").fetchone() is None

    def check(self) -> None:
        """Raise `SpoolUnavailable` unless a row could be kept now."""
        with self._faults():
            self._opened().write([])
            self._insist_on_room(0)

    def refuse(self, submission: Submission, why: str) -> None:
        """Keep a row that the database refuses, with the reason, out of the drain's way; durable on return."""
        self.write([submission])
        self.mark_refused(submission.id, why)

    def status(self) -> SpoolStatus:
        """Count what waits. Raises `SpoolUnavailable`."""
        raw_lead = self._raw_lead()
        with self._faults(), db_session:
            depth = select(row for row in raw_lead).count()
            refused = select(row for row in raw_lead if row.refusal is not None).count()
            oldest = select(row.received_at for row in raw_lead).min()
        return SpoolStatus(depth, refused, self._used_bytes(), oldest and oldest.replace(tzinfo=timezone.utc))

    def oldest(self, count: int) -> list[Submission]:
        """Return up to `count` of the waiting rows that the database has not refused, oldest first."""
        raw_lead = self._raw_lead()
        with self._faults(), db_session:
            rows = select(row for row in raw_lead if row.refusal is None).order_by(raw_lead.id)[:count]
            return [submission_of(row) for row in rows]

    def remove(self, ids: Sequence[str]) -> None:
        """Delete rows that the database has committed; durable on return."""
        raw_lead = self._raw_lead()
        uuids = [UUID(id) for id in ids]
        with self._faults(), db_session:
            delete(row for row in raw_lead if row.id in uuids)

    def mark_refused(self, id: str, why: str) -> None:
        """Note why the database refused a row, which then waits for a person; durable on return."""
        raw_lead = self._raw_lead()
        with self._faults(), db_session:
            raw_lead[UUID(id)].refusal = why

    def compact(self) -> None:
        """Give the file's room back to the disk once nothing waits."""
        with self._faults():
            self._opened()
            assert self._connection is not None
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def drain_lock(self) -> Iterator[bool]:
        """Say whether this process may drain now; one of a node at a time, released when it dies."""
        descriptor = os.open(self._data_dir / DRAIN_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close what this thread has open."""
        if self._connection is not None:
            self._connection.close()
        if self._entities is not None:
            self._entities.database.disconnect()
        self._connection = self._store = self._entities = None

    def _opened(self) -> SqliteStore:
        if self._store is None:
            migrate_spool(self.path)
            self._connection = open_sqlite(self.path, busy_timeout_s=BUSY_TIMEOUT_S)
            self._store = SqliteStore(self._connection, self.path, min_free_bytes=self._min_free_bytes, is_spool=True)
        return self._store

    def _raw_lead(self) -> Any:
        """Return the entity, for the reads and deletes that are not a lead's way."""
        with self._faults():
            self._opened()
            if self._entities is None:
                self._entities = bind_spool(self.path)
            return self._entities.raw_lead

    def _insist_on_room(self, more_bytes: int) -> None:
        if self._used_bytes() + more_bytes > self._max_bytes:
            raise SpoolFull(
                f"{self.path} has reached SPOOL_BYTES ({self._max_bytes})",
                hint="mend the database, or raise SPOOL_BYTES",
            )

    def _used_bytes(self) -> int:
        self._opened()
        assert self._connection is not None
        pages, free_pages, page_bytes = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free_pages) * page_bytes)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the file's faults into `SpoolUnavailable` and open it anew the next time."""
        try:
            yield
        except SpoolUnavailable:
            raise
        except (StoreUnavailable, OSError) as error:
            self.close()
            raise SpoolUnavailable(f"the spool cannot be used: {error}", hint=getattr(error, "hint", "")) from error
        except LeadcrmError:
            raise
        except Exception as error:
            self.close()
            failure = store_error(error, self.path)
            raise SpoolUnavailable(f"the spool cannot be used: {failure}", hint=failure.hint) from error


def submission_of(row: Any) -> Submission:
    """Return the submission that a raw row was made of, before its body is processed again."""
    return Submission(
        id=str(row.id),
        received_at=row.received_at.replace(tzinfo=timezone.utc),
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        key_sha256=row.key_sha256,
        method=row.method,
        target=row.target,
        remote_addr=row.remote_addr,
        content_type=row.content_type,
        headers=dict(row.headers),
        body=row.body,
        body_sha256=row.body_sha256,
        node=row.node,
        state=row.state,
        error=row.error,
        duplicate_of=str(row.duplicate_of) if row.duplicate_of else None,
    )
