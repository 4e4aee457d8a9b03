"""Leads and requests in the order in which they were stored, the oldest first, as the feed has it.

A lead that waited in a spool stands where it reached the database, so whoever lists on meets it. The order goes as far
back as the feed is kept. A request that was replayed stands in it twice: as what it was, and where it became a lead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import select

from leadcrm.crm.feed import Feed
from leadcrm.crm.leads import MAX_ROWS, LeadFilter
from leadcrm.crm.raw import read_summaries
from leadcrm.crm.search import read_page
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

MAX_SCANS = 10
"""Parts of the feed that one page reads at most, of `MAX_ROWS` places each. Where few rows match, a page is short."""

LEADS = ("created",)
REQUESTS = ("created", "kept")


class StoredPage(NamedTuple):
    """Some rows, and the number of the feed after which the next page begins; None after the last page."""

    rows: list[Any]
    next: int | None


_ReadRows = Callable[[Sequence[UUID]], dict[UUID, Any]]


def list_stored_leads(
    entities: Entities, feed: Feed, lead_filter: LeadFilter, *, limit: int, after: int | None
) -> StoredPage:
    """Return a page of the leads that the filter asks for. Opens sessions of its own.

    Raises:
        FeedGone: The order is no longer kept from there on.
        StoreUnavailable: The database cannot be read.
    """

    def read(ids: Sequence[UUID]) -> dict[UUID, Any]:
        wanted = tuple(id for id in ids if not lead_filter.ids or id in lead_filter.ids)
        if not wanted:
            return {}
        leads = read_page(entities, replace(lead_filter, ids=wanted), limit=len(ids)).leads
        # A filter by ids lets the test leads through, which these ids do not ask for.
        are_tests_wanted = lead_filter.ids or lead_filter.tests is not None
        return {lead.id: lead for lead in leads if are_tests_wanted or not lead.is_test}

    return _list(entities, feed, LEADS, read, limit, after)


def list_stored_raw(
    entities: Entities, feed: Feed, states: Sequence[str], *, limit: int, after: int | None, source: str | None = None
) -> StoredPage:
    """Return a page of the database's raw rows in these states. Opens sessions of its own.

    Raises:
        FeedGone: The order is no longer kept from there on.
        StoreUnavailable: The database cannot be read.
    """

    def read(ids: Sequence[UUID]) -> dict[UUID, Any]:
        return {summary.id: summary for summary in read_summaries(entities, ids, states, source)}

    return _list(entities, feed, REQUESTS, read, limit, after)


def _list(
    entities: Entities, feed: Feed, types: Sequence[str], read: _ReadRows, limit: int, after: int | None
) -> StoredPage:
    after = feed.begin(entities, after)
    until = feed.horizon.settled
    rows: list[Any] = []
    for _ in range(MAX_SCANS):
        with session(entities):
            places = _places(entities, types, after, until)
            matching = read([id for _, id in places]) if places else {}
        for seq, id in places:
            after = seq
            if id in matching:
                rows.append(matching[id])
                if len(rows) == limit:
                    return StoredPage(rows, after)
        if len(places) < MAX_ROWS:
            return StoredPage(rows, None)
    return StoredPage(rows, after)


def _places(entities: Entities, types: Sequence[str], after: int, until: int) -> list[tuple[int, UUID]]:
    query = select(
        (event.seq, event.lead_id)
        for event in entities.feed_event
        if event.seq > after and event.seq <= until and event.type in types
    )
    return list(query.without_distinct().order_by(1)[:MAX_ROWS])
