"""Pages of leads in other orders than the newest first.

Each order is made of parts that an index holds in order already: the leads that were changed by the time of their
change and all others by their arrival, the leads of each status, those with a next call and those without. A page
begins after the last row of the page before it, so that the thousandth costs as much as the first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc

from leadcrm.crm.leads import Cursor, Lead, LeadFilter, Page
from leadcrm.crm.queries import narrow, select_leads, to_leads, where_sql
from leadcrm.crm.search import list_leads
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

NEWEST_FIRST = "-arrived"

SORTS = (NEWEST_FIRST, "arrived", "-updated", "updated", "status", "-status", "callAt", "-callAt")
"""Descending with a hyphen. Within a status, and without a next call, the newest arrival is first."""

_CHANGED = "lead.updated_at > lead.created_at"
"""As the predicate of the index has it."""


class SortCursor(NamedTuple):
    """The place right after a row: the order, its part of the order, its time there and its id."""

    sort: str
    part: str
    at: datetime
    id: UUID

    def encode(self) -> str:
        """Return it as a word for URLs."""
        text = "\n".join((self.sort, self.at.isoformat(), self.id.hex, self.part))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> SortCursor:
        """Read a word that `encode` wrote.

        Raises:
            ValueError: `encode` did not write it.
        """
        try:
            text = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode()
        except (binascii.Error, UnicodeError) as error:
            raise ValueError("no cursor of ours") from error
        sort, _, rest = text.partition("\n")
        at, _, rest = rest.partition("\n")
        id, _, part = rest.partition("\n")
        moment = datetime.fromisoformat(at)
        if sort not in SORTS or moment.tzinfo is not None or "\x00" in part:
            raise ValueError("no cursor of ours")
        return cls(sort, part, moment, UUID(hex=id))


def decode_cursor(word: str) -> Cursor | SortCursor:
    """Read the cursor of a page in any order.

    Raises:
        ValueError: It is none.
    """
    try:
        return Cursor.decode(word)
    except ValueError:
        return SortCursor.decode(word)


def sort_of(cursor: Cursor | SortCursor) -> str:
    """Return the order that a cursor goes on in."""
    return cursor.sort if isinstance(cursor, SortCursor) else NEWEST_FIRST


def list_sorted(
    entities: Entities,
    lead_filter: LeadFilter,
    sort: str,
    statuses: Sequence[str],
    *,
    limit: int,
    after: Cursor | SortCursor | None = None,
) -> Page:
    """Return a page of leads in an order, with the beginnings of long values. Opens a session of its own.

    Args:
        entities: The bound database.
        lead_filter: Which leads; one with `q` comes the newest first alone.
        sort: One of `SORTS`.
        statuses: The statuses in their order; others come after them, by name.
        limit: How many at most.
        after: The cursor of the page before, in the same order.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    if sort == NEWEST_FIRST:
        assert after is None or isinstance(after, Cursor)
        return list_leads(entities, lead_filter, limit=limit, after=after)
    with session(entities):
        assert after is None or isinstance(after, SortCursor)
        order = _Order(entities, lead_filter, sort, limit + 1)
        rows = list(islice(order.rows(statuses, after), limit + 1))
    if len(rows) <= limit:
        return Page([row.lead for row in rows], None)
    last = rows[limit - 1]
    return Page([row.lead for row in rows[:limit]], SortCursor(sort, last.part, last.at, last.lead.id))


class _Row(NamedTuple):
    at: datetime
    lead: Lead
    part: str


