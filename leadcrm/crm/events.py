"""The history of a lead: one event for each change of a column and each note."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pony.orm import desc, select

from leadcrm.database.entities import Entities

NOTE = "note"
"""The field of an event that is a note: what people wrote is its new value."""


PROGRAM_NAMES = ("mapping", "normalizer")
"""As what the program changes leads; a version follows."""

_PROGRAM = re.compile(rf"({'|'.join(PROGRAM_NAMES)}) v[0-9]*")


def is_program(actor: str) -> bool:
    """Say whether an actor is this program, which mapped a lead again."""
    return _PROGRAM.fullmatch(actor) is not None


def check_person(name: str) -> str:
    """Return the name of whoever changes a lead.

    Raises:
        ValueError: It is the program's, and what it sets would be taken for a mapping's.
    """
    if is_program(name):
        raise ValueError("this name stands for leadcrm itself in the history")
    return name


class Event(NamedTuple):
    """One row of `lead_events`; `at` is naive UTC."""

    id: UUID
    lead_id: UUID
    at: datetime
    field: str
    from_value: str | None
    to_value: str | None
    actor: str
    claimed: str | None


MAX_EXPORTED_NOTES = 100
"""Of one lead: its newest, some hundred kilobytes at most."""


def noted_leads(entities: Entities, ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the leads that have notes. The caller holds the session."""
    if not ids:
        return set()
    return set(select(event.lead_id for event in entities.lead_event if event.lead_id in ids and event.field == NOTE))


def newest_notes(entities: Entities, id: UUID) -> list[Event]:
    """Return the newest notes of a lead, the oldest of them first. The caller holds the session."""
    query = select(
        (event.id, event.lead_id, event.at, event.field, event.from_value, event.to_value, event.actor, event.claimed)
        for event in entities.lead_event
        if event.lead_id == id and event.field == NOTE
    )
    return [Event._make(row) for row in query.order_by(desc(1))[:MAX_EXPORTED_NOTES]][::-1]


def lead_events(entities: Entities, id: UUID) -> list[Event]:
    """Return the changes of a lead, oldest first. The caller holds the session."""
    query = select(
        (event.id, event.lead_id, event.at, event.field, event.from_value, event.to_value, event.actor, event.claimed)
        for event in entities.lead_event
        if event.lead_id == id
    )
    return [Event._make(row) for row in query.order_by(1)]
