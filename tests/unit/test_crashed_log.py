"""A database that was overwritten beside the log that a killed process left: it is noticed before it is opened."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.crashed_log import keep_log_of_overwritten
from leadcrm.database.migrations import migrate
from leadcrm.database.overwritten import describe_overwriting, overwritten_files
from leadcrm.database.sessions import bind
from leadcrm.ingest.driving import block
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.store.sqlite import SqliteStore
from leadcrm.ingest.submission import Submission
from tests.support.crm import submission, url_of
from tests.support.rows import Rows
from tests.support.server import REPOSITORY
from tests.support.writers import spool_in

READER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM leads_raw").fetchone()
print("open", flush=True)
sys.stdin.read()
os._exit(0)
"""
"""It ends as a killed process does, without a checkpoint."""

TWO_THREADS = """
import sys, threading
from pathlib import Path
from leadcrm.database.crashed_log import keep_log_of_overwritten
from leadcrm.database.sessions import bind, session
from leadcrm.database.sqlite import open_sqlite
from tests.support.crm import url_of

path = Path(sys.argv[1])
looking, connected = threading.Event(), threading.Event()

def pause(event, arguments):
    if event == "open" and arguments[0] == str(path) and threading.current_thread() is looker:
        looking.set()
        connected.wait(0.5)

def open_directly():
    return open_sqlite(path, busy_timeout_s=5)

def open_by_pony():
    with session(entities):
        entities.lead.select().count()

looker = threading.Thread(target=keep_log_of_overwritten, args=(path,))
entities = bind(url_of(f"sqlite:///{path}"))
entities.database.disconnect()
print("ready", flush=True)
sys.stdin.readline()
sys.addaudithook(pause)
looker.start()
assert looking.wait(10)
connection = {"directly": open_directly, "by pony": open_by_pony}[sys.argv[2]]()
connected.set()
looker.join()
print("open", flush=True)
sys.stdin.readline()
"""
"""While one thread looks at the log, between opening the file and closing it, another opens a connection."""


@contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process of its own, which ends with its input."""
    line = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        yield process
    finally:
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


class Killed:
    """The files of a store as a kill left them, and what was known before.

    Attributes:
        path: The database.
        count: The number of its rows.
        last: The rows that only the log holds.
        backups: By kind, what somebody copies over it.
    """

    def __init__(self, folder: Path, *, begins_anew: bool) -> None:
        self.path = folder / "leads.db"
        url = url_of(f"sqlite:///{self.path}")
        migrate(url)
        connection = open_connection(url, timeout_s=5)
        assert isinstance(connection, sqlite3.Connection)
        with closing(SqliteStore(connection, self.path, min_free_bytes=0)) as store:
            self.count = 0
            self._write(store, 100)
            store.files.checkpoint()
            connection.execute("VACUUM INTO ?", (str(folder / "backup.db"),))
            self.backups = {
                "copy": self.path.read_bytes(),
                "backup": (folder / "backup.db").read_bytes(),
                "empty": b"",
            }
            self._write(store, 100)
            store.files.checkpoint()
            self.last = self._write(store, 20 if begins_anew else 0)
            self._files = {suffix: Path(f"{self.path}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}

    def left_in(self, folder: Path) -> Path:
        """Write the files into a folder and return the path of the database."""
        path = folder / "leads.db"
        for suffix, content in self._files.items():
            Path(f"{path}{suffix}").write_bytes(content)
        return path

    def _write(self, store: SqliteStore, count: int) -> list[Submission]:
        rows = [submission(b"{}", key=f"{self.count + number}") for number in range(count)]
        self.count += count
        for start in range(0, count, 5):
            block(store.write(rows[start : start + 5]))
        return rows


@pytest.fixture(scope="module", params=[True, False], ids=["log begun anew", "all pages moved"])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return Killed(tmp_path_factory.mktemp("live"), begins_anew=request.param)


@pytest.mark.parametrize("what", ["copy", "backup", "empty"])
def test_what_the_log_holds_is_kept_and_the_file_opens_as_it_is(killed: Killed, tmp_path: Path, what: str) -> None:
    path = killed.left_in(tmp_path)
    path.write_bytes(killed.backups[what])
    migrate(url_of(f"sqlite:///{path}"))
    assert len(overwritten_files(path)) == 1
    assert "compare the leads with what their senders know" in (describe_overwriting(path) or "")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (rows,) = connection.execute("SELECT count(*) FROM leads_raw").fetchone()
    assert rows == (0 if what == "empty" else 100)
    with closing(spool_in(tmp_path / "spool")) as spool:
        salvage_all(spool, path)
    spooled = {row["id"] for row in Rows(f"sqlite:///{tmp_path / 'spool' / 'spool.db'}").raw()}
    assert {row.id for row in killed.last} <= spooled
    assert len(spooled) >= 100


@pytest.mark.parametrize("what", ["backup", "empty"])
def test_the_index_need_not_be_there(killed: Killed, tmp_path: Path, what: str) -> None:
    """After a power cut, or on another machine."""
    path = killed.left_in(tmp_path)
    Path(f"{path}-shm").unlink()
    path.write_bytes(killed.backups[what])
    migrate(url_of(f"sqlite:///{path}"))
    assert len(overwritten_files(path)) == 1


@pytest.mark.parametrize("lost", [[], ["-shm"], ["-wal"], ["-wal", "-shm"]], ids=str)
def test_what_was_not_overwritten_is_opened_as_ever(killed: Killed, tmp_path: Path, lost: list[str]) -> None:
    path = killed.left_in(tmp_path)
    for suffix in lost:
        Path(f"{path}{suffix}").unlink()
    bind(url_of(f"sqlite:///{path}")).database.disconnect()
    assert overwritten_files(path) == []
    rows = len(Rows(f"sqlite:///{path}").raw())
    assert rows == (killed.count - len(killed.last) if "-wal" in lost else killed.count)


def test_a_log_that_another_process_uses_is_left_to_it(killed: Killed, tmp_path: Path) -> None:
    path = killed.left_in(tmp_path)
    with running(READER, path) as other:
        assert read_line(other) == "open"
        path.write_bytes(killed.backups["backup"])
        keep_log_of_overwritten(path)
        assert overwritten_files(path) == []
    keep_log_of_overwritten(path)
    assert len(overwritten_files(path)) == 1


@pytest.mark.parametrize("killed", [True], ids=["log begun anew"], indirect=True)
@pytest.mark.parametrize("how", ["directly", "by pony"])
def test_a_look_takes_no_locks_from_a_connection_that_another_thread_opens(
    killed: Killed, tmp_path: Path, how: str
) -> None:
    path = killed.left_in(tmp_path)
    with running(READER, path) as reader:
        assert read_line(reader) == "open"
        with running(TWO_THREADS, path, how) as server:
            assert read_line(server) == "ready"
            reader.communicate()
            say(server)
            assert read_line(server) == "open"
            # Another process opens the file and closes it. Without the server's locks it would be the last one.
            with closing(sqlite3.connect(path)) as other:
                other.execute("SELECT count(*) FROM leads_raw").fetchone()
            assert Path(f"{path}-wal").exists()
            say(server)
