"""From any id that was ever answered to its lead.

An id is that of a raw row: of a lead, of a repeat or conflict that leads on to the first, or of a row that still
waits. A row that found its key taken when the spool drained leads on too, so ways may have several steps.

May import leads, raw, database and entities.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from leadcrm.crm.leads import Lead
from leadcrm.crm.queries import get_lead
from leadcrm.crm.raw import Kept, SpoolReader, get_raw
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

MOST_STEPS = 100
"""Nothing makes a circle of duplicates, and nothing shall run for ever should one be made."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an id leads to: the lead, unless it is none yet; the raw row at the way's end; the ids passed before it."""

    lead: Lead | None
    raw: Kept | None
    way: tuple[UUID, ...]


def find(entities: Entities, spool: SpoolReader, id: UUID) -> Found | None:
    """Follow an id to its lead; None where nobody was ever given it, as far as the database and this node know.

    Raises `StoreUnavailable`. Opens sessions of its own.
    """
    way: list[UUID] = []
    found: Found | None = None
    while len(way) < MOST_STEPS:
        with session(entities):
            lead = get_lead(entities, id)
            raw = get_raw(entities, id)
        if lead is not None:
            return Found(lead, raw, tuple(way))
        kept = raw or spool.get(id)
        if kept is None:
            # The way leads to a row that only another node's spool has: what is known is where it leads.
            return found
        found = Found(None, kept, tuple(way))
        if kept.row.duplicate_of is None:
            return found
        way.append(id)
        id = UUID(kept.row.duplicate_of)
    return found
