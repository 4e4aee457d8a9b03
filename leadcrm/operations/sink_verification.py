"""Verification of sinks: what each has taken from the feed is delivered, skipped, dropped or kept to be delivered.

A sink that no node has had for as long as the feed is kept is not judged by what was pruned meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pony.orm import count, select

from leadcrm.database.entities import Entities, quoted_table
from leadcrm.feed.horizon import newest_number
from leadcrm.feed.pruning import CLOCKS

# Pony cannot join what no attribute links.
_UNKNOWN_EVENTS = """SELECT count(*) FROM {deliveries} AS delivery
    LEFT JOIN {feed} AS event
    ON event.seq = delivery.seq AND event.lead_id = delivery.lead_id AND event.type = delivery.type
    WHERE delivery.sink = $name AND delivery.seq > $pruned AND event.seq IS NULL"""


def sink_problems(entities: Entities) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, each with the name of its sink. The caller holds the session."""
    start = entities.feed_start.select().first()
    sinks = list(entities.sink.select().order_by(entities.sink.name))
    recorded = {
        (name, outcome): number
        for name, outcome, number in select((row.sink, row.outcome, count()) for row in entities.delivered)
    }
    for sink in sinks:
        for what in _problems(entities, sink, start, recorded):
            yield f"sink {sink.name}", what
    heard_of = {*select(row.sink for row in entities.delivery), *(name for name, _ in recorded)}
    for name in sorted(heard_of - {sink.name for sink in sinks}):
        yield f"sink {name}", "its cursor is gone: what it has not read is not known"


def _problems(entities: Entities, sink: Any, feed_start: Any, recorded: Mapping[tuple[str, str], int]) -> Iterator[str]:
    name, start, cursor = sink.name, sink.start_seq, sink.cursor_seq
    pruned = feed_start.after_seq if feed_start is not None else 0
    kept = count(delivery for delivery in entities.delivery if delivery.sink == name)
    counted = sink.delivered + sink.skipped + sink.dropped
    if kept != sink.taken - counted:
        yield f"it took {sink.taken} events, of which {counted} are dealt with and {kept} still to be delivered"
    ahead = count(delivery for delivery in entities.delivery if delivery.sink == name and delivery.seq > cursor)
    if ahead:
        yield f"{ahead} deliveries are of events after its cursor"
    if unknown := _count_unknown_events(entities, name, pruned):
        yield f"{unknown} deliveries are of events that the feed does not have"
    if cursor > (newest := newest_number(entities)):
        yield f"its cursor is at {cursor}, where the feed has come to {newest} only"
    if start >= pruned:
        feed_event = entities.feed_event
        there = count(e for e in feed_event if e.seq > start and e.seq <= cursor and e.type != "kept")
        if there != sink.taken:
            yield f"it took {sink.taken} events of the feed, where {there} are up to its cursor"
        for outcome, number in (("delivered", sink.delivered), ("dropped", sink.dropped)):
            if (there := recorded.get((name, outcome), 0)) != number:
                yield f"it has {number} events as {outcome}, where {there} are recorded"
    elif cursor < pruned and sink.lease_until >= feed_start.since - CLOCKS:
        yield f"events after {cursor} are no longer kept, and it has not read them"


def _count_unknown_events(entities: Entities, name: str, pruned: int) -> int:
    sql = _UNKNOWN_EVENTS.format(
        deliveries=quoted_table(entities.delivery),
        feed=quoted_table(entities.feed_event),
    )
    (number,) = entities.database.select(sql, {"name": name, "pruned": pruned}, {})
    return int(number)
