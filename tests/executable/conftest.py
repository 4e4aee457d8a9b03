"""The executable under test: the one in dist/ where it is newer than every source, else built for this session."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import REPOSITORY

BUILD_TIMEOUT_S = 300.0


def _newest_source() -> float:
    files = [REPOSITORY / "leadcrm.spec", REPOSITORY / "requirements.txt"]
    files += [file for file in (REPOSITORY / "leadcrm").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    return max(file.stat().st_mtime for file in files)


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the executable."""
    built = REPOSITORY / "dist" / "leadcrm"
    if built.exists() and built.stat().st_mtime > _newest_source():
        return built
    pytest.importorskip(
        "PyInstaller", reason="PyInstaller is not installed, and dist/leadcrm is older than its sources"
    )
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which the processes of a parallel run share
    built = folder / "leadcrm"
    with (folder / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            line = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR"]
            line += ["--distpath", str(folder), "--workpath", str(folder / "work"), "leadcrm.spec"]
            subprocess.run(line, cwd=REPOSITORY, check=True, timeout=BUILD_TIMEOUT_S)
    return built


@pytest.fixture(autouse=True)
def run_the_executable(executable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the harness start the executable instead of the sources."""
    monkeypatch.setenv("LEADCRM_TEST_EXECUTABLE", str(executable))
