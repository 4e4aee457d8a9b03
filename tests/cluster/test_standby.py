"""Synchronous replication whose standby is away: no lead is acknowledged that only the primary has."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg2
import pytest

from tests.conftest import StartServer
from tests.support.client import Answer
from tests.support.command import leadcrm
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

WAITING = "wait_event = 'SyncRep'"

WORKERS = 2

SET_NUMBERS_BACK = "SET synchronous_commit TO local; SELECT setval('leads_feed_seq_seq', 1)"

TRIAL_S = 8.0
"""Enough for six attempts of each worker to reach the database."""


def set_standby(cluster: PostgresCluster, name: str) -> None:
    """Have commits wait for the standby of this name; there is none, so they wait for ever. Empty: for none."""
    cluster.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    cluster.execute("SELECT pg_reload_conf()")
    wait_until(lambda: cluster.execute("SHOW synchronous_standby_names") == [(name,)])
    if name:
        # Commits wait from the moment on at which the checkpointer, too, has read the setting.
        wait_until(lambda: commit_waits(cluster))


def commit_waits(cluster: PostgresCluster) -> bool:
    """Commit something, and say whether that waits for a standby; if so, end it."""
    waits = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {WAITING} AND query LIKE '%of the test%'"

    def commit() -> None:
        with suppress(psycopg2.Error):
            cluster.execute("SELECT pg_logical_emit_message(true, 'of the test', '')")

    ended: list[Any] = []
    thread = threading.Thread(target=commit)
    thread.start()
    wait_until(lambda: ended.extend(cluster.execute(waits)) or ended or not thread.is_alive())
    thread.join()
    return bool(ended)


def end_waits(cluster: PostgresCluster, function: str) -> int:
    """Cancel or terminate the backends that wait for the standby, as impatient operators do; return how many."""
    return len(cluster.execute(f"SELECT {function}(pid) FROM pg_stat_activity WHERE {WAITING}"))


def waiting(cluster: PostgresCluster) -> int:
    return int(cluster.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {WAITING}")[0][0])


@pytest.fixture
def server(start_server: StartServer, own_postgres: PostgresCluster) -> Iterator[Server]:
    server = start_server(own_postgres.create_database(), environment={"WORKERS": str(WORKERS)})
    wait_until(lambda: server.client.get("/ready").json()["database"] == "up")
    set_standby(own_postgres, "nobody")
    yield server
    set_standby(own_postgres, "")


def test_a_cancelled_wait_for_the_standby_acknowledges_nothing(server: Server, own_postgres: PostgresCluster) -> None:
    """PostgreSQL then answers success with a warning."""
    answers: list[Answer] = []
    sender = threading.Thread(target=lambda: answers.append(server.client.post_lead({"email": "a@example.com"})))
    sender.start()
    wait_until(lambda: end_waits(own_postgres, "pg_cancel_backend"))
    sender.join()
    assert answers[0].receipt is not None
    assert answers[0].receipt.stored == "spool"
    set_standby(own_postgres, "")
    server.wait_drained()


def test_a_row_that_no_standby_has_stays_in_the_spool(server: Server, own_postgres: PostgresCluster) -> None:
    """Once its wait has ended in vain, everybody sees the row, so that the drain finds it in the database."""
    answer = server.client.post_lead({"email": "a@example.com"})
    assert answer.receipt is not None
    assert answer.receipt.stored == "spool"
    assert server.terminate() == 0
    wait_until(lambda: waiting(own_postgres) > 0)
    rows = Rows(server.environment["DATABASE_URL"])
    while not rows.leads():
        end_waits(own_postgres, "pg_terminate_backend")
    drain = leadcrm(server.directory, "spool", "drain", **server.environment)
    assert drain.returncode == 1
    assert spooled(server) == 1
    set_standby(own_postgres, "")
    drain = leadcrm(server.directory, "spool", "drain", **server.environment)
    assert drain.returncode == 0, drain.stderr
    assert spooled(server) == 0
    assert len(rows.leads()) == 1


def test_without_its_standby_the_server_holds_few_connections(server: Server, own_postgres: PostgresCluster) -> None:
    """A backend that waits for a standby notices neither a timeout nor that its client has gone."""
    most = 0
    rows = 0
    ends_at = monotonic() + TRIAL_S
    while monotonic() < ends_at:
        answer = server.client.post_lead({"email": "a@example.com"})
        assert answer.receipt is not None
        assert answer.receipt.stored == "spool"
        rows += 1
        most = max(most, waiting(own_postgres))
        if most > WORKERS:
            # As they are ten seconds later: the next attempt raises them.
            own_postgres.execute(SET_NUMBERS_BACK, url=server.environment["DATABASE_URL"])
    # Each worker's batch, and one proof for the whole node.
    assert most <= WORKERS + 1
    set_standby(own_postgres, "")
    server.wait_drained()
    assert len(Rows(server.environment["DATABASE_URL"]).leads()) == rows


def spooled(server: Server) -> int:
    status = leadcrm(server.directory, "spool", "status", "--json", **server.environment)
    return int(json.loads(status.stdout)["rows"])
