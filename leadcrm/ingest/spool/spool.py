"""The local spool: raw rows that wait on this node's disk for the database.

Each node has one SQLite file with the columns of `leads_raw`. All of the node's workers share it, so each of them knows
its keys. It writes each batch with one fsync, as the database does, but without leads, which the drain makes.

Invariants:
- `write` returns after the commit, and no row leaves the spool before the database has committed it.
- Every id that a sender got from the spool stays the id of a row, in the spool or in the database.
- If the spool is full or locked, or its disk is full, it raises `SpoolUnavailable` and the sender gets 503.
- A file that is damaged or gone is set aside, and its successor is used next. A batch that was written to a file while
  another process set it aside is written again. So every acknowledged row is in the file in use, or was in the old file
  before its rows were salvaged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from pony.orm import db_session, select

from leadcrm.database.data_dir import lock_file
from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import RAW_COLUMNS, SpoolEntities
from leadcrm.database.migrations import SchemaConnection
from leadcrm.database.sessions import bind_spool
from leadcrm.database.sqlite import busy_timeout
from leadcrm.errors import (
    LeadcrmError,
    SchemaTooNew,
    SpoolDamaged,
    SpoolFull,
    SpoolUnavailable,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from leadcrm.ingest.driving import block
from leadcrm.ingest.raw_row import submission_from_sqlite
from leadcrm.ingest.spool.file import SpoolFile, set_aside_files
from leadcrm.ingest.spool.sqlite_pages import lost_from_log
from leadcrm.ingest.spool.store import SpoolStore
from leadcrm.ingest.store.store import Known, WriteResult
from leadcrm.ingest.submission import Submission

DRAIN_LOCK_FILE = "spool.lock"

BUSY_TIMEOUT_S = 1.0
"""Another worker's commit takes milliseconds, and a lead must be answered within 3 s, of which the database may have
taken a part already."""

_ANY = "SELECT 1 FROM leads_raw LIMIT 1"

_OLDEST = f"SELECT {', '.join(RAW_COLUMNS)} FROM leads_raw WHERE refusal IS NULL ORDER BY id LIMIT ?"  # noqa: S608


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What waits in the spool.

    Attributes:
        depth: The number of rows, refused ones included.
        refused: The number of rows that the database refused.
        refusal: Why it refused the oldest of these; None if there is none.
        bytes: The bytes that the rows use on disk.
        oldest: When the oldest row arrived (aware UTC); None if the spool is empty.
        set_aside: The damaged files that have not been deleted.
    """

    depth: int
    refused: int
    refusal: str | None
    bytes: int
    oldest: datetime | None
    set_aside: tuple[str, ...] = ()


