"""On CI a skip fails the run unless it is listed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.server import REPOSITORY

ONE_SKIPPED = "import pytest\n\ndef test_one():\n    pytest.skip('no time')\n\ndef test_two():\n    pass\n"
RUN = """\
import sys, pytest
from tests.support.skips import SkipGuard
options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", sys.argv[1]]
sys.exit(pytest.main(options, [SkipGuard(sys.argv[2:])]))
"""


def run_guarded(directory: Path, *allowed: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_skips.py").write_text(ONE_SKIPPED, encoding="utf-8")
    line = [sys.executable, "-c", RUN, str(directory / "test_skips.py"), *allowed]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_skip_that_is_not_listed_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run_guarded(tmp_path, "*::test_two")
    assert done.returncode == 1
    assert "not listed in tests/allowed_skips.txt" in done.stdout
    assert "::test_one" in done.stdout


def test_a_listed_skip_passes(tmp_path: Path) -> None:
    assert run_guarded(tmp_path, "*::test_one").returncode == 0
