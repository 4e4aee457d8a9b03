"""Requests that people have put out of the inbox: the rows stay as they are, and can be brought back."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pony.orm import desc, select

from leadcrm.crm.audit import Action, Actor, record
from leadcrm.crm.changes import MAX_IDS, change_session
from leadcrm.crm.raw import where_archived
from leadcrm.crm.states import INBOX_STATES
from leadcrm.crm.times import now
from leadcrm.database.entities import Entities


def archive(entities: Entities, ids: Sequence[UUID], *, actor: Actor) -> list[UUID]:
    """Put requests out of the inbox, and return those that were in it. Durable on return.

    Raises:
        ChangeRefused: The database does not allow the change.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    with change_session(entities):
        rows = select(row.id for row in entities.raw_lead if row.id in ids and row.state in INBOX_STATES)
        return _archive(entities, list(rows), actor)


def archive_like(entities: Entities, id: UUID, *, actor: Actor) -> list[UUID] | None:
    """Put a request out of the inbox with others of its state, error and source, `MAX_IDS` at a time.

    Returns:
        Those that were in it, the newest first; None where there is no such request. Durable on return.

    Raises:
        ChangeRefused: The database does not allow the change.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    with change_session(entities):
        one = entities.raw_lead.get(id=id)
        if one is None or one.state not in INBOX_STATES:
            return None
        state, error, source = one.state, one.error, one.source
        alike = select(row for row in entities.raw_lead if row.state != "stored" and row.state == state)
        alike = alike.where(lambda row: row.source == source)
        if error is None:
            alike = alike.where(lambda row: row.error is None)
        else:
            alike = alike.where(lambda row: row.error == error)
        waiting = where_archived(entities, alike, "hide").order_by(lambda row: desc(row.id))
        ids = select(row.id for row in waiting)[:MAX_IDS]
        return _archive(entities, list(ids), actor)


def bring_back(entities: Entities, ids: Sequence[UUID], *, actor: Actor) -> list[UUID]:
    """Bring requests back into the inbox, and return those that were archived. Durable on return.

    Raises:
        ChangeRefused: The database does not allow the change.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    with change_session(entities):
        rows = select(row for row in entities.archived if row.raw_id in ids)[:]
        back = [row.raw_id for row in rows]
        for row in rows:
            row.delete()
        _record(entities, actor, Action.BRING_BACK, back)
    return back


def _archive(entities: Entities, ids: Sequence[UUID], actor: Actor) -> list[UUID]:
    known = set(select(row.raw_id for row in entities.archived if row.raw_id in ids))
    added = [id for id in ids if id not in known]
    at = now()
    for id in added:
        entities.archived(raw_id=id, at=at, actor=actor.name)
    _record(entities, actor, Action.ARCHIVE, added)
    return added


def _record(entities: Entities, actor: Actor, action: Action, ids: Sequence[UUID]) -> None:
    if ids:
        record(entities, actor, action, ids[0] if len(ids) == 1 else None, {"rows": len(ids)})
