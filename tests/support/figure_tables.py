"""The tables of faults and of attacks: the figures of each such test, printed at the end of a session.

`scripts/test tests/faults tests/hostile --fault-table` also writes them into the README of each folder, and the figures
of a few faults into the front page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

FRONT_PAGE = Path(__file__).parents[2] / "README.md"
WHOLE_TABLE = Path(__file__).parents[1] / "faults" / "README.md"
ATTACK_PAGE = Path(__file__).parents[1] / "hostile" / "README.md"

FAULT_HEAD = (
    "fault",
    "acknowledged",
    "in the database after",
    "lost",
    "doubled",
    "answered 503",
    "kept",
    "slowest answer",
)
ATTACK_HEAD = ("attack", "honest leads", "acknowledged", "lost", "p99", "slowest answer", "peak of memory")


class Row(Protocol):
    """The figures of one test."""

    def cells(self) -> tuple[str, ...]:
        """Return the figures as text; the first is the name."""


@dataclass(frozen=True)
class FaultRow:
    """The figures of one fault: leads acknowledged, and how many of them the database held afterwards."""

    fault: str
    acknowledged: int
    found: int
    doubled: int
    refused: int
    kept_share: float
    slowest_answer_s: float

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `FAULT_HEAD`."""
        return (
            self.fault,
            f"{self.acknowledged:,}",
            f"{self.found:,}",
            str(self.acknowledged - self.found),
            str(self.doubled),
            f"{self.refused:,}",
            f"{self.kept_share:.1%}",
            f"{self.slowest_answer_s:.2f} s",
        )


@dataclass(frozen=True)
class AttackRow:
    """The figures of one attack: what became of the honest leads that were sent beside it."""

    attack: str
    sent: int
    acknowledged: int
    lost: int
    p99_s: float
    slowest_s: float
    peak_bytes: int

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `ATTACK_HEAD`."""
        return (
            self.attack,
            f"{self.sent:,}",
            f"{self.acknowledged:,}",
            str(self.lost),
            f"{self.p99_s * 1000:.0f} ms",
            f"{self.slowest_s * 1000:.0f} ms",
            f"{self.peak_bytes / 1e6:.0f} MB",
        )


def markdown_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def with_rows(page: str, head: Sequence[str], rows: Sequence[Row], *, may_grow: bool) -> str:
    """Return a Markdown page with new figures in one of its tables.

    Args:
        page: the page, which holds a table with this head.
        head: the names of the table's columns.
        rows: the new figures; tests that are not among them keep theirs.
        may_grow: append tests that the table lacks.
    """
    new = {row.cells()[0]: markdown_row(row.cells()) for row in rows}
    lines = page.splitlines()
    start = lines.index(markdown_row(head))
    end = next((number for number in range(start, len(lines)) if not lines[number].startswith("|")), len(lines))
    table = [new.pop(line.removeprefix("| ").split(" | ")[0], line) for line in lines[start:end]]
    if may_grow:
        table += new.values()
    return "\n".join([*lines[:start], *table, *lines[end:]]) + "\n"


class FigureTable:
    """The rows of one kind in a session, as a pytest plugin."""

    def __init__(self, title: str, head: Sequence[str], pages: Sequence[tuple[Path, bool]]) -> None:
        """Begin an empty table.

        Args:
            title: what stands over it at the end of a session.
            head: the names of its columns.
            pages: the pages to write it into, and whether the table there may grow.
        """
        self._title = title
        self._head = head
        self._pages = pages
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add a row, and print it at once."""
        self._rows.append(row)
        print(" · ".join(f"{name}: {cell}" for name, cell in zip(self._head, row.cells(), strict=True)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        table = [self._head, *(row.cells() for row in self._rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        terminalreporter.section(self._title)
        for name, *numbers in table:
            cells = [name.ljust(widths[0]), *(n.rjust(width) for n, width in zip(numbers, widths[1:], strict=True))]
            terminalreporter.write_line("  ".join(cells))

    def pytest_sessionfinish(self) -> None:
        if not self._rows:
            return
        for path, may_grow in self._pages:
            page = path.read_text(encoding="utf-8")
            path.write_text(with_rows(page, self._head, self._rows, may_grow=may_grow), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option that writes the tables."""
    parser.addoption(
        "--fault-table",
        action="store_true",
        help="write the figures into tests/faults/README.md and tests/hostile/README.md",
    )
    parser.addoption(
        "--leads",
        type=int,
        default=1_500,
        help="how many leads the trial of the feed's readers takes",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin empty tables."""
    writes_pages = config.getoption("--fault-table")
    for name, title, head, pages in (
        ("fault-table", "acknowledged leads under faults", FAULT_HEAD, ((WHOLE_TABLE, True), (FRONT_PAGE, False))),
        ("attack-table", "honest leads beside attackers", ATTACK_HEAD, ((ATTACK_PAGE, True),)),
    ):
        config.pluginmanager.register(FigureTable(title, head, pages if writes_pages else ()), name)


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> FigureTable:
    """The table of faults that this session fills."""
    return _table(request, "fault-table")


@pytest.fixture(scope="session")
def attack_table(request: pytest.FixtureRequest) -> FigureTable:
    """The table of attacks that this session fills."""
    return _table(request, "attack-table")


def _table(request: pytest.FixtureRequest, name: str) -> FigureTable:
    table = request.config.pluginmanager.get_plugin(name)
    assert isinstance(table, FigureTable)
    return table
