"""Counting leads, and telling when they arrived, with what is kept of past days, wherever that answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import orjson
from pony.orm import select

from leadcrm.crm.click_ids import ids_in, may_have
from leadcrm.crm.conditions import Condition, conditions, every, moment_text
from leadcrm.crm.counted_days import DAY, add_counts, days_kept, midnight, read_days, sum_counts
from leadcrm.crm.day_columns import ColumnFilter
from leadcrm.crm.day_outcomes import DayOutcomes
from leadcrm.crm.dialects import Unit, dialect_of
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.queries import narrow, within
from leadcrm.crm.times import now
from leadcrm.crm.touches import OutcomeCounts
from leadcrm.crm.value_counts import DIMENSIONS, Counts, count_by_values
from leadcrm.database.entities import Entities, quoted_table

CountOutcomes = Callable[[Entities, LeadFilter, str, OutcomeCounts], None]

_WEEK = timedelta(days=7)

_FIRST, _LAST = datetime.min, datetime.max  # noqa: DTZ901 - naive UTC, as all times here

MAX_OTHERS = 50_000
"""Leads of other days, such as those that have just changed, that are looked at for an exact number."""


def count_with_days(entities: Entities, lead_filter: LeadFilter, unit: Unit) -> Counts:
    """Count as `count_by_values` does. The caller holds the session, and has read nothing of leads in it."""
    since, until = lead_filter.since, lead_filter.until
    total: Counts = {name: Counter() for name in ("step", *DIMENSIONS)}
    counted: list[date] = []
    if (wanted := ColumnFilter.of(entities, lead_filter)) is not None:
        by_columns = lead_filter != LeadFilter(since=since, until=until)
        days = _whole_days(entities, since, until, columns=by_columns)
        kept = _noting(entities, days, counted, by_columns=by_columns)
        if by_columns:
            wanted.add(kept, total, unit)
        else:
            add_counts(kept, total, unit)
    for start, stop in _parts(entities, lead_filter) if wanted is None else _others(counted, since, until):
        for name, counter in count_by_values(entities, replace(lead_filter, since=start, until=stop), unit).items():
            total[name].update(counter)
    return total


def outcomes_with_days(entities: Entities, lead_filter: LeadFilter, column: str, count: CountOutcomes) -> OutcomeCounts:
    """Return what became of leads by the values of a column.

    The caller holds the session, and has read nothing of leads in it.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with both ends of the period.
        column: One of `DIMENSIONS`.
        count: Adds those of other days, of a week at most.
    """
    since, until = lead_filter.since, lead_filter.until
    total = OutcomeCounts.none()
    counted: list[date] = []
    if (wanted := ColumnFilter.of(entities, lead_filter)) is not None:
        of_days = DayOutcomes(wanted, column, total)
        days = _whole_days(entities, since, until, columns=True)
        for day, (columns, touches) in read_days(entities, days, "columns", "touches"):
            if of_days.add(columns, touches):
                counted.append(day)
        of_days.finish()
    for start, stop in _parts(entities, lead_filter) if wanted is None else _others(counted, since, until):
        assert start is not None
        assert stop is not None
        # A row for each lead that was touched: a few bytes are kept of it, but hundreds while it is read.
        for week in range(-(-(stop - start) // _WEEK)):
            begin, rest = start + week * _WEEK, stop - start - week * _WEEK
            count(entities, replace(lead_filter, since=begin, until=begin + min(rest, _WEEK)), column, total)
    return total


def number_with_days(entities: Entities, lead_filter: LeadFilter) -> int | None:
    """Return the number of leads that a filter lets through; None where it asks for much that is not kept.

    The caller holds the session, and has read nothing of leads in it.
    """
    wanted = ColumnFilter.of(entities, lead_filter)
    if wanted is None:
        return None
    since, until = lead_filter.since, lead_filter.until
    by_columns = lead_filter != LeadFilter(since=since, until=until)
    days = _whole_days(entities, since, until, columns=by_columns)
    if sum(_arrivals(entities, *part) for part in _others(days, since, until)) > MAX_OTHERS:
        return None
    counted: list[date] = []
    kept = _noting(entities, days, counted, by_columns=by_columns)
    leads = sum(map(wanted.count, kept)) if by_columns else sum(map(sum_counts, kept))
    for start, stop in _others(counted, since, until):
        part = replace(lead_filter, since=start, until=stop)
        leads += int(narrow(entities, select(lead for lead in entities.lead), part).count())
    return leads


class Stretch(NamedTuple):
    """A time in which leads that a filter lets through may have arrived.

    Attributes:
        since: Its start; None for ever.
        until: Its end, excluded; None for ever.
        hits: How many leads the filter lets through, where what is kept of days tells it; else 0.
        leads: How many leads there are.
    """

    since: datetime | None
    until: datetime | None
    hits: int
    leads: int


def stretches_of(entities: Entities, lead_filter: LeadFilter) -> list[Stretch] | None:
    """Return when leads that a filter lets through may have arrived, in order; None where too little is kept of that.

    The caller holds the session.
    """
    click_ids = dict(lead_filter.values).get("click_id")
    wanted = ColumnFilter.of(entities, lead_filter) if click_ids is None else None
    if click_ids is None and wanted is None:
        return None
    since, until = lead_filter.since, lead_filter.until
    counted: list[date] = []
    found: list[Stretch] = []
    days = _whole_days(entities, since, until, columns=True)
    for day, (packed,) in read_days(entities, days, "click_ids" if wanted is None else "columns"):
        counted.append(day)
        at = datetime.combine(day, time())
        if wanted is not None:
            found += (Stretch(*part) for part in wanted.find(packed, at))
        elif may_have(packed, click_ids or ()):
            found.append(Stretch(at, at + DAY, 0, ids_in(packed)))
    others = list(_others(counted, since, until))
    numbers = [_arrivals(entities, *part) for part in others]
    if sum(numbers) > MAX_OTHERS:
        return None
    found += [Stretch(*part, 0, leads) for part, leads in zip(others, numbers, strict=True) if leads]
    return sorted(found, key=_start_of)


def in_stretches(
    entities: Entities, stretches: Iterable[Stretch], lead_filter: LeadFilter, more: Sequence[Condition] = ()
) -> Condition:
    """Return the condition for leads of these times that a filter lets through, and that meet more conditions."""
    spans = [[moment_text(stretch.since or _FIRST), moment_text(stretch.until or _LAST)] for stretch in stretches]
    dialect = dialect_of(entities)
    passed, texts = every((*conditions(dialect, lead_filter), *more))
    found = dialect.ids_in_spans.format(table=quoted_table(entities.lead), passed=passed)
    return f"lead.id {found}", (orjson.dumps(spans).decode(), *texts)


def _start_of(stretch: Stretch) -> datetime:
    return stretch.since or _FIRST


def _arrivals(entities: Entities, since: datetime | None, until: datetime | None) -> int:
    return int(within(select(lead for lead in entities.lead), since, until).count())


def _whole_days(entities: Entities, since: datetime | None, until: datetime | None, *, columns: bool) -> list[date]:
    """Return the days that are kept of those that lie in a period as a whole."""
    end = midnight(now()) if until is None else min(midnight(until), midnight(now()))
    begin = _FIRST if since is None else midnight(since)
    if since is not None and begin < since < end:
        begin += DAY
    return days_kept(entities, begin.date(), end.date(), columns=columns) if begin < end else []


def _noting(entities: Entities, days: Sequence[date], counted: list[date], *, by_columns: bool) -> Iterator[bytes]:
    """Yield what is kept of days, and add each to those that are counted."""
    for day, (packed,) in read_days(entities, days, "columns" if by_columns else "counts"):
        counted.append(day)
        yield packed


def _parts(entities: Entities, lead_filter: LeadFilter) -> list[tuple[datetime | None, datetime | None]]:
    """Return the parts of a period in which leads that a filter lets through may have arrived, one after another."""
    stretches = stretches_of(entities, lead_filter)
    if stretches is None:
        return [(lead_filter.since, lead_filter.until)]
    parts: list[tuple[datetime | None, datetime | None]] = []
    for stretch in stretches:
        follows = parts and parts[-1][1] == stretch.since
        since = parts.pop()[0] if follows else stretch.since
        parts.append((since, stretch.until))
    return parts


def _others(
    counted: Iterable[date], since: datetime | None, until: datetime | None
) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yield the periods between the days that are counted."""
    start = since
    for day in sorted(counted):
        at = datetime.combine(day, time())
        if start is None or start < at:
            yield start, at
        start = at + DAY
    if start is None or until is None or start < until:
        yield start, until
