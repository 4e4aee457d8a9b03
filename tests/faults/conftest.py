"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, small_disk
from tests.faults.injection import Injection, compile_library, compiler
from tests.faults.trial import Trial
from tests.support.figure_tables import FigureTable

ORDER = (
    "postgres",
    "wraparound",
    "kills",
    "feed",
    "spool_damage",
    "deleted_logs",
    "overwritten_files",
    "disk_full",
    "failing_disk",
    "embedded",
    "corners",
    "overload",
)
"""The order of the modules, and thus of the table: the most asked-about faults first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return ORDER.index(item.path.stem.removeprefix("test_"))

    folder = Path(__file__).parent
    # They stay between the folders before and after: of files that run two at once, the long ones must not come last.
    places = [number for number, item in enumerate(items) if item.path.parent == folder]
    for number, item in zip(places, sorted((items[number] for number in places), key=place), strict=True):
        items[number] = item


@pytest.fixture
def trial(tmp_path: Path, fault_table: FigureTable) -> Iterator[Trial]:
    """A load with a journal and the comparison afterwards."""
    trial = Trial(tmp_path / "journal", fault_table)
    yield trial
    trial.close()


@pytest.fixture(scope="session")
def injection_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that injects faults by preloading."""
    if compiler() is None:
        pytest.skip("no C compiler to build the fault injection with")
    return compile_library(tmp_path_factory.mktemp("injection"))


@pytest.fixture
def injection(injection_library: Path, tmp_path: Path) -> Injection:
    """Fault injection for the files of a test's first server."""
    return Injection(injection_library, tmp_path / "server-0" / "data", tmp_path / "control")


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A small disk for the data folder of a server."""

    def injected() -> Injection:
        return Injection(request.getfixturevalue("injection_library"), tmp_path / "disk", tmp_path / "control")

    with small_disk(tmp_path / "disk", injected) as disk:
        yield disk
