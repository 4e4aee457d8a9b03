"""Leads that have just arrived and changes that have just been made. The caller holds the session."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pony.orm import desc, select

from leadcrm.crm.leads import Lead, LeadFilter
from leadcrm.crm.search import read_page
from leadcrm.database.entities import Entities


def leads_since(entities: Entities, since: datetime, *, limit: int) -> list[Lead]:
    """Return the newest of the leads that arrived at `since` (naive UTC) or later."""
    return read_page(entities, LeadFilter(since=since), limit=limit).leads


def newest_change(entities: Entities) -> UUID:
    """Return the id of the newest change of a lead, or the lowest of all ids where there is no change."""
    lead_event = entities.lead_event
    return select(event.id for event in lead_event).order_by(desc(1)).first() or UUID(int=0)


def leads_changed_after(entities: Entities, change: UUID, *, limit: int) -> list[tuple[UUID, UUID]]:
    """Return the ids of the changes after this one, oldest first, each with the id of its lead."""
    lead_event = entities.lead_event
    query = select((event.id, event.lead_id) for event in lead_event if event.id > change)
    return list(query.without_distinct().order_by(1)[:limit])
