"""Several hosts in DATABASE_URL: the primary is found wherever it stands, also behind one that hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from time import monotonic

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.waiting import wait_until

CONNECT_TIMEOUT_S = 2.0


@pytest.fixture
def url(pair: Pair) -> Iterator[str]:
    """The URL of a database, with the standby as its first host."""
    database = pair.primary.create_database()
    yield pair.url(database, pair.standby, pair.primary)
    pair.primary.drop_database(database)


def seconds_of_crm(crm: Crm) -> float:
    """Read a lead and change it; return how long that took."""
    started = monotonic()
    (id,) = crm.ids()
    answer = crm.ask("PATCH", f"/api/leads/{id}", {"assignedTo": f"somebody-{started}"})
    assert answer.status == 200, answer.body
    return monotonic() - started


@pytest.mark.parametrize("hangs", [False, True], ids=["a standby", "a standby that hangs"])
def test_behind_another_host_the_primary_serves_leads_crm_and_commands(
    start_server: StartServer, pair: Pair, url: str, hangs: bool
) -> None:
    with pair.standby.frozen() if hangs else nullcontext():
        server = start_server(url, environment=ENVIRONMENT)
        crm = Crm(server, url)
        receipt = server.client.post_lead({"email": "a@example.com"}).receipt
        assert receipt is not None
        if receipt.stored == "spool":  # it came before the second host was tried
            server.wait_drained()
        # A worker's first connections may wait for the host that hangs, one after the other, later ones do not.
        assert seconds_of_crm(crm) < 2 * CONNECT_TIMEOUT_S + 2
        for _ in range(3):
            seconds_of_crm(crm)
        assert seconds_of_crm(crm) < 1
        for command in (("check",), ("verify",)):
            done = leadcrm(server.directory, *command, **server.environment)
            assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_a_node_that_knows_the_standby_alone_says_so_and_keeps_leads(
    start_server: StartServer, pair: Pair, url: str, tmp_path: Path
) -> None:
    assert leadcrm(tmp_path, "migrate", DATABASE_URL=url).returncode == 0
    ((sent,),) = pair.primary.execute("SELECT pg_current_wal_lsn()")
    wait_until(lambda: pair.standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", sent) == [(True,)])
    server = start_server(pair.url(url, pair.standby))
    receipt = server.client.post_lead({"email": "a@example.com"}).receipt
    assert receipt is not None
    assert receipt.stored == "spool"
    told = server.client.get("/ready")
    assert (told.status, told.json()["database"]) == (200, "down")
    assert "takes no writes: it is a standby" in told.json()["fault"]
    assert server.client.get("/ready?database").status == 503
    checked = leadcrm(server.directory, "check", "--json", **server.environment)
    checks = {check["name"]: check for check in json.loads(checked.stdout)["checks"]}
    assert "the server is a standby" in checks["replication"]["text"]
    assert checked.returncode == 1
