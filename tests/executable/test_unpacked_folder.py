"""The folder into which the executable unpacks itself is cleaned while it runs, as cleaners of /tmp do."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import StartServer
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until


def test_a_server_whose_unpacked_files_are_gone_gets_its_database_back(
    start_server: StartServer, own_postgres: PostgresCluster, tmp_path: Path
) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    url = own_postgres.create_database()
    server = start_server(url, environment={"TMPDIR": str(unpacked), "WORKERS": "2"})
    assert server.client.post_lead({}).status == 201
    files = [file for file in unpacked.rglob("*") if file.is_file()]
    assert files
    for file in files:
        file.unlink()
    assert [server.client.get(path).status for path in ("/health", "/ready", "/metrics")] == [200] * 3
    own_postgres.stop("immediate")
    receipt = server.client.post_lead({}).receipt
    assert receipt is not None
    assert receipt.stored == "spool"
    own_postgres.start()
    wait_until(lambda: len(Rows(url).leads()) == 2, timeout_s=30, what="the spool to drain")
    assert server.terminate() == 0
