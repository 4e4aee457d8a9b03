"""Statistics of a time: leads by hour or day and by what they came from, and the ledger of outcomes.

The leads of that time, which the index by time finds, are gathered once and then counted by each dimension.

May import leads, entities and database. Sessions are the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from pony.orm import count, raw_sql, select

from leadcrm.crm.dialects import Step, dialect_of
from leadcrm.database.entities import Entities

DIMENSIONS = ("status", "country", "offer", "marker", "sourcetype")

MOST_VALUES = 20
"""Of a dimension with many values the most frequent are told apart."""

NO_LEAD_STATES = ("failed", "invalid", "conflict", "repeat")

_CLOCK_SKEW = timedelta(minutes=5)
"""Between the two clock readings that a row's id and its time come from. They are microseconds apart."""

_SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}

_Counts = dict[str, Counter[Any]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of what arrived between `since` and `until` (naive UTC, the latter excluded).

    `steps` has every hour or day of the time, also the empty ones; `outcomes` has the same for the rows that are no
    leads, by their state.
    """

    since: datetime
    until: datetime
    step: Step
    leads: int
    steps: Mapping[datetime, int]
    dimensions: Mapping[str, tuple[tuple[str | None, int], ...]]
    outcomes: Mapping[str, Mapping[datetime, int]]


def statistics(entities: Entities, since: datetime, until: datetime, step: Step) -> Statistics:
    """Count."""
    counts = _count(entities, since, until, step)
    starts = starts_between(since, until, step)
    by_step = {_moment(start): leads for start, leads in counts["step"].items()}
    return Statistics(
        since=since,
        until=until,
        step=step,
        leads=sum(by_step.values()),
        steps={start: by_step.get(start, 0) for start in starts},
        dimensions={name: tuple(counts[name].most_common(MOST_VALUES)) for name in DIMENSIONS},
        outcomes=_outcomes(entities, since, until, step, starts),
    )


def starts_between(since: datetime, until: datetime, step: Step) -> list[datetime]:
    """Return the beginning of every hour or day that the time touches."""
    first = since.replace(minute=0, second=0, microsecond=0, hour=since.hour if step == "hour" else 0)
    # Counted, not added up to the end: past the last step there may be no time left.
    return [first + number * _SPANS[step] for number in range(-((first - until) // _SPANS[step]))]


def _moment(start: str) -> datetime:
    return datetime.fromisoformat(f"{start[:10]} {start[11:13] or '00'}:00:00")


def _count(entities: Entities, since: datetime, until: datetime, step: Step) -> _Counts:
    names = ("step", *DIMENSIONS)
    table = entities.database.provider.quote_name(entities.lead._table_)
    start = dialect_of(entities).truncate("created_at", step)
    # Gathered once and counted once a dimension: a count over all dimensions together would tell apart as many
    # combinations as there are leads.
    each = " UNION ALL ".join(
        f"SELECT {number}, CAST({name} AS text), count(*) FROM gathered GROUP BY {name}"  # noqa: S608 - names of ours
        for number, name in enumerate(names)
    )
    rows = entities.database.select(
        f"* FROM (WITH gathered AS (SELECT {start} AS step, "  # noqa: S608
        f"{', '.join(DIMENSIONS)} FROM {table} WHERE created_at >= $since AND created_at < $until) {each}) AS counted",
        {"since": since.isoformat(" ", "microseconds"), "until": until.isoformat(" ", "microseconds")},
        {},
    )
    counts: _Counts = {name: Counter() for name in names}
    for number, value, leads in rows:
        counts[names[number]][value] = leads
    return counts


def _outcomes(
    entities: Entities, since: datetime, until: datetime, step: Step, starts: list[datetime]
) -> dict[str, dict[datetime, int]]:
    """Count the rows that are no leads; that they are few next to leads is not promised, so an index finds them."""
    counts = {state: dict.fromkeys(starts, 0) for state in NO_LEAD_STATES}
    # By id, which is indexed within a state and begins with the time; then by the exact time.
    low, high = _first_id_of(since, -_CLOCK_SKEW), _first_id_of(until, _CLOCK_SKEW)
    start = raw_sql(dialect_of(entities).truncate('"row".received_at', step), str)
    query = select(
        (row.state, start, count())
        for row in entities.raw_lead
        if row.state != "stored"
        and row.state in NO_LEAD_STATES
        and row.id >= low
        and row.id < high
        and row.received_at >= since
        and row.received_at < until
    )
    for state, text, rows in query:
        counts[state][_moment(str(text))] = rows
    return counts


def _first_id_of(at: datetime, skew: timedelta) -> UUID:
    # As seconds: the skew may lead out of the times that there are.
    seconds = at.replace(tzinfo=timezone.utc).timestamp() + skew.total_seconds()
    return UUID(int=max(0, round(seconds * 1000)) << 80)
