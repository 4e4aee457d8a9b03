"""Reads tables for the mapping of a source: CSV, and JSON lists that hold texts or rows instead of objects.

A table is read only where somebody could call or write to whom it tells of: by a label, or by what a value looks like.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import islice
from typing import Any

from leadcrm.ingest.payload.json import read_any_json
from leadcrm.sources.contacts import is_contact
from leadcrm.sources.labels import Effort, meaning
from leadcrm.sources.texts import lines_in

MAX_ROWS = 2_000
"""More than there may be leads in a body, so that one with too many is refused and none is left out."""

MAX_COLUMNS = 100
MAX_LABEL = 100

_DAY = re.compile(r"\s*(?:(?:19|20)\d\d[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d)(?!\d)")

_DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[ \t]*\r?\n', re.IGNORECASE)
"""The first line of a table for Excel."""

_CONTACT_FIELDS = frozenset(("email", "phone", "first_name", "last_name", "name"))

Row = Sequence[Any]


def begins_as_table(text: str, effort: Effort | None) -> bool:
    """Say whether the first line of a text is the head of a table with a contact, or the line for Excel.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    if SEPARATOR_LINE.match(text):
        return True
    head = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    labels = [cell.strip(' \t\r"') for cell in head.split(delimiter, MAX_COLUMNS)]
    return len(labels) > 1 and _share_of_labels(labels, effort) > 0


def read_csv(text: str) -> object:
    """Return an object for each row of a table, the object alone where there is one; None of any other text."""
    said = SEPARATOR_LINE.match(text)
    text = text[said.end() :] if said else text
    head = text.split("\n", 1)[0]
    delimiter = said[1] if said else max(_DELIMITERS, key=head.count)
    if delimiter not in head:
        return None
    try:
        read = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
        stripped = ([cell.strip() for cell in row] for row in read)
        # Empty ones do not count: of a table with many of them, the last leads would be left out.
        return _table(list(islice(filter(any, stripped), MAX_ROWS + 1)))
    except csv.Error:
        return None


def read_list(items: list[Any]) -> object:  # noqa: PLR0911 - a line for each kind
    """Return what a JSON list without objects says of one lead or of several; None if it says nothing of any."""
    if not 0 < len(items) <= MAX_ROWS:
        return None
    if all(type(item) is list for item in items):
        objects = [element for item in items for element in item]
        return objects if all(type(element) is dict for element in objects) else _table(items)
    if not all(type(item) is str for item in items):
        return None
    if all(item.lstrip()[:1] == "{" for item in items):
        return [read_any_json(item.encode(errors="replace")) for item in items]
    if (lines := lines_in("\n".join(items))) is not None:
        return lines
    if len(items) > 1 and all(map(is_contact, items)) and len({"@" in item for item in items}) == 1:
        return [_contact([item]) for item in items]
    return _contact(items)


def _table(rows: list[Row]) -> object:
    """Return rows under a head, rows of a label and a value each, or one row of values that speak for themselves."""
    if not rows or any(len(row) > MAX_COLUMNS or not all(map(_is_scalar, row)) for row in rows):
        return None
    head, *others = rows
    of_head = _share_of_labels(head) if others and len(head) > 1 else 0
    of_pairs = _share_of_labels([row[0] for row in rows]) if all(len(row) == 2 for row in rows) else 0
    if of_head and of_head >= of_pairs:
        found = [_by_label(zip(head, row, strict=False)) for row in others if any(row)]
        return found[0] if len(found) == 1 else found
    if of_pairs:
        return _by_label((row[0], row[1]) for row in rows)
    return None if others else _contact([cell for cell in head if type(cell) is str])


def _by_label(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by their labels; of those of a repeated one the last that is not empty."""
    found: dict[str, Any] = {}
    for label, value in pairs:
        if label not in found or value not in ("", None):
            found[label] = value
    return found


def _share_of_labels(texts: Row, effort: Effort | None = None) -> float:
    """Return how many of the texts are labels with a meaning; 0 if none says how to reach somebody or who it is."""
    if len(texts) > MAX_COLUMNS or not all(type(text) is str and len(text) <= MAX_LABEL for text in texts):
        return 0
    fields = [meant.field for text in texts if (meant := meaning(text, effort)) is not None]
    return 0 if _CONTACT_FIELDS.isdisjoint(fields) or any(map(is_contact, texts)) else len(fields) / len(texts)


def _contact(values: list[str]) -> dict[str, object] | None:
    """Return who can be told by the values' looks alone: an email, a phone, and a name where one value is left."""
    contacts = [value for value in values if is_contact(value)]
    emails = [value for value in contacts if "@" in value]
    phones = [value for value in contacts if "@" not in value and not _DAY.match(value)]
    if len(emails) > 1 or len(phones) > 1 or not (emails or phones):
        return None
    words = [value for value in values if value and value.replace(" ", "").replace("-", "").replace(".", "").isalpha()]
    found = {"email": emails, "phone": phones, "name": words if len(words) == 1 else []}
    return {name: texts[0] for name, texts in found.items() if texts}


def _is_scalar(value: Any) -> bool:
    return type(value) is not dict and type(value) is not list