@dataclass(frozen=True, slots=True)
class _Order:
    entities: Entities
    lead_filter: LeadFilter
    sort: str
    count: int

    def rows(self, statuses: Sequence[str], after: SortCursor | None) -> Iterator[_Row]:
        """Yield the leads after a place, and a few more than the page needs where parts are merged."""
        is_descending = self.sort.startswith("-")
        name = self.sort.removeprefix("-")
        if name == "updated":
            return self._by_change(after, is_descending=is_descending)
        if name == "arrived":
            return self._part("", lambda query: query, after, "created_at", is_descending=is_descending)
        if name == "status":
            return self._by_status(statuses, after, is_descending=is_descending)
        return self._by_call(after, is_descending=is_descending)

    def _by_change(self, after: SortCursor | None, *, is_descending: bool) -> Iterator[_Row]:
        def changed(query: Any) -> Any:
            return where_sql(query, _CHANGED, ())

        rows = list(self._part("", changed, after, "updated_at", is_descending=is_descending))
        bound = rows[-1].at if len(rows) == self.count else None

        def unchanged(query: Any) -> Any:
            query = where_sql(query, f"NOT ({_CHANGED})", ())
            if bound is None:
                return query
            # What lies past the last changed lead of the page is of no use to it: no more is read than the page has.
            if is_descending:
                return query.where(lambda lead: lead.created_at >= bound)
            return query.where(lambda lead: lead.created_at <= bound)

        rows.extend(self._part("", unchanged, after, "created_at", is_descending=is_descending))
        rows.sort(key=lambda row: (row.at, row.lead.id), reverse=is_descending)
        return iter(rows)

    def _by_status(self, statuses: Sequence[str], after: SortCursor | None, *, is_descending: bool) -> Iterator[_Row]:
        known = _statuses_in_use(self.entities)
        order = [*(name for name in statuses if name in known), *sorted(known.difference(statuses))]
        if after is not None and after.part not in order:
            # Its last lead has another status by now. The next status in order is where the page goes on.
            order = [*(name for name in statuses if name in known or name == after.part)]
            order += sorted({*known, after.part}.difference(statuses))
        if is_descending:
            order.reverse()
        begin = 0 if after is None else order.index(after.part)
        wanted = dict(self.lead_filter.values).get("status")
        for status in order[begin:]:
            if wanted is None or status in wanted:
                place = after if after is not None and status == after.part else None
                yield from self._part(status, _has_status(status), place, "created_at", is_descending=True)

    def _by_call(self, after: SortCursor | None, *, is_descending: bool) -> Iterator[_Row]:
        if after is None or after.part == "call":
            query = _is_not_null
            yield from self._part("call", query, after, "call_at", is_descending=is_descending)
        place = after if after is not None and after.part == "none" else None
        yield from self._part("none", _is_null, place, "created_at", is_descending=True)

    def _part(
        self,
        part: str,
        choose: Callable[[Any], Any],
        after: SortCursor | None,
        column: str,
        *,
        is_descending: bool,
    ) -> Iterator[_Row]:
        """Yield the leads of a part after a place, by a column of times and their ids."""
        query = choose(narrow(self.entities, select_leads(self.entities), self.lead_filter))
        if after is not None:
            query = _after(query, column, after.at, after.id, is_descending=is_descending)
        lead = self.entities.lead
        if is_descending:
            query = query.order_by(lambda: (desc(getattr(lead, column)), desc(lead.raw.id)))
        else:
            query = query.order_by(lambda: (getattr(lead, column), lead.raw.id))
        for each in to_leads(query[: self.count]):
            yield _Row(getattr(each, column), each, part)


def _after(query: Any, column: str, at: datetime, id: UUID, *, is_descending: bool) -> Any:
    # As for the newest first: a range that the index serves, and the exact place within it.
    if is_descending:
        return query.where(
            lambda lead: getattr(lead, column) <= at and (getattr(lead, column) < at or lead.raw.id < id)
        )
    return query.where(lambda lead: getattr(lead, column) >= at and (getattr(lead, column) > at or lead.raw.id > id))


def _has_status(status: str) -> Callable[[Any], Any]:
    def choose(query: Any) -> Any:
        if status != "new":
            # Redundant, but it matches the partial index's predicate so the planner can use it.
            query = query.where(lambda lead: lead.status != "new")
        return query.where(lambda lead: lead.status == status)

    return choose


def _is_null(query: Any) -> Any:
    return query.where(lambda lead: lead.call_at is None)


def _is_not_null(query: Any) -> Any:
    return query.where(lambda lead: lead.call_at is not None)


def _statuses_in_use(entities: Entities) -> set[str]:
    """Return the statuses of leads; `new` is always among them."""
    table = entities.database.provider.quote_name(entities.lead._table_)
    # From each to the next in the index, which has every status but one.
    following = f"SELECT min(status) FROM {table} WHERE status <> 'new' AND status"  # noqa: S608 - a name of ours
    names = entities.database.select(
        f"name FROM (WITH RECURSIVE used(name) AS ({following} IS NOT NULL UNION ALL "  # noqa: S608 - the same
        f"SELECT ({following} > used.name) FROM used WHERE used.name IS NOT NULL) "
        "SELECT name FROM used WHERE name IS NOT NULL) AS listed"
    )
    return {"new", *names}
