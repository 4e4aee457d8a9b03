"""What a courier has to deliver next, and leads as they are now."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from pony.orm import select

from leadcrm.crm.feed import Feed, FeedEvent, complete_events
from leadcrm.crm.leads import Lead
from leadcrm.crm.queries import get_lead, select_leads, to_leads
from leadcrm.database.clock import now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.delivery.attempt import LONGEST_PAUSE
from leadcrm.delivery.ledger import WAITING, LeaseLost


class Work(NamedTuple):
    """What a sink has to deliver next.

    Attributes:
        due: Events whose earlier attempts failed.
        fresh: Events after the cursor.
        cursor: Where the cursor is once all of `fresh` has been dealt with.
    """

    due: list[FeedEvent]
    fresh: list[FeedEvent]
    cursor: int


class Wish(NamedTuple):
    """What people want of a receiver that has asked to be left alone.

    Attributes:
        is_tested: A test has arrived meanwhile: it takes what it is sent.
        again: The delivery of those that a person has tried again whose turn it is, if there is one.
    """

    is_tested: bool
    again: list[FeedEvent]


def take_work(
    entities: Entities,
    feed: Feed,
    name: str,
    holder: str,
    limit: int,
    after: int = 0,
    under_way: Collection[int] = (),
) -> Work | None:
    """Return what a sink has to deliver next; None if it is disabled.

    Args:
        entities: The bound database.
        feed: The feed.
        name: The sink's.
        holder: This node.
        limit: How many events at most, of each kind.
        after: The number up to which the caller has read, beyond the cursor; 0 for the cursor.
        under_way: The events that the caller has and has not yet told the results of.

    Raises:
        LeaseLost: Another node has the sink now.
        FeedGone: Events that it has not read are no longer kept.
    """
    with session(entities):
        row = entities.sink.get(name=name)
        if row is None or row.holder != holder:
            raise LeaseLost
        if row.disabled is not None:
            return None
        cursor, now = max(row.cursor_seq, after), now_utc()
        # No pause is so long: the clock has been set back since.
        too_late = now + LONGEST_PAUSE
        due = _rows_of(
            select(d for d in entities.delivery if d.sink == name and d.state == WAITING)
            .where(lambda d: d.next_at <= now or d.next_at > too_late)
            .order_by(lambda d: d.next_at)
            .limit(limit + len(under_way))
        )
        retries = complete_events(entities, [row for row in due if row[0] not in under_way][:limit])
    page = feed.read(entities, cursor, limit=limit)
    return Work(retries, page.events, page.passed)


def read_wish(entities: Entities, name: str, holder: str, last_at: datetime | None) -> Wish:
    """Return what people want of a sink's receiver. `last_at` is the time of the last answer that the caller has kept.

    Raises:
        LeaseLost: Another node has the sink now.
    """
    with session(entities):
        row = entities.sink.get(name=name)
        if row is None or row.holder != holder:
            raise LeaseLost
        # The answer to a test is kept too, with its time.
        if row.last_at != last_at or row.disabled is not None:
            return Wish(row.disabled is None, [])
        waiting = select(d for d in entities.delivery if d.sink == name and d.state == WAITING)
        asked_for = waiting.where(lambda d: d.next_at <= d.last_at).order_by(lambda d: d.next_at)
        return Wish(False, complete_events(entities, _rows_of(asked_for.limit(1))))


def read_again(entities: Entities, events: list[FeedEvent]) -> list[FeedEvent]:
    """Return events with their leads as they are now; without lead and change where one was erased meanwhile."""
    ids = list({event.lead_id for event in events if event.lead is not None})
    with session(entities):
        query = select_leads(entities).where(lambda lead: lead.raw.id in ids)
        leads = {lead.id: lead for lead in to_leads(query)} if ids else {}
    return [event if event.lead is None else _with_lead(event, leads.get(event.lead_id)) for event in events]


def with_whole_lead(entities: Entities, event: FeedEvent) -> FeedEvent:
    """Return an event with the whole values of its lead; without lead and change if it was erased meanwhile."""
    with session(entities):
        return _with_lead(event, get_lead(entities, event.lead_id))


def _with_lead(event: FeedEvent, lead: Lead | None) -> FeedEvent:
    return event._replace(lead=lead, change=event.change if lead else None)


def _rows_of(deliveries: Iterable[Any]) -> list[Any]:
    return [(row.seq, row.type, row.event_at, row.lead_id, row.change_id) for row in deliveries]