class Spool:
    """One thread's access to this node's spool; each thread needs an instance of its own.

    Every method but `known_at_a_glance` and `close` raises `SpoolUnavailable` if the file cannot be used.
    """

    def __init__(self, data_dir: Path, *, max_bytes: int, min_free_bytes: int) -> None:
        """Set the spool's folder and limits; the file is opened on first use."""
        self.data_dir = data_dir
        self._file = SpoolFile(data_dir)
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._connection: sqlite3.Connection | None = None
        self._store: SpoolStore | None = None
        self._entities: SpoolEntities | None = None
        self._empty_since: bytes | None = None  # the commits after which a glance found no row
        self._has_failed = False

    @property
    def path(self) -> Path:
        """The file in use, as far as this thread knows."""
        return self._file.path

    def write(self, batch: Sequence[Submission]) -> list[WriteResult]:
        """Keep the batch and return a result for each row, in order; durable on return.

        Raises:
            SpoolUnavailable: No row of the batch is kept; `SpoolFull` if a limit is reached.
        """
        try:
            return self._write(batch)
        except SpoolDamaged:
            return self._write(batch)

    def _write(self, batch: Sequence[Submission]) -> list[WriteResult]:
        with self._faults():
            store = self._opened()
            self._require_room(sum(len(row.body or b"") for row in batch))
            try:
                results = block(store.write(batch))
            except StoreUnavailable:
                if self._is_in_use():
                    raise
            else:
                if self._is_in_use():
                    return results
            raise StoreDamaged(f"{self.path} or its log was taken away or overwritten during the write")

    def known(self, keys: Sequence[bytes]) -> Known:
        """Return the holders of those keys that rows in the spool hold."""
        with self._faults():
            return self._opened().known(keys)

    def is_empty(self) -> bool:
        """Say whether no row waits, within microseconds."""
        with self._faults():
            self._opened()
            assert self._connection is not None
            return self._connection.execute(_ANY).fetchone() is None

    def known_at_a_glance(self, batch: Sequence[Submission]) -> Known | None:
        """Return the holders of the keys that a batch claims, as `known` does, without blocking; for the event loop.

        None means that `known` must be asked. It opens no file, and reading an unchanged file needs no disk.
        """
        if self._connection is None or self._store is None:
            return None
        try:
            # Before the look: a commit that comes in between is seen next time.
            commits = self._store.files.commits()
            if commits == self._empty_since and self._is_in_use():
                return {}
            with busy_timeout(self._connection, 0):
                if not self._is_in_use():
                    return None
                if self._connection.execute(_ANY).fetchone() is None:
                    self._empty_since = commits
                    return {}
                return self._store.known(claimed_keys(batch))
        except (OSError, sqlite3.Error, StoreUnavailable):
            return None

    def is_drained(self) -> bool:
        """Say whether only rows that the database refused are left."""
        with self._faults():
            self._opened()
            assert self._connection is not None
            sql = "SELECT 1 FROM leads_raw WHERE refusal IS NULL LIMIT 1"
            return self._connection.execute(sql).fetchone() is None

    def inspect(self) -> None:
        """Set the file aside if its log has lost commits, which SQLite would not report.

        Call it before any process opens the file.
        """
        with self._faults():
            if self.path.exists() and (why := lost_from_log(self.path)):
                self._file.set_aside(why)

    def check(self) -> None:
        """Raise `SpoolUnavailable` unless a row could be kept now."""
        with self._faults():
            block(self._opened().write([]))
            self._require_room(0)

    def prove_write(self) -> None:
        """Commit a real write that changes nothing."""
        self.check()
        with self._faults():
            assert self._connection is not None
            SchemaConnection(self._connection, None).rewrite()

    def refuse(self, submission: Submission, why: str) -> WriteResult:
        """Keep a row that the database refuses, with the reason; durable on return. The drain skips it."""
        (result,) = self.write([submission])
        self.mark_refused(submission.id, why)
        return result

    def status(self) -> SpoolStatus:
        """Count the waiting rows, within milliseconds for a million."""
        raw_lead = self._raw_lead()
        with self._faults(), db_session:
            depth = select(row for row in raw_lead).count()
            refused = select(row for row in raw_lead if row.refusal is not None).count()
            refusal = select((row.id, row.refusal) for row in raw_lead if row.refusal is not None).order_by(1).first()
            # Ids sort by time of arrival.
            oldest = select((row.id, row.received_at) for row in raw_lead).order_by(1).first()
            used_bytes = self._used_bytes()
        return SpoolStatus(
            depth,
            refused,
            refusal and refusal[1],
            used_bytes,
            oldest and oldest[1].replace(tzinfo=timezone.utc),
            tuple(str(path) for path in set_aside_files(self.data_dir)),
        )

    def oldest(self, max_rows: int, max_bytes: int) -> list[Submission]:
        """Return the oldest rows that the database has not refused, within the bounds but at least one if any waits."""
        with self._faults():
            self._opened()
            assert self._connection is not None
            rows: list[Submission] = []
            for values in self._connection.execute(_OLDEST, (max_rows,)):
                try:
                    row = submission_from_sqlite(values)
                except (ValueError, TypeError) as error:
                    raise StoreDamaged(f"{self.path}: a row cannot be read: {type(error).__name__}") from None
                max_bytes -= len(row.body or b"")
                if rows and max_bytes < 0:
                    break
                rows.append(row)
            return rows

    def remove(self, ids: Sequence[str]) -> None:
        """Delete rows that the database has committed; durable on return."""
        raw_lead = self._raw_lead()
        uuids = [UUID(id) for id in ids]
        with self._faults(), db_session:
            select(row for row in raw_lead if row.id in uuids).delete(bulk=True)

    def mark_refused(self, id: str, why: str) -> None:
        """Record why the database refused a row, which then waits for `release_refused`; durable on return."""
        raw_lead = self._raw_lead()
        with self._faults(), db_session:
            row = raw_lead.get(id=UUID(id))
            # The row may be gone with a file that was set aside; the salvage brings it back.
            if row is not None:
                row.refusal = why

    def release_refused(self) -> int:
        """Let the drain try all rows again that the database has refused, and return their number; durable on return.

        What made the database refuse them may be over: a constraint, a trigger, a partition that was missing.
        """
        with self._faults():
            self._opened()
            assert self._connection is not None
            sql = "UPDATE leads_raw SET refusal = NULL WHERE refusal IS NOT NULL"
            return self._connection.execute(sql).rowcount

    def compact(self) -> None:
        """Return the file's unused space to the disk; call it once no row waits."""
        with self._faults():
            store = self._opened()
            assert self._connection is not None
            self._connection.execute("VACUUM")
            store.files.checkpoint("TRUNCATE")

    @contextmanager
    def drain_lock(self) -> Iterator[bool]:
        """Yield whether this process may drain: one process of the node at a time, and the lock ends with it."""
        path = self.data_dir / DRAIN_LOCK_FILE
        with ExitStack() as stack:
            try:
                is_locked = stack.enter_context(lock_file(path, exclusively=True))
            except OSError as error:
                raise SpoolUnavailable(f"{path}: {error.strerror}") from error
            yield is_locked

    def close(self) -> None:
        """Close this thread's connections."""
        if self._store is not None:
            self._store.close()
        elif self._connection is not None:
            self._connection.close()
        if self._entities is not None:
            self._entities.database.disconnect()
        self._connection = self._store = self._entities = self._empty_since = None

    def _opened(self) -> SpoolStore:
        if self._store is not None and not self._is_in_use():
            self.close()
            self._file.set_aside("it or its log was deleted, replaced or overwritten")
        if self._store is None:
            self._connection = self._file.open(busy_timeout_s=BUSY_TIMEOUT_S)
            self._store = SpoolStore(self._connection, self.path, min_free_bytes=self._min_free_bytes)
            if self._has_failed:
                block(self._store.prove())
                self._has_failed = False
        return self._store

    def _is_in_use(self) -> bool:
        """Say whether the open file is still the spool's, with the log that it was opened with."""
        return self._file.is_in_use() and self._store is not None and self._store.files.fault() is None

    def _raw_lead(self) -> Any:
        """Return the entity for the reads and deletes that are not on a lead's path."""
        with self._faults():
            self._opened()
            if self._entities is None:
                self._entities = bind_spool(self.path)
            return self._entities.raw_lead

    def _require_room(self, more_bytes: int) -> None:
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
        """Raise the file's faults as `SpoolUnavailable`, and close it so that the next use opens it again."""
        try:
            yield
        except SpoolUnavailable:
            raise
        except SchemaTooNew as error:
            # The database can keep leads meanwhile.
            raise SpoolUnavailable(f"a newer leadcrm has changed {self.path}", hint=error.hint) from error
        except LeadcrmError as error:
            if not isinstance(error, StoreUnavailable):
                raise
            self._give_up(error)
        except OSError as error:
            self._give_up(StoreUnavailable(f"{self.path}: {error.strerror}"))
        except Exception as error:
            failure = store_error(error, self.path)
            self._give_up(failure)

    def _give_up(self, failure: StoreError) -> NoReturn:
        self.close()
        self._has_failed = True
        if isinstance(failure, StoreDamaged):
            self._file.set_aside(str(failure))
            raise SpoolDamaged(f"the spool was damaged: {failure}") from failure
        raise SpoolUnavailable(f"the spool cannot be used: {failure}", hint=failure.hint) from failure


def claimed_keys(batch: Sequence[Submission]) -> list[bytes]:
    """Return the hashes of the keys that the rows of a batch claim."""
    return [row.key_sha256 for row in batch if row.key_sha256 and row.holds_key]
