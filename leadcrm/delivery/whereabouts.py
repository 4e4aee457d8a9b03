"""Where a lead went and when: what has arrived at each sink, what waits or is dead, and what no sink wants.

What arrived is kept as long as the feed is. That a sink does not want an event is not kept: it is told by the sink's
filter of now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc, select

from leadcrm.crm.feed import FeedEvent
from leadcrm.crm.leads import Lead
from leadcrm.database.entities import Entities, quoted_table
from leadcrm.database.sessions import session
from leadcrm.delivery.sink import Sink

DELIVERED, DROPPED = "delivered", "dropped"

PENDING, UNWANTED, UNRECORDED = "pending", "unwanted", "unrecorded"
"""Of a sink that has nothing of a lead: it has still to read of it; its filter leaves it out; or neither, since the
sink began later, or read of it before records were kept."""

NOTED_AT_ONCE = 200

MAX_EVENTS = 100
"""Of a lead's events, the newest that are told of."""

SCANNED_EVENTS = 10_000
"""Among so many events after a sink's cursor one of a lead is looked for that waited before it was stored: some
milliseconds."""

MAX_SEQ = 2**63 - 1


class Fact(NamedTuple):
    """What became of an event at a sink."""

    seq: int
    lead_id: UUID
    type: str


def note(entities: Entities, sink: str, facts: Sequence[Fact], outcome: str, at: datetime) -> None:
    """Keep what arrived at a sink or was dropped. The caller holds the session that counts it."""
    for start in range(0, len(facts), NOTED_AT_ONCE):
        _note(entities, sink, facts[start : start + NOTED_AT_ONCE], outcome, at)


def _note(entities: Entities, sink: str, facts: Sequence[Fact], outcome: str, at: datetime) -> None:
    is_sqlite = entities.database.provider.dialect == "SQLite"
    rows: list[str] = []
    values: dict[str, Any] = {"sink": sink, "outcome": outcome, "at": at.isoformat(" ", "microseconds")}
    for number, fact in enumerate(facts):
        lead_id = fact.lead_id.bytes if is_sqlite else str(fact.lead_id)
        values |= {f"seq{number}": fact.seq, f"lead{number}": lead_id, f"type{number}": fact.type}
        rows.append(f"($seq{number}, $sink, $lead{number}, $type{number}, $outcome, $at)")
    # In SQL: Pony inserts row by row, and on SQLite leads wait meanwhile. An event may arrive again where a cursor
    # was set back.
    entities.database.execute(
        f"INSERT INTO {quoted_table(entities.delivered)} (seq, sink, lead_id, type, outcome, at) "  # noqa: S608 - ours
        f"VALUES {', '.join(rows)} ON CONFLICT (seq, sink) DO UPDATE SET outcome = excluded.outcome, at = excluded.at",
        values,
        {},
    )


def lead_deliveries(entities: Entities, sinks: Mapping[str, Sink], id: UUID, lead: Lead | None) -> list[dict[str, Any]]:
    """Return what became of a lead's events at each sink, and of each sink without any, why. Opens a session.

    Args:
        entities: The bound database.
        sinks: Those of this node.
        id: The lead's.
        lead: The lead as it is now; None if it is none, or gone.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        documents = [*_done(entities, id), *_open(entities, id)]
        told = {document["sink"] for document in documents if document["type"] == "lead.created"}
        if lead is not None:
            cursors = dict(select((row.name, row.cursor_seq) for row in entities.sink))
            for name in sinks.keys() - told:
                state = _state_without(entities, sinks[name], cursors.get(name), lead)
                documents.append(_document(name, "created", state, since=lead.created_at))
    return sorted(documents, key=lambda document: (document["sink"], document["seq"] or 0))


def _done(entities: Entities, id: UUID) -> Iterable[dict[str, Any]]:
    rows = select(row for row in entities.delivered if row.lead_id == id).order_by(lambda row: desc(row.seq))
    for row in rows[:MAX_EVENTS]:
        yield _document(row.sink, row.type, row.outcome, seq=row.seq, at=row.at)


def _open(entities: Entities, id: UUID) -> Iterable[dict[str, Any]]:
    rows = select(row for row in entities.delivery if row.lead_id == id).order_by(lambda row: desc(row.seq))
    for row in rows[:MAX_EVENTS]:
        is_waiting = row.state == "waiting"
        yield {
            **_document(row.sink, row.type, row.state, seq=row.seq, at=row.last_at, since=row.event_at),
            "id": row.id,
            "nextAt": row.next_at if is_waiting else None,
            "attempts": row.attempts,
            "status": row.status,
            "answer": row.answer,
        }


def _state_without(entities: Entities, sink: Sink, cursor: int | None, lead: Lead) -> str:
    if cursor is None or _is_unread(entities, cursor, lead):
        return PENDING
    event = FeedEvent(0, "created", lead.created_at, lead.id, lead, None)
    return UNRECORDED if sink.wants(event) else UNWANTED


def _is_unread(entities: Entities, cursor: int, lead: Lead) -> bool:
    id = lead.id
    unread = select((event.seq, event.at) for event in entities.feed_event if event.seq > cursor).without_distinct()
    first = unread.order_by(1)[:1]
    # What arrived after an event was stored was stored after it.
    if first and lead.created_at > first[0][1]:
        return True
    last = unread.order_by(1).limit(1, offset=SCANNED_EVENTS - 1)[:]
    until = last[0][0] if last else MAX_SEQ
    return bool(
        select(
            event.seq
            for event in entities.feed_event
            if event.seq > cursor and event.seq <= until and event.lead_id == id and event.type == "created"
        )[:1]
    )


def _document(
    sink: str,
    type: str,
    state: str,
    *,
    seq: int | None = None,
    at: datetime | None = None,
    since: datetime | None = None,
) -> dict[str, Any]:
    return {
        "sink": sink,
        "type": f"lead.{type}",
        "state": state,
        "seq": seq,
        "at": at,
        "since": since,
        "id": None,
        "nextAt": None,
        "attempts": None,
        "status": None,
        "answer": None,
    }
