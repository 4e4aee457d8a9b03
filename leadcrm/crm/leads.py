"""Leads as the CRM reads them: one record, the filter, and pages from the newest to the oldest.

A page begins after the time and id of the last row of the page before it (a keyset). So the thousandth page costs as
much as the first, and leads that arrive meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from leadcrm.database.entities import FIELD_COLUMNS

MAX_ROWS = 500
"""Rows of a page: some hundred kilobytes of JSON."""

LONGEST_LISTED = 1_024
"""The characters of a value that pages, searches and the stream carry: whole ones have no bound, nor would a page."""

FILTER_COLUMNS = (
    "status",
    "assigned_to",
    "country",
    "offer",
    "marker",
    "domain",
    "sourcetype",
    "lang",
    "source",
    "creo",
    "click_id",
)
"""The columns that a filter compares with exact values."""


CONTAINED_COLUMNS = (
    *FILTER_COLUMNS,
    *(column for column in FIELD_COLUMNS if column not in FILTER_COLUMNS),
)
"""The columns that a filter looks for parts of texts in."""


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
    source: str
    is_test: bool
    call_at: datetime | None

    @property
    def may_be_cut(self) -> bool:
        """Say whether a value of a listed lead may be the beginning of a longer one."""
        return any(isinstance(value, str) and len(value) >= LONGEST_LISTED for value in self)

    @property
    def version(self) -> str:
        """Return a text that differs after every change: it tells whether a client saw the latest one."""
        return self.updated_at.strftime("%Y%m%d%H%M%S%f")


Values = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns, each with the values that it may have."""


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Which leads to read; an empty part narrows nothing.

    Attributes:
        ids: The only leads to read, those of them that the other parts let through.
        values: Pairs of a column of `FILTER_COLUMNS` and the values that it may have. "" also stands for NULL.
        contains: Pairs of a column of `CONTAINED_COLUMNS` and the texts of which it has one as a part, in any case.
        since: The earliest arrival, naive UTC.
        until: The end of the period, excluded, naive UTC.
        email: A whole address, in any case.
        tests: Whether the senders' test leads count: `include` or `only`; else they do not, unless `ids` names them.
        phone: A whole number, however it is written, with or without its country.
        due: The latest time of the next call, naive UTC.
        q: The prefix of an email or a last name, or a phone by its digits; among the newest leads, any part of those or
            of a first name.
    """

    ids: tuple[UUID, ...] = ()
    values: Values = ()
    contains: tuple[tuple[str, tuple[str, ...]], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    email: str | None = None
    phone: str | None = None
    tests: str | None = None
    due: datetime | None = None
    q: str | None = None


def texts_by_column(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Gather pairs of a column and a text by their columns, as a filter has them."""
    texts: dict[str, list[str]] = {}
    for column, text in pairs:
        texts.setdefault(column, []).append(text)
    return tuple((column, tuple(parts)) for column, parts in texts.items())


class Cursor(NamedTuple):
    """The place right after the row with this time and id."""

    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """Return it as a word for URLs."""
        text = f"{self.created_at.isoformat()}_{self.id.hex}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Cursor:
        """Read a word that `encode` wrote.

        Raises:
            ValueError: `encode` did not write it.
        """
        try:
            text = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode("ascii")
        except (binascii.Error, UnicodeError) as error:
            raise ValueError("no cursor of ours") from error
        at, _, id = text.partition("_")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is not None:
            raise ValueError("no cursor of ours")
        return cls(created_at, UUID(hex=id))


class Place(Protocol):
    """Where a page begins."""

    def encode(self) -> str:
        """Return it as a word for URLs."""


class Reach(NamedTuple):
    """How far has been looked: of a search for parts of texts in the newest leads, else in the order; None for all."""

    leads: int
    since: datetime | None


class Page(NamedTuple):
    """Some leads in order, and where the next page begins; None after the last page.

    Attributes:
        reach: How far a search, or a filter without an index, has looked; None where a filter has looked at all.
    """

    leads: list[Lead]
    next: Place | None
    reach: Reach | None = None


def make_page(leads: Iterable[Lead], limit: int) -> Page:
    """Make a page of up to `limit + 1` leads; the last one is left out, and tells that there is another page."""
    rows = list(leads)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], Cursor(last.created_at, last.id))
