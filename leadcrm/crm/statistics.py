"""Statistics of a period: leads by hour or day and by their values, and the ledger of outcomes.

The index by time finds the leads of the period. They are gathered once and then counted by each dimension.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from itertools import pairwise
from uuid import UUID

from pony.orm import raw_sql, select

from leadcrm.configuration.time_zone import UTC, TimeZone
from leadcrm.crm.dialects import Step, Unit, dialect_of
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.value_counts import DIMENSIONS, Counts, count_by_values
from leadcrm.database.entities import Entities
from leadcrm.database.states import UNSTORED_STATES

MAX_VALUES = 200
"""Values of one dimension: the most frequent."""

IDS_AT_ONCE = 20_000
"""Ids that are in memory together: some megabytes."""

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LAST = datetime.max  # noqa: DTZ901 - naive UTC, as all times here


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of the requests that arrived in a period.

    Attributes:
        since: The start of the period, naive UTC.
        until: Its end, excluded, naive UTC.
        step: The length of time that `steps` and `outcomes` count by.
        zone: Whose days and hours they are.
        leads: The number of leads.
        steps: The number of leads by the start (naive UTC) of each hour or day of the period, empty ones included.
        dimensions: For each of `DIMENSIONS`, its most frequent values with the number of leads.
        outcomes: For each state of rows that are no leads, their number by hour or day, as in `steps`.
    """

    since: datetime
    until: datetime
    step: Step
    zone: TimeZone
    leads: int
    steps: Mapping[datetime, int]
    dimensions: Mapping[str, tuple[tuple[str | None, int], ...]]
    outcomes: Mapping[str, Mapping[datetime, int]]


def statistics(
    entities: Entities,
    lead_filter: LeadFilter,
    step: Step,
    zone: TimeZone = UTC,
    count_leads: Callable[[Entities, LeadFilter, Unit], Counts] = count_by_values,
) -> Statistics:
    """Return the statistics of the filter's period. The caller holds the session.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with both ends of the period and neither `ids` nor `q`. Where it asks for more than a
            period and sources, only leads are counted: requests that are none have no other of their columns.
        step: What to count by.
        zone: Whose days and hours.
        count_leads: Counts the leads.
    """
    since, until = lead_filter.since, lead_filter.until
    assert since is not None
    assert until is not None
    steps = _Steps(since, until, step, zone)
    counts = count_leads(entities, lead_filter, steps.unit)
    by_step = steps.gather(counts["step"])
    sources = dict(lead_filter.values).get("source", ())
    of_requests = LeadFilter(since=since, until=until, tests=lead_filter.tests)
    if sources:
        of_requests = replace(of_requests, values=(("source", sources),))
    return Statistics(
        since=since,
        until=until,
        step=step,
        zone=zone,
        leads=sum(by_step.values()),
        steps=by_step,
        dimensions={name: tuple(counts[name].most_common(MAX_VALUES)) for name in DIMENSIONS},
        outcomes=_count_outcomes(entities, of_requests, steps, sources) if lead_filter == of_requests else steps.none,
    )


