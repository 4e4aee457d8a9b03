"""Requests as they were kept: the raw rows of the database and those that still wait in this node's spool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pony.orm import count, desc, raw_sql, select

from leadcrm.crm.leads import LONGEST_LISTED
from leadcrm.crm.states import SPOOLED
from leadcrm.crm.statistics import lowest_id
from leadcrm.database.entities import Entities, SpoolEntities, quoted_table
from leadcrm.database.sessions import bind_spool, session
from leadcrm.database.states import State
from leadcrm.errors import StoreError
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.replay import unerased
from leadcrm.ingest.spool.file import spool_in_use
from leadcrm.ingest.submission import Submission

SCANNED_ROWS = 20_000
"""How many rows one page looks at for those of a source, which no index finds: some tens of milliseconds."""

Archived = Literal["hide", "only", "include"]
"""Whether a list of requests has those that people have put out of the inbox."""


class Kept(NamedTuple):
    """A raw row, where it is kept (`database` or `spool`), and why the database refused it, if it did."""

    row: Submission
    stored: str
    refusal: str | None


class Summary(NamedTuple):
    """A raw row as lists show it: the beginnings of its texts, and neither headers nor body."""

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
    source: str
    mapping_version: int | None
    part_of: UUID | None
    body_bytes: int | None
    refusal: str | None
    stored: str


class RawPage(NamedTuple):
    """Some raw rows, newest first, and the id after which the next page begins; None after the last page."""

    rows: list[Summary]
    next: UUID | None

    def upto(self, limit: int) -> RawPage:
        """Return its first rows, without those beyond where the page has been read to."""
        rows = self.rows if self.next is None else [row for row in self.rows if row.id >= self.next]
        return RawPage(rows[:limit], rows[limit - 1].id) if len(rows) > limit else RawPage(rows, self.next)


class SpoolReader:
    """Reads this node's spool, if there is one, in any thread."""

    def __init__(self, data_dir: Path) -> None:
        """Remember where the spool lies; each read opens it."""
        self._data_dir = data_dir

    @contextmanager
    def bound(self) -> Iterator[SpoolEntities | None]:
        """Yield the spool's entities for sessions of the caller; None where there is no spool.

        Raises:
            StoreUnavailable: The spool cannot be read.
        """
        path = spool_in_use(self._data_dir)
        if not path.exists():
            yield None
            return
        entities = bind_spool(path)
        try:
            yield entities
        finally:
            entities.database.disconnect()

    @contextmanager
    def open(self) -> Iterator[SpoolEntities | None]:
        """Hold a session in the spool; yields None where there is no spool.

        Raises:
            StoreUnavailable: The spool cannot be read.
        """
        with self.bound() as entities:
            if entities is None:
                yield None
                return
            with session(entities):
                yield entities

    def get(self, id: UUID) -> Kept | None:
        """Return one row; also None where the spool cannot be read, so that the database can be read without it."""
        try:
            with self.open() as entities:
                row = entities and entities.raw_lead.get(id=id)
                return Kept(submission_from_entity(row), "spool", row.refusal) if row else None
        except StoreError:
            return None

    def list(self, *, limit: int, after: UUID | None, first: UUID | None = None, source: str | None = None) -> RawPage:
        """Return a page of its rows, those of a source if one is named.

        Raises:
            StoreUnavailable: The spool cannot be read.
        """
        with self.open() as entities:
            if entities is None:
                return RawPage([], None)
            query = unerased(_select_summaries(entities, raw_sql("refusal", str)))
            if source is not None:
                query = query.where(lambda row: row.source == source)
            return _read_page(query, "spool", limit, after, first)

    def count(self) -> int:
        """Return the number of its rows.

        Raises:
            StoreUnavailable: The spool cannot be read.
        """
        with self.open() as entities:
            return 0 if entities is None else int(select(row for row in entities.raw_lead).count())


