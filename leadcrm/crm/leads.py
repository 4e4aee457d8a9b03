"""Leads as the CRM sees them: one record, filters, and pages from the newest to the oldest.

Pages follow one another by the last row's time and id (a keyset), so that the thousandth costs what the first
does, and leads that arrive meanwhile move nothing.

May import entities, database and the payload's names. Sessions are the caller's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from pony.orm import Database, desc, raw_sql, select

from leadcrm.database.entities import FIELDS, LEAD_COLUMNS, Entities

MOST_ROWS = 500
"""The longest page: some hundred kilobytes of JSON."""

FILTER_COLUMNS = ("status", "assigned_to", "country", "offer", "marker", "domain", "sourcetype", "lang")
"""The columns that can be asked for by their exact value."""


class Lead(NamedTuple):
    """One row of `leads`; times are naive UTC, as in the columns."""

    id: UUID
    click_id: str | None
    country: str | None
    creo: str | None
    description: str | None
    domain: str | None
    email: str | None
    first_name: str | None
    ip: str | None
    lang: str | None
    last_name: str | None
    marker: str | None
    offer: str | None
    phone: str | None
    sourcetype: str | None
    status: str
    assigned_to: str | None
    created_at: datetime
    updated_at: datetime
    normalizer_version: int

    @property
    def version(self) -> str:
        """Return what is different after every change: who saw it may overwrite no other."""
        return self.updated_at.strftime("%Y%m%d%H%M%S%f")


assert Lead._fields == LEAD_COLUMNS


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Which leads; what is empty or None asks for nothing.

    `ids` are leads of which only those are returned that the rest of the filter asks for too.
    `values` maps columns of `FILTER_COLUMNS` to what they may hold, where "" stands for nothing at all; `since` and
    `until` are naive UTC, the latter excluded; `email` and `phone` are whole (an email in any case); `q` is the
    beginning of an email, a phone or a last name, and, among the newest leads, any part of them or of a first name.
    """

    ids: tuple[UUID, ...] = ()
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    email: str | None = None
    phone: str | None = None
    q: str | None = None


class Cursor(NamedTuple):
    """The place between two rows: after the one of this time and id."""

    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """Return it as a word for URLs."""
        text = f"{self.created_at.isoformat()}_{self.id.hex}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Cursor:
        """Read what `encode` wrote. Raises ValueError."""
        try:
            text = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode("ascii")
        except (binascii.Error, UnicodeError) as error:
            raise ValueError("no cursor of ours") from error
        at, _, id = text.partition("_")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is not None:
            raise ValueError("no cursor of ours")
        return cls(created_at, UUID(hex=id))


class Page(NamedTuple):
    """Some leads, newest first, and where the next page begins; None after the last."""

    leads: list[Lead]
    next: Cursor | None


def page_of(leads: Iterable[Lead], limit: int) -> Page:
    """Make a page of up to `limit + 1` leads, of which the last only shows that there are more."""
    found = list(leads)
    if len(found) <= limit:
        return Page(found, None)
    last = found[limit - 1]
    return Page(found[:limit], Cursor(last.created_at, last.id))


def list_leads(entities: Entities, wanted: LeadFilter, *, limit: int, after: Cursor | None = None) -> Page:
    """Return a page of leads, newest first. `q` is not looked at: see `search`."""
    query = newest_first(before(filtered(query_leads(entities), wanted), after))
    return page_of(records(query[: limit + 1]), limit)


def get_lead(entities: Entities, id: UUID) -> Lead | None:
    """Return one lead."""
    return next(records(query_leads(entities).where("l.raw.id == id", {"id": id}, {})[:1]), None)


_COLUMNS = ", ".join(("l.raw.id", *(f"l.{column}" for column in LEAD_COLUMNS[1:])))


def query_leads(entities: Entities, columns: str = _COLUMNS) -> Any:
    """Return Pony's query for all leads, as tuples of columns: an entity a row would cost three times as much."""
    query = select(f"({columns}) for l in Lead", {"Lead": entities.lead}, {})
    return query.without_distinct()


