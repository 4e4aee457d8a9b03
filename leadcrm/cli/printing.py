"""Output of commands: tables and records for people, JSON for programs.

Texts from senders are hostile. For people, a sign replaces every character that a terminal would obey; JSON is plain
ASCII.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from typing import Any, Protocol
from uuid import UUID

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class OnProgress(Protocol):
    """Called with the number of items done and their total."""

    def __call__(self, done: int, total: int) -> None: ...


WIDTH_OF_A_FILE = 300
"""Columns of a table for a file or a pipe, where no screen limits the width."""

_ANY_WIDTH = 100_000

GAP = 2
"""Blanks after each column of a table."""

_LEAST_WIDTHS = {"id": 36, "leadId": 36, "duplicateOf": 36, "createdAt": 16, "receivedAt": 19, "at": 19, "phone": 15}
"""Ids and times are of no use when they are cut short: people copy them into other commands."""

_LEAST_WIDTH = 6
"""Of every other column."""

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


def columns_that_fit(columns: Sequence[str]) -> Sequence[str]:
    """Return as many of the first columns as a screen has room for."""
    room = console().width
    count = len(columns)
    while (
        count > 1
        and _total([_LEAST_WIDTHS.get(column, max(_LEAST_WIDTH, len(column))) for column in columns[:count]]) > room
    ):
        count -= 1
    return columns[:count]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, are_whole: bool = False) -> None:
    """Print a table. Where it is too wide, the widest columns are cut, unless they shall be whole."""
    texts = [tuple(map(readable, row)) for row in rows]
    widths = _column_widths(columns, texts, _ANY_WIDTH if are_whole else console().width)
    # Without widths of its own, each column would be narrowed by the same amount, the short ones to nothing.
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="ellipsis", no_wrap=True, width=width)
    for row in texts:
        table.add_row(*map(Text, row))
    # On a screen that is too narrow for the least widths the lines go on below, and no column is missing.
    console(at_least=_total(widths)).print(table)


def _column_widths(columns: Sequence[str], rows: Sequence[Sequence[str]], max_width: int) -> list[int]:
    """Return how wide each column may be, so that the table fits if its least widths do."""
    needed = [max(map(cell_len, texts)) for texts in zip(columns, *rows, strict=True)]
    least = [min(width, _LEAST_WIDTHS.get(column, _LEAST_WIDTH)) for column, width in zip(columns, needed, strict=True)]

    def widths(most: int) -> list[int]:
        return [max(low, min(width, most)) for low, width in zip(least, needed, strict=True)]

    # The widest that still fits; at 0 each column has its least width.
    most = bisect(range(max_width), max_width, key=lambda most: _total(widths(most)))
    return widths(max(0, most - 1))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * len(widths)


def print_record(record: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, record)) + 2
    for name, value in record.items():
        print(f"{name:<{width}}{readable(value)}".rstrip())


def console(*, at_least: int = 0) -> Console:
    """Return the console that prints for people on stdout, `at_least` so many columns wide."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    # Both, since of a dumb terminal the width alone is taken for 80.
    console.size = (max(console.width, at_least), console.height)
    return console


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
