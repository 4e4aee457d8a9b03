"""Changes of status and assignment, each kept as an event: when, what, from, to, by whom.

Invariants: a change and its events commit together; the row is locked from the look to the commit, so that of two
people who saw the same version one is refused; a change to what already is, is none.

May import leads, entities and database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import select
from uuid_utils import uuid7

from leadcrm.crm.leads import Lead
from leadcrm.database.entities import LEAD_COLUMNS, Entities
from leadcrm.database.sessions import session

CHANGEABLE = ("status", "assigned_to")

LONGEST_VALUE = 200
"""Characters of a status or a name. They are indexed whole, and no index takes texts of any length."""

MOST_IDS = 1_000
"""Leads of one change in bulk: one transaction, whose locks a lead's other changes wait for."""

Changes = Mapping[str, "str | None"]


class Outcome(str, Enum):
    """What became of a change."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    MISSING = "missing"


class Change(NamedTuple):
    """The outcome, and the lead as it is now; None where it is missing."""

    outcome: Outcome
    lead: Lead | None


class Event(NamedTuple):
    """One row of `lead_events`; `at` is naive UTC."""

    id: UUID
    lead_id: UUID
    at: datetime
    field: str
    from_value: str | None
    to_value: str | None
    actor: str


def change_lead(
    entities: Entities, id: UUID, changes: Changes, *, actor: str, versions: Sequence[str] | None = None
) -> Change:
    """Change one lead, if its version is one of those given, or whatever it is. Durable on return.

    Raises `StoreUnavailable`.
    """
    with session(entities, writes=True):
        row = entities.lead.get_for_update(raw=id)
        if row is None:
            return Change(Outcome.MISSING, None)
        lead = _lead_of(row)
        if versions is not None and lead.version not in versions:
            return Change(Outcome.STALE, lead)
        changed = _apply(entities, row, changes, actor)
        return Change(Outcome.CHANGED if changed else Outcome.UNCHANGED, _lead_of(row))


def change_leads(entities: Entities, ids: Sequence[UUID], changes: Changes, *, actor: str) -> dict[UUID, Outcome]:
    """Change many leads the same way, all or none. Durable on return; raises `StoreUnavailable`."""
    lead = entities.lead
    done = dict.fromkeys(ids, Outcome.MISSING)
    with session(entities, writes=True):
        # In the order of ids: two changes that lock the same leads the other way round would wait for ever.
        for row in select(row for row in lead if row.raw.id in ids).order_by(lambda row: row.raw.id).for_update()[:]:
            changed = _apply(entities, row, changes, actor)
            done[row.raw.id] = Outcome.CHANGED if changed else Outcome.UNCHANGED
    return done


def events_of(entities: Entities, id: UUID) -> list[Event]:
    """Return what was changed of a lead, oldest first. The session is the caller's."""
    query = select(
        (event.id, event.lead_id, event.at, event.field, event.from_value, event.to_value, event.actor)
        for event in entities.lead_event
        if event.lead_id == id
    )
    return [Event._make(row) for row in query.order_by(1)]


def _apply(entities: Entities, row: Any, changes: Changes, actor: str) -> bool:
    different = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not different:
        return False
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    # The version is this time: it must be another even where the clock stood still or was set back.
    at = max(now, row.updated_at + timedelta(microseconds=1))
    for name, value in different.items():
        assert name in CHANGEABLE
        entities.lead_event(
            id=UUID(str(uuid7())),
            lead_id=row.raw.id,
            at=at,
            field=name,
            from_value=getattr(row, name),
            to_value=value,
            actor=actor,
        )
    row.set(**different, updated_at=at)
    return True


def _lead_of(row: Any) -> Lead:
    return Lead(row.raw.id, *(getattr(row, name) for name in LEAD_COLUMNS[1:]))
