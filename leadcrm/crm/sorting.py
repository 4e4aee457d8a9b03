"""Pages of leads in other orders than the newest first.

Each order is made of parts that an index holds in order already: the leads that were changed by the time of their
change and all others by their arrival, the leads of each status, those with a next call and those without. A page
begins after the last row of the page before it, so that the thousandth costs as much as the first. A page ends early
where it has looked at `LOOKED_THROUGH` leads for parts of texts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from leadcrm.crm.conditions import Condition
from leadcrm.crm.leads import Cursor, Lead, LeadFilter, Page, Reach
from leadcrm.crm.looking import LOOKED_AT_FIRST, Found, Look, Part, Spot, least
from leadcrm.crm.search import LOOKED_THROUGH, list_leads, most_looked_at
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
    assert after is None or isinstance(after, SortCursor)
    with session(entities):
        return _Order(entities, lead_filter, sort, limit).page(statuses, after)


class _Row(NamedTuple):
    at: datetime
    lead: Lead
    part: str


class _Order:
    """The leads that a filter lets through, in an order. The caller holds the session."""

    def __init__(self, entities: Entities, lead_filter: LeadFilter, sort: str, limit: int) -> None:
        self._entities = entities
        self._filter = lead_filter
        self._sort = sort
        self._limit = limit
        self._look = Look(entities, lead_filter)
        self._most = most_looked_at(lead_filter)

    def page(self, statuses: Sequence[str], after: SortCursor | None) -> Page:
        """Return the page after a place."""
        is_descending = self._sort.startswith("-")
        name = self._sort.removeprefix("-")
        if name == "updated":
            return self._by_change(after, is_descending=is_descending)
        if name == "status":
            return self._part_by_part(self._statuses(statuses, after, is_descending=is_descending), after)
        if name == "arrived":
            return self._part_by_part([Part("", "created_at", is_descending)], after)
        parts = [Part("call", "call_at", is_descending, indexed=(("lead.call_at IS NOT NULL", ()),)), _WITHOUT_CALL]
        return self._part_by_part(parts[1:] if after is not None and after.part == "none" else parts, after)

    def _part_by_part(self, parts: Iterable[Part], after: SortCursor | None) -> Page:
        """Return a page of parts that come one after the other, the first of which a place may lie in."""
        rows: list[_Row] = []
        most = self._most
        for part in parts:
            spot = None if after is None or after.part != part.name else Spot(after.at, after.id)
            found = self._look.find(part, spot, self._limit + 1 - len(rows), most=most)
            rows += [_Row(getattr(lead, part.column), lead, part.name) for lead in found.leads]
            if len(rows) > self._limit or found.end is not None:
                return self._page(rows, part.name, found.end)
            if most is not None and found.looked is not None and found.looked > LOOKED_AT_FIRST:
                most = LOOKED_AT_FIRST
        return self._page(rows, "", None)

    def _by_change(self, after: SortCursor | None, *, is_descending: bool) -> Page:
        spot = None if after is None else Spot(after.at, after.id)
        count, most = self._limit + 1, self._most and self._most // 2
        part_changed = Part("", "updated_at", is_descending, indexed=((_CHANGED, ()),))
        part_unchanged = Part("", "created_at", is_descending, own=((f"NOT ({_CHANGED})", ()),))
        # What lies past the last lead of a page of one is of no use from the other.
        changed = self._look.find(part_changed, spot, count, most=least(most, LOOKED_AT_FIRST))
        if changed.end is None:
            stop = _stop_of(changed, "updated_at", count)
            unchanged = self._look.find(part_unchanged, spot, count, most=most, stop=stop)
        else:
            unchanged = self._look.find(part_unchanged, spot, count, most=most)
            stop = (
                unchanged.leads[-1].created_at if len(unchanged.leads) == count else unchanged.end and unchanged.end.at
            )
            changed = self._look.find(part_changed, spot, count, most=most, stop=stop)
        rows = [_Row(lead.updated_at, lead, "") for lead in changed.leads]
        rows += [_Row(lead.created_at, lead, "") for lead in unchanged.leads]
        rows.sort(key=_spot_of, reverse=is_descending)
        ends = sorted((found.end for found in (changed, unchanged) if found.end is not None), reverse=is_descending)
        if not ends:
            return self._page(rows, "", None)
        # Beyond it one of the two has not been looked at.
        end = ends[0]
        known = [row for row in rows if (_spot_of(row) >= end if is_descending else _spot_of(row) <= end)]
        return self._page(known, "", end)

    def _page(self, rows: list[_Row], part: str, end: Spot | None) -> Page:
        """Return the page that begins with these rows; where they are too few, the next one goes on at the end."""
        leads = [row.lead for row in rows[: self._limit]]
        if len(rows) > self._limit:
            last = rows[self._limit - 1]
            return Page(leads, SortCursor(self._sort, last.part, last.at, last.lead.id))
        if end is None:
            return Page(leads, None)
        return Page(leads, SortCursor(self._sort, part, *end), Reach(LOOKED_THROUGH, end.at))

    def _statuses(self, statuses: Sequence[str], after: SortCursor | None, *, is_descending: bool) -> Iterator[Part]:
        """Yield a part for each status that the filter asks for, from the one on that a place lies in."""
        known = _statuses_in_use(self._entities)
        order = [*(name for name in statuses if name in known), *sorted(known.difference(statuses))]
        if after is not None and after.part not in order:
            # Its last lead has another status by now. The next status in order is where the page goes on.
            order = [*(name for name in statuses if name in known or name == after.part)]
            order += sorted({*known, after.part}.difference(statuses))
        if is_descending:
            order.reverse()
        wanted = dict(self._filter.values).get("status")
        for status in order[0 if after is None else order.index(after.part) :]:
            if wanted is None or status in wanted:
                yield _with_status(status)


_WITHOUT_CALL = Part("none", "created_at", is_descending=True, own=(("lead.call_at IS NULL", ()),))


def _with_status(status: str) -> Part:
    own: Condition = ("lead.status = ?", (status,))
    part = Part(status, "created_at", is_descending=True, values=(("status", (status,)),))
    if status == "new":
        return part._replace(own=(own,))
    # The first is redundant, but it is the partial index's predicate.
    return part._replace(indexed=(("lead.status <> 'new'", ()), own))


def _stop_of(found: Found, column: str, count: int) -> datetime | None:
    """Return up to when leads of the other part are of use; None for ever."""
    if len(found.leads) == count:
        at: datetime = getattr(found.leads[-1], column)
        return at
    return found.end and found.end.at


def _spot_of(row: _Row) -> Spot:
    return Spot(row.at, row.lead.id)


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
