"""The command line in a separate process and folder, as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.forks import TIMEOUT_S, Forks

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
READ_AT_A_START = ("LANG", "LC_", "LD_", "MALLOC_", "PYTHON")
"""What begins with these works on the start of Python itself."""

_forks = Forks(ENVIRONMENT)


def leadcrm(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a minimal environment and return its output as text."""
    return run_from_source(directory, arguments, {**ENVIRONMENT, **environment})


def run_from_source(
    directory: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command with just these variables and return its output as text."""
    given = {name: value for name, value in environment.items() if name.startswith(READ_AT_A_START)}
    if given in ({"PYTHONPATH": str(ROOT)}, {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}):
        return _forks.run(directory, arguments, environment)
    return run_line([sys.executable, "-m", "leadcrm", *arguments], directory, environment)


def run_line(line: Sequence[str], directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        line, cwd=directory, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
