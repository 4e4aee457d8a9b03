"""What an acknowledged lead survives: told by `leadcrm check`, and insisted on with REQUIRE_SYNC=on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

BACK_WITHIN_S = 15.0


@pytest.fixture
def url(pair: Pair) -> Iterator[str]:
    """The URL of a database for a role that may see no statistics of others."""
    pair.primary.execute("CREATE ROLE app LOGIN")
    url = pair.primary.create_database()
    name = url.rpartition("/")[2]
    pair.primary.execute(f"ALTER DATABASE {name} OWNER TO app")
    yield url.replace("//postgres:", "//app:")
    pair.wait_for_standbys("")
    pair.primary.drop_database(url)
    pair.primary.execute("DROP ROLE app")


def stored(server: Server) -> str:
    receipt = server.client.post_lead({"email": "a@example.com"}).receipt
    assert receipt is not None
    return receipt.stored


def test_leads_wait_in_the_spool_until_there_is_a_synchronous_standby(
    start_server: StartServer, pair: Pair, url: str
) -> None:
    name = url.rpartition("/")[2]
    # Weaker than what is required; the sessions for leads set it themselves.
    pair.primary.execute(f"ALTER DATABASE {name} SET synchronous_commit = local")
    server = start_server(url, environment={"REQUIRE_SYNC": "on"})
    count = 1
    assert stored(server) == "spool"
    host = f"127.0.0.1:{pair.primary.port}"
    waits_for = f"the database is away: REQUIRE_SYNC waits for a synchronous standby of {host}"
    wait_until(lambda: server.client.get("/ready").json()["fault"] == waits_for)
    pair.wait_for_standbys("*")
    there_at = monotonic()
    server.wait_drained(timeout_s=BACK_WITHIN_S)
    while stored(server) == "spool":
        count += 1
        assert monotonic() - there_at < BACK_WITHIN_S
    count += 1
    # The wait of a commit ends with success when its standby is taken out.
    pair.wait_for_standbys("nobody")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stored, server)
        wait_until(lambda: pair.primary.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
        pair.wait_for_standbys("")
        assert waiting.result() == "spool"
    assert stored(server) == "spool"
    count += 2
    pair.wait_for_standbys("*")
    server.wait_drained(timeout_s=BACK_WITHIN_S)
    assert len(Rows(url).leads()) == count


@pytest.mark.parametrize(
    ("standbys", "level", "told"),
    [
        ("", "on", ("an acknowledged lead is on one disk", "the last ones are lost with it")),
        ("*", "on", ("an acknowledged lead is on two machines",)),
        ("*", "remote_write", ("an acknowledged lead is on two machines", "synchronous_commit=remote_write")),
        ("*", "local", ("an acknowledged lead is on one disk", "synchronous_commit=local")),
    ],
)
def test_check_says_what_an_acknowledged_lead_survives(
    pair: Pair, url: str, tmp_path: Path, standbys: str, level: str, told: tuple[str, ...]
) -> None:
    pair.wait_for_standbys(standbys)
    pair.primary.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = {level}")
    assert leadcrm(tmp_path, "migrate", DATABASE_URL=url).returncode == 0
    checks = json.loads(leadcrm(tmp_path, "check", "--json", DATABASE_URL=url).stdout)["checks"]
    (text,) = [check["text"] for check in checks if check["name"] == "replication"]
    assert all(part in text for part in told), text