class _Steps:
    """The hours or days of a period in a zone, and the unit that the database counts by to make them."""

    def __init__(self, since: datetime, until: datetime, step: Step, zone: TimeZone) -> None:
        self._step = step
        self._rules = None if zone.rules is timezone.utc else zone.rules
        try:
            self.starts = self._between(since, until)
        except OverflowError:
            # Next to the first and the last time of all, local days would begin before or end after it.
            self._rules = None
            self.starts = self._between(since, until)
        # Every zone of today is a whole number of quarters away from UTC, and most are one of hours.
        in_hours: Unit = "quarter" if any(start.minute for start in self.starts) else "hour"
        self.unit: Unit = step if self._rules is None else in_hours

    @property
    def none(self) -> dict[str, dict[datetime, int]]:
        """Return the outcomes where none are counted."""
        return {state: dict.fromkeys(self.starts, 0) for state in UNSTORED_STATES}

    def gather(self, counts: Mapping[str, int]) -> dict[datetime, int]:
        """Return the sums of counts by unit, for every step."""
        # Of a year there are 35,000 quarters, whose texts are in the order of time.
        texts = sorted(counts)
        numbers = [counts[text] for text in texts]
        ends: list[int] = []
        for start in self.starts[1:]:
            ends.append(bisect_left(texts, start, lo=ends[-1] if ends else 0, key=moment_of))
        places = pairwise((0, *ends, len(texts)))
        return {start: sum(numbers[begin:end]) for start, (begin, end) in zip(self.starts, places, strict=False)}

    def _start(self, at: datetime) -> datetime:
        local = at if self._rules is None else at.replace(tzinfo=timezone.utc).astimezone(self._rules)
        if self._step == "day":
            return self._in_utc(datetime.combine(local.date(), time()))
        # Not by the local time: an hour may come twice.
        return at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)

    def _in_utc(self, local: datetime) -> datetime:
        if self._rules is None:
            return local
        return local.replace(tzinfo=self._rules).astimezone(timezone.utc).replace(tzinfo=None)

    def _between(self, since: datetime, until: datetime) -> list[datetime]:
        starts = []
        start = self._start(since)
        while start < until:
            starts.append(start)
            # From the middle of the next day, since a day may have 23 or 25 hours.
            following = _HOUR if self._step == "hour" else 1.5 * _DAY
            if start > _LAST - following:
                break
            start = self._start(start + following)
        return starts


def moment_of(text: str) -> datetime:
    """Return the start of a unit as the database writes it: a date, an hour, or a minute."""
    return datetime.fromisoformat(text)


def _count_outcomes(
    entities: Entities, period: LeadFilter, steps: _Steps, sources: Sequence[str]
) -> dict[str, dict[datetime, int]]:
    """Count the rows that are no leads, by the times that their ids begin with.

    There may be as many of them as leads, and all that is read of them an index has.
    """
    assert period.since is not None
    assert period.until is not None
    first, last = lowest_id(period.since), lowest_id(period.until)
    ends = [lowest_id(start).hex for start in steps.starts[1:]]
    return {
        state: dict(zip(steps.starts, _count_by_ends(entities, state, sources, first, last, ends), strict=False))
        for state in UNSTORED_STATES
    }


def _count_by_ends(
    entities: Entities, state: str, sources: Sequence[str], first: UUID, last: UUID, ends: Sequence[str]
) -> list[int]:
    """Count the rows of a state from an id to another by ids between, at which parts end."""
    row = entities.raw_lead
    digits = raw_sql(dialect_of(entities).id_digits('"row".id'), str)
    counts = [0] * (len(ends) + 1)
    while first < last:
        # The first condition matches the partial index's predicate.
        query = select(
            digits
            for row in entities.raw_lead
            if row.state != "stored" and row.state == state and row.id >= first and row.id < last
        )
        if sources:
            query = query.where(lambda row: row.source in sources)
        ids = query.without_distinct().order_by(lambda: row.id)[:IDS_AT_ONCE]  # noqa: B023 - called at once
        places = (0, *(bisect_left(ids, end) for end in ends), len(ids))
        for number, (begin, end) in enumerate(pairwise(places)):
            counts[number] += end - begin
        if len(ids) < IDS_AT_ONCE:
            break
        first = UUID(int=int(ids[-1], 16) + 1)
    return counts


def lowest_id(at: datetime, offset: timedelta = timedelta()) -> UUID:
    """Return the lowest id of that time, moved by an offset."""
    # In seconds: the sum may lie outside the times that Python has.
    seconds = at.replace(tzinfo=timezone.utc).timestamp() + offset.total_seconds()
    return UUID(int=max(0, round(seconds * 1000)) << 80)
