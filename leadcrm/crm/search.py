"""Pages of leads: all that a filter asks for, `q` included, newest first.

`q` is the prefix of an email, a last name or a phone, or a phone's number however it is written. Those are found in
indexes and promised to be quick. No index of both databases finds a part within a text: that is looked for in the
newest `SCANNED_ROWS` leads only, and so are first names. Besides, `q` may name a lead by an id, a click id or a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from pony.orm import raw_sql

from leadcrm.crm.conditions import Condition, case_variants, moment_text
from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.leads import Cursor, Lead, LeadFilter, Page, Reach, make_page
from leadcrm.crm.looking import Look, Part, Spot
from leadcrm.crm.names import leads_by_index, leads_by_scan
from leadcrm.crm.phones import digits_of, is_phone, phone_prefixes, same_number
from leadcrm.crm.queries import (
    after_cursor,
    narrow,
    narrow_one_by_one,
    newest_first,
    select_leads,
    select_places,
    to_leads,
    where_sql,
    within,
)
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

SCANNED_ROWS = 20_000
"""How many of the newest leads are searched for a part of a text: some tens of milliseconds."""

MAX_GATHERED = 5_000
"""Up to this many matches of a prefix are gathered and sorted. More are so dense that a scan from the newest lead
down soon meets enough of them, unless a filter lets few through: then a page ends early."""

LOOKED_FOR_COMMON = 20_000
"""How many leads are looked at for a page of a text with which many begin: each takes five times as long as another."""

LOOKED_THROUGH = 50_000
"""How many leads are looked at for a page of parts of texts, which no index finds: a tenth of a second."""

INDEXED_CHARS = 64
"""Of a text, the characters that its index holds."""

_LENGTHS_OF_IDS = (32, 36)
"""Characters of a UUID: what it names is all that was looked for."""

_NEWEST_FIRST = Part("", "created_at", is_descending=True)

_AFTER_EVERY_TEXT = "\U0010ffff"

_INDEXED_TEXTS = ("lower(substr(lead.email, 1, 64))", "lower(substr(lead.last_name, 1, 64))")

_INDEXED_PHONE = "substr(lead.phone, 1, 64)"

_SCANNED = " || ' ' || ".join(
    f"coalesce(substr(lead.{name}, 1, 256), '')" for name in ("first_name", "last_name", "email", "phone")
)
"""Of each text its beginning, so that a few texts of a megabyte do not take as long as all leads."""


def list_leads(entities: Entities, lead_filter: LeadFilter, *, limit: int, after: Cursor | None = None) -> Page:
    """Return a page of leads, newest first, with the beginnings of long values. Opens a session of its own.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        if lead_filter.q:
            return read_page(entities, lead_filter, limit=limit, after=after)
        spot = None if after is None else Spot(*after)
        found = Look(entities, lead_filter).find(_NEWEST_FIRST, spot, limit + 1, most=most_looked_at(lead_filter))
    page = make_page(found.leads, limit)
    if found.end is None:
        return page
    return page._replace(next=Cursor(*found.end), reach=Reach(LOOKED_THROUGH, found.end.at))


def most_looked_at(lead_filter: LeadFilter) -> int | None:
    """Return how many leads are looked at for a page of a filter where no index finds few; None for all.

    Who names a value takes a page that is not full for the last one, as of a click id that one lead has.
    """
    return LOOKED_THROUGH if lead_filter.contains else None


def read_page(entities: Entities, lead_filter: LeadFilter, *, limit: int, after: Cursor | None = None) -> Page:
    """Return a page of leads, newest first, with the beginnings of long values. The caller holds the session."""
    if lead_filter.q:
        return _Search(entities, lead_filter, lead_filter.q).page(limit, after)
    query = after_cursor(narrow(entities, select_leads(entities), lead_filter), after)
    return make_page(to_leads(newest_first(entities, query)[: limit + 1]), limit)


