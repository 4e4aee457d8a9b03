"""`q`: leads by the beginning of an email, a phone or a last name; among the newest also by any part.

The beginning is looked up in indexes and is promised to be quick. A part of a text no index of both databases
knows: it is looked for in the newest `PART_ROWS` leads, and first names only there.

May import leads, entities and database. Sessions are the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from leadcrm.crm.leads import (
    Cursor,
    Lead,
    LeadFilter,
    Page,
    before,
    collation,
    filtered,
    is_postgres,
    newest_first,
    page_of,
    query_leads,
    records,
    where_sql,
    writings,
)
from leadcrm.database.entities import Entities

PART_ROWS = 20_000
"""How many of the newest leads are looked through for a part of a text: some tens of milliseconds."""

FEW_ROWS = 5_000
"""Up to here the matches of a beginning are gathered and sorted; where there are more, they are dense enough to be
met soon on the way from the newest lead down."""

_PAST_EVERY_TEXT = "\U0010ffff"

_INDEXED = ("lower(substr(l.email, 1, 64))", "lower(substr(l.last_name, 1, 64))", "substr(l.phone, 1, 64)")

_TEXT = " || ' ' || ".join(f"coalesce(l.{name}, '')" for name in ("first_name", "last_name", "email", "phone"))


def search_leads(entities: Entities, wanted: LeadFilter, *, limit: int, after: Cursor | None = None) -> Page:
    """Return a page of the leads that `wanted.q` and the rest of the filter ask for, newest first."""
    assert wanted.q
    search = _Search(entities, wanted, wanted.q)
    gathered = search.gathered()
    if gathered is None:
        found = {lead.id: lead for lead in search.on_the_way_down(limit + 1, after)}
    else:
        places = sorted((place for place in gathered if after is None or place < after), reverse=True)
        found = {lead.id: lead for lead in search.by_id([place.id for place in places[: limit + 1]])}
    found.update((lead.id, lead) for lead in search.parts(limit + 1, after))
    leads = sorted(found.values(), key=lambda lead: (lead.created_at, lead.id), reverse=True)
    return page_of(leads[: limit + 1], limit)


class _Search:
    def __init__(self, entities: Entities, wanted: LeadFilter, q: str) -> None:
        self._entities = entities
        self._wanted = wanted
        self._writings = writings(q)

    def gathered(self) -> set[Cursor] | None:
        """Return the places of all matches of a beginning, or None where they are many."""
        places: set[Cursor] = set()
        for expression, beginnings in self._beginnings():
            for writing in beginnings:
                query = self._query("l.created_at, l.raw.id")
                rows = where_sql(query, _begins(expression, query), **_range("", writing))[: FEW_ROWS + 1]
                places.update(Cursor(created_at, id) for created_at, id in rows)
                if len(places) > FEW_ROWS:
                    return None
        return places

    def on_the_way_down(self, count: int, after: Cursor | None) -> Iterator[Lead]:
        """Return the newest matches of a beginning."""
        query = self._query()
        conditions: list[str] = []
        values: dict[str, str] = {}
        for expression, beginnings in self._beginnings():
            for writing in beginnings:
                number = str(len(conditions))
                # Not the indexed expression: by that index all matches would be gathered and sorted first.
                conditions.append("(" + _begins(f"({expression} || '')", query, number) + ")")
                values.update(_range(number, writing))
        return records(newest_first(before(where_sql(query, " OR ".join(conditions), **values), after))[:count])

    def by_id(self, ids: list[UUID]) -> Iterator[Lead]:
        """Return these leads."""
        return records(query_leads(self._entities).where("l.raw.id in ids", {"ids": ids}, {})[:]) if ids else iter(())

    def parts(self, count: int, after: Cursor | None) -> Iterator[Lead]:
        """Return the newest leads of which a text has `q` in it, of those that are looked through."""
        query = self._query().where("l.created_at >= oldest", {"oldest": self._oldest_looked_through()}, {})
        position = "strpos" if is_postgres(self._entities.database) else "instr"
        parts = {f"part{number}": writing for number, writing in enumerate(self._writings)}
        condition = " OR ".join(f"{position}(lower({_TEXT}), lower(${part})) > 0" for part in parts)
        return records(newest_first(before(where_sql(query, condition, **parts), after))[:count])

    def _query(self, *columns: str) -> Any:
        return filtered(query_leads(self._entities, *columns), self._wanted)

    def _oldest_looked_through(self) -> datetime:
        times = newest_first(query_leads(self._entities, "l.created_at, l.raw.id"))[PART_ROWS : PART_ROWS + 1]
        return times[0][0] if times else datetime(1, 1, 1)  # noqa: DTZ001 - the columns hold naive UTC

    def _beginnings(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Give each indexed expression and how what it is to begin with may be written."""
        for expression in _INDEXED:
            yield expression, _phones(self._writings[0]) if "phone" in expression else self._writings


def _begins(expression: str, query: Any, number: str = "") -> str:
    fold = "{}" if "phone" in expression else "lower({})"
    compared = f"{expression}{collation(query)}"
    return f"{compared} >= {fold.format(f'$low{number}')} AND {compared} < {fold.format(f'$high{number}')}"


def _range(number: str, beginning: str) -> dict[str, str]:
    return {f"low{number}": beginning[:64], f"high{number}": beginning[:64] + _PAST_EVERY_TEXT}


def _phones(q: str) -> tuple[str, ...]:
    """Return how a phone may begin: few type the plus sign."""
    return (q, f"+{q}") if q[:1].isdecimal() else (q,)
