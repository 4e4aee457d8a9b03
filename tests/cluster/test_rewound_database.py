"""A server takes over without the last commits of the one before, as after a restore: nodes tell, and go on well."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from tests.cluster.conftest import Pair
from tests.cluster.test_standby_reads import start_node
from tests.conftest import StartServer
from tests.support.waiting import wait_until


@pytest.fixture
def database(pair: Pair) -> Iterator[str]:
    url = pair.primary.create_database()
    yield url
    pair.primary.drop_database(url)


def lose_the_end(pair: Pair) -> None:
    """Let the standby take over, which has been away for a while, and give it a standby of its own."""
    pair.primary.kill9()
    pair.standby.start()
    pair.standby.promote()
    pair.primary, pair.standby = pair.standby, pair.primary
    pair.standby.follow(pair.primary)


def test_a_node_tells_that_confirmed_leads_are_missing_and_reads_from_the_new_standby(
    start_server: StartServer, pair: Pair, database: str
) -> None:
    node = start_node(start_server, pair, database, max_lag_s=60)
    kept = str(node.server.client.post_lead({"email": "kept@example.com"}).json()["lead_id"])
    wait_until(lambda: node.assigned(kept) is None and node.reads_at() == ("standby", None))
    ((sent,),) = pair.primary.execute("SELECT pg_current_wal_lsn()")
    wait_until(lambda: pair.standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", sent) == [(True,)])
    pair.standby.stop()
    # The new log takes long to come this far.
    pair.primary.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 32000000))")
    lost = str(node.server.client.post_lead({"email": "lost@example.com"}).json()["lead_id"])
    assert node.crm.ask("PATCH", f"/api/leads/{kept}", {"assignedTo": "kim"}).status == 200
    lose_the_end(pair)

    def ready() -> Any:
        return node.server.client.get("/ready").json()

    # The node may not have noticed yet that its server was killed.
    wait_until(lambda: "the database lacks what it had confirmed by 20" in (ready()["fault"] or ""))
    wait_until(lambda: ready()["database"] == "up")
    fault = ready()["fault"]
    records = [record for record in node.server.log_records() if record["msg"] in fault]
    assert [record.get("lead_id") for record in records] == [lost]
    assert node.crm.ask("GET", f"/api/leads/{lost}").status == 404
    assert node.assigned(kept) is None

    wait_until(lambda: node.reads_at()[0] == "standby")
    began_at, (standby, _) = monotonic(), node.reads()
    wait_until(lambda: node.assigned(kept) is None and node.reads()[0] > standby)
    assert monotonic() - began_at < 5
    assert node.server.client.post_lead({"email": "lost@example.com"}).status == 201
