"""From any id that a sender was answered to its lead, with all that is known of it.

An id is the id of a raw row: of a lead, of a repeat or conflict that points at the first row, or of a row that still
waits. A row whose key was found taken when the spool drained points at another row too, so there may be several steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from leadcrm.crm.events import Event, lead_events
from leadcrm.crm.leads import Lead
from leadcrm.crm.queries import get_lead
from leadcrm.crm.raw import Kept, SpoolReader, count_duplicates, read_raw
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

MAX_STEPS = 100
"""Nothing makes a circle of duplicates; if one is ever made, this ends the loop."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an id leads.

    Attributes:
        id: The id of the lead or, where there is none, of the raw row.
        lead: The lead; None where the request is none, or none yet.
        raw: The raw row that the lead was made of, or that is no lead.
        followed: The ids of the duplicates that were followed to get there.
    """

    id: UUID
    lead: Lead | None
    raw: Kept | None
    followed: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class LeadHistory:
    """A destination, the changes of its lead and the number of its duplicates by kind."""

    destination: Destination
    events: Sequence[Event]
    duplicates: Mapping[str, int]


def follow(entities: Entities, spool: SpoolReader, id: UUID) -> Destination | None:
    """Follow an id to its lead. Opens sessions of its own.

    Returns:
        None where neither the database nor this node's spool knows the id.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    followed: list[UUID] = []
    destination: Destination | None = None
    while len(followed) < MAX_STEPS:
        with session(entities):
            lead = get_lead(entities, id)
            raw = read_raw(entities, id)
        if lead is not None:
            return Destination(id, lead, raw, tuple(followed))
        kept = raw or spool.get(id)
        if kept is None:
            # The next row is in another node's spool: the row before it is as far as this node sees.
            return destination
        destination = Destination(id, None, kept, tuple(followed))
        if kept.row.duplicate_of is None:
            return destination
        followed.append(id)
        id = UUID(kept.row.duplicate_of)
    return destination


def get_history(entities: Entities, spool: SpoolReader, id: UUID) -> LeadHistory | None:
    """Follow an id and return all that is known of its lead or request. Opens sessions of its own.

    Returns:
        None where neither the database nor this node's spool knows the id.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    destination = follow(entities, spool, id)
    if destination is None:
        return None
    with session(entities):
        events = lead_events(entities, destination.id)
        return LeadHistory(destination, events, count_duplicates(entities, destination.id))