def get_raw(entities: Entities, spool: SpoolReader, id: UUID) -> Kept | None:
    """Return one raw row of the database or, where it is not there, of the spool. Opens sessions of its own.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        kept = read_raw(entities, id)
    return kept or spool.get(id)


def read_raw(entities: Entities, id: UUID) -> Kept | None:
    """Return one raw row of the database. The caller holds the session."""
    row = entities.raw_lead.get(id=id)
    return Kept(submission_from_entity(row), "database", None) if row else None


def list_raw(
    entities: Entities,
    spool: SpoolReader,
    states: Sequence[str],
    *,
    limit: int,
    after: UUID | None = None,
    source: str | None = None,
    archived: Archived = "hide",
    since: datetime | None = None,
    until: datetime | None = None,
) -> RawPage:
    """Return a page of raw rows in these states, of database and spool together. Opens sessions of its own.

    A page of a source may hold fewer than `limit` although another one follows. The times are those that ids begin
    with, as the statistics count them.

    Raises:
        StoreUnavailable: The database or the spool cannot be read.
    """
    first, end = (None if at is None else lowest_id(at) for at in (since, until))
    before = min((id for id in (after, end) if id), default=None)
    pages = []
    database_states = tuple(state for state in states if state != SPOOLED)
    if database_states:
        with session(entities):
            page = _list_database(entities, database_states, source, archived, limit=limit, after=before, first=first)
            pages.append(page)
    if SPOOLED in states and archived != "only":
        pages.append(spool.list(limit=limit, after=before, first=first, source=source))
    rows = sorted((row for page in pages for row in page.rows), key=lambda row: row.id, reverse=True)
    return RawPage(rows, max((page.next for page in pages if page.next), default=None)).upto(limit)


def read_summaries(
    entities: Entities, ids: Sequence[UUID], states: Sequence[str], source: str | None = None
) -> list[Summary]:
    """Return those of the database's rows that are in one of the states. The caller holds the session."""
    query = _select_summaries(entities, raw_sql("NULL", str)).where(lambda row: row.id in ids and row.state in states)
    if source is not None:
        query = query.where(lambda row: row.source == source)
    query = unerased(query)
    return [Summary._make((*row, "database")) for row in query]


def count_duplicates(entities: Entities, id: UUID) -> dict[str, int]:
    """Return how many repeats and conflicts point at a row. The caller holds the session."""
    counts = dict(select((row.state, count(row)) for row in entities.raw_lead if row.duplicate_of == id))
    return {"repeats": counts.get(State.REPEAT, 0), "conflicts": counts.get(State.CONFLICT, 0)}


def _list_database(
    entities: Entities,
    states: tuple[str, ...],
    source: str | None,
    archived: Archived,
    *,
    limit: int,
    after: UUID | None,
    first: UUID | None,
) -> RawPage:
    query = unerased(_select_summaries(entities, raw_sql("NULL", str))).where(lambda row: row.state in states)
    query = where_archived(entities, query, archived)
    if State.STORED not in states:
        # Redundant, but this literal matches the partial index's predicate so the planner can use it.
        query = query.where(lambda row: row.state != "stored")
    if source is None:
        return _read_page(query, "database", limit, after, first)
    last = _last_scanned(entities, after)
    query = query.where(lambda row: row.source == source)
    if last is not None and (first is None or first < last):
        first = last
    else:
        last = None
    page = _read_page(query, "database", limit, after, first)
    return page._replace(next=page.next or last)


def _last_scanned(entities: Entities, after: UUID | None) -> UUID | None:
    """Return the id of the last row that a page looks at; None if there are fewer."""
    ids = select(row.id for row in entities.raw_lead).without_distinct()
    if after is not None:
        ids = ids.where(lambda row: row.id < after)
    found = ids.order_by(desc(1)).limit(1, offset=SCANNED_ROWS - 1)[:]
    return found[0] if found else None


def where_archived(entities: Entities, query: Any, archived: Archived) -> Any:
    """Narrow a query of raw rows, whose loop variable is `row`, by whether they are archived."""
    if archived == "include":
        return query
    table = quoted_table(entities.archived)
    is_archived = f'EXISTS (SELECT 1 FROM {table} archived WHERE archived.raw_id = "row".id)'  # noqa: S608 - a name of ours
    fragment = raw_sql(is_archived if archived == "only" else f"NOT {is_archived}")
    return query.where(lambda row: fragment)


def _select_summaries(entities: SpoolEntities, refusal: Any) -> Any:
    """Return the query for summaries; `refusal` is SQL, since only the spool's table has that column."""
    return select(
        (
            row.id,
            row.received_at,
            row.request_id[:LONGEST_LISTED],
            row.idempotency_key[:LONGEST_LISTED],
            row.method,
            row.target[:LONGEST_LISTED],
            row.remote_addr,
            row.content_type[:LONGEST_LISTED],
            row.state,
            row.error[:LONGEST_LISTED],
            row.duplicate_of,
            row.node,
            row.source,
            row.mapping_version,
            row.part_of,
            raw_sql('length("row".body)', int),
            refusal,
        )
        for row in entities.raw_lead
    ).without_distinct()


def _read_page(query: Any, stored: str, limit: int, after: UUID | None, first: UUID | None) -> RawPage:
    if after is not None:
        query = query.where(lambda row: row.id < after)
    if first is not None:
        query = query.where(lambda row: row.id >= first)
    summaries = [Summary._make((*row, stored)) for row in query.order_by(desc(1))[: limit + 1]]
    rows = summaries[:limit]
    return RawPage(rows, rows[-1].id if len(summaries) > limit else None)
