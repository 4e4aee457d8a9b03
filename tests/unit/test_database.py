"""Opening connections: imports, interrupts and errors of the driver."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Timer
from time import monotonic
from types import FrameType
from typing import Any

import psycopg2
import pytest
from pony.orm import select

from leadcrm.cli import main
from leadcrm.database import sessions, sqlite
from leadcrm.database.connections import Connection, open_connection
from leadcrm.database.data_dir import hold
from leadcrm.database.postgres import PostgresConnection, deadline
from leadcrm.database.sessions import bind, session
from leadcrm.database.sqlite import busy_timeout, open_sqlite
from leadcrm.errors import StoreUnavailable
from tests.support.crm import keep, submission, url_of
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until


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


@pytest.mark.parametrize(("interrupt", "closes"), [(KeyboardInterrupt, False), (SystemExit, True)])
def test_an_interrupt_within_a_commit_is_not_taken_for_the_commits_failure(
    interrupt: type[BaseException], closes: bool, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's driver returns first; PostgreSQL's closes the connection, over which Pony then fails to roll back."""
    keep(database, [])
    entities = bind(url_of(database))
    provider = entities.database.provider
    commit = provider.commit

    def commit_interrupted(connection: Any, *arguments: object) -> None:
        commit(connection, *arguments)
        if closes:
            connection.close()
        raise interrupt

    monkeypatch.setattr(provider, "commit", commit_interrupted)
    with pytest.raises(interrupt), session(entities, writes=True):
        entities.database.get_connection()
    monkeypatch.undo()
    with session(entities, writes=True):
        assert not select(lead for lead in entities.lead).exists()
    entities.database.disconnect()


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


@pytest.mark.parametrize(("outer_s", "inner_s"), [(0.3, 30), (30, 0.3)])
def test_the_shorter_of_two_deadlines_counts_and_the_outer_one_counts_again(
    whole_database: str, outer_s: float, inner_s: float
) -> None:
    def wait_in_vain(connection: Connection) -> None:
        assert isinstance(connection, PostgresConnection)
        with pytest.raises(psycopg2.OperationalError, match="deadline"), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")

    first, second = (open_connection(url_of(whole_database), timeout_s=30) for _ in range(2))
    started = time.monotonic()
    with closing(first), closing(second), deadline(outer_s):
        with deadline(inner_s):
            wait_in_vain(first)
        if outer_s < inner_s:
            wait_in_vain(second)
    assert time.monotonic() - started < 10


def test_every_host_of_the_url_is_tried_though_the_name_of_one_is_gone(whole_database: str) -> None:
    before, _, address = whole_database.rpartition("@")
    host, _, database = address.partition("/")
    port = host.rpartition(":")[2]
    for hosts in (f"gone.invalid:{port},{host}", f"{host},gone.invalid:{port}", f"127.0.0.1:9,{host}"):
        open_connection(url_of(f"{before}@{hosts}/{database}"), timeout_s=5).close()


def test_the_server_and_the_kernel_give_up_what_we_give_up(whole_database: str) -> None:
    url = url_of(f"{whole_database}?connect_timeout=2")
    with closing(open_connection(url, timeout_s=3)) as connection:
        assert isinstance(connection, PostgresConnection)
        with connection.cursor() as cursor:
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute(f"SHOW {setting}")
                assert cursor.fetchall() == [("3s",)], setting
        assert connection.info.dsn_parameters["tcp_user_timeout"] == "3000"


