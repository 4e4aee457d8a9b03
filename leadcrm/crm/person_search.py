"""Everything that was kept of a person: leads by their columns, and all else by looking through what can be read.

No index finds a text within a body, so the whole database and this node's spool are read, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import orjson
from pony.orm import raw_sql, select

from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.person import Person, text_of
from leadcrm.crm.queries import narrow
from leadcrm.crm.raw import SpoolReader
from leadcrm.database.entities import FIELD_COLUMNS, Entities, SpoolEntities
from leadcrm.database.sessions import WHOLE_TIMEOUT_S, session
from leadcrm.database.states import State
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.submission import ERASED, SourceReader, Submission

PAGE_ROWS = 500
PART_BYTES = 8 * 1024 * 1024
"""The bodies that are held at once."""

OnProgress = Callable[[int, int], None]

_EMAIL, _PHONE = FIELD_COLUMNS.index("email"), FIELD_COLUMNS.index("phone")


@dataclass(slots=True)
class Found:
    """What was found of a person, by ids of raw rows.

    Attributes:
        leads: Leads whose email or phone it is.
        requests: Requests that are no leads, or none yet, and name it.
        batches: Bodies with several leads that name it; those leads are rows of their own.
        mentions: Leads of others, by their columns, and bodies with several leads, that name it all the same.
        unread: Requests whose body cannot be decoded.
    """

    leads: set[UUID] = field(default_factory=set)
    requests: set[UUID] = field(default_factory=set)
    batches: set[UUID] = field(default_factory=set)
    mentions: set[UUID] = field(default_factory=set)
    unread: set[UUID] = field(default_factory=set)

    @property
    def own(self) -> set[UUID]:
        """The rows that are theirs."""
        return self.leads | self.requests | self.batches

    def add(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.leads |= other.leads
        self.requests |= other.requests
        self.batches |= other.batches
        self.unread |= other.unread
        self.mentions |= other.mentions
        self.mentions -= self.own


@dataclass(frozen=True, slots=True)
class Search:
    """How to look for a person.

    Attributes:
        sources: What reads the bodies of sources.
        max_decoded_bytes: The limit of a body once its content codings are undone.
        on_progress: Called with the number of rows done and their total.
    """

    person: Person
    sources: SourceReader
    max_decoded_bytes: int
    on_progress: OnProgress = lambda _done, _total: None

    def everywhere(self, entities: Entities, spool: SpoolReader) -> Found:
        """Look through this node's spool and the database. Opens sessions of its own.

        Raises:
            StoreUnavailable: One of them cannot be read.
        """
        # The spool first: what is drained meanwhile is then found in both, never in neither.
        found = self.spool(spool)
        found.add(self.database(entities))
        return found

    def database(self, entities: Entities) -> Found:
        """Look through the database. Opens sessions of its own.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        found = Found(leads=self._leads_by_columns(entities))
        with session(entities, timeout_s=WHOLE_TIMEOUT_S):
            total = select(row for row in entities.raw_lead).count()
        done = 0
        for rows in _pages(entities):
            for row in rows:
                self._look(row, found, entities, entities)
            done += len(rows)
            self.on_progress(done, total)
        found.mentions |= self._leads_by_history(entities)
        found.mentions -= found.own
        return found

    def spool(self, spool: SpoolReader) -> Found:
        """Look through this node's spool.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        found = Found()
        with spool.bound() as entities:
            if entities is None:
                return found
            for rows in _pages(entities):
                for row in rows:
                    self._look(row, found, entities, None)
        return found

    def _leads_by_columns(self, entities: Entities) -> set[UUID]:
        filters = [LeadFilter(email=self.person.email, tests="include")] if self.person.email else []
        filters += [LeadFilter(phone=self.person.phone, tests="include")] if self.person.phone else []
        with session(entities):
            ids = [
                narrow(entities, select(lead.raw.id for lead in entities.lead), lead_filter)[:]
                for lead_filter in filters
            ]
        return {id for some in ids for id in some}

    def _leads_by_history(self, entities: Entities) -> set[UUID]:
        """Return the leads of whose notes and changes one names the person."""
        change, after, found = entities.lead_event, UUID(int=0), set()
        while True:
            with session(entities):
                rows = select((e.id, e.lead_id, e.from_value, e.to_value) for e in change if e.id > after)
                page = rows.order_by(1)[:PAGE_ROWS]
            found |= {id for _, id, *values in page if self.person.is_named_in("\n".join(filter(None, values)))}
            if len(page) < PAGE_ROWS:
                return found
            after = page[-1][0]

    def _look(self, said: _Said, found: Found, kept: SpoolEntities, entities: Entities | None) -> None:
        """Look at a row of `kept`, which is the database or, without `entities`, the spool."""
        if (said.error or "").startswith(ERASED) or said.id in found.leads:
            return
        text = text_of(said, max_decoded_bytes=self.max_decoded_bytes)
        if text is None:
            found.unread.add(said.id)
            text = said.target
        if not self.person.is_named_in(text):
            return
        if said.state == State.BATCH:
            found.batches.add(said.id)
        elif (row := _row(kept, said.id)) is not None:
            self._judge(row, found, entities)

    def _judge(self, row: Submission, found: Found, entities: Entities | None) -> None:
        """Find out whose a row is that names the person."""
        id = UUID(row.id)
        columns = _columns(entities, id) if entities is not None and row.state is State.STORED else None
        if columns is None and row.body is not None and (row.state.is_replayable or entities is None):
            read = row.reprocessed(max_decoded_bytes=self.max_decoded_bytes, sources=self.sources)
            if read.parts:
                # Leads of others would go with it.
                found.mentions.add(id)
                return
            if entities is None and read.fields is not None:
                columns = (read.fields[_EMAIL], read.fields[_PHONE])
        if columns is None:
            found.requests.add(id)
        elif self.person.has_columns(*columns):
            found.leads.add(id)
        else:
            found.mentions.add(id)


def _row(entities: SpoolEntities, id: UUID) -> Submission | None:
    with session(entities):
        row = entities.raw_lead.get(id=id)
        return None if row is None else submission_from_entity(row)


def _columns(entities: Entities, id: UUID) -> tuple[str | None, str | None] | None:
    with session(entities):
        lead = entities.lead.get(raw=id)
        return None if lead is None else (lead.email, lead.phone)


class _Said(NamedTuple):
    """What a raw row says, which takes a third of the time of reading it whole."""

    id: UUID
    state: str
    error: str | None
    target: str
    idempotency_key: str | None
    headers: Mapping[str, str]
    body: bytes | None


def _pages(entities: SpoolEntities) -> Iterator[list[_Said]]:
    """Yield what all raw rows say, in parts that are bounded in bytes."""
    raw_lead, after = entities.raw_lead, UUID(int=0)
    while True:
        with session(entities):
            page = select((r.id, raw_sql("length(r.body)")) for r in raw_lead if r.id > after).order_by(1)[:PAGE_ROWS]
        for first, last in _parts(page):
            with session(entities):
                rows = select(
                    (r.id, r.state, r.error, r.target, r.idempotency_key, raw_sql("CAST(r.headers AS text)"), r.body)
                    for r in raw_lead
                    if r.id >= first and r.id <= last
                ).without_distinct()
                said = [_Said._make((*texts, orjson.loads(headers), body)) for *texts, headers, body in rows]
            yield said
        if len(page) < PAGE_ROWS:
            return
        after = page[-1][0]


def _parts(page: list[tuple[UUID, int | None]]) -> Iterator[tuple[UUID, UUID]]:
    """Yield the first and the last id of each part of a page."""
    part: list[UUID] = []
    held = 0
    for id, size in page:
        if part and held + (size or 0) > PART_BYTES:
            yield part[0], part[-1]
            part, held = [], 0
        part.append(id)
        held += size or 0
    if part:
        yield part[0], part[-1]
