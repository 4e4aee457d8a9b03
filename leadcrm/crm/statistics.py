"""Statistics of a period: leads by hour or day and by their sources, and the ledger of outcomes.

The index by time finds the leads of the period. They are gathered once and then counted by each dimension.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from pony.orm import count, raw_sql, select

from leadcrm.crm.dialects import Step, dialect_of
from leadcrm.database.entities import Entities
from leadcrm.database.states import UNSTORED_STATES

DIMENSIONS = ("status", "country", "offer", "marker", "sourcetype", "source")

LONGEST_VALUE = 256
"""The characters of a value: longer ones that begin alike count as one."""

MAX_VALUES = 20
"""Values of one dimension: the most frequent."""

_MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""Between the two readings of the clock for a row's id and for its time. They are microseconds apart."""

_STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}

_Counts = dict[str, Counter[Any]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of the requests that arrived in a period.

    Attributes:
        since: The start of the period, naive UTC.
        until: Its end, excluded, naive UTC.
        step: The length of time that `steps` and `outcomes` count by.
        leads: The number of leads.
        steps: The number of leads by the start of each hour or day of the period, empty ones included.
        dimensions: For each of `DIMENSIONS`, its most frequent values with the number of leads.
        outcomes: For each state of rows that are no leads, their number by hour or day, as in `steps`.
    """

    since: datetime
    until: datetime
    step: Step
    leads: int
    steps: Mapping[datetime, int]
    dimensions: Mapping[str, tuple[tuple[str | None, int], ...]]
    outcomes: Mapping[str, Mapping[datetime, int]]


def statistics(
    entities: Entities,
    since: datetime,
    until: datetime,
    step: Step,
    *,
    sources: Sequence[str] = (),
    tests: str | None = None,
) -> Statistics:
    """Return the statistics of a period. The caller holds the session.

    Args:
        entities: The bound database.
        since: The start of the period, naive UTC.
        until: Its end, excluded, naive UTC.
        step: The length of time to count by.
        sources: The only sources that count; none for all.
        tests: Whether the senders' test leads count, as in a `LeadFilter`.
    """
    counts = _count_leads(entities, since, until, step, sources, tests)
    starts = starts_between(since, until, step)
    by_step = {moment_of(start): leads for start, leads in counts["step"].items()}
    return Statistics(
        since=since,
        until=until,
        step=step,
        leads=sum(by_step.values()),
        steps={start: by_step.get(start, 0) for start in starts},
        dimensions={name: tuple(counts[name].most_common(MAX_VALUES)) for name in DIMENSIONS},
        outcomes=_count_outcomes(entities, since, until, step, starts, sources),
    )


def starts_between(since: datetime, until: datetime, step: Step) -> list[datetime]:
    """Return the start of every hour or day that the period touches."""
    first = since.replace(minute=0, second=0, microsecond=0, hour=since.hour if step == "hour" else 0)
    # By their number, since adding a step to the last one may go past the latest time that Python has.
    return [first + number * _STEPS[step] for number in range(-((first - until) // _STEPS[step]))]


def moment_of(start: str) -> datetime:
    """Return the start of an hour or day as `Dialect.truncate` writes it."""
    return datetime.fromisoformat(f"{start[:10]} {start[11:13] or '00'}:00:00")


_TESTS = {None: " AND NOT is_test", "only": " AND is_test", "include": ""}


def _count_leads(
    entities: Entities, since: datetime, until: datetime, step: Step, sources: Sequence[str], tests: str | None
) -> _Counts:
    names = ("step", *DIMENSIONS)
    table = entities.database.provider.quote_name(entities.lead._table_)
    start = dialect_of(entities).truncate("created_at", step)
    # In SQL, since Pony has no common table expressions: all dimensions count the same leads, though others arrive
    # meanwhile. Grouping by all dimensions at once would give about as many groups as there are leads.
    by_dimension = " UNION ALL ".join(
        f"SELECT {number}, substr(CAST({name} AS text), 1, {LONGEST_VALUE}), count(*) FROM gathered GROUP BY {name}"  # noqa: S608 - names of ours
        for number, name in enumerate(names)
    )
    values = {f"source{number}": source for number, source in enumerate(sources)}
    chosen = f" AND source IN ({', '.join(f'${name}' for name in values)})" if values else ""
    rows = entities.database.select(
        f"* FROM (WITH gathered AS (SELECT {start} AS step, "  # noqa: S608 - names of ours
        f"{', '.join(DIMENSIONS)} FROM {table} WHERE created_at >= $since AND created_at < $until"
        f"{_TESTS[tests]}{chosen}) {by_dimension}) AS counted",
        {"since": since.isoformat(" ", "microseconds"), "until": until.isoformat(" ", "microseconds"), **values},
        {},
    )
    counts: _Counts = {name: Counter() for name in names}
    for number, value, leads in rows:
        counts[names[number]][value] += leads
    return counts


def _count_outcomes(
    entities: Entities,
    since: datetime,
    until: datetime,
    step: Step,
    starts: list[datetime],
    sources: Sequence[str],
) -> dict[str, dict[datetime, int]]:
    """Count the rows that are no leads. There may be as many of them as leads, so an index must find them."""
    counts = {state: dict.fromkeys(starts, 0) for state in UNSTORED_STATES}
    # Ids begin with the time and are indexed within a state: they narrow the rows, the times select them.
    low = _lowest_id(since, -_MAX_CLOCK_DIFFERENCE)
    high = _lowest_id(until, _MAX_CLOCK_DIFFERENCE)
    start = raw_sql(dialect_of(entities).truncate('"row".received_at', step), str)
    query = select(
        (row.state, start, count())
        for row in entities.raw_lead
        if row.state != "stored"
        and row.id >= low
        and row.id < high
        and row.received_at >= since
        and row.received_at < until
    )
    if sources:
        query = query.where(lambda row: row.source in sources)
    for state, text, rows in query:
        counts[state][moment_of(str(text))] = rows
    return counts


def _lowest_id(at: datetime, offset: timedelta) -> UUID:
    """Return the lowest id of that time, moved by an offset."""
    # In seconds: the sum may lie outside the times that Python has.
    seconds = at.replace(tzinfo=timezone.utc).timestamp() + offset.total_seconds()
    return UUID(int=max(0, round(seconds * 1000)) << 80)
