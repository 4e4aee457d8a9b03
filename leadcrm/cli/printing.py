"""What commands print: tables and records for people, JSON for programs.

What senders wrote is hostile. For people every character that a terminal would obey is shown as a sign instead, and
JSON is plain ASCII.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from typing import Any, Protocol
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class OnProgress(Protocol):
    """Hears how much of how much is done."""

    def __call__(self, done: int, in_all: int) -> None: ...


WIDTH_OF_A_FILE = 300
"""Columns of a table that goes to a file or a pipe: nothing is cut short to fit a screen that is none."""

_OBEYED = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}
"""Control characters, and those that turn the direction of what follows."""


def harmless(text: str) -> str:
    """Return the text with every character that a terminal would obey replaced by a sign."""
    return text.translate(_OBEYED)


def shown(value: object) -> str:
    """Return a value as people read it; never more than one line."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return harmless(str(value))


def print_json(value: object) -> None:
    """Print a document on one line."""
    print(json.dumps(value, default=_encoded))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # An id that is cut short can be given to no other command.
        table.add_column(column, overflow="ellipsis", no_wrap=True, min_width=36 if column == "id" else 6)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    console().print(table)


def print_record(record: Mapping[str, object]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, record)) + 2
    for name, value in record.items():
        print(f"{name:<{width}}{shown(value)}".rstrip())


def console() -> Console:
    """Return what prints for people on stdout."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """Show a progress bar on a terminal, on stderr, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, in_all: bar.update(task, completed=done, total=in_all)


def _encoded(value: Any) -> str:
    """Return a value as the API writes it; a time without a zone is UTC, as in the columns."""
    if isinstance(value, datetime):
        naive = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return f"{naive.isoformat()}Z"
    if isinstance(value, (UUID, date)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
