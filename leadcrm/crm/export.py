"""Export of all leads that a filter asks for, as CSV or NDJSON, newest first.

Invariants:
- An export shows one moment: leads that arrive or change meanwhile are left out, or are as they were.
- It takes the memory of one page, whatever the number of leads.
- No cell of a CSV runs as a formula in a spreadsheet. A text that begins like a formula gets an apostrophe in front,
  and so does one after a semicolon or a tab, where some spreadsheets begin another cell
  (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from leadcrm.crm.documents import LEAD_NAMES, encode_line, lead_document
from leadcrm.crm.leads import Cursor, Lead, LeadFilter
from leadcrm.crm.search import read_page
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import forget_results, snapshot

PAGE_ROWS = 200
"""Leads of a page: some milliseconds, after which ingestion's threads get their turn."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Without it Excel reads UTF-8 as the encoding of its own country."""

# Spreadsheets of East Asia also understand the wide forms.
_FORMULA_STARTS = tuple("=+-@\t\r\n\uff0b\uff0d\uff1d\uff20")
_FORMULA_WITHIN = re.compile("(?<=[;\t])(?=[=+@\uff0b\uff0d\uff1d\uff20-])")


def export_leads(entities: Entities, lead_filter: LeadFilter, kind: str) -> Generator[bytes, None, None]:
    """Yield the file piece by piece.

    Args:
        entities: A binding that only this thread uses. Only this thread may read the pieces.
        lead_filter: Which leads.
        kind: One of `FORMATS`.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    head, encode = FORMATS[kind]
    yield head
    with snapshot(entities):
        after: Cursor | None = None
        while True:
            page = read_page(entities, lead_filter, limit=PAGE_ROWS, after=after)
            if page.leads:
                yield encode(page.leads)
            forget_results(entities)
            after = page.next
            if after is None:
                return


def _csv_head() -> bytes:
    return _BYTE_ORDER_MARK + _csv_lines([LEAD_NAMES])


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
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _FORMULA_WITHIN.sub("'", str(value))
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _as_ndjson(leads: Iterable[Lead]) -> bytes:
    return b"".join(encode_line(lead_document(lead)) for lead in leads)


FORMATS: Mapping[str, tuple[bytes, Callable[[Iterable[Lead]], bytes]]] = MappingProxyType(
    {"csv": (_csv_head(), _as_csv), "ndjson": (b"", _as_ndjson)}
)
"""The head of each kind of file, and the function that encodes leads for it."""
