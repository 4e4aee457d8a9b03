"""Commands that are told to end, or whose database goes away, in the middle: no half file stands under any name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.crm import keep, submission
from tests.support.rows import Rows
from tests.support.server import clean_environment, command
from tests.support.waiting import wait_until

LEADS = [submission(json.dumps({"description": "x" * 20_000}).encode()) for _ in range(600)]

EARLY_BYTES = 9_000_000
"""Of the twelve megabytes that each command writes."""

ENDED_BY = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}


class Paused:
    """A command, stopped in its tracks in the middle of the file that it writes."""

    def __init__(self, folder: Path, database: str, *words: str) -> None:
        self._folder = folder
        self._line = [*command(), *words]
        self._environment = {
            **clean_environment(folder),
            "DATABASE_URL": database,
            "DATA_DIR": str(folder.parent / "data"),
        }
        self._before = {path: path.read_bytes() for path in folder.iterdir()}
        self._process: subprocess.Popen[str]
        while not self._stops_early():
            self._process.kill()
            self._process.communicate()
            for path in folder.iterdir():
                path.unlink()
            for path, content in self._before.items():
                path.write_bytes(content)

    def _stops_early(self) -> bool:
        self._process = subprocess.Popen(
            self._line,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Under nohup it would be born deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - no other thread runs
        )
        while not self._written_bytes():
            assert self._process.poll() is None, self._process.communicate()
            time.sleep(0.001)
        process = psutil.Process(self._process.pid)
        process.suspend()
        wait_until(lambda: process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
        return process.status() == psutil.STATUS_STOPPED and 0 < self._written_bytes() < EARLY_BYTES

    def _written_bytes(self) -> int:
        """Return how long the file is that has yet to get its name."""
        with suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in self._folder.glob(".*.part"))
        return 0

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, let it go on, and return its exit status and what it says on stderr."""
        if number is not None:
            self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        _, told = self._process.communicate(timeout=30)
        return self._process.returncode, told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which a command writes."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An embedded database of some twelve megabytes."""
    database = f"sqlite:///{tmp_path_factory.mktemp('database') / 'leads.sqlite3'}"
    keep(database, LEADS)
    return database


@pytest.mark.parametrize("number", ENDED_BY, ids=lambda number: number.name)
def test_an_export_that_is_told_to_end_leaves_the_file_from_before(
    embedded: str, folder: Path, number: signal.Signals
) -> None:
    (folder / "out.csv").write_text("from before")
    export = Paused(folder, embedded, "export", "--format", "csv", "--output", "out.csv")
    status, told = export.end(number)
    assert (status, told) == (ENDED_BY[number], "")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("out.csv", "from before")]


def test_an_export_whose_database_goes_away_leaves_the_file_from_before(whole_database: str, folder: Path) -> None:
    keep(whole_database, LEADS)
    (folder / "out.csv").write_text("from before")
    export = Paused(folder, whole_database, "export", "--format", "csv", "--output", "out.csv")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    assert Rows(whole_database).select(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    status, told = export.end()
    assert (status, len(told.splitlines())) == (1, 1), told
    assert told.startswith("leadcrm: ")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("out.csv", "from before")]


@pytest.mark.parametrize("number", ENDED_BY, ids=lambda number: number.name)
def test_a_backup_that_is_told_to_end_leaves_nothing(embedded: str, folder: Path, number: signal.Signals) -> None:
    backup = Paused(folder, embedded, "backup", "out.db")
    status, told = backup.end(number)
    assert (status, told) == (ENDED_BY[number], "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [("export", "--format", "csv", "--output", "new.csv"), ("backup", "out.db")])
def test_a_file_that_there_is_no_room_for_leaves_nothing(embedded: str, folder: Path, words: tuple[str, ...]) -> None:
    environment = {**clean_environment(folder), "DATABASE_URL": embedded, "DATA_DIR": str(folder.parent / "data")}
    # A megabyte at most, in blocks of half a kilobyte.
    line = ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh", *command(), *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert done.stderr.startswith("leadcrm: ")
    assert list(folder.iterdir()) == []


def test_an_interrupt_while_a_command_is_imported_is_not_lost(tmp_path: Path) -> None:
    """Python drops what is raised in a callback, as when it gives up an import's lock."""
    script = """
import os, runpy, signal, sys, weakref

class Finder:
    def find_spec(self, name, *_):
        if name in ("leadcrm.cli", "leadcrm.cli.prune"):
            lock = Finder()
            seen = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.SIGINT))
            del lock

sys.meta_path.insert(0, Finder())
sys.argv = ["leadcrm", "prune", "--older-than", "400d", "--dry-run"]
runpy.run_module("leadcrm", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")
