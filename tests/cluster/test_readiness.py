"""What /ready says of the database: the view of the whole node, by commits that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.server import Server
from tests.support.waiting import wait_until

ASKED = 20
"""Enough that both workers answer."""


@pytest.fixture
def server(start_server: StartServer, pair: Pair) -> Iterator[Server]:
    url = pair.primary.create_database()
    yield start_server(pair.url(url, pair.primary, pair.standby), environment={"WORKERS": "2"})
    pair.wait_for_standbys("")


def answers(server: Server) -> set[tuple[Any, ...]]:
    """Ask many times; return what differs."""
    told = [server.client.get("/ready").json() for _ in range(ASKED)]
    return {(one["database"], one["host"], one["replication"], one["fault"]) for one in told}


def test_every_worker_tells_the_host_and_who_confirms_its_commits(server: Server, pair: Pair) -> None:
    host = f"127.0.0.1:{pair.primary.port}"
    wait_until(lambda: answers(server) == {("up", host, "asynchronous", None)})
    pair.wait_for_standbys("*")
    wait_until(lambda: answers(server) == {("up", host, "synchronous", None)})
    assert server.client.metric("leadcrm_database_info", host=host, replication="synchronous") == 1
    assert server.client.metric("leadcrm_reconnects_total") == 0


def test_an_idle_node_notices_that_no_commit_ends(server: Server, pair: Pair) -> None:
    wait_until(lambda: server.client.get("/ready?database").status == 200)
    pair.wait_for_standbys("nobody")
    waits_for = f"the database is away: commits on 127.0.0.1:{pair.primary.port} wait for a synchronous standby"
    wait_until(lambda: answers(server) == {("down", None, None, waits_for)}, timeout_s=20)
    assert server.client.get("/ready").status == 200
    answer = server.client.get("/ready?database")
    assert (answer.status, answer.json()["ok"]) == (503, False)
    probes = pair.primary.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    assert probes == [(1,)]
    pair.wait_for_standbys("*")
    wait_until(lambda: server.client.get("/ready?database").status == 200)
    wait_until(lambda: server.client.metric("leadcrm_workers_with_database") == 2)
    wait_until(lambda: server.client.metric("leadcrm_reconnects_total") >= 2)
