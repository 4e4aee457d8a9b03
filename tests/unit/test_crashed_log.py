"""A database that was overwritten beside the log that a killed process left: it is noticed before it is opened."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
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
    other = subprocess.Popen([sys.executable, "-c", READER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        path.write_bytes(killed.backups["backup"])
        keep_log_of_overwritten(path)
        assert overwritten_files(path) == []
    finally:
        other.communicate()
    keep_log_of_overwritten(path)
    assert len(overwritten_files(path)) == 1
