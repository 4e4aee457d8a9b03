"""Nodes of two versions on one database, while they are upgraded one by one."""

from __future__ import annotations

import shutil
from pathlib import Path

from leadcrm import __version__
from leadcrm.database.migrations import newest_version
from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.rows import Rows
from tests.support.server import REPOSITORY, Server
from tests.support.waiting import wait_until

NEXT = newest_version("postgres") + 1


def newer_program(directory: Path, *lines: str) -> dict[str, str]:
    """Make a copy of the program with one more migration; return the environment that runs it."""
    copy = directory / "newer"
    shutil.copytree(REPOSITORY / "leadcrm", copy / "leadcrm", ignore=shutil.ignore_patterns("__pycache__"))
    text = "\n".join((*lines, "ALTER TABLE {schema}leads ADD COLUMN later text;", ""))
    (copy / f"leadcrm/database/migrations/postgres/{NEXT:04}_later.sql").write_text(text)
    return {**ENVIRONMENT, "PYTHONPATH": str(copy)}


def stored(server: Server) -> str:
    receipt = server.client.post_lead({"email": "a@example.com"}).receipt
    assert receipt is not None
    return receipt.stored


def test_nodes_of_both_versions_take_leads_on_the_new_schema(
    start_server: StartServer, pair: Pair, tmp_path: Path
) -> None:
    url = pair.primary.create_database()
    name = url.rpartition("/")[2]
    older = start_server(url, environment=ENVIRONMENT)
    newer = start_server(url, environment=newer_program(tmp_path, f"-- serves_from: {__version__}"))
    assert [server.client.get("/ready").json()["schema_version"] for server in (older, newer)] == [NEXT - 1, NEXT]
    # A failover makes the older one look at the schema again, and so does a restart.
    pair.primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
    wait_until(lambda: older.client.get("/ready").json()["schema_version"] == NEXT)
    assert older.terminate() == 0
    older.start()
    wait_until(lambda: older.client.get("/ready").json()["schema_version"] == NEXT)
    # The newer one has lost its connection too, and notices within seconds.
    wait_until(lambda: newer.client.metric("leadcrm_reconnects_total") > 0)
    wait_until(lambda: newer.client.metric("leadcrm_workers_with_database") == 1)
    assert [stored(server) for server in (older, newer)] == ["database", "database"]
    for server in (older, newer):
        server.wait_drained()
        assert len(Crm(server, url).ids()) == 2
    assert len(Rows(url).leads()) == 2


def test_a_newer_program_takes_leads_on_the_older_schema(start_server: StartServer, pair: Pair, tmp_path: Path) -> None:
    url = pair.primary.create_database()
    older = start_server(url)
    environment = newer_program(tmp_path, "-- required: no")
    newer = start_server(url, environment=environment, arguments=["--no-migrate"])
    assert [stored(server) for server in (older, newer)] == ["database", "database"]
    assert newer.client.get("/ready").json()["schema_version"] == NEXT - 1
    assert len(Crm(newer, url).ids()) == 2
