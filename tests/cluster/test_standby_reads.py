"""The CRM's reads go to a standby where `DATABASE_READ_URL` names one, and back to the primary where it will not do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.server import Server
from tests.support.waiting import wait_until

MAX_LAG_S = 1
PROMOTED = "reads go to the primary: the standby is a primary now"


class Node:
    """A node that reads from the standby."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self.crm = Crm(server, url)

    def reads(self) -> tuple[float, float]:
        """Return how many readings the standby served, and how many the primary."""
        metric = self.server.client.metric
        return metric("leadcrm_reads_total", server="standby"), metric("leadcrm_reads_total", server="primary")

    def assigned(self, id: str, **headers: str) -> str | None:
        """Return who has a lead, as the node tells."""
        answer = self.crm.ask("GET", f"/api/leads/{id}", **headers)
        assert answer.status == 200, answer.body
        name: str | None = answer.json()["lead"]["assignedTo"]
        return name

    def reads_at(self) -> tuple[str, str | None]:
        """Return where reads go, as /ready says, and the fault."""
        told = self.server.client.get("/ready").json()
        return told["reads"], told["fault"]

    def wait_for_standby(self) -> None:
        wait_until(lambda: self.reads_at() == ("standby", None))


@contextmanager
def paused(pair: Pair) -> Iterator[None]:
    """Let the standby replay nothing for the duration of the block."""
    pair.standby.execute("SELECT pg_wal_replay_pause()")
    wait_until(lambda: pair.standby.execute("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    try:
        yield
    finally:
        pair.standby.execute("SELECT pg_wal_replay_resume()")


@pytest.fixture
def database(pair: Pair) -> Iterator[str]:
    url = pair.primary.create_database()
    yield url
    pair.primary.drop_database(url)


@pytest.fixture
def nodes(start_server: StartServer, pair: Pair, database: str) -> list[Node]:
    """Two nodes, one of two workers and one of one, whose standby may be a minute behind."""
    return [start_node(start_server, pair, database, max_lag_s=60, workers=workers) for workers in (2, 1)]


def start_node(start_server: StartServer, pair: Pair, database: str, *, max_lag_s: int, workers: int = 1) -> Node:
    # The primary as well: it will not do.
    standby = f"{pair.url(database, pair.primary, pair.standby)}?max_lag={max_lag_s}"
    environment = {**ENVIRONMENT, "WORKERS": str(workers), "DATABASE_READ_URL": standby}
    node = Node(start_server(pair.url(database, pair.primary, pair.standby), environment=environment), database)
    node.wait_for_standby()
    return node


def test_a_node_sees_what_came_through_it_and_another_what_the_client_saw(nodes: list[Node], pair: Pair) -> None:
    here, there = nodes
    id = str(here.server.client.post_lead({"email": "a@example.com"}).json()["lead_id"])
    # Whatever the standby has replayed, an id that was answered leads to its lead at every node.
    assert there.assigned(id) is None
    wait_until(lambda: there.crm.ids() == [id])
    for node in nodes:
        node.crm.ids()
    wait_until(lambda: here.reads()[0] > 0 and there.reads()[0] > 0)
    with paused(pair):
        by_standby, _ = there.reads()
        changed = here.crm.ask("PATCH", f"/api/leads/{id}", {"assignedTo": "anna"})
        assert here.assigned(id) == "anna"
        assert there.assigned(id) is None
        assert there.reads()[0] > by_standby
        cookie = changed.header("set-cookie").partition(";")[0]
        assert there.assigned(id, Cookie=cookie) == "anna"
        later = str(here.server.client.post_lead({"email": "b@example.com"}).json()["lead_id"])
        assert here.crm.ids() == [later, id]
        assert there.crm.ids() == [id]
        assert there.crm.ask("GET", f"/api/raw/{later}").status == 200
        exported = here.crm.ask("GET", "/api/leads/export?format=ndjson")
        assert exported.body.count(b"\n") == 2
        done = leadcrm(here.server.directory, "export", "--format", "ndjson", **here.server.environment)
        assert done.stdout.count("\n") == 2
        # Whoever reads the feed knows of the lead, too.
        events = there.crm.get("/api/feed")["events"]
        assert [event["leadId"] for event in events if event["type"] == "lead.created"] == [id, later]
        assert there.crm.ids() == [later, id]
    by_standby, _ = here.reads()
    wait_until(lambda: here.assigned(id) == "anna" and here.reads()[0] > by_standby)


def test_a_standby_that_lags_hangs_or_stops_is_not_read_from(
    start_server: StartServer, pair: Pair, database: str
) -> None:
    node = start_node(start_server, pair, database, max_lag_s=MAX_LAG_S)
    node.server.client.post_lead({"email": "a@example.com"})
    wait_until(lambda: len(node.crm.ids()) == 1 and node.reads()[0] > 0)
    with paused(pair):
        node.server.client.post_lead({"email": "b@example.com"})
        started = monotonic()
        while node.reads_at()[0] == "standby":
            node.server.client.post_lead({"email": "c@example.com"})
            assert monotonic() - started < MAX_LAG_S + 5
        assert "reads go to the primary: the standby is " in str(node.reads_at()[1])
        assert node.server.client.metric("leadcrm_standby_lag_seconds") >= MAX_LAG_S
        assert len(node.crm.ids()) > 1
    node.wait_for_standby()
    with pair.standby.frozen():
        started = monotonic()
        assert len(node.crm.ids()) > 1
        assert monotonic() - started < 3
        wait_until(lambda: node.reads_at()[0] == "primary")
        started = monotonic()
        assert len(node.crm.ids()) > 1
        assert monotonic() - started < 0.5
    node.wait_for_standby()
    pair.standby.stop("immediate")
    assert len(node.crm.ids()) > 1
    wait_until(lambda: f"127.0.0.1:{pair.standby.port} refuses connections" in str(node.reads_at()[1]))
    pair.standby.start()
    node.wait_for_standby()
    # Without a primary, what was replayed can be read, also beside others who wait for it.
    (*_, id) = node.crm.ids()
    with ThreadPoolExecutor(2) as pool, pair.primary.frozen():
        wait_until(lambda: node.server.client.get("/ready").json()["database"] == "down")
        waiting = [pool.submit(node.crm.ask, "PATCH", f"/api/leads/{id}", {"assignedTo": name}) for name in "ab"]
        started = monotonic()
        assert len(node.crm.ids()) > 1
        assert monotonic() - started < 1
        assert not any(change.done() for change in waiting)
        done = leadcrm(node.server.directory, "leads", "list", "--json", **node.server.environment)
        assert done.returncode == 0, done.stderr
    node.server.wait_drained()


def test_a_standby_that_was_promoted_is_not_read_from(start_server: StartServer, pair: Pair, database: str) -> None:
    promoted = f"{database}?target_session_attrs=any"
    server = start_server(database, environment={**ENVIRONMENT, "DATABASE_READ_URL": promoted})
    wait_until(lambda: server.client.get("/ready").json()["fault"] == PROMOTED)
    server.client.post_lead({"email": "a@example.com"})
    assert len(Crm(server, database).ids()) == 1
    done = leadcrm(server.directory, "check", **server.environment)
    assert "is a primary: reads go to DATABASE_URL" in done.stdout
