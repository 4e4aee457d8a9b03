"""Sinks and deliveries for people: how far each sink is, what has not arrived there, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc, select

from leadcrm.crm.feed import Feed, FeedEvent
from leadcrm.crm.leads import Lead
from leadcrm.database.clock import now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.delivery.ledger import WAITING, Backlog, backlog, count_unread, had_until, unread_since
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.whereabouts import DROPPED, Fact, note

CHANGED_AT_ONCE = 500
"""Deliveries of one transaction: on SQLite leads wait meanwhile."""

NOBODY = "nobody"
"""Who has a sink that was given up, until a node takes it."""

_TEST_ID = UUID(int=0)


def read_sink_documents(entities: Entities, sinks: Mapping[str, Sink]) -> list[dict[str, Any]]:
    """Return sinks without their secrets, and how far each is. Opens sessions of its own.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    documents = []
    for name, sink in sinks.items():
        state = backlog(entities, name)
        documents.append(sink_document(sink, state, None if state is None else count_unread(entities, state.cursor)))
    return documents


def sink_document(sink: Sink, backlog: Backlog | None = None, unread: int | None = None) -> dict[str, Any]:
    """Return a sink without its secrets, and how far it is, if that is known."""
    state = "unknown"
    if backlog is not None:
        state = (
            "disabled"
            if backlog.disabled
            else ("failing" if backlog.waiting or backlog.failing_since else "delivering")
        )
        state = state if sink.enabled else "off"
    return {
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
        "state": state,
        "cursor": backlog and backlog.cursor,
        "unread": unread,
        "delivered": backlog and backlog.delivered,
        "waiting": backlog and backlog.waiting,
        "dead": backlog and backlog.dead,
        "oldest": backlog and backlog.oldest,
        "failingSince": backlog and backlog.failing_since,
        "lastAt": backlog and backlog.last_at,
        "lastAnswer": backlog and backlog.last_answer,
        "disabled": (backlog and backlog.disabled) or None,
        "node": backlog and backlog.holder.partition(" ")[0],
    }


class Chosen(NamedTuple):
    """Which deliveries are meant; an empty part narrows nothing.

    Attributes:
        ids: The only ones.
        sink: Only those of a sink.
        state: Only the waiting or the dead ones.
        since: Only those of events from this time on, naive UTC.
    """

    ids: Sequence[UUID] = ()
    sink: str | None = None
    state: str | None = None
    since: datetime | None = None

    def narrow(self, query: Any) -> Any:
        """Narrow a query whose loop variable is `d`."""
        ids, sink, state, since = list(self.ids), self.sink, self.state, self.since
        if ids:
            query = query.where(lambda d: d.id in ids)
        if sink is not None:
            query = query.where(lambda d: d.sink == sink)
        if state is not None:
            query = query.where(lambda d: d.state == state)
        if since is not None:
            query = query.where(lambda d: d.event_at >= since)
        return query


class Changed(NamedTuple):
    """How many deliveries were changed, and after which one to go on; None if those were all."""

    number: int
    next: UUID | None


def list_deliveries(entities: Entities, chosen: Chosen, *, limit: int) -> list[dict[str, Any]]:
    """Return the deliveries that have not arrived, those that were tried last first."""
    with session(entities):
        query = chosen.narrow(select(d for d in entities.delivery))
        return [_document(row) for row in query.order_by(lambda d: desc(d.last_at))[:limit]]


def retry_deliveries(
    entities: Entities, chosen: Chosen, *, after: UUID | None = None, seconds: float | None = None
) -> Changed:
    """Have deliveries tried again at once, the dead ones with the whole schedule. What is counted is durable.

    Args:
        entities: The bound database.
        chosen: Which ones.
        after: Where an earlier call ended.
        seconds: When to end; None for at the last one.

    Raises:
        StoreUnavailable: The database cannot be used; some may be changed.
    """

    def retry(rows: Sequence[Any]) -> None:
        for row in rows:
            # No pause ends before it begins: so a courier sees that a person asks.
            next_at = min(now_utc(), row.last_at)
            row.set(next_at=next_at, attempts=0 if row.state != WAITING else row.attempts, state=WAITING)

    return _change(entities, chosen, after, seconds, retry)


def hindrances(entities: Entities, sinks: Mapping[str, Sink], chosen: Chosen) -> dict[str, str]:
    """Return why nothing is sent to some sinks of deliveries that wait, by their names."""
    with session(entities):
        waiting = chosen.narrow(select(d for d in entities.delivery if d.state == WAITING))
        names = sorted(set(select(d.sink for d in waiting)))
        disabled = dict(select((row.name, row.disabled) for row in entities.sink))
    reasons = {}
    for name in names:
        # Without the file, as where a person runs a command beside the service, nothing can be said of it.
        if sinks and name not in sinks:
            reasons[name] = "SINKS_FILE has no such sink any more"
        elif sinks and not sinks[name].enabled:
            reasons[name] = "it has enabled = false"
        elif disabled.get(name):
            reasons[name] = f"it is disabled: {disabled[name]} (leadcrm sinks test {name})"
    return reasons


