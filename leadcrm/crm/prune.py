"""Pruning: raw rows and leads that arrived long ago become tombstones, the oldest first, beside ingestion.

The age counts from arrival, whatever people have done with a lead since: a worked lead is a lead like any other. Each
batch is one transaction, so an interrupted run leaves whole rows and tombstones, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from time import monotonic, sleep
from typing import NamedTuple
from uuid import UUID

from pony.orm import select

from leadcrm.crm.times import now
from leadcrm.crm.tombstones import ERASED_AT_ONCE, Counts, body_sizes, erase_rows
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import WHOLE_TIMEOUT_S, session
from leadcrm.database.states import State
from leadcrm.feed.horizon import newest_number
from leadcrm.ingest.replay import unerased
from leadcrm.ingest.submission import ERASED

BATCH_BYTES = 2 * 1024 * 1024
"""The bodies of a transaction: SQLite overwrites them, and leads wait meanwhile."""

IDLE_S = 1.0
"""How long nothing must have arrived for it to work without a rest, in larger batches."""

MOST_ROWS = 1_600
"""Rows of a page, and of the largest transaction while nothing arrives."""

BATCH_S = 0.05
"""How long a transaction may take to be followed by one of twice as many rows. A lead that comes then waits for it."""

LEAST_REST, MOST_REST = 1.0, 24.0
"""How many times as long as it worked it rests, while little arrives and while much does: then 96 % of the time are
ingestion's."""

BUSY_RATE = 250.0
"""Requests a second from which on the rest is the longest. Of what a slow machine can keep it is a third."""

MOST_BEHIND = 5_000
"""Events that a sink may have to deal with until new leads have waited there long enough for it to rest."""


class Due(NamedTuple):
    """What is old enough.

    Attributes:
        rows: Raw rows that are no tombstones.
        leads: Of these, those that have a lead.
        worked: Of the leads, those that people have changed since.
    """

    rows: int
    leads: int
    worked: int


def states_with(states: Collection[State]) -> tuple[State, ...]:
    """Return the states that are pruned where some are asked for; none means all.

    With rows that hold keys, which are leads or will be, goes what may hold the same people's data: repeats, conflicts
    and the bodies of batches.
    """
    if not states:
        return tuple(State)
    of_leads = (State.REPEAT, State.CONFLICT, State.BATCH) if any(state.holds_key for state in states) else ()
    return tuple(state for state in State if state in states or state in of_leads)


