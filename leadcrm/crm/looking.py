"""Looking through leads in an order that an index holds, so many at once, for those that a filter lets through.

The index of an order knows nothing of most filters: those are tested lead by lead, up to a number of leads. Where
another index finds the few leads of a part of the filter, they are sorted instead, however far apart they lie. So are
those of the days on which a filter lets any through, where what is kept of past days tells that they are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc, raw_sql, select

from leadcrm.crm.conditions import Condition, conditions, indexed_parts, moment_text, part_by_arrival
from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.leads import Lead, LeadFilter, Values
from leadcrm.crm.past_days import Stretch, in_stretches, stretches_of
from leadcrm.crm.queries import narrow, narrow_one_by_one, select_leads, to_leads, where_sql
from leadcrm.database.entities import Entities

LOOKED_AT_FIRST = 1_000
"""Leads that fill a page mostly. Then nothing else is asked."""

LOOKED_AT_NEXT = 20_000
"""Leads that are looked at before what is kept of past days is: some ten milliseconds against some tens."""

FEW = 20_000
"""Up to this many leads are sorted for a page: some tens of milliseconds."""

FEW_OF_DAYS = 100_000
"""Up to this many leads of some times are tested for a page: some tens of milliseconds."""


class Part(NamedTuple):
    """Some leads in order.

    Attributes:
        name: Its own among the parts of an order.
        column: The times that its leads are ordered by, and by their ids.
        is_descending: Whether the latest comes first.
        indexed: What its index has of leads, as the index says it.
        own: Which of those are its leads.
        values: What a filter would ask for besides, to have its leads and no others, where it can.
    """

    name: str
    column: str
    is_descending: bool
    indexed: tuple[Condition, ...] = ()
    own: tuple[Condition, ...] = ()
    values: Values = ()


class Spot(NamedTuple):
    """The place right after a lead of a part: its time there and its id."""

    at: datetime
    id: UUID


class Found(NamedTuple):
    """The next leads of a part.

    Attributes:
        leads: The leads in order.
        end: Where looking for more has ended before the part did.
        looked: How many leads may have been looked at, or found by an index; None for all.
    """

    leads: list[Lead]
    end: Spot | None
    looked: int | None


class _Span(NamedTuple):
    """The leads of a part that are looked at: after one place, and down to another if there is one."""

    part: Part
    low: datetime | None
    high: datetime | None
    after: Spot | None
    end: Spot | None = None

    def bounds(self, time: str) -> Iterator[Condition]:
        """Yield the conditions for its times, by an expression for them."""
        low, high = self.low, self.high
        # Of two bounds SQLite takes the first for its range, so there is but one.
        if self.end is not None:
            low, high = (self.end.at, high) if self.part.is_descending else (low, self.end.at)
        for bound, comparison in ((low, ">="), (high, "<=")):
            if bound is not None:
                yield f"{time} {comparison} ?", (moment_text(bound),)

    def narrow(self, query: Any) -> Any:
        """Narrow a query to what lies between its places, of leads whose times it has let through."""
        column, is_descending = self.part.column, self.part.is_descending
        if self.after is not None:
            query = _beyond(query, column, self.after, is_later=not is_descending)
        if self.end is not None:
            query = _up_to(query, column, self.end, is_later=is_descending)
        return query


class _Times(NamedTuple):
    """The condition for leads that arrived at some times, and whether those are all that come into question."""

    condition: Condition
    are_all: bool


class Look:
    """Looks for the leads that a filter without `q` lets through. The caller holds the session."""

    def __init__(self, entities: Entities, lead_filter: LeadFilter) -> None:
        self._entities = entities
        self._filter = lead_filter
        self._known: dict[Values, list[Stretch] | None] = {}

    def find(
        self, part: Part, after: Spot | None, count: int, *, most: int | None, stop: datetime | None = None
    ) -> Found:
        """Return the next leads of a part.

        Args:
            part: The part.
            after: The place to begin after.
            count: How many leads.
            most: How many are looked at, where no index finds few; None for all.
            stop: The last time that is of any use.
        """
        is_by_arrival = part.column == "created_at" and not part.indexed
        # Then past days tell how many of its leads they have.
        is_of_filter = part.column == "created_at" and bool(part.values or not (part.indexed or part.own))
        if is_by_arrival:
            by_arrival = replace(part_by_arrival(self._filter), since=None, until=None)
            part = part._replace(indexed=tuple(conditions(dialect_of(self._entities), by_arrival)))
        span = self._span(part, after, stop)
        if self._filter.ids:
            return Found(self._sort(span, count, self._narrowed(self._filter)), None, 0)
        found = self._walk(span, count, least(most, LOOKED_AT_FIRST))
        if found.end is None:
            return found
        if self._few:
            return Found(self._sort(span, count, self._narrowed(self._few)), None, FEW)
        if most is None or most > LOOKED_AT_FIRST:
            found = self._walk(span, count, least(most, LOOKED_AT_NEXT))
            if found.end is None:
                return found
        times = self._times(span, self._filter.values)
        if times is None and is_of_filter:
            times = self._times(span, self._filter.values + part.values, count)
        if times is not None:
            leads = self._sort(span, count, where_sql(self._ids(), *times.condition))
            # Of those that were enough, some may have changed since.
            if times.are_all or len(leads) == count:
                return Found(leads, None, FEW_OF_DAYS)
        return found if found.looked == most else self._walk(span, count, most)

    def _span(self, part: Part, after: Spot | None, stop: datetime | None) -> _Span:
        first = None if after is None else after.at
        low, high = (stop, first) if part.is_descending else (first, stop)
        # No lead was changed before it arrived; the next call is at any time.
        if part.column != "call_at":
            low = max(filter(None, (low, self._filter.since)), default=None)
        if part.column == "created_at":
            high = min(filter(None, (high, self._filter.until)), default=None)
        return _Span(part, low, high, after)

    def _walk(self, span: _Span, count: int, looked: int | None) -> Found:
        """Look at so many leads in the order of the index, or at all."""
        if looked is not None:
            column = span.part.column
            places = select((getattr(lead, column), lead.raw.id) for lead in self._entities.lead).without_distinct()
            last = self._in_order(span, places)[looked - 1 : looked]
            span = span._replace(end=Spot(*last[0]) if last else None)
        query = narrow_one_by_one(
            self._entities, self._in_order(span, select_leads(self._entities)), self._filter, span.part.own
        )
        leads = list(to_leads(query[:count]))
        return Found(leads, span.end if len(leads) < count else None, looked)

    def _in_order(self, span: _Span, query: Any) -> Any:
        """Narrow a query to what the index has of a span, in the order of the index."""
        lead, column = self._entities.lead, span.part.column
        known = [*span.part.indexed, *span.bounds(f"lead.{column}")]
        if known:
            # At once: for each further condition Pony copies its translation of the whole query, which takes 7 ms.
            values = [text for _, texts in known for text in texts]
            query = where_sql(query, " AND ".join(f"({condition})" for condition, _ in known), values)
        query = span.narrow(query)
        if span.part.is_descending:
            return query.order_by(lambda: (desc(getattr(lead, column)), desc(lead.raw.id)))
        return query.order_by(lambda: (getattr(lead, column), lead.raw.id))

    def _ids(self) -> Any:
        return select(lead.raw.id for lead in self._entities.lead).without_distinct()

    def _narrowed(self, few: LeadFilter) -> Any:
        return narrow(self._entities, self._ids(), few)

    def _sort(self, span: _Span, count: int, few: Any) -> list[Lead]:
        """Return the next leads among few, by the query for their ids, which an index serves."""
        part = span.part
        # The column alone would bring in the index of the order.
        time = f"coalesce(lead.{part.column}, lead.{part.column})"
        tests = (*part.indexed, *part.own, *span.bounds(time))
        ids = narrow_one_by_one(self._entities, few, self._filter, tests)
        direction = " DESC" if part.is_descending else ""
        in_order = raw_sql(f"{time}{direction}, lead.id{direction}")
        # The ids alone: SQLite would cut the values of each lead that it sorts.
        found: list[UUID] = list(span.narrow(ids).order_by(lambda: in_order)[:count])
        query = select_leads(self._entities).where(lambda lead: lead.raw.id in found)
        by_id = {lead.id: lead for lead in to_leads(query[:] if found else ())}
        return [by_id[id] for id in found]

    @cached_property
    def _few(self) -> LeadFilter | None:
        """The part of the filter for which an index finds few leads, if there is one."""
        for part in indexed_parts(self._filter):
            rows = select(raw_sql("1", int) for lead in self._entities.lead).without_distinct()
            if not narrow(self._entities, rows, part)[FEW : FEW + 1]:
                return part
        return None

    def _times(self, span: _Span, values: Values, enough: int | None = None) -> _Times | None:
        """Return when leads of a span arrived; None where there may be too many leads then.

        Args:
            span: The span.
            values: What the filter asks for, or that and what only leads of the part have.
            enough: How many leads are; None for all that the filter lets through.
        """
        if (stretches := self._stretches(values)) is None:
            return None
        if span.part.column == "created_at":
            stretches = [stretch for stretch in stretches if _overlaps(stretch, span.low, span.high)]
        chosen: list[Stretch] = []
        leads = hits = 0
        for stretch in reversed(stretches) if span.part.is_descending else stretches:
            chosen.append(stretch)
            leads += stretch.leads
            # Of one that begins or ends outside, its leads may be those outside.
            hits += stretch.hits if _is_within(stretch, span.low, span.high) else 0
            if leads > FEW_OF_DAYS:
                return None
            if enough is not None and hits >= enough:
                break
        condition = in_stretches(self._entities, chosen, self._filter, (*span.part.indexed, *span.part.own))
        return _Times(condition, are_all=len(chosen) == len(stretches))

    def _stretches(self, values: Values) -> list[Stretch] | None:
        if values not in self._known:
            self._known[values] = stretches_of(self._entities, replace(self._filter, values=values))
        return self._known[values]


def _overlaps(stretch: Stretch, low: datetime | None, high: datetime | None) -> bool:
    is_later = low is None or stretch.until is None or stretch.until > low
    return is_later and (high is None or stretch.since is None or stretch.since <= high)


def least(most: int | None, leads: int) -> int:
    """Return how many leads are looked at of so many, where there may be no limit."""
    return leads if most is None else min(most, leads)


def _is_within(stretch: Stretch, low: datetime | None, high: datetime | None) -> bool:
    if stretch.since is None or stretch.until is None:
        return False
    # Of the leads of the first moment, some may have been on the page before.
    return (low is None or low < stretch.since) and (high is None or stretch.until <= high)


def _beyond(query: Any, column: str, spot: Spot, *, is_later: bool) -> Any:
    at, id = spot
    if is_later:
        return query.where(lambda lead: getattr(lead, column) > at or lead.raw.id > id)
    return query.where(lambda lead: getattr(lead, column) < at or lead.raw.id < id)


def _up_to(query: Any, column: str, spot: Spot, *, is_later: bool) -> Any:
    at, id = spot
    if is_later:
        return query.where(lambda lead: getattr(lead, column) > at or lead.raw.id >= id)
    return query.where(lambda lead: getattr(lead, column) < at or lead.raw.id <= id)
