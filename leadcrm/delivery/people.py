"""Sinks and deliveries for people: how far each sink is, what has not arrived there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from pony.orm import desc, select

from leadcrm.crm.feed import FeedEvent
from leadcrm.crm.leads import Lead
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.delivery.ledger import WAITING, Backlog, now_utc
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.whereabouts import DROPPED, Fact, note

CHANGED_AT_ONCE = 500
"""Deliveries of one transaction: on SQLite leads wait meanwhile."""

_TEST_ID = UUID(int=0)


def sink_document(sink: Sink, backlog: Backlog | None = None) -> dict[str, Any]:
    """Return a sink without its secrets, and how far it is, if that is known."""
    document: dict[str, Any] = {
        "sink": sink.name,
        "kind": sink.kind,
        "host": sink.host,
        "enabled": sink.enabled,
        "events": sorted(sink.events),
        "only": {column: sorted(values) for column, values in sink.only.items()},
        "payload": "thin" if sink.thin else "full",
        "tests": sink.tests,
        "secrets": len(sink.secrets),
        "allowPrivate": sink.allow_private,
    }
    if backlog is None:
        return {**document, "state": "unknown"}
    state = "disabled" if backlog.disabled else ("failing" if backlog.waiting else "delivering")
    return {
        **document,
        "state": state if sink.enabled else "off",
        "cursor": backlog.cursor,
        "delivered": backlog.delivered,
        "waiting": backlog.waiting,
        "dead": backlog.dead,
        "oldest": backlog.oldest,
        "lastAt": backlog.last_at,
        "lastAnswer": backlog.last_answer,
        "disabled": backlog.disabled or None,
        "node": backlog.holder.partition(" ")[0],
    }


def list_deliveries(entities: Entities, *, sink: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest deliveries that have not arrived."""
    with session(entities):
        query = select(d for d in entities.delivery)
        if sink is not None:
            query = query.where(lambda d: d.sink == sink)
        if state is not None:
            query = query.where(lambda d: d.state == state)
        return [_document(row) for row in query.order_by(lambda d: desc(d.last_at))[:limit]]


def retry_deliveries(
    entities: Entities, ids: Sequence[UUID], *, sink: str | None = None, since: datetime | None = None
) -> int:
    """Have deliveries tried again at once, the dead ones with the whole schedule; return how many. Durable on return.

    Args:
        entities: The bound database.
        ids: Those that are meant; none for all.
        sink: Only those of a sink.
        since: Only those of events from this time on, naive UTC.
    """

    def retry(rows: Iterable[Any]) -> None:
        for row in rows:
            row.set(next_at=now_utc(), attempts=0 if row.state != WAITING else row.attempts, state=WAITING)

    return _change(entities, ids, sink, since, retry)


def drop_deliveries(
    entities: Entities, ids: Sequence[UUID], *, sink: str | None = None, since: datetime | None = None
) -> int:
    """Give deliveries up, and return how many. Durable on return. Takes what `retry_deliveries` does."""

    def drop(rows: Iterable[Any]) -> None:
        dropped: dict[str, list[Fact]] = {}
        for row in rows:
            dropped.setdefault(row.sink, []).append(Fact(row.seq, row.lead_id, row.type))
            counted = entities.sink.get_for_update(name=row.sink)
            if counted is not None:
                counted.dropped += 1
            row.delete()
        for name, facts in dropped.items():
            note(entities, name, facts, DROPPED, now_utc())

    return _change(entities, ids, sink, since, drop)


def example_event() -> FeedEvent:
    """Return the event that a test sends: a lead of nobody."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    values: dict[str, Any] = {**dict.fromkeys(Lead._fields), "id": _TEST_ID, "status": "new", "source": "test"}
    values |= {"first_name": "Test", "last_name": "of leadcrm", "email": "test@example.com", "is_test": True}
    values |= {"created_at": now, "updated_at": now, "normalizer_version": 1}
    lead = Lead(**values)
    return FeedEvent(0, "created", now, _TEST_ID, lead, None)


def _change(entities: Entities, ids: Sequence[UUID], sink: str | None, since: datetime | None, change: Any) -> int:
    with session(entities):
        query = select(d.id for d in entities.delivery)
        if ids:
            chosen = list(ids)
            query = query.where(lambda d: d.id in chosen)
        if sink is not None:
            query = query.where(lambda d: d.sink == sink)
        if since is not None:
            query = query.where(lambda d: d.event_at >= since)
        found = sorted(query)
    changed = 0
    for start in range(0, len(found), CHANGED_AT_ONCE):
        part = found[start : start + CHANGED_AT_ONCE]
        with session(entities, writes=True):
            rows = list(select(d for d in entities.delivery if d.id in part).for_update())
            change(rows)
        changed += len(rows)
    return changed


def _document(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "sink": row.sink,
        "state": row.state,
        "seq": row.seq,
        "type": f"lead.{row.type}",
        "leadId": row.lead_id,
        "at": row.event_at,
        "attempts": row.attempts,
        "lastAt": row.last_at,
        "nextAt": row.next_at if row.state == WAITING else None,
        "status": row.status,
        "answer": row.answer,
    }
