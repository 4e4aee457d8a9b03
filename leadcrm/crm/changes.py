"""Changes of status, assignment, next call and of what was sent wrong, each kept as an event; notes are events too.

Invariants:
- A change and its events commit together.
- The row is locked from the look at its version to the commit: of two people who saw the same version, one is
  refused.
- Setting a value that is there already changes nothing, and leaves no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import select
from uuid_utils import uuid7

from leadcrm.crm.audit import Action, Actor, make_entry, record, record_entries
from leadcrm.crm.events import NOTE, Event
from leadcrm.crm.leads import Lead
from leadcrm.crm.lookup import follow
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.times import now
from leadcrm.database.entities import FIELD_COLUMNS, LEAD_COLUMNS, Entities
from leadcrm.database.sessions import session
from leadcrm.errors import ChangeRefused, SubmissionRefused

CORRECTABLE = ("first_name", "last_name", "email", "phone", "country", "lang")
"""What people may correct: who the person is and how to reach them. The other fields tell where a lead came from, and
stay what the sender sent. A column that people have set is known by its event: mapping again leaves it alone."""

CHANGEABLE = ("status", "assigned_to", "call_at", *CORRECTABLE)

MAX_VALUE_CHARS = 200
"""Of a status or a name. They are indexed whole, and no index takes texts of any length."""

MAX_CORRECTION_CHARS = 320
"""Of a corrected field: the longest email address."""

MAX_NOTE_CHARS = 10_000

MAX_IDS = 1_000
"""Leads of one bulk change. It is one transaction, and other changes of these leads wait for its locks."""

Changes = Mapping[str, "str | datetime | None"]


class ChangeOutcome(str, Enum):
    """The result of a change for one lead."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    MISSING = "missing"


class Change(NamedTuple):
    """The outcome, and the lead as it is now; None where there is no lead."""

    outcome: ChangeOutcome
    lead: Lead | None


def change_lead(
    entities: Entities,
    spool: SpoolReader,
    id: UUID,
    changes: Changes,
    *,
    actor: Actor,
    versions: Sequence[str] | None = None,
) -> Change:
    """Change the lead that an id leads to. Durable on return.

    Args:
        entities: The bound database.
        spool: This node's spool, for ids that wait there.
        id: Any id that a sender was answered.
        changes: New values by column, of `CHANGEABLE`.
        actor: Who makes the change, for the history and the audit trail.
        versions: The versions that may be changed; None for any.

    Raises:
        ChangeRefused: The database does not allow the change.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    destination = follow(entities, spool, id)
    if destination is None or destination.lead is None:
        return Change(ChangeOutcome.MISSING, None)
    with change_session(entities):
        row = entities.lead.get_for_update(raw=destination.lead.id)
        if row is None:
            return Change(ChangeOutcome.MISSING, None)
        lead = to_lead(row)
        if versions is not None and lead.version not in versions:
            return Change(ChangeOutcome.STALE, lead)
        outcome = apply_change(entities, row, changes, actor)
        if outcome is ChangeOutcome.CHANGED:
            _record(entities, actor, [lead.id], changes)
        return Change(outcome, to_lead(row))


def change_leads(
    entities: Entities, ids: Sequence[UUID], changes: Changes, *, actor: Actor, expected: Changes | None = None
) -> dict[UUID, ChangeOutcome]:
    """Change many leads, by their own ids, in the same way: all or none. Durable on return.

    Args:
        entities: The bound database.
        ids: Ids of leads.
        changes: New values by column, of `CHANGEABLE`.
        actor: Who makes the change, for the history and the audit trail.
        expected: The values by column that a lead must have now; others are stale and stay as they are.

    Raises:
        ChangeRefused: The database does not allow one of the changes; none is made.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    outcomes = dict.fromkeys(ids, ChangeOutcome.MISSING)
    with change_session(entities):
        # In the order of ids: two changes that lock the same leads in opposite order would wait for each other.
        rows = select(row for row in entities.lead if row.raw.id in ids).order_by(lambda row: row.raw.id)
        for row in rows.for_update()[:]:
            is_as_expected = all(getattr(row, name) == value for name, value in (expected or {}).items())
            change = apply_change(entities, row, changes, actor) if is_as_expected else ChangeOutcome.STALE
            outcomes[row.raw.id] = change
        changed = [id for id, outcome in outcomes.items() if outcome is ChangeOutcome.CHANGED]
        _record(entities, actor, changed, changes)
    return outcomes


