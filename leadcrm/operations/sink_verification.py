"""Verification of sinks: what each has taken from the feed is delivered, skipped, dropped or kept to be delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pony.orm import count, select

from leadcrm.database.entities import Entities


def sink_problems(entities: Entities) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, each with the name of its sink. The caller holds the session."""
    pruned = select(start.after_seq for start in entities.feed_start).first() or 0
    for sink in entities.sink.select().order_by(entities.sink.name):
        for what in _problems(entities, sink, pruned):
            yield f"sink {sink.name}", what


def _problems(entities: Entities, sink: Any, pruned: int) -> Iterator[str]:
    name, start, cursor = sink.name, sink.start_seq, sink.cursor_seq
    kept = count(delivery for delivery in entities.delivery if delivery.sink == name)
    counted = sink.delivered + sink.skipped + sink.dropped
    if kept != sink.taken - counted:
        yield f"it took {sink.taken} events, of which {counted} are dealt with and {kept} still to be delivered"
    ahead = count(delivery for delivery in entities.delivery if delivery.sink == name and delivery.seq > cursor)
    if ahead:
        yield f"{ahead} deliveries are of events after its cursor"
    if start >= pruned:
        feed_event = entities.feed_event
        there = count(e for e in feed_event if e.seq > start and e.seq <= cursor and e.type != "kept")
        if there != sink.taken:
            yield f"it took {sink.taken} events of the feed, where {there} are up to its cursor"
    elif cursor < pruned:
        yield f"events after {cursor} are no longer kept, and it has not read them"
