"""Counts of the leads of past days, kept in the database for all who count.

Counting a month takes most of a second among a million leads, and nearly all of them are as they were. So the leads of
a day are counted once it is past, in the background, and again when one of them has changed.

Invariants:
- What is read of a day is what counting it anew would give. The feed tells in the transaction of whatever changes a
  lead: a change, a late arrival from a spool or a replay, an erasure. The rows are right up to a number of the feed,
  which goes on only once all events up to there can be seen and their days are gone; a reader leaves out the days of
  all later events that he sees. He reads the number first, the rows next and the events last: so he knows of every
  change that a row lacks, without a lock, and on a standby too.
- A row is written only while that number is no higher than it was settled when the counting began.
- Days are those of UTC, counted by the quarters of an hour that make the days of every zone.
- Whoever changes a lead past this program, as with psql, makes no event: `DayKeeper` compares every row now and then.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import orjson
from pony.orm import raw_sql, select

from leadcrm.crm.day_columns import PackedDay, pack_day
from leadcrm.crm.dialects import Unit, chars_of
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.statistics import lowest_id
from leadcrm.crm.times import now
from leadcrm.crm.value_counts import Counts, count_by_values
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import forget_results
from leadcrm.feed.horizon import newest_number

MAX_EVENTS = 20_000
"""Events about past days that are looked at; after more than that, no row is taken for right."""

IDS_AT_ONCE = 500

DAYS_AT_ONCE = 16
"""Days whose columns are in memory together: some hundred kilobytes, a megabyte each on the busiest days."""

CLOCKS = timedelta(minutes=5)
"""Between those of nodes, and between the time in a lead's id and that of its arrival, which are microseconds apart."""

DAY = timedelta(days=1)


_DAY = '"row".day'
"""As text: of a year, Pony takes 40 ms to read the dates of SQLite."""


class DayRecord(NamedTuple):
    """What is kept of a day's leads: their numbers by value, and what is packed of each."""

    counts: bytes
    packed: PackedDay

    def attributes(self) -> dict[str, bytes | None]:
        """Return the values of the row by their names."""
        return {"counts": self.counts, **self.packed._asdict()}


def days_kept(entities: Entities, begin: date, end: date, *, columns: bool) -> list[date]:
    """Return the days of a period, its end excluded, of which counts, or columns, are kept that are still right.

    The caller holds the session, and has read nothing of leads: on PostgreSQL each statement sees what is committed.
    """
    seq = right_until(entities)
    days = entities.counted_day
    query = select(raw_sql(_DAY, str) for row in days if row.day >= begin and row.day < end).without_distinct()
    kept = (query.where(lambda row: row.columns is not None) if columns else query)[:]
    changed = changed_days(entities, seq) if kept else set()
    return [] if changed is None else sorted(day for day in map(_to_date, kept) if day not in changed)


def read_days(entities: Entities, days: Sequence[date], *names: str) -> Iterator[tuple[date, tuple[bytes, ...]]]:
    """Yield what is kept of days, by the names of the attributes. The caller holds the session.

    A day is left out that is gone since it was found, or lacks one of them. One that is read later than it was found
    has no older counts.
    """
    wanted = ", ".join(f"row.{name}" for name in names)
    text = f"(raw_sql(_DAY, str), {wanted}) for row in entities.counted_day if row.day in some"
    for start in range(0, len(days), DAYS_AT_ONCE):
        some = days[start : start + DAYS_AT_ONCE]
        for day, *packed in select(text, globals(), {"entities": entities, "some": some}).without_distinct()[:]:
            if None not in packed:
                yield _to_date(day), tuple(packed)
        forget_results(entities)


def _to_date(text: object) -> date:
    return date.fromisoformat(str(text))


def right_until(entities: Entities) -> int:
    """Return the number of the feed up to which the rows are right. The caller holds the session."""
    return int(select(row.seq for row in entities.days_until).first() or 0)


def count_day(entities: Entities, day: date) -> DayRecord:
    """Count a day's leads, as they are kept. The caller holds the session."""
    start = datetime.combine(day, time())
    counts = count_by_values(entities, LeadFilter(since=start, until=start + DAY), "quarter")
    # In one order, so that equal counts are equal bytes.
    pairs = {name: sorted(counter.items(), key=_by_value) for name, counter in counts.items()}
    return DayRecord(zlib.compress(orjson.dumps(pairs), level=1), pack_day(entities, day))


def add_counts(days: Iterable[bytes], total: Counts, unit: Unit) -> None:
    """Add what is kept of days to other counts, which have nothing of them, by units of time."""
    chars = chars_of(unit)
    for packed in days:
        for name, pairs in orjson.loads(zlib.decompress(packed)).items():
            counter = total[name]
            if name == "step":
                units: dict[str, int] = {}
                for quarter, leads in pairs:
                    units[quarter[:chars]] = units.get(quarter[:chars], 0) + leads
                # Not as a counter does it, one by one: of a year there are 35,000 quarters. No other day has these.
                dict.update(counter, units)
                continue
            for value, leads in pairs:
                counter[value] += leads


def sum_counts(packed: bytes) -> int:
    """Return the number of a day's leads of the counts that are kept of it."""
    return sum(leads for _, leads in orjson.loads(zlib.decompress(packed))["step"])


def _by_value(item: tuple[str | None, int]) -> tuple[bool, str]:
    return item[0] is not None, str(item[0] or "")


def midnight(at: datetime) -> datetime:
    """Return the start of the day of a time."""
    return datetime.combine(at.date(), time())


def changed_days(entities: Entities, seq: int, until: int | None = None) -> set[date] | None:
    """Return the past days whose leads have events after a number; None for any. The caller holds the session.

    Args:
        entities: The bound database.
        seq: The number.
        until: The last event to look at; None for all that can be seen.
    """
    today, later = lowest_id(midnight(now()), CLOCKS), lowest_id(now(), DAY)
    events = select(event.lead_id for event in entities.feed_event if event.seq > seq and event.type != "kept")
    if until is not None:
        events = events.where(lambda event: event.seq <= until)
    # Most events are of leads that arrive today.
    events = events.where(lambda event: event.type != "created" or event.lead_id < today or event.lead_id >= later)
    ids = list(set(events.without_distinct()[: MAX_EVENTS + 1]))
    # After the events: they may have been pruned meanwhile.
    pruned = select(start.after_seq for start in entities.feed_start).first() or 0
    if not pruned <= seq <= newest_number(entities) or len(ids) > MAX_EVENTS:
        return None
    return _days_of(entities, ids)


def _days_of(entities: Entities, ids: Iterable[object]) -> set[date] | None:
    """Return the days on which rows arrived; None if one of them is gone. The caller holds the session."""
    wanted = list(ids)
    days: set[date] = set()
    for start in range(0, len(wanted), IDS_AT_ONCE):
        some = wanted[start : start + IDS_AT_ONCE]
        arrived = select((raw.id, raw.received_at) for raw in entities.raw_lead if raw.id in some).without_distinct()[:]
        if len(arrived) < len(some):
            return None
        days.update(at.date() for _, at in arrived)
    return days
