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


def kept(server: Server) -> int:
    """Send leads until the database keeps one, and return how many."""
    sent = 0

    def is_in_the_database() -> bool:
        nonlocal sent
        sent += 1
        receipt = server.client.post_lead({"email": "a@example.com"}).receipt
        assert receipt is not None
        return receipt.stored == "database"

    wait_until(is_in_the_database, what="a lead to be stored in the database")
    return sent


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
    # The newer one has lost its connections too, and keeps leads in its spool until it has new ones.
    sent = kept(older) + kept(newer)
    for server in (older, newer):
        server.wait_drained()
    assert [len(Crm(server, url).ids()) for server in (older, newer)] == [sent, sent]
    assert len(Rows(url).leads()) == sent


def test_a_newer_program_takes_leads_on_the_older_schema(start_server: StartServer, pair: Pair, tmp_path: Path) -> None:
    url = pair.primary.create_database()
    older = start_server(url)
    environment = newer_program(tmp_path, "-- required: no")
    newer = start_server(url, environment=environment, arguments=["--no-migrate"])
    sent = kept(older) + kept(newer)
    for server in (older, newer):
        server.wait_drained()
    assert newer.client.get("/ready").json()["schema_version"] == NEXT - 1
    assert len(Crm(newer, url).ids()) == sent