class _Search:
    """One search: the leads in which `q` is a prefix, and those of the newest in which it is a part."""

    def __init__(self, entities: Entities, lead_filter: LeadFilter, q: str) -> None:
        self._entities = entities
        self._filter = lead_filter
        self._dialect = dialect_of(entities)
        self._variants = case_variants(q)
        self._phone_prefixes = phone_prefixes(q)
        self._same_number = same_number(self._dialect, q)
        self._q = q
        self._reach = Reach(SCANNED_ROWS, None)

    def page(self, limit: int, after: Cursor | None) -> Page:
        """Return a page of the matches of either kind, newest first."""
        leads, end = self._newest(limit + 1, after)
        page = make_page(leads, limit)
        if page.next is None and end is not None:
            page = page._replace(next=end)
        return page._replace(reach=self._reach)

    def _newest(self, count: int, after: Cursor | None) -> tuple[list[Lead], Cursor | None]:
        """Return the newest matches, and where looking for more of them has ended."""
        ids = leads_by_index(self._entities, self._q)
        named = self._named(ids, after)
        if named and len(self._q) in _LENGTHS_OF_IDS:
            return _sorted(named, count), None
        places = self._gather_prefix_matches()
        if places is None:
            return self._look_for_common(named, count, after)
        # Digits may be a click id, but mostly are a phone or a part of one.
        if not is_phone(self._q) or not (ids or self._same_number):
            named += self._named(leads_by_scan(self._entities, self._q) - ids, after)
        later = sorted((place for place in places if after is None or place < after), reverse=True)
        matches = [*self._get_leads([place.id for place in later[:count]]), *named]
        # Whoever types a whole phone has found what they look for.
        if not (self._same_number and matches):
            matches.extend(self._scan_for_parts(count, after))
        return _sorted(matches, count), None

    def _look_for_common(self, named: list[Lead], count: int, after: Cursor | None) -> tuple[list[Lead], Cursor | None]:
        """Return the newest matches of a text with which so many begin that leads are looked at one by one."""
        begins: list[str] = []
        values: list[str] = []
        for expression, prefix in self._prefixes():
            begins.append(f"({self._begins_with(expression)})")
            values.extend(_range(prefix))
        if self._same_number:
            begins.append(f"({self._same_number[0]})")
            values.extend(self._same_number[1])
        parts, texts = self._is_part()
        oldest = self._oldest_scanned()
        self._reach = Reach(SCANNED_ROWS, oldest)
        if oldest is not None:
            parts, texts = f"lead.created_at >= ? AND ({parts})", (moment_text(oldest), *texts)
        matches = (f"{' OR '.join(begins)} OR ({parts})", (*values, *texts))
        spot = None if after is None else Spot(*after)
        look = Look(self._entities, self._filter)
        found = look.find(_NEWEST_FIRST._replace(own=(matches,)), spot, count, most=LOOKED_FOR_COMMON)
        leads = _sorted((*named, *found.leads), count)
        if found.end is None:
            return leads, None
        end = Cursor(*found.end)
        return [lead for lead in leads if (lead.created_at, lead.id) >= end], end

    def _gather_prefix_matches(self) -> set[Cursor] | None:
        """Return the places of all leads that match a prefix, by the indexes; None where they are too many."""
        places: set[Cursor] = set()
        conditions: list[tuple[str, Sequence[str], str | None]] = [
            (self._begins_with(expression), _range(prefix), f"{expression}{self._dialect.bytewise}")
            for expression, prefix in self._prefixes()
        ]
        if self._same_number:
            conditions.append((*self._same_number, None))
        for condition, values, order in conditions:
            query = where_sql(select_places(self._entities), condition, values)
            if order is not None:
                # The index's own order: without it PostgreSQL reads the table where it expects many matches.
                in_order = raw_sql(order)
                query = query.order_by(lambda: in_order)  # noqa: B023 - called at once
            # Before the filter, which may let few of any number through. Thousands of rows that are dropped take the
            # driver longer than it takes to find them twice.
            if query[MAX_GATHERED : MAX_GATHERED + 1]:
                return None
            rows = narrow_one_by_one(self._entities, query, self._filter)[:MAX_GATHERED]
            places.update(Cursor(created_at, id) for created_at, id in rows)
            if len(places) > MAX_GATHERED:
                return None
        return places

    def _is_part(self) -> Condition:
        """Return the condition for leads in which the text is a part."""
        is_part = [f"{self._dialect.position}(lower({_SCANNED}), lower(?)) > 0"] * len(self._variants)
        parts = list(self._variants)
        if is_phone(self._variants[0]):
            dialect, digits = self._dialect, digits_of(self._variants[0])
            is_part.append(f"{dialect.position}(lead.phone, ?) > 0")
            # Most phones are their own digits, which are found so at a fifth of the cost.
            is_part.append(f"{dialect.is_written} AND {dialect.position}({dialect.digits}, ?) > 0")
            parts.extend((digits, digits))
        return " OR ".join(is_part), parts

    def _scan_for_parts(self, count: int, after: Cursor | None) -> Iterator[Lead]:
        """Return the newest leads with `q` anywhere in a text, among those that are scanned."""
        oldest = self._oldest_scanned()
        self._reach = Reach(SCANNED_ROWS, oldest)
        query = after_cursor(within(select_leads(self._entities), oldest, None), after)
        query = narrow_one_by_one(self._entities, query, self._filter, (self._is_part(),))
        return to_leads(newest_first(self._entities, query)[:count])

    def _get_leads(self, ids: list[UUID]) -> Iterator[Lead]:
        return to_leads(select_leads(self._entities).where(lambda lead: lead.raw.id in ids)[:] if ids else ())

    def _named(self, ids: set[UUID], after: Cursor | None) -> list[Lead]:
        """Return those of the leads that the filter lets through."""
        wanted = tuple(id for id in ids if not self._filter.ids or id in self._filter.ids)
        if not wanted:
            return []
        query = narrow(self._entities, select_leads(self._entities), replace(self._filter, ids=wanted))
        return [lead for lead in to_leads(query[:]) if after is None or (lead.created_at, lead.id) < after]

    def _oldest_scanned(self) -> datetime | None:
        places = newest_first(self._entities, select_places(self._entities))[SCANNED_ROWS : SCANNED_ROWS + 1]
        return places[0][0] if places else None

    def _prefixes(self) -> Iterator[tuple[str, str]]:
        """Yield each indexed expression with each prefix to look for in it."""
        for expression in _INDEXED_TEXTS:
            for prefix in self._variants:
                yield expression, prefix
        for prefix in self._phone_prefixes:
            yield _INDEXED_PHONE, prefix

    def _begins_with(self, expression: str) -> str:
        fold = "lower(?)" if expression.startswith(("lower", "(lower")) else "?"
        text = f"{expression}{self._dialect.bytewise}"
        return f"{text} >= {fold} AND {text} < {fold}"


def _sorted(leads: Iterable[Lead], count: int) -> list[Lead]:
    apart = {lead.id: lead for lead in leads}
    return sorted(apart.values(), key=lambda lead: (lead.created_at, lead.id), reverse=True)[:count]


def _range(prefix: str) -> tuple[str, str]:
    """Return the values of `_begins_with`: the first text with this prefix, and the first after all of them."""
    return prefix[:INDEXED_CHARS], prefix[:INDEXED_CHARS] + _AFTER_EVERY_TEXT
