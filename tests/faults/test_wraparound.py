"""PostgreSQL before a wraparound of its transaction ids: it reads, but refuses every write."""

from __future__ import annotations

from contextlib import closing

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.postgres import PostgresConnection
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.postgres import PostgresStore
from tests.conftest import StartServer
from tests.support.crm import submission, url_of
from tests.support.postgres import Installation, PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until


def test_before_a_wraparound_of_transaction_ids_no_row_is_at_fault(
    start_server: StartServer, own_postgres: PostgresCluster, postgres_installation: Installation
) -> None:
    """The server then refuses all writes, with an SQLSTATE (54000) that elsewhere speaks of a row."""
    url = own_postgres.create_database()
    rows = Rows(url)
    server = start_server(url)
    assert server.terminate() == 0
    # Autovacuum, which would mend it at once, sleeps for weeks.
    own_postgres.execute("ALTER SYSTEM SET autovacuum_naptime = 2147483")
    own_postgres.stop("fast")
    oldest = 1000
    # Three million ids before the end PostgreSQL takes no more (its documentation, section 25.1.5).
    newest = oldest + 2**31 - 1 - 3_000_000 + 10
    segment = own_postgres.directory / "pg_xact" / f"{newest // 2**20:04X}"
    postgres_installation.run("cp", "/dev/null", segment)
    postgres_installation.run("truncate", "--size=256K", segment)
    postgres_installation.run(
        postgres_installation.binaries / "pg_resetwal", "-u", str(oldest), "-x", str(newest), own_postgres.directory
    )
    own_postgres.start()
    with closing(open_connection(url_of(url), timeout_s=5)) as connection:
        assert isinstance(connection, PostgresConnection)
        with pytest.raises(StoreUnavailable, match="54000"):
            block(PostgresStore(connection, schema=None, timeout_s=5).write([submission(b"{}"), submission(b"{}")]))

    server.start()
    answers = [server.client.post_lead({"email": str(number)}) for number in range(3)]
    assert [answer.receipt and answer.receipt.stored for answer in answers] == ["spool"] * 3
    wait_until(lambda: server.client.get("/ready").json()["spool"]["rows"] == 3)
    assert server.client.get("/ready").json()["spool"]["refused"] == 0
    own_postgres.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
    own_postgres.execute("SELECT pg_reload_conf()")
    wait_until(lambda: len(rows.leads()) == 3, timeout_s=60, what="autovacuum to mend the database")
