"""The contract holds for the executable as it does for the sources: their tests, run against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import REPOSITORY

CONTRACT = (
    "lead_endpoint",
    "refusals",
    "idempotency_keys",
    "hostile_payloads",
    "probes",
    "cross_origin",
    "original_service",
)
"""The tests of tests/integration that speak of what a sender sees, on SQLite: others here use PostgreSQL's driver."""


@pytest.mark.timeout(300)
def test_the_contract_s_tests_pass(executable: Path) -> None:
    files = [f"tests/integration/test_{name}.py" for name in CONTRACT]
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not postgres", *files]
    environment = {**os.environ, "LEADCRM_TEST_EXECUTABLE": str(executable)}
    done = subprocess.run(
        line, check=False, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