def count_due(entities: Entities, states: Collection[State], before: datetime) -> Due:
    """Count what `prune` would erase now.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    wanted = states_with(states)
    unstored = tuple(state.value for state in wanted if state is not State.STORED)
    leads = worked = 0
    with session(entities, timeout_s=WHOLE_TIMEOUT_S):
        if State.STORED in wanted:
            old = select(lead for lead in entities.lead if lead.created_at < before)
            leads = old.count()
            # What follows from the two times anyway is the condition of the index of changed leads, which are fewer.
            changed = old.where(lambda lead: lead.updated_at > lead.created_at)
            worked = changed.where(lambda lead: lead.updated_at >= before).count()
        rows = select(row for row in entities.raw_lead if row.state != "stored" and row.state in unstored)
        rows = unerased(rows.where(lambda row: row.received_at < before))
        return Due(leads + (rows.count() if unstored else 0), leads, worked)


def prune(
    entities: Entities,
    states: Collection[State],
    before: datetime,
    trace: str,
    on_batch: Callable[[Counts], None] = lambda _counts: None,
) -> Counts:
    """Make tombstones of the rows that arrived before a time, batch by batch, each durable once it is counted.

    Args:
        entities: The bound database.
        states: Of the rows, before `states_with`.
        before: Naive UTC.
        trace: The error of the tombstones.
        on_batch: Called with what has been erased so far.

    Raises:
        StoreUnavailable: The database cannot be changed now; run it again.
    """
    counts, pace = Counts(), Pace(entities)
    for state in states_with(states):
        pages = _old_leads(entities, before) if state is State.STORED else _old_rows(entities, state, before)
        for page in pages:
            for batch in _batches(entities, page, pace):
                erased = erase_rows(entities, batch, trace, at_once=len(batch))
                pace.leave_out(erased.leads)
                counts = counts.plus(erased)
                on_batch(counts)
    return counts


class Pace:
    """How many rows a batch has, and how long it rests before: the longer, the more requests arrive.

    Each request takes a number of the feed, as does each lead that is erased.
    """

    def __init__(self, entities: Entities) -> None:
        """Look at what has arrived so far. Until it has looked for `IDLE_S`, something may be arriving."""
        self._entities = entities
        self._newest, _ = self._look(first=True)
        self._looked_at = self._busy_at = monotonic()
        self._woke_at: float | None = None
        self.rows = ERASED_AT_ONCE

    def leave_out(self, events: int) -> None:
        """Do not count so many numbers as requests."""
        self._newest += events

    def rest(self) -> None:
        """Rest as long as the work since the last rest, and what has arrived since then, ask for."""
        (newest, is_behind), at = self._look(), monotonic()
        arrived, worked_s = newest - self._newest, 0.0 if self._woke_at is None else at - self._woke_at
        rate = arrived / max(at - self._looked_at, 0.001)
        self._looked_at, self._newest = at, newest
        if arrived or is_behind:
            self._busy_at = at
        if at - self._busy_at < IDLE_S:
            self.rows = ERASED_AT_ONCE
            sleep(worked_s * min(MOST_REST, max(LEAST_REST, MOST_REST * rate / BUSY_RATE)))
        elif worked_s < BATCH_S:
            self.rows = min(MOST_ROWS, 2 * self.rows)
        elif worked_s > 2 * BATCH_S:
            self.rows = max(ERASED_AT_ONCE, self.rows // 2)
        self._woke_at = monotonic()

    def _look(self, *, first: bool = False) -> tuple[int, bool]:
        """Return the newest number, and whether a sink that is served has too much before it."""
        sinks, at = self._entities.sink, now()
        # The first session that writes raises the numbers: nothing has arrived by that.
        with session(self._entities, writes=first):
            served = select(sink.cursor_seq for sink in sinks if sink.lease_until > at).min()
            newest = newest_number(self._entities)
        return newest, served is not None and newest - served > MOST_BEHIND


def _old_leads(entities: Entities, before: datetime) -> Iterator[list[UUID]]:
    """Yield pages of the ids of old leads, the oldest first: the index of leads has no tombstones to pass."""
    page = [(datetime(1, 1, 1), UUID(int=0))]  # noqa: DTZ001 - the columns hold naive UTC
    while page := _page_of_leads(entities, before, *page[-1]):
        yield [id for _, id in page]


def _page_of_leads(entities: Entities, before: datetime, at: datetime, after: UUID) -> list[tuple[datetime, UUID]]:
    with session(entities):
        leads = select((lead.created_at, lead.raw.id) for lead in entities.lead if lead.created_at < before)
        # The first condition is a range that the index by time serves, the second the exact place within it.
        leads = leads.where(lambda lead: lead.created_at >= at and (lead.created_at > at or lead.raw.id > after))
        return list(leads.without_distinct().order_by(1, 2)[:MOST_ROWS])


def _old_rows(entities: Entities, state: State, before: datetime) -> Iterator[list[UUID]]:
    """Yield pages of the ids of old rows that are no leads. Ids of the original service do not tell the time."""
    after, wanted, raw_lead = UUID(int=0), state.value, entities.raw_lead
    while True:
        with session(entities):
            rows = select(
                (row.id, row.received_at, row.error)
                for row in raw_lead
                # The second condition matches the partial index's predicate.
                if row.state == wanted and row.state != "stored" and row.id > after
            )
            page = rows.without_distinct().order_by(1)[:MOST_ROWS]
        old = [id for id, at, error in page if at < before and not (error or "").startswith(ERASED)]
        if old:
            yield old
        if len(page) < MOST_ROWS:
            return
        after = page[-1][0]


def _batches(entities: Entities, ids: list[UUID], pace: Pace) -> Iterator[list[UUID]]:
    """Rest, and yield the next of the page's rows: so many as the pace allows, fewer where bodies are large."""
    with session(entities):
        sizes = body_sizes(entities, ids)
    start = 0
    while start < len(ids):
        pace.rest()
        end, held = start, 0
        while end < min(len(ids), start + pace.rows):
            held += sizes.get(ids[end]) or 0
            if end > start and held > BATCH_BYTES:
                break
            end += 1
        yield ids[start:end]
        start = end
