"""A failing disk: each of the first writes and syncs fails in turn, in both stores, in the real process."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.faults.injection import Injection
from tests.faults.trial import Trial
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.service_manager import Manager
from tests.support.waiting import wait_until

FAILURES = 40
"""Successive calls that each fail once; a commit takes about four writes and one sync."""

START_FAILURES = 6
"""Calls during the start that each fail once; the start creates the files."""

ERRORS = (errno.EIO, errno.ENOSPC)
CALLS = ("write", "sync")


def fail_in_turn(injection: Injection, wait_kept: Callable[[int], None]) -> None:
    """Let each of the next calls fail once, with leads in between that `wait_kept` waits for."""
    for error in ERRORS:
        for call in CALLS:
            for _ in range(FAILURES // 4):
                injection.fail_next(call, error)
                wait_kept(3)


def test_each_write_and_sync_of_the_embedded_database_may_fail(
    start_server: StartServer, injection: Injection, trial: Trial
) -> None:
    server = start_server(environment=injection.environment)
    with trial.load(server, connections=4):
        trial.wait_stored()
        # Both stores are on this disk: what fails before the database is back fails in the spool, its only other place.
        fail_in_turn(injection, trial.wait_stored)
        trial.wait_stored()
    server.wait_drained()
    rows = Rows(f"sqlite:///{server.data_dir / 'leadcrm.db'}")
    trial.judge(f"{FAILURES} single EIO and ENOSPC under embedded SQLite", server, rows)
    assert_reported(server)


def test_each_write_and_sync_of_the_spool_may_fail(
    start_server: StartServer, own_postgres: PostgresCluster, injection: Injection, trial: Trial
) -> None:
    url = own_postgres.create_database()
    own_postgres.stop("immediate")
    server = start_server(url, environment=injection.environment)
    with trial.load(server, connections=4):
        trial.wait_spooled()
        fail_in_turn(injection, trial.wait_acknowledged)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    # Each failing sync of the spool gives a 503, since there is no other store.
    trial.judge(f"{FAILURES} single EIO and ENOSPC under the spool", server, Rows(url), least_kept_share=0.7)
    assert_reported(server)


@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_fails_while_the_server_starts_loses_nothing_and_stops_nobody(
    call: str, start_server: StartServer, own_postgres: PostgresCluster, injection: Injection, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=injection.environment)
    for number in range(1, START_FAILURES + 1):
        server.terminate()
        for path in server.data_dir.glob("spool*"):
            path.unlink()
        injection.fail(call, injection.count(call) + number, errno.EIO)
        server.start()
        with trial.load(server, connections=2):
            trial.wait_stored(10)
    own_postgres.stop("immediate")
    with trial.load(server, connections=2):
        trial.wait_spooled(50)
    own_postgres.start()
    server.wait_drained()
    trial.judge(f"one {call} of {START_FAILURES} starts failing", server, Rows(url))


@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_fails_for_good_is_answered_503_and_forgiven(
    call: str, start_server: StartServer, injection: Injection, trial: Trial
) -> None:
    server = start_server(environment=injection.environment)
    with trial.load(server, connections=4):
        trial.wait_stored()
        with injection.failing(call, errno.EIO):
            trial.wait_refused()
            wait_until(lambda: server.client.get("/health").status == 503, what="/health to turn 503")
        trial.wait_stored()
        wait_until(lambda: server.client.get("/health").status == 200, what="/health to recover")
    server.wait_drained()
    rows = Rows(f"sqlite:///{server.data_dir / 'leadcrm.db'}")
    trial.judge(f"every {call} failing with EIO, then none", server, rows, least_kept_share=0)
    assert_reported(server)


@pytest.mark.alone
def test_a_disk_that_hangs_is_answered_503_in_time_and_nobody_is_kept_waiting_for_it_afterwards(
    start_server: StartServer, injection: Injection, trial: Trial
) -> None:
    server = start_server(environment=injection.environment)
    with trial.load(server, connections=8):
        trial.wait_stored()
        with injection.stalling():
            # By then every lead that was queued before the disk came back has been refused.
            trial.wait_refused(24)
            wait_until(lambda: server.client.get("/health").status == 503, what="/health to turn 503")
        trial.wait_stored()
    server.wait_drained()
    rows = Rows(f"sqlite:///{server.data_dir / 'leadcrm.db'}")
    trial.judge("a disk that hangs for seconds under embedded SQLite", server, rows, least_kept_share=0)


@pytest.mark.alone
def test_a_hung_database_beside_a_locked_spool_is_answered_503_in_time(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment={"WORKERS": "2"})
    with trial.load(server, connections=8):
        trial.wait_stored()
        with closing(sqlite3.connect(server.data_dir / "spool.db", timeout=10, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            with own_postgres.frozen():
                trial.wait_refused(24)
        trial.wait_stored()
    server.wait_drained()
    trial.judge("PostgreSQL frozen and the spool locked", server, Rows(url), least_kept_share=0)


def assert_reported(server: Server) -> None:
    """Assert that the log names the failure, a few times rather than a thousand."""
    reports = [record for record in server.log_records() if record["level"] == "error"]
    assert any(os.strerror(errno.EIO).lower() in record["msg"].lower() or "disk" in record["msg"] for record in reports)
    assert len(reports) < 60


def test_a_disk_that_hangs_holds_a_stop_up_no_longer_than_its_timeout(
    start_server: StartServer, injection: Injection
) -> None:
    server = start_server(environment={**injection.environment, "SHUTDOWN_TIMEOUT": "2"})
    assert server.client.post_lead({}).status == 201
    with injection.stalling():
        assert server.client.post_lead({}).status == 503
        assert server.terminate(timeout_s=10) == 1
    assert "the last batch hangs" in server.log_text()


def test_the_watchdog_starves_while_the_disk_hangs_under_one_of_the_workers(
    start_server: StartServer, injection: Injection, tmp_path: Path
) -> None:
    # Fed whenever the supervisor looks, twice a second.
    with closing(Manager(tmp_path / "notify", watchdog_s=0.5)) as manager:
        server = start_server(environment={**injection.environment, **manager.environment, "WORKERS": "2"})
        manager.wait_told("WATCHDOG=1")
        with injection.stalling():
            # Its loop turns all the while, and the other worker has nothing to do.
            assert server.client.post_lead({}).status == 503
            wait_until(lambda: not manager.tells_within(1.5), timeout_s=20, what="the watchdog to starve")
        # Waiting for work is progress, however long it lasts.
        manager.wait_told("WATCHDOG=1")
        manager.wait_told("WATCHDOG=1")
