"""The table of faults: the figures of each fault test, printed at the end of a session.

`scripts/test tests/faults --fault-table` also writes them into tests/faults/README.md, which lists every fault, and
into the README, which lists a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

FRONT_PAGE = Path(__file__).parents[2] / "README.md"
WHOLE_TABLE = Path(__file__).parents[1] / "faults" / "README.md"

HEAD = ("fault", "acknowledged", "in the database after", "lost", "doubled", "answered 503", "kept", "slowest answer")


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
        """Return the row as text, in the order of `HEAD`."""
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


def markdown_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def with_rows(page: str, rows: Sequence[FaultRow], *, may_grow: bool) -> str:
    """Return a Markdown page with new figures in its table of faults.

    Args:
        page: the page, which holds a table with the columns of `HEAD`.
        rows: the new figures; faults that are not among them keep theirs.
        may_grow: append faults that the table lacks.
    """
    new = {row.fault: markdown_row(row.cells()) for row in rows}
    lines = page.splitlines()
    start = lines.index(markdown_row(HEAD))
    end = next((number for number in range(start, len(lines)) if not lines[number].startswith("|")), len(lines))
    table = [new.pop(line.removeprefix("| ").split(" | ")[0], line) for line in lines[start:end]]
    if may_grow:
        table += new.values()
    return "\n".join([*lines[:start], *table, *lines[end:]]) + "\n"


class FaultTable:
    """The rows of one session, as a pytest plugin."""

    def __init__(self, *, writes_pages: bool) -> None:
        self._writes_pages = writes_pages
        self._rows: list[FaultRow] = []

    def add(self, row: FaultRow) -> None:
        """Add a row, and print it at once."""
        self._rows.append(row)
        print(" · ".join(f"{name}: {cell}" for name, cell in zip(HEAD, row.cells(), strict=True)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows:
            return
        table = [HEAD, *(row.cells() for row in self._rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        terminalreporter.section("acknowledged leads under faults")
        for fault, *numbers in table:
            cells = [fault.ljust(widths[0]), *(n.rjust(width) for n, width in zip(numbers, widths[1:], strict=True))]
            terminalreporter.write_line("  ".join(cells))

    def pytest_sessionfinish(self) -> None:
        if self._writes_pages and self._rows:
            for path, may_grow in ((WHOLE_TABLE, True), (FRONT_PAGE, False)):
                page = path.read_text(encoding="utf-8")
                path.write_text(with_rows(page, self._rows, may_grow=may_grow), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option that writes the table."""
    parser.addoption("--fault-table", action="store_true", help="write the figures into tests/faults/README.md")


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table."""
    config.pluginmanager.register(FaultTable(writes_pages=config.getoption("--fault-table")), "fault-table")


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """The table that this session fills."""
    table = request.config.pluginmanager.get_plugin("fault-table")
    assert isinstance(table, FaultTable)
    return table
