"""Several hosts in DATABASE_URL: the primary is found wherever it stands, also behind one that hangs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from time import monotonic

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm_client import ENVIRONMENT, Crm

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
