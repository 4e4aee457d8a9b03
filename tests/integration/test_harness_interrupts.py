"""An interrupted run of the tests says that it was interrupted, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.server import REPOSITORY

INTERRUPTED = """\
import pytest

@pytest.fixture
def part(tmp_path):
    raise KeyboardInterrupt

def test_one(part):
    pass
"""


def test_an_interrupted_set_up_ends_the_run_as_an_interruption(tmp_path: Path) -> None:
    (tmp_path / "test_part.py").write_text(INTERRUPTED, encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "/dev/null"]
    line = [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_part.py")]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "KeyError" not in done.stdout + done.stderr