def change_followed_leads(
    entities: Entities, spool: SpoolReader, ids: Sequence[UUID], changes: Changes, *, actor: Actor
) -> dict[UUID, ChangeOutcome]:
    """Change the leads that these ids lead to, as `change_leads` does, and return the outcome of each id."""
    lead_ids = {}
    for id in ids:
        destination = follow(entities, spool, id)
        lead_ids[id] = destination.lead.id if destination and destination.lead else id
    outcomes = change_leads(entities, list(lead_ids.values()), changes, actor=actor)
    return {id: outcomes[lead_id] for id, lead_id in lead_ids.items()}


def add_note(entities: Entities, spool: SpoolReader, id: UUID, text: str, *, actor: Actor) -> Event | None:
    """Add a note to the lead that an id leads to, and return its event; None without a lead. Durable on return.

    The lead itself stays of its version: a note is in nobody's way.

    Raises:
        ChangeRefused: The database does not allow the note.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    destination = follow(entities, spool, id)
    if destination is None or destination.lead is None:
        return None
    note = Event(
        UUID(str(uuid7())),
        destination.lead.id,
        now(),
        NOTE,
        None,
        text,
        actor.name,
        actor.beside,
    )
    with change_session(entities):
        entities.lead_event(**note._asdict())
        record(entities, actor, Action.NOTE, note.lead_id)
    return note


@contextmanager
def change_session(entities: Entities) -> Iterator[None]:
    """Hold a session for changes, which are durable at its end.

    Raises:
        ChangeRefused: The database does not allow one of the changes; none is made.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    try:
        with session(entities, writes=True):
            yield
    except SubmissionRefused as refusal:
        raise ChangeRefused(
            "the database refuses the change: one of its constraints or triggers does not allow it",
            hint="list the constraints and triggers of leads and lead_events",
            detail=refusal.detail,
        ) from refusal


def apply_change(entities: Entities, row: Any, changes: Changes, actor: Actor) -> ChangeOutcome:
    """Change a lead that the session has locked, and keep the change as events; the caller records it for the audit."""
    differences = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not differences:
        return ChangeOutcome.UNCHANGED
    # This time is the version: it must differ even where the clock stood still or was set back.
    at = max(now(), row.updated_at + timedelta(microseconds=1))
    for name, value in differences.items():
        assert name in CHANGEABLE or name in FIELD_COLUMNS
        entities.lead_event(
            id=UUID(str(uuid7())),
            lead_id=row.raw.id,
            at=at,
            field=name,
            from_value=_event_value(getattr(row, name)),
            to_value=_event_value(value),
            actor=actor.name,
            claimed=actor.beside,
        )
    row.set(**differences, updated_at=at)
    return ChangeOutcome.CHANGED


def _record(entities: Entities, actor: Actor, ids: Iterable[UUID], changes: Changes) -> None:
    detail = {"columns": list(changes)}
    record_entries(entities, [make_entry(actor, Action.CHANGE, id, detail) for id in ids])


def _event_value(value: str | datetime | None) -> str | None:
    return f"{value.isoformat()}Z" if isinstance(value, datetime) else value


def to_lead(row: Any) -> Lead:
    """Return the record of a lead's entity."""
    return Lead(row.raw.id, *(getattr(row, name) for name in LEAD_COLUMNS[1:]))