def test_a_session_of_the_crm_gives_a_hung_database_up(
    own_postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(own_postgres.url, [])
    monkeypatch.setattr(sessions, "READ_TIMEOUT_S", 0.3)
    entities = bind(url_of(own_postgres.url))
    with own_postgres.frozen(), pytest.raises(StoreUnavailable), session(entities):
        select(row for row in entities.raw_lead).count()
    with session(entities):
        assert select(row for row in entities.raw_lead).count() == 0
    entities.database.disconnect()


@pytest.mark.parametrize(
    "words", [("verify",), ("person", "--email=anna@example.com"), ("prune", "--older-than=1d", "--dry-run")]
)
def test_a_command_that_goes_through_whole_tables_waits_longer_for_a_statement_than_the_crm_does(
    whole_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    keep(whole_database, [])
    monkeypatch.setattr(sessions, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("leadcrm.cli._end_orderly", lambda: None)  # no signal can be handled in a thread
    monkeypatch.setenv("DATABASE_URL", whole_database)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    rows = Rows(whole_database)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query_start < now() - interval '0.6 s'"
    with closing(psycopg2.connect(whole_database)) as holding, ThreadPoolExecutor() as thread:
        holding.cursor().execute("LOCK TABLE leads_raw IN ACCESS EXCLUSIVE MODE")
        done = thread.submit(main, words)
        wait_until(lambda: done.done() or rows.select(waiting))
        holding.rollback()
        assert done.result() == 0


def test_statements_that_name_rows_are_forgotten(database: str) -> None:
    keep(database, [])
    entities, most = bind(url_of(database)), sessions.MOST_STATEMENTS
    tracemalloc.start()
    for number in range(4 * most):
        if number == most:
            begun, _ = tracemalloc.get_traced_memory()
        with session(entities):
            assert entities.database.select(f"{number} WHERE {number} IN ({number}{f', {number}' * 1000})") == [number]
    ended, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    entities.database.disconnect()
    # Each has some 5,000 characters. What other tests have left in the process's cache decides when it was last
    # emptied, so there may be `most` more at the end, of three times as many.
    assert ended - begun < 2 * most * 5_000


def test_no_command_waits_longer_for_the_lock_of_sqlite_than_the_crm_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'leads.db'}"
    keep(url, [])
    monkeypatch.setattr(sessions, "READ_TIMEOUT_S", 0.3)
    entities = bind(url_of(url), timeout_s=10)
    with closing(sqlite3.connect(tmp_path / "leads.db", isolation_level=None)) as holding:
        holding.execute("BEGIN IMMEDIATE")
        started = monotonic()
        with pytest.raises(StoreUnavailable, match="locked"), session(entities, writes=True):
            pass
        assert monotonic() - started < 5
    entities.database.disconnect()


def test_a_busy_timeout_is_restored_after_an_error_too(tmp_path: Path) -> None:
    url = url_of(f"sqlite:///{tmp_path / 'leads.db'}")
    with closing(open_connection(url, timeout_s=5, create=True)) as connection:
        assert isinstance(connection, sqlite3.Connection)
        with suppress(ValueError), busy_timeout(connection, 7):
            assert connection.execute("PRAGMA busy_timeout").fetchall() == [(7,)]
            raise ValueError
        assert connection.execute("PRAGMA busy_timeout").fetchall() == [(5000,)]


@pytest.mark.parametrize("shared", ["both", "the data folder", "the database's folder", "none"])
def test_a_lock_is_free_only_if_no_other_uses_the_data_folder_or_the_database(tmp_path: Path, shared: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        for name in ("data", "database"):
            (folder / name).mkdir(parents=True)
    data = (ours if shared in ("both", "the data folder") else theirs) / "data"
    database = (ours if shared in ("both", "the database's folder") else theirs) / "database" / "leads.db"
    with hold(ours / "data", ours / "database" / "leads.db") as served, hold(data, database) as served_too:
        assert (served, served_too) == (True, True)
    with (
        hold(ours / "data", ours / "database" / "leads.db") as served,
        hold(data, database, exclusively=True) as is_free,
    ):
        assert (served, is_free) == (True, shared == "none")


def test_a_new_file_is_opened_while_others_give_it_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leads.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        # What SQLite answers to whoever would wait for each other, without a wait.
        other.execute("BEGIN EXCLUSIVE")
        timer = Timer(0.2, other.execute, ("COMMIT",))
        timer.start()
        open_sqlite(path, busy_timeout_s=0).close()
        timer.join()
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite, "SWITCH_S", 0.1)
        with pytest.raises(StoreUnavailable, match="locked"):
            open_sqlite(path, busy_timeout_s=0)


def test_a_new_file_is_not_for_every_user(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with closing(open_sqlite(tmp_path / "leads.db", busy_timeout_s=1, create=True)) as connection:
            connection.execute("CREATE TABLE t (c)")
            modes = {path.name: path.stat().st_mode & 0o007 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"leads.db": 0, "leads.db-wal": 0, "leads.db-shm": 0}


def test_a_commit_that_the_end_of_the_server_cuts_off_is_unavailable(own_postgres: PostgresCluster) -> None:
    """The rollback after it fails, too."""
    database = own_postgres.url
    keep(database, [submission(b"{}", key="k")])
    entities = bind(url_of(database))
    own_postgres.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    own_postgres.execute("SELECT pg_reload_conf()")
    waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    def commit() -> None:
        with session(entities, writes=True):
            entities.raw_lead.get().error = "seen"

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(commit)
        wait_until(lambda: own_postgres.execute(waits))
        own_postgres.kill9()
        with pytest.raises(StoreUnavailable):
            done.result()
