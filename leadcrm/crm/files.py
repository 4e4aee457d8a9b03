"""The kinds of files that leads are exported as: each has a beginning, encodes leads and has an end.

No cell of a CSV runs as a formula in a spreadsheet, whichever of comma, semicolon and tab it takes as separator
(https://owasp.org/www-community/attacks/CSV_Injection). A text that begins like a formula gets an apostrophe in front,
and so does one after a separator or a line break within a cell: a spreadsheet with another separator begins a cell
there. A plain phone number is no formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from leadcrm.configuration.time_zone import UTC, TimeZone
from leadcrm.crm.documents import LEAD_NAMES, encode_line, lead_document
from leadcrm.crm.events import Event
from leadcrm.crm.leads import Lead
from leadcrm.crm.times import local_text
from leadcrm.crm.xlsx import XlsxFile

SEPARATORS = MappingProxyType({"comma": ",", "semicolon": ";", "tab": "\t"})
"""The separators of a CSV by name. Excel expects a semicolon where the comma separates decimals."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Without it Excel reads UTF-8 as the encoding of its own country."""


def _formula_begins(separators: str) -> re.Pattern[str]:
    """Return the pattern of the places in a text where a formula would begin for a reader with these separators."""
    ends = f"[{separators}\\r\\n]"
    # A hyphen is arithmetic unless a blank or a bracket before it makes the number a text.
    phone = rf"\+(?=(?:[ ().-]*[0-9]){{7}})[0-9]+(?:[ (][0-9 ().-]*)?(?={ends}|\Z)"
    # Spreadsheets of East Asia also understand the wide forms. A quote begins a cell, and is no part of it.
    begins = r"[\"\0]*[=+@\uff0b\uff0d\uff1d\uff20-]"
    return re.compile(rf"(?:\A|(?<={ends}))(?!{phone})(?={begins}|\A[\t\r\n])")


_QUOTED_COMMAS = _formula_begins(";\t")
"""For a CSV with commas: whoever reads commas finds the others within quotes."""

_ANY_SEPARATOR = _formula_begins(",;\t")


class File(Protocol):
    """One file while it is written."""

    def begin(self) -> bytes:
        """Return how it begins."""

    def add(self, leads: Iterable[Lead], notes: Sequence[Event] = ()) -> bytes:
        """Return some leads, each with these notes, or nothing where they wait for others."""

    def end(self) -> bytes:
        """Return how it ends."""


class CsvFile:
    """CSV for spreadsheets."""

    def __init__(self, separator: str = ",", zone: TimeZone = UTC) -> None:
        """Set the character between two cells, and the zone of times."""
        self._zone = zone
        self._separator = separator
        self._formula_begins = _QUOTED_COMMAS if separator == "," else _ANY_SEPARATOR

    def begin(self) -> bytes:
        """Return the mark of UTF-8 and the names."""
        return _BYTE_ORDER_MARK + self._lines([EXPORT_NAMES])

    def add(self, leads: Iterable[Lead], notes: Sequence[Event] = ()) -> bytes:
        """Return a line a lead."""
        rows = (cells_of(lead, notes, self._zone) for lead in leads)
        return self._lines([self._formula_begins.sub("'", text) for text in row] for row in rows)

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def _lines(self, rows: Iterable[Iterable[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._separator, lineterminator="\r\n").writerows(rows)
        return text.getvalue().encode()


class NdjsonFile:
    """One JSON object a line, with every text as it is stored."""

    def begin(self) -> bytes:
        """Return nothing."""
        return b""

    def add(self, leads: Iterable[Lead], notes: Sequence[Event] = ()) -> bytes:
        """Return a line a lead."""
        noted = [{"at": note.at, "text": note.to_value, "by": note.actor} for note in notes]
        return b"".join(encode_line({**lead_document(lead), "notes": noted}) for lead in leads)

    def end(self) -> bytes:
        """Return nothing."""
        return b""


def cells_of(lead: Lead, notes: Sequence[Event], zone: TimeZone) -> list[str]:
    """Return a lead's cells, as `EXPORT_NAMES` names them."""
    lines = (f"{local_text(note.at, zone)} {note.actor}: {note.to_value}" for note in notes)
    return [*(cell_text(value, zone) for value in lead), "\n".join(lines)]


def cell_text(value: Any, zone: TimeZone = UTC) -> str:
    """Return a lead's value as a cell shows it to people of a zone."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return local_text(value, zone)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


EXPORT_NAMES = (*LEAD_NAMES, "notes")
"""The columns of files for people."""

FORMATS = ("csv", "ndjson", "xlsx")


def new_file(kind: str, separator: str = "comma", zone: TimeZone = UTC) -> File:
    """Return a file of a kind of `FORMATS`.

    Args:
        kind: What to encode leads as.
        separator: One of `SEPARATORS`, for a CSV.
        zone: Of the times in files for people; programs get UTC.
    """
    if kind == "ndjson":
        return NdjsonFile()
    return (
        CsvFile(SEPARATORS[separator], zone) if kind == "csv" else XlsxFile(EXPORT_NAMES, partial(cells_of, zone=zone))
    )
