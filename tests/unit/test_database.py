"""Opening connections: imports, interrupts and errors of the driver."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest

from leadcrm.database import sqlite
from leadcrm.database.connections import open_connection
from leadcrm.database.postgres import PostgresConnection
from tests.support.crm import url_of


def test_ponys_providers_are_imported_before_two_threads_can_bind_at_once() -> None:
    """Two threads bind at the start. With Pony's late import one of them found a half-imported module."""
    script = (
        "import sys, leadcrm.database.sessions; "
        "print(all(f'pony.orm.dbproviders.{name}' in sys.modules for name in ('sqlite', 'postgres')))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "True"


def test_an_interrupted_statement_closes_its_connection(whole_database: str) -> None:
    """On an open connection a ROLLBACK would fail, because the query is under way, and hide the interrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with closing(open_connection(url_of(whole_database), timeout_s=30)) as connection:
            assert isinstance(connection, PostgresConnection)
            started = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt), connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(10)")
            assert time.monotonic() - started < 5
            assert connection.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_statement_that_cannot_be_sent_leaves_its_connection_open(whole_database: str) -> None:
    with closing(open_connection(url_of(whole_database), timeout_s=30)) as connection:
        assert isinstance(connection, PostgresConnection)
        with connection.cursor() as cursor:
            with pytest.raises(ValueError, match="NUL"):
                cursor.execute("SELECT %s", ("\0",))
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]


def test_a_log_that_grew_beside_a_long_read_gives_the_disk_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SQLITE_LOG_BYTES", 1_000_000)
    path = tmp_path / "leads.db"
    with (
        closing(sqlite.open_sqlite(path, busy_timeout_s=5, create=True)) as writer,
        closing(sqlite.open_sqlite(path, busy_timeout_s=5)) as reader,
    ):
        writer.execute("CREATE TABLE t (body BLOB)")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        for _ in range(40):
            writer.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        log = tmp_path / "leads.db-wal"
        assert log.stat().st_size > 40_000_000
        reader.execute("COMMIT")
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        writer.execute("INSERT INTO t VALUES (1)")
        assert log.stat().st_size <= 1_000_000
