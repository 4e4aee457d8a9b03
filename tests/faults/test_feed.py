"""Readers of the feed while leadcrm is killed -9 and its database goes away miss no lead and get none twice."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from tests.conftest import StartServer
from tests.faults.trial import Trial
from tests.support.crm_client import ENVIRONMENT
from tests.support.feed_readers import FeedReader, Listener, Poller
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

KILLS = 2
SETTINGS = {**ENVIRONMENT, "WORKERS": "2"}
CONNECTIONS = 32
PAUSE_S = 0.02


def kill_at_a_random_moment(server: Server) -> None:
    time.sleep(random.uniform(0, 0.3))  # the random moment is the point: there is no condition to wait for
    server.kill9()
    server.start()


def has_all(reader: FeedReader, count: int) -> bool:
    return len(reader.created) >= count


def judge(readers: list[FeedReader], rows: Rows) -> None:
    """Each reader has each lead exactly once, in the same order, its numbers ascending."""
    ids = sorted(str(row["id"]) for row in rows.leads())
    for reader in readers:
        wait_until(partial(has_all, reader, len(ids)), what=f"{len(ids)} events")
        assert sorted(reader.created) == ids
        numbers = [event["seq"] for event in reader.events]
        assert numbers == sorted(set(numbers))
    assert readers[0].created == readers[1].created


@pytest.mark.timeout(120)
def test_readers_of_a_server_that_is_killed_get_every_lead_once(
    start_server: StartServer, database: str, rows: Rows, trial: Trial
) -> None:
    server = start_server(database, environment=SETTINGS)
    with Poller(server, 0) as poller, Listener(server, 0) as listener:
        with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S):
            for _ in range(KILLS):
                trial.wait_stored(300)
                kill_at_a_random_moment(server)
            trial.wait_stored()
        server.wait_drained()
        judge([poller, listener], rows)
    kind = "SQLite" if rows.is_sqlite else "PostgreSQL"
    trial.judge(f"leadcrm killed -9 {KILLS} times while its feed is read, {kind}", server, rows, killed=True)


@pytest.mark.timeout(120)
def test_readers_get_what_waited_in_the_spool_of_a_killed_server(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=SETTINGS)
    with Poller(server, 0) as poller, Listener(server, 0) as listener:
        with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S):
            for _ in range(KILLS):
                trial.wait_stored(100)
                own_postgres.stop("immediate")
                trial.wait_spooled(200)
                own_postgres.start()
                kill_at_a_random_moment(server)
        server.wait_drained()
        judge([poller, listener], Rows(url))
    trial.judge("leadcrm killed -9 while draining, its feed read", server, Rows(url), killed=True)
