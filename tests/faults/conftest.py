"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.trial import Trial
from tests.support.fault_table import FaultTable


@pytest.fixture
def trial(tmp_path: Path, fault_table: FaultTable) -> Iterator[Trial]:
    """A load with a journal, and the judgement over it."""
    trial = Trial(tmp_path / "journal", fault_table)
    yield trial
    trial.close()
