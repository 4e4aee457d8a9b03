"""Numbers of leads: exact where that is cheap, else about; and the values that a column has lately."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from math import log10
from typing import NamedTuple

from pony.orm import raw_sql, select

from leadcrm.crm.conditions import Condition, part_by_arrival
from leadcrm.crm.leads import FILTER_COLUMNS, Cursor, LeadFilter
from leadcrm.crm.past_days import in_stretches, number_with_days, stretches_of
from leadcrm.crm.queries import after_cursor, narrow, narrow_down_to, newest_first, select_places, where_sql, within
from leadcrm.crm.search import LOOKED_THROUGH
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.ingest.submission import API_SOURCE

MAX_COUNTED = 10_000
"""Leads that are counted one by one, which takes some milliseconds."""

VALUED_LEADS = 50_000
"""How many of the newest leads are looked at for a column's values: some tens of milliseconds."""

_FEW = {"assigned_to", "click_id"}
"""Columns of which a value has few leads as a rule, which an index finds sooner than past days are gone through."""

MAX_VALUES = 200

LONGEST_VALUE = 256
"""The characters of a value: longer ones that begin alike count as one."""


class Count(NamedTuple):
    """A number of leads; where it is not exact it is about right, to two digits."""

    leads: int
    is_exact: bool


class Values(NamedTuple):
    """A column's values with their numbers of leads, the most frequent first, among the newest leads since a time."""

    values: list[tuple[str | None, int]]
    leads: int
    since: datetime | None


def count_leads(entities: Entities, lead_filter: LeadFilter) -> Count:
    """Count the leads that a filter without `q` lets through.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        return _count(entities, lead_filter)


def _count(entities: Entities, lead_filter: LeadFilter) -> Count:
    since, until = lead_filter.since, lead_filter.until
    if lead_filter == LeadFilter(since=since, until=until):
        by_days = None if since is None else number_with_days(entities, lead_filter)
        return Count(_count_between(entities, since, until) if by_days is None else by_days, is_exact=True)
    is_of_few = any(column in _FEW for column, _ in lead_filter.values)
    if not is_of_few and (exact := number_with_days(entities, lead_filter)) is not None:
        return Count(exact, is_exact=True)
    end = _end_of_look(entities, lead_filter, LOOKED_THROUGH) if lead_filter.contains else None
    if end is None:
        rows = select(raw_sql("1", int) for lead in entities.lead).without_distinct()
        if (times := _times_of_few(entities, lead_filter)) is not None:
            rows = where_sql(rows, *times)
        found = len(narrow(entities, rows, lead_filter)[: MAX_COUNTED + 1])
        if found <= MAX_COUNTED:
            return Count(found, is_exact=True)
    if is_of_few and (exact := number_with_days(entities, lead_filter)) is not None:
        return Count(exact, is_exact=True)
    if end is not None:
        return _conclude(entities, lead_filter, end)
    return Count(_estimate(entities, lead_filter), is_exact=False)


def _times_of_few(entities: Entities, lead_filter: LeadFilter) -> Condition | None:
    """Return the condition for when leads of a click id arrived; None for others, and where that may be always."""
    if not any(column == "click_id" for column, _ in lead_filter.values):
        return None
    stretches = stretches_of(entities, lead_filter)
    return None if stretches is None else in_stretches(entities, stretches, lead_filter)


def _end_of_look(entities: Entities, lead_filter: LeadFilter, leads: int, after: Cursor | None = None) -> Cursor | None:
    """Return the place of so many leads of a filter's index by arrival; None where there are fewer."""
    places = narrow(entities, select_places(entities), part_by_arrival(lead_filter))
    last = newest_first(entities, after_cursor(places, after))[leads - 1 : leads]
    return Cursor(*last[0]) if last else None


def _conclude(entities: Entities, lead_filter: LeadFilter, end: Cursor) -> Count:
    """Conclude from the newest leads down to a place how many have parts of texts of all in the same index."""
    found = int(narrow_down_to(entities, select(lead for lead in entities.lead), lead_filter, end).count())
    if _end_of_look(entities, lead_filter, 1, after=end) is None:
        return Count(found, is_exact=True)
    all_of_index = _count(entities, replace(part_by_arrival(lead_filter), tests=None))
    leads = found * all_of_index.leads / LOOKED_THROUGH
    about = round(round(leads, 1 - int(log10(leads)))) if leads else 0
    return Count(max(found, about), is_exact=False)


def _count_between(entities: Entities, since: datetime | None, until: datetime | None) -> int:
    """Count all leads of a period but test leads, by the indexes alone."""
    api = API_SOURCE
    of_sources = select(lead for lead in entities.lead if lead.source != api)
    tests = narrow(entities, of_sources, LeadFilter(since=since, until=until, tests="only")).count()
    return _all_between(entities, since, until) - int(tests)


def _all_between(entities: Entities, since: datetime | None, until: datetime | None) -> int:
    return int(within(select(lead for lead in entities.lead), since, until).count())


def _estimate(entities: Entities, lead_filter: LeadFilter) -> int:
    """Conclude from the share that the filter lets through of the newest leads to all of the period."""
    places = newest_first(entities, narrow(entities, select_places(entities), lead_filter))
    reached = places[MAX_COUNTED - 1 : MAX_COUNTED][0][0]
    newest = _all_between(entities, reached, lead_filter.until)
    leads = MAX_COUNTED * _all_between(entities, lead_filter.since, lead_filter.until) / max(1, newest)
    return max(MAX_COUNTED, int(round(leads, 1 - int(log10(leads)))))


def known_values(entities: Entities, column: str) -> Values:
    """Return the values that a column has among the newest leads.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    assert column in FILTER_COLUMNS
    table = entities.database.provider.quote_name(entities.lead._table_)
    value = f"substr(CAST({column} AS text), 1, {LONGEST_VALUE})"
    newest = f"SELECT {column}, created_at FROM {table} ORDER BY created_at DESC, id DESC LIMIT {VALUED_LEADS}"  # noqa: S608 - names of ours
    with session(entities):
        values = entities.database.select(
            f"* FROM (SELECT {value} AS value, count(*) AS leads FROM ({newest}) AS newest GROUP BY 1 "  # noqa: S608 - the same
            f"ORDER BY leads DESC, value LIMIT {MAX_VALUES}) AS counted"
        )
        places = newest_first(entities, select_places(entities))[VALUED_LEADS : VALUED_LEADS + 1]
    return Values([(value, leads) for value, leads in values], VALUED_LEADS, places[0][0] if places else None)