def records(rows: Iterable[tuple[Any, ...]]) -> Iterator[Lead]:
    """Make leads of a query's tuples."""
    return map(Lead._make, rows)


def newest_first(query: Any) -> Any:
    """Order a query."""
    return query.order_by("desc(l.created_at), desc(l.raw.id)", {"desc": desc}, {})


def before(query: Any, after: Cursor | None) -> Any:
    """Leave out of a query what comes before the cursor's place."""
    if after is None:
        return query
    # The first condition is the range that an index knows, the second the exact place within it.
    condition = "l.created_at <= at and (l.created_at < at or l.raw.id < id)"
    return query.where(condition, {"at": after.created_at, "id": after.id}, {})


def filtered(query: Any, wanted: LeadFilter) -> Any:
    """Narrow a query by all of the filter but `q`."""
    if wanted.ids:
        query = query.where("l.raw.id in ids", {"ids": wanted.ids}, {})
    for column, values in wanted.values:
        query = _one_of(query, column, values)
    if wanted.since is not None:
        query = query.where("l.created_at >= since", {"since": wanted.since}, {})
    if wanted.until is not None:
        query = query.where("l.created_at < until", {"until": wanted.until}, {})
    # The first half of each is what is indexed: a beginning, for no index takes texts of any length.
    if wanted.email is not None:
        emails = {f"email{number}": writing for number, writing in enumerate(writings(wanted.email))}
        begins = f"lower(substr(l.email, 1, 64)){collation(query)}"
        each = (f"{begins} = lower(substr(${name}, 1, 64)) AND lower(l.email) = lower(${name})" for name in emails)
        query = where_sql(query, " OR ".join(each), **emails)
    if wanted.phone is not None:
        indexed = f"substr(l.phone, 1, 64){collation(query)} = substr($phone, 1, 64)"
        query = where_sql(query, f"{indexed} AND l.phone = $phone", phone=wanted.phone)
    return query


def writings(text: str) -> tuple[str, ...]:
    """Return how a text of any case may be written: databases may fold the case of ASCII alone."""
    if text.isascii():
        return (text,)
    return tuple(dict.fromkeys((text, text.lower(), text.upper(), text.capitalize(), text.title())))


def where_sql(query: Any, condition: str, **values: object) -> Any:
    """Narrow a query by a condition in SQL, in which the row is `l` and the values stand as `$name`."""
    return query.where(f"raw_sql({f'({condition})'!r})", {"raw_sql": raw_sql, **values}, {})


def is_postgres(database: Database) -> bool:
    """Say which of the two databases it is."""
    return bool(database.provider.dialect == "PostgreSQL")


def collation(query: Any) -> str:
    """Return what makes texts compare by their bytes, as SQLite does anyway: only so a beginning is a range."""
    return ' COLLATE "C"' if is_postgres(query._database) else ""


def _one_of(query: Any, column: str, values: tuple[str, ...]) -> Any:
    assert column in FILTER_COLUMNS
    if "" in values:
        return query.where(f"l.{column} in values or l.{column} is None", {"values": values}, {})
    if column == "status" and "new" not in values:
        # Said once more in the words of the index that is over such leads alone.
        query = query.where("l.status != 'new'", {}, {})
    return query.where(f"l.{column} in values", {"values": values}, {})


NAMES = (
    "id",
    *FIELDS,
    "status",
    "assignedTo",
    "createdAt",
    "updatedAt",
    "normalizerVersion",
)
"""The columns' names in JSON and CSV: those of the payload, and in its manner."""

JSON_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
"""Times end in Z: the columns hold UTC."""


def as_record(lead: Lead) -> dict[str, Any]:
    """Return the lead by its JSON names, to be encoded with `JSON_OPTIONS`."""
    return dict(zip(NAMES, lead, strict=True))
