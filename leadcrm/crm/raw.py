"""What arrived, as it was kept: the raw rows of the database and those that still wait in this node's spool.

The inbox is what is no lead, by state; `spooled` stands for the spool's rows, which no other node sees.

May import entities, database, errors and, of ingest, what a kept row is and where the spool lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import count, desc, raw_sql, select

from leadcrm.database.entities import Entities, SpoolEntities
from leadcrm.database.sessions import bind_spool, session
from leadcrm.errors import StoreError
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.spool.file import spool_in_use
from leadcrm.ingest.submission import Submission

SPOOLED = "spooled"

INBOX_STATES = ("failed", "invalid", "conflict", "repeat", SPOOLED)
"""What is kept but is no lead, in the order of how much it wants a person."""

RAW_STATES = (*INBOX_STATES, "stored")


class Kept(NamedTuple):
    """A raw row, where it is kept (`database` or `spool`), and why the database refused it, if it did."""

    row: Submission
    stored: str
    refusal: str | None


class Summary(NamedTuple):
    """A raw row as lists show it: without headers and body, which may be long."""

    id: UUID
    received_at: datetime
    request_id: str
    idempotency_key: str | None
    method: str
    target: str
    remote_addr: str
    content_type: str | None
    state: str
    error: str | None
    duplicate_of: UUID | None
    node: str
    body_bytes: int | None
    refusal: str | None
    stored: str


class RawPage(NamedTuple):
    """Some raw rows, newest first, and the id after which the next page begins."""

    rows: list[Summary]
    next: UUID | None


class SpoolReader:
    """Reads this node's spool, where there is one, in whatever thread."""

    def __init__(self, data_dir: Path) -> None:
        """Name the spool's place; nothing is opened before it is needed."""
        self._data_dir = data_dir

    @contextmanager
    def open(self) -> Iterator[SpoolEntities | None]:
        """Hold a session in the spool; None where there is no spool. Raises `StoreUnavailable`."""
        path = spool_in_use(self._data_dir)
        if not path.exists():
            yield None
            return
        entities = bind_spool(path)
        try:
            with session(entities):
                yield entities
        finally:
            entities.database.disconnect()

    def get(self, id: UUID) -> Kept | None:
        """Return one row; None too where the spool cannot be read, which stops nobody from reading the database."""
        try:
            with self.open() as entities:
                row = entities and entities.raw_lead.get(id=id)
                return Kept(submission_from_entity(row), "spool", row.refusal) if row else None
        except StoreError:
            return None

    def list(self, *, limit: int, after: UUID | None) -> RawPage:
        """Return a page of its rows. Raises `StoreUnavailable`."""
        with self.open() as entities:
            if entities is None:
                return RawPage([], None)
            return _read_page(_select_summaries(entities, raw_sql("refusal", str)), "spool", limit, after)

    def count(self) -> int:
        """Return how many rows wait. Raises `StoreUnavailable`."""
        with self.open() as entities:
            return 0 if entities is None else int(select(row for row in entities.raw_lead).count())


def get_raw(entities: Entities, id: UUID) -> Kept | None:
    """Return one row of the database, body and all. The session is the caller's."""
    row = entities.raw_lead.get(id=id)
    return Kept(submission_from_entity(row), "database", None) if row else None


def list_raw(entities: Entities, states: tuple[str, ...], *, limit: int, after: UUID | None) -> RawPage:
    """Return a page of the database's rows in these states. The caller holds the session."""
    query = _select_summaries(entities, raw_sql("NULL", str)).where(lambda row: row.state in states)
    if "stored" not in states:
        # Redundant, but it matches the partial index's predicate so the planner can use it.
        query = query.where(lambda row: row.state != "stored")
    return _read_page(query, "database", limit, after)


def duplicates_of(entities: Entities, id: UUID) -> dict[str, int]:
    """Return how many repeats and conflicts lead to a row. The session is the caller's."""
    raw_lead = entities.raw_lead
    counted = dict(select((row.state, count(row)) for row in raw_lead if row.duplicate_of == id))
    return {"repeats": counted.get("repeat", 0), "conflicts": counted.get("conflict", 0)}


def _select_summaries(entities: SpoolEntities, refusal: Any) -> Any:
    """Return the query for summaries; `refusal` is SQL, since only the spool's table has that column."""
    return select(
        (
            row.id,
            row.received_at,
            row.request_id,
            row.idempotency_key,
            row.method,
            row.target,
            row.remote_addr,
            row.content_type,
            row.state,
            row.error,
            row.duplicate_of,
            row.node,
            raw_sql('length("row".body)', int),
            refusal,
        )
        for row in entities.raw_lead
    ).without_distinct()


def _read_page(query: Any, stored: str, limit: int, after: UUID | None) -> RawPage:
    if after is not None:
        query = query.where(lambda row: row.id < after)
    summaries = [Summary._make((*row, stored)) for row in query.order_by(desc(1))[: limit + 1]]
    rows = summaries[:limit]
    return RawPage(rows, rows[-1].id if len(summaries) > limit else None)
