"""Counts of the leads of past days, held in memory while the feed tells of no change of theirs.

Counting a month takes most of a second among a million leads, and nearly all of them are as they were.

Invariants:
- What is held of a day is what counting it anew would give. The feed tells in the transaction of whatever changes a
  lead: a change, a late arrival from a spool or a replay, an erasure. A day is forgotten once an event of one of its
  leads can be seen, whatever order the events' transactions end in.
- Days are those of UTC, counted by the quarters of an hour that make the days of every zone.
- What is held is bounded in bytes, and in time: whoever changes a lead past this program, as with psql, makes no event.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from time import monotonic

import orjson
from pony.orm import select

from leadcrm.crm.dialects import Unit
from leadcrm.crm.feed import Feed, FeedGone
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.statistics import lowest_id
from leadcrm.crm.times import now
from leadcrm.crm.value_counts import DIMENSIONS, Counts, count_by_values
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

MAX_BYTES = 8 * 1024 * 1024
"""What is held: about a year of 3,000 leads a day."""

MAX_EVENTS = 20_000
"""Events about past days that are looked at; after more than that, all days are counted anew."""

IDS_AT_ONCE = 500

HELD_S = 900.0
"""For how long a change may go unnoticed of which the feed does not tell; then all days are counted anew. A part of an
earlier day's body that could be read only today is unnoticed too, as its id is of today."""

CLOCKS = timedelta(minutes=5)
"""Between the time in a lead's id and that of its arrival. They are microseconds apart."""

_DAY = timedelta(days=1)


class PastDays:
    """What one process holds; any thread may ask."""

    def __init__(self, feed: Feed) -> None:
        """Start with nothing held."""
        self._feed = feed
        self._lock = threading.Lock()
        self._held: OrderedDict[date, bytes] = OrderedDict()
        self._held_bytes = 0
        self._seq = 0
        self._since = monotonic()

    def __len__(self) -> int:
        """Return the number of days that are held."""
        return len(self._held)

    def look(self, entities: Entities) -> Look:
        """Forget what the feed tells of, and return a look at the rest. Opens sessions of its own.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        with self._lock:
            seq, has_any = self._seq, bool(self._held)
        try:
            self._feed.begin(entities, seq if has_any else None)
            is_known = True
        except FeedGone:
            is_known = False
        # Read before the events: all up to here can be seen by now, and later ones are looked for the next time.
        settled = self._feed.horizon.settled
        is_known = is_known and monotonic() < self._since + HELD_S
        changed = _changed_days(entities, seq) if has_any and is_known else None
        with self._lock:
            if self._seq == seq:
                if changed is None:
                    self._since = monotonic()
                for day in [day for day in self._held if changed is None or day in changed]:
                    self._held_bytes -= len(self._held.pop(day))
                self._seq = settled
            return Look(self, self._seq, dict(self._held))

    def hold(self, seq: int, day: date, packed: bytes) -> None:
        """Hold what was counted after the events up to a number could be seen, unless later ones were looked at."""
        with self._lock:
            if seq != self._seq or day in self._held:
                return
            self._held[day] = packed
            self._held_bytes += len(packed)
            while self._held_bytes > MAX_BYTES:
                self._held_bytes -= len(self._held.popitem(last=False)[1])


class Look:
    """The days as they were held at one moment, to count with soon afterwards."""

    def __init__(self, days: PastDays, seq: int, held: Mapping[date, bytes]) -> None:
        """Set the days, and up to where in the feed they are right."""
        self._days = days
        self._seq = seq
        self._held = held

    def count(self, entities: Entities, lead_filter: LeadFilter, unit: Unit) -> Counts:
        """Count as `count_by_values` does. The caller holds the session."""
        since, until = lead_filter.since, lead_filter.until
        if since is None or until is None or lead_filter != LeadFilter(since=since, until=until):
            return count_by_values(entities, lead_filter, unit)
        end = min(_midnight(until), _midnight(now()))
        begin = _midnight(since)
        if begin < since < end:
            begin += _DAY
        if begin >= end:
            return count_by_values(entities, lead_filter, unit)
        oldest = select(min(lead.created_at) for lead in entities.lead).first()
        begin = end if oldest is None else max(begin, _midnight(min(oldest, end)))
        total: Counts = {name: Counter() for name in ("step", *DIMENSIONS)}
        for part in (replace(lead_filter, until=begin), replace(lead_filter, since=end)):
            if part.since != part.until:
                for name, counter in count_by_values(entities, part, unit).items():
                    total[name].update(counter)
        for packed in self._packed(entities, begin, end):
            for name, pairs in orjson.loads(packed).items():
                counter = total[name]
                for value, leads in pairs:
                    counter[value] += leads
        return total

    def _packed(self, entities: Entities, begin: datetime, end: datetime) -> Iterator[bytes]:
        for number in range((end - begin).days):
            start = begin + number * _DAY
            packed = self._held.get(start.date())
            if packed is None:
                counts = count_by_values(entities, LeadFilter(since=start, until=start + _DAY), "quarter")
                packed = orjson.dumps({name: list(counter.items()) for name, counter in counts.items()})
                self._days.hold(self._seq, start.date(), packed)
            yield packed


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.date(), time())


def _changed_days(entities: Entities, seq: int) -> set[date] | None:
    """Return the days whose leads have later events than a number; None for all days."""
    today, later = lowest_id(_midnight(now()), CLOCKS), lowest_id(now(), _DAY)
    with session(entities):
        events = select(event.lead_id for event in entities.feed_event if event.seq > seq and event.type != "kept")
        # Most events are of leads that arrive today.
        events = events.where(lambda event: event.type != "created" or event.lead_id < today or event.lead_id >= later)
        ids = list(set(events[: MAX_EVENTS + 1]))
        if len(ids) > MAX_EVENTS:
            return None
        days: set[date] = set()
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            arrived = select((raw.id, raw.received_at) for raw in entities.raw_lead if raw.id in some)[:]
            if len(arrived) < len(some):
                return None
            days.update(at.date() for _, at in arrived)
    return days