def drop_deliveries(
    entities: Entities,
    chosen: Chosen,
    *,
    after: UUID | None = None,
    seconds: float | None = None,
    sinks: Mapping[str, Sink] = MappingProxyType({}),
) -> Changed:
    """Give deliveries up, and what a sink had not read that is not among the sinks any more.

    Takes, returns and raises what `retry_deliveries` does. `sinks` are those of the file; where there are none, nothing
    can be said of it.
    """

    def drop(rows: Sequence[Any]) -> None:
        dropped: dict[str, list[Fact]] = {}
        for row in rows:
            dropped.setdefault(row.sink, []).append(Fact(row.seq, row.lead_id, row.type))
            row.delete()
        for name, facts in dropped.items():
            sink = entities.sink.get(name=name)
            if sink is not None:
                sink.dropped += len(facts)
            note(entities, name, facts, DROPPED, now_utc())

    changed = _change(entities, chosen, after, seconds, drop)
    name = chosen.sink
    is_narrowed = bool(chosen.ids or chosen.state or chosen.since)
    if changed.next is not None or name is None or is_narrowed or not sinks or name in sinks:
        return changed
    return changed._replace(number=changed.number + _give_up_unread(entities, name, seconds))


def example_event() -> FeedEvent:
    """Return the event that a test sends: a lead of nobody."""
    now = now_utc()
    values: dict[str, Any] = {**dict.fromkeys(Lead._fields), "id": _TEST_ID, "status": "new", "source": "test"}
    values |= {"first_name": "Test", "last_name": "of leadcrm", "email": "test@example.com", "is_test": True}
    values |= {"created_at": now, "updated_at": now, "normalizer_version": 1}
    lead = Lead(**values)
    return FeedEvent(0, "created", now, _TEST_ID, lead, None)


def _change(
    entities: Entities,
    chosen: Chosen,
    after: UUID | None,
    seconds: float | None,
    change: Callable[[Sequence[Any]], None],
) -> Changed:
    ends_at = None if seconds is None else monotonic() + seconds
    changed = 0
    while True:
        with session(entities, writes=True):
            found = _find(entities, chosen, after)
            rows = _lock(entities, chosen, found)
            change(rows)
        changed += len(rows)
        if len(found) < CHANGED_AT_ONCE:
            return Changed(changed, None)
        after = found[-1][0]
        if ends_at is not None and monotonic() > ends_at:
            return Changed(changed, after)


def _give_up_unread(entities: Entities, name: str, seconds: float | None) -> int:
    """Move a sink's cursor past what it had not read while a node had it, and return how many events that are."""
    ends_at = None if seconds is None else monotonic() + seconds
    feed, given_up = Feed(), 0
    while ends_at is None or monotonic() < ends_at:
        with session(entities):
            row = entities.sink.get(name=name)
            if row is None or unread_since(entities, row) is None:
                break
            cursor, until = row.cursor_seq, had_until(row)
        page = feed.read(entities, cursor, limit=CHANGED_AT_ONCE, thin=True)
        unread = [
            Fact(event.seq, event.lead_id, event.type)
            for event in takewhile(lambda event: event.at <= until, page.events)  # noqa: B023 - read at once
        ]
        if not unread:
            break
        with session(entities, writes=True):
            row = entities.sink.get_for_update(name=name)
            if row.cursor_seq == cursor:
                # Whoever still delivers to it keeps nothing of that, and begins anew behind the cursor.
                row.set(holder=NOBODY, cursor_seq=unread[-1].seq)
                row.set(taken=row.taken + len(unread), dropped=row.dropped + len(unread))
                note(entities, name, unread, DROPPED, now_utc())
                given_up += len(unread)
    return given_up


def _find(entities: Entities, chosen: Chosen, after: UUID | None) -> list[tuple[UUID, str]]:
    """Return ids and sinks of the next deliveries that are meant."""
    found = chosen.narrow(select((d.id, d.sink) for d in entities.delivery).without_distinct())
    if after is not None:
        found = found.where(lambda d: d.id > after)
    return list(found.order_by(1)[:CHANGED_AT_ONCE])


def _lock(entities: Entities, chosen: Chosen, found: Sequence[tuple[UUID, str]]) -> list[Any]:
    """Return those that are still meant, locked after their sinks, as what keeps the results of attempts locks them."""
    for name in sorted({sink for _, sink in found}):
        entities.sink.get_for_update(name=name)
    ids = [id for id, _ in found]
    return list(chosen.narrow(select(d for d in entities.delivery if d.id in ids)).for_update()) if ids else []


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
