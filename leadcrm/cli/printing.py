"""Output of commands: tables and records for people, JSON for programs.

Texts from senders are hostile. For people, a sign replaces every character that a terminal would obey; JSON is plain
ASCII.
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
    """Called with the number of items done and their total."""

    def __call__(self, done: int, total: int) -> None: ...


WIDTH_OF_A_FILE = 300
"""Columns of a table for a file or a pipe, where no screen limits the width."""

_OBEYED = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys(
        (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)), 0xFFFD
    ),
}
"""Control characters, and those that change the direction of the text after them."""


def harmless(text: str) -> str:
    """Return the text with a sign in place of every character that a terminal would obey."""
    return text.translate(_OBEYED)


def readable(value: object) -> str:
    """Return a value for people, on one line."""
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
        # Never cut an id short: people copy it into other commands.
        table.add_column(column, overflow="ellipsis", no_wrap=True, min_width=36 if column == "id" else 6)
    for row in rows:
        table.add_row(*(Text(readable(value)) for value in row))
    console().print(table)


def print_record(record: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, record)) + 2
    for name, value in record.items():
        print(f"{name:<{width}}{readable(value)}".rstrip())


def console() -> Console:
    """Return the console that prints for people on stdout."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)


@contextmanager
def progress(task_name: str) -> Iterator[OnProgress]:
    """Show a progress bar on stderr if it is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(task_name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _encoded(value: Any) -> str:
    """Return a value as the API writes it; a time without a zone is UTC, as in the columns."""
    if isinstance(value, datetime):
        naive = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return f"{naive.isoformat()}Z"
    if isinstance(value, (UUID, date)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
