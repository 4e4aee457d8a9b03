"""Pruning: events older than FEED_DAYS are deleted, the oldest first, and the feed's start says up to where.

With them goes what is kept of their arrival at sinks.

What a sink has still to read is kept, as long as a node has had that sink within FEED_DAYS.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile
from time import monotonic, sleep

from pony.orm import min, select

from leadcrm.database.clock import earlier_time
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import upkeep_session

PRUNE_ROWS = 1_000
"""Events of one transaction, of some ten milliseconds: on SQLite leads wait meanwhile. Then it rests as long."""

CLOCKS = timedelta(hours=1)
"""How far the clocks of nodes and database may differ: a lead's time is its node's, an event's the database's."""


def prune_feed(
    entities: Entities, *, days: int, now: datetime | None = None, is_stopping: Callable[[], bool] = lambda: False
) -> int:
    """Delete the events that are older than so many days and return how many were deleted.

    Args:
        entities: The bound database.
        days: How old they are.
        now: As of when; None for the earlier of the node's and the database's time.
        is_stopping: Asked before each transaction.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    before = (earlier_time(entities) if now is None else now.replace(tzinfo=None)) - timedelta(days=days)
    pruned = 0
    while not is_stopping():
        began_at = monotonic()
        count = _prune_some(entities, before)
        pruned += count
        if count < PRUNE_ROWS:
            break
        sleep(monotonic() - began_at)
    return pruned


def _prune_some(entities: Entities, before: datetime) -> int:
    feed_event = entities.feed_event
    with upkeep_session(entities):
        # The lock makes nodes prune one after the other.
        start = entities.feed_start.get_for_update(id=1)
        oldest = select((event.seq, event.at) for event in feed_event).without_distinct().order_by(1)[:PRUNE_ROWS]
        unread = min(sink.cursor_seq for sink in entities.sink if sink.lease_until >= before)
        seqs = [
            seq for seq, _ in takewhile(lambda row: row[1] < before and (unread is None or row[0] <= unread), oldest)
        ]
        if seqs:
            last = seqs[-1]
            select(event for event in feed_event if event.seq <= last).delete(bulk=True)
            select(row for row in entities.delivered if row.seq <= last).delete(bulk=True)
            start.set(after_seq=last, since=max(start.since, before + CLOCKS))
    return len(seqs)
