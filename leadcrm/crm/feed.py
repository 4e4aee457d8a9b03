"""The feed as people and programs read it: everything that became true of leads, in the order of commit.

Whoever reads on from the last number that he was given misses nothing and sees nothing twice, whichever node or worker
he asks. Each event comes with the lead as it is at the reading, not as it was at the event.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pony.orm import select

from leadcrm.crm.events import Event
from leadcrm.crm.leads import Lead
from leadcrm.crm.queries import select_leads, to_leads
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import LeadcrmError
from leadcrm.feed.horizon import Horizon

EVENT_TYPES = ("created", "changed", "noted", "erased")


class FeedEvent(NamedTuple):
    """Something that became true of a lead.

    Attributes:
        seq: Its place in the feed.
        type: One of `EVENT_TYPES`.
        at: When it was stored, naive UTC; a lead that waited in a spool arrived earlier.
        lead: The lead as it is now; None if it is gone, or if leads were not asked for.
        change: What was changed or noted, for `changed` and `noted`.
    """

    seq: int
    type: str
    at: datetime
    lead_id: UUID
    lead: Lead | None
    change: Event | None


class FeedPage(NamedTuple):
    """Some events in order.

    Attributes:
        next: The number to go on from, that of the last event.
        passed: Up to where nothing is left out; requests that became no lead have numbers too.
        until: Up to where the feed could be read.
    """

    events: list[FeedEvent]
    next: int
    passed: int
    until: int


class FeedGone(LeadcrmError):  # noqa: N818 - named by the condition, like all of ours
    """The events after a number are no longer kept, or the number is none of this feed; `oldest` is the first kept."""

    def __init__(self, text: str, *, oldest: int) -> None:
        super().__init__(text, hint="read on from the oldest; read the leads once for what was missed")
        self.oldest = oldest


class Feed:
    """The feed of one database for one process; any thread may read it."""

    def __init__(self, tell: Callable[[int], None] | None = None) -> None:
        """Start; the first reading asks the database what can be read, and `tell` is told each time."""
        self.horizon = Horizon(tell)

    def read(self, entities: Entities, after: int | None, *, limit: int, thin: bool = False) -> FeedPage:
        """Return the first events after a number; durable are all of them. Opens sessions of its own.

        Args:
            entities: The bound database.
            after: The number that was read last; None for the oldest that is kept.
            limit: How many at most.
            thin: Leave out the leads and changes.

        Raises:
            FeedGone: Events after this number are no longer kept.
            StoreUnavailable: The database cannot be read.
        """
        settled = self.horizon.advance(entities)
        with session(entities):
            rows = _read_rows(entities, after or 0, settled, limit)
            # After the rows: they may have been pruned meanwhile.
            after = self._checked(entities, after)
            events = complete_events(entities, rows, thin=thin)
        next = events[-1].seq if events else after
        return FeedPage(events, next, next if len(events) == limit else max(next, settled), settled)

    def begin(self, entities: Entities, after: int | None) -> int:
        """Find out what is settled, and return the number to read on from. Opens sessions of its own.

        Raises:
            FeedGone: Events after this number are no longer kept.
            StoreUnavailable: The database cannot be read.
        """
        self.horizon.advance(entities)
        with session(entities):
            return self._checked(entities, after)

    def _checked(self, entities: Entities, after: int | None) -> int:
        oldest = int(select(start.after_seq for start in entities.feed_start).first() or 0)
        if after is None:
            return oldest
        if after < oldest:
            raise FeedGone(f"events up to {oldest} are no longer kept", oldest=oldest)
        if after > self.horizon.newest:
            raise FeedGone(f"the feed has come to {self.horizon.newest} only", oldest=oldest)
        return after


FeedRow = tuple[int, str, datetime, UUID, "UUID | None"]
"""An event as it is kept: number, type, time, lead and change."""


def complete_events(entities: Entities, rows: list[FeedRow], *, thin: bool = False) -> list[FeedEvent]:
    """Return events with their leads and changes, unless they shall be thin. The caller holds the session."""
    leads, changes = ({}, {}) if thin else (_read_leads(entities, rows), _read_changes(entities, rows))
    return [
        FeedEvent(seq, type, at, lead_id, leads.get(lead_id), changes.get(change_id))
        for seq, type, at, lead_id, change_id in rows
    ]


def _read_rows(entities: Entities, after: int, settled: int, limit: int) -> list[FeedRow]:
    query = select(
        (event.seq, event.type, event.at, event.lead_id, event.change_id)
        for event in entities.feed_event
        if event.seq > after and event.seq <= settled and event.type != "kept"
    )
    return list(query.without_distinct().order_by(1)[:limit])


def _read_leads(entities: Entities, rows: list[FeedRow]) -> dict[UUID, Lead]:
    ids = list({row[3] for row in rows})
    if not ids:
        return {}
    return {lead.id: lead for lead in to_leads(select_leads(entities).where(lambda lead: lead.raw.id in ids))}


def _read_changes(entities: Entities, rows: list[FeedRow]) -> dict[UUID | None, Event]:
    ids = [row[4] for row in rows if row[4]]
    if not ids:
        return {}
    query = select(
        (event.id, event.lead_id, event.at, event.field, event.from_value, event.to_value, event.actor, event.claimed)
        for event in entities.lead_event
        if event.id in ids
    )
    return {row[0]: Event._make(row) for row in query.without_distinct()}
