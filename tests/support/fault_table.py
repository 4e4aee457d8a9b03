"""The table of faults: what each fault test counted, printed at the end of a session and kept as Markdown on demand.

`scripts/test tests/faults --fault-table FILE` writes the README's table anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

HEAD = ("fault", "acknowledged", "in the database after", "lost", "doubled", "answered 503", "kept", "slowest answer")


@dataclass(frozen=True)
class FaultRow:
    """What one fault did: acknowledged leads, and how many of them were found in the end."""

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


class FaultTable:
    """The rows of one session, as a pytest plugin."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: list[FaultRow] = []

    def add(self, row: FaultRow) -> None:
        """Add a row, and print it for those who watch."""
        self._rows.append(row)
        print(" · ".join(f"{name}: {cell}" for name, cell in zip(HEAD, row.cells(), strict=True)))

    def markdown(self) -> str:
        """Return the table as it stands in the README."""
        lines = [HEAD, ("---", *("--:" for _ in HEAD[1:])), *(row.cells() for row in self._rows)]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

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
        if self._path is not None and self._rows:
            self._path.write_text(self.markdown(), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the table goes."""
    parser.addoption("--fault-table", metavar="FILE", type=Path, help="write the table of faults as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table."""
    config.pluginmanager.register(FaultTable(config.getoption("--fault-table")), "fault-table")


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """The table that this session fills."""
    table = request.config.pluginmanager.get_plugin("fault-table")
    assert isinstance(table, FaultTable)
    return table
