"""Leads taken out: all that a filter asks for, as CSV or as a JSON object a line, newest first.

Invariants:
- It shows one moment: leads that arrive or change meanwhile are not in it or as they were.
- Memory is that of one page, whatever the number of leads.
- A CSV runs nothing in a spreadsheet: what begins as a formula does, a cell or what stands behind a semicolon or tab
  in it, where some spreadsheets begin a cell of their own, is led in by an apostrophe
  (https://owasp.org/www-community/attacks/CSV_Injection).

May import leads, search, database and entities.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from leadcrm.crm.leads import JSON_OPTIONS, NAMES, Cursor, Lead, LeadFilter, as_record
from leadcrm.crm.search import read_page
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import forget_results, snapshot

PAGE_ROWS = 200
"""Leads a page: some milliseconds, after which ingestion's threads have their turn."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Without it Excel takes UTF-8 for the encoding of its own country."""

# The wide forms too, which spreadsheets of East Asia understand.
_FORMULA_BEGINNINGS = tuple("=+-@\t\r\n\uff0b\uff0d\uff1d\uff20")
_FORMULA_WITHIN = re.compile("(?<=[;\t])(?=[=+@\uff0b\uff0d\uff1d\uff20-])")


def export_leads(entities: Entities, wanted: LeadFilter, kind: str) -> Generator[bytes, None, None]:
    """Give the file piece by piece; `kind` is one of `FORMATS`.

    For entities that only this thread uses, and for this thread alone to go through. Raises `StoreUnavailable`.
    """
    head, encode = FORMATS[kind]
    yield head
    with snapshot(entities):
        after: Cursor | None = None
        while True:
            page = read_page(entities, wanted, limit=PAGE_ROWS, after=after)
            if page.leads:
                yield encode(page.leads)
            forget_results(entities)
            after = page.next
            if after is None:
                return


def _csv_head() -> bytes:
    return _BYTE_ORDER_MARK + _csv_lines([NAMES])


def _as_csv(leads: Iterable[Lead]) -> bytes:
    return _csv_lines([_cell(value) for value in lead] for lead in leads)


def _csv_lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='milliseconds')}Z"
    text = _FORMULA_WITHIN.sub("'", str(value))
    return f"'{text}" if text.startswith(_FORMULA_BEGINNINGS) else text


def _as_json_lines(leads: Iterable[Lead]) -> bytes:
    options = JSON_OPTIONS | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(as_record(lead), option=options) for lead in leads)


FORMATS: Mapping[str, tuple[bytes, Callable[[Iterable[Lead]], bytes]]] = MappingProxyType(
    {"csv": (_csv_head(), _as_csv), "ndjson": (b"", _as_json_lines)}
)
"""What each kind of file begins with, and how leads are written in it."""
