"""A PostgreSQL that lets one connect and keeps no lead: it is told from one that is well before a lead finds out."""

from __future__ import annotations

import time

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.database.sessions import bind
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.ingestion import REPLAY_WAIT_S
from leadcrm.ingest.replay import replay_postponed
from leadcrm.ingest.submission import POSTPONED
from tests.conftest import StartServer
from tests.support.crm import MAX_DECODED_BYTES, keep, submission, url_of
from tests.support.postgres import PostgresCluster, PostgresServer
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

READ_ONLY = "default_transaction_read_only = on"
"""As a standby is, and a primary that was failed over."""


def alter(postgres: PostgresServer, database: str, change: str) -> None:
    """Change a setting of a database for the sessions to come."""
    name = database.partition("?")[0].rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" {change}')


def messages(server: Server) -> list[str]:
    return [record["msg"] for record in server.log_records()]


def failed_attempts(server: Server) -> int:
    """Return how often the server says that the database could not be had."""
    return sum("the database cannot be reached" in message for message in messages(server))


def test_a_database_that_takes_no_write_is_away_until_it_does(
    start_server: StartServer, postgres: PostgresServer, whole_database: str
) -> None:
    migrate(url_of(whole_database))
    alter(postgres, whole_database, f"SET {READ_ONLY}")
    server = start_server(whole_database)
    wait_until(lambda: failed_attempts(server), what="the database to be tried")
    for number in range(3):
        receipt = server.client.post_lead({"phone": str(number)}).receipt
        assert receipt is not None
        assert receipt.stored == "spool"
    assert server.client.get("/ready").json()["database"] != "up"
    alter(postgres, whole_database, "RESET default_transaction_read_only")
    server.wait_drained()
    wait_until(lambda: "the database takes leads" in messages(server), what="the log to say so")
    said = messages(server)
    assert said.count("the database takes leads") == 1
    assert not any("leads go to the spool" in message for message in said), "no lead found out"
    assert [lead["phone"] for lead in Rows(whole_database).leads()] == ["0", "1", "2"]


def test_a_connection_that_is_refused_tells_the_next_step(postgres: PostgresServer, whole_database: str) -> None:
    name = whole_database.rpartition("/")[2]
    missing = f"{whole_database}_missing"
    with pytest.raises(StoreUnavailable, match="does not exist") as caught:
        open_connection(url_of(missing), timeout_s=10)
    assert "createdb" in caught.value.hint
    alter(postgres, whole_database, "SET search_path = nowhere")
    with pytest.raises(StoreUnavailable) as caught:
        migrate(url_of(whole_database))
    assert "?schema=" in caught.value.hint
    postgres.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    postgres.execute("CREATE ROLE limited LOGIN")
    try:
        limited = "postgresql://limited@" + whole_database.rpartition("@")[2].removeprefix("postgresql://")
        with pytest.raises(StoreUnavailable, match="too many connections") as caught:
            open_connection(url_of(limited), timeout_s=10)
        assert "CONNECTION LIMIT" in caught.value.hint
    finally:
        postgres.execute("DROP ROLE limited")


def test_behind_a_pooler_a_database_that_commits_without_its_disk_is_refused(
    postgres: PostgresServer, whole_database: str
) -> None:
    """What is SET through a pooler reaches other clients' sessions; a lead's promise cannot hang on it."""
    migrate(url_of(whole_database))
    pooled = url_of(f"{whole_database}?pgbouncer=true")
    open_connection(pooled, timeout_s=10).close()
    alter(postgres, whole_database, "SET synchronous_commit = off")
    with pytest.raises(StoreUnavailable, match="synchronous_commit is off") as caught:
        open_connection(pooled, timeout_s=10)
    assert "synchronous_commit = on" in caught.value.hint
    open_connection(url_of(whole_database), timeout_s=10).close()


def test_a_replay_waits_for_a_silent_database_for_seconds_alone(own_postgres: PostgresCluster) -> None:
    """The thread that replays also reconnects and drains."""
    database = own_postgres.create_database()
    keep(database, [submission(b'{"phone":"1"}', state="failed", error=POSTPONED)])
    entities = bind(url_of(database), timeout_s=REPLAY_WAIT_S)
    own_postgres.freeze()
    try:
        began_at = time.monotonic()
        with pytest.raises(StoreUnavailable):
            replay_postponed(entities, max_decoded_bytes=MAX_DECODED_BYTES)
        assert time.monotonic() - began_at < 2 * REPLAY_WAIT_S
    finally:
        own_postgres.thaw()
        entities.database.disconnect()
