"""Fixtures of the tests of hostile senders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.siege import Siege
from tests.support.figure_tables import FigureTable


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Each attack is judged by times and memory.
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("alone")


@pytest.fixture
def siege(tmp_path: Path, attack_table: FigureTable) -> Iterator[Siege]:
    """An honest sender to put beside an attack, and the judgement of both."""
    siege = Siege(tmp_path / "journal", attack_table)
    yield siege
    siege.close()
