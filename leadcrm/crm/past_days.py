"""Counting leads with what is kept of past days, wherever that answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, time

from pony.orm import select

from leadcrm.crm.counted_days import DAY, add_counts, days_kept, midnight, read_days, sum_counts
from leadcrm.crm.day_columns import ColumnFilter
from leadcrm.crm.dialects import Unit
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.queries import narrow, within
from leadcrm.crm.times import now
from leadcrm.crm.value_counts import DIMENSIONS, Counts, count_by_values
from leadcrm.database.entities import Entities

CountStatuses = Callable[[Entities, LeadFilter, str], Iterable[tuple[str | None, str | None, int]]]

MAX_OTHERS = 50_000
"""Leads of other days, such as those that have just changed, that are looked at for an exact number."""


def count_with_days(entities: Entities, lead_filter: LeadFilter, unit: Unit) -> Counts:
    """Count as `count_by_values` does. The caller holds the session, and has read nothing of leads in it."""
    since, until = lead_filter.since, lead_filter.until
    wanted = ColumnFilter.of(entities, lead_filter)
    if since is None or until is None or wanted is None:
        return count_by_values(entities, lead_filter, unit)
    total: Counts = {name: Counter() for name in ("step", *DIMENSIONS)}
    by_columns = lead_filter != LeadFilter(since=since, until=until)
    counted: list[date] = []
    days = _whole_days(entities, since, until, columns=by_columns)
    kept = _noting(read_days(entities, days, columns=by_columns), counted)
    if by_columns:
        wanted.add(kept, total, unit)
    else:
        add_counts(kept, total, unit)
    for start, stop in _others(counted, since, until):
        for name, counter in count_by_values(entities, replace(lead_filter, since=start, until=stop), unit).items():
            total[name].update(counter)
    return total


def statuses_with_days(
    entities: Entities, lead_filter: LeadFilter, column: str, count: CountStatuses
) -> Iterator[tuple[str | None, str | None, int]]:
    """Yield values of a column with statuses and numbers of leads, which are to be added up.

    The caller holds the session, and has read nothing of leads in it.

    Args:
        entities: The bound database.
        lead_filter: Which leads.
        column: One of `DIMENSIONS`.
        count: Counts those of other days.
    """
    since, until = lead_filter.since, lead_filter.until
    counted: list[date] = []
    if (wanted := ColumnFilter.of(entities, lead_filter)) is not None:
        days = _whole_days(entities, since, until, columns=True)
        for packed in _noting(read_days(entities, days, columns=True), counted):
            yield from wanted.count_statuses(packed, column)
    for start, stop in _others(counted, since, until):
        yield from count(entities, replace(lead_filter, since=start, until=stop), column)


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
    others = (within(select(lead for lead in entities.lead), *part).count() for part in _others(days, since, until))
    if sum(others) > MAX_OTHERS:
        return None
    counted: list[date] = []
    kept = _noting(read_days(entities, days, columns=by_columns), counted)
    leads = sum(map(wanted.count if by_columns else sum_counts, kept))
    for start, stop in _others(counted, since, until):
        part = replace(lead_filter, since=start, until=stop)
        leads += int(narrow(entities, select(lead for lead in entities.lead), part).count())
    return leads


def _whole_days(entities: Entities, since: datetime | None, until: datetime | None, *, columns: bool) -> list[date]:
    """Return the days that are kept of those that lie in a period as a whole."""
    end = midnight(now()) if until is None else min(midnight(until), midnight(now()))
    begin = datetime.min if since is None else midnight(since)  # noqa: DTZ901 - naive UTC, as all times here
    if since is not None and begin < since < end:
        begin += DAY
    return days_kept(entities, begin.date(), end.date(), columns=columns) if begin < end else []


def _noting(days: Iterable[tuple[date, bytes]], counted: list[date]) -> Iterator[bytes]:
    """Yield what is kept of days, and add each to those that are counted."""
    for day, packed in days:
        counted.append(day)
        yield packed


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
