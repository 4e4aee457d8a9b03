"""Somebody deletes the log of a SQLite file, or all that is called temporary, under the running server."""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.faults.trial import Trial
from tests.support.command import leadcrm
from tests.support.crm_client import BEARER, ENVIRONMENT
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

BOTH = ("-wal", "-shm")

REFUSAL = "leadcrm.db was deleted while leadcrm ran"


def delete(server: Server, name: str, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        (server.data_dir / f"{name}{suffix}").unlink()


@pytest.mark.parametrize("suffixes", [("-wal",), BOTH], ids=" ".join)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_embedded_databases_log_is_deleted(
    start_server: StartServer, trial: Trial, suffixes: tuple[str, ...], workers: str
) -> None:
    server = start_server(environment={"WORKERS": workers})
    with trial.load(server):
        trial.wait_stored(300)
        delete(server, "leadcrm.db", suffixes)
        trial.wait_stored(300)
    wait_until(lambda: "its commits were saved" in server.stdout_path.read_text())
    server.kill9()
    server.start()
    server.wait_drained()
    trial.judge(
        f"embedded SQLite's {' and '.join(suffixes)} deleted, {workers} workers, killed -9",
        server,
        server.embedded_rows(),
        killed=True,
    )
    assert leadcrm(server.data_dir.parent, "verify", DATA_DIR=str(server.data_dir)).returncode == 0


def test_it_is_deleted_while_people_read(start_server: StartServer, trial: Trial) -> None:
    """The readers' connections hold the deleted log, so that only a restart brings the database back."""
    server = start_server(environment=ENVIRONMENT)
    assert server.client.get("/api/leads", headers=[BEARER]).status == 200
    with trial.load(server):
        trial.wait_stored(300)
        delete(server, "leadcrm.db", BOTH)
        trial.wait_spooled(100)
        for arguments in (["verify"], ["prune", "--older-than", "1d", "--yes"], ["backup", "copy"]):
            refused = leadcrm(server.data_dir.parent, *arguments, DATA_DIR=str(server.data_dir))
            assert (refused.returncode, REFUSAL in refused.stderr) == (1, True), "beside the log they would damage it"
            assert "restart leadcrm" in refused.stderr
    assert not (server.data_dir / "leadcrm.db-wal").exists()
    assert REFUSAL in server.stdout_path.read_text()
    assert server.terminate() == 0
    server.start()
    server.wait_drained()
    trial.judge("embedded SQLite's log deleted beside readers, restarted", server, server.embedded_rows())


def test_the_spools_log_is_deleted(start_server: StartServer, own_postgres: PostgresCluster, trial: Trial) -> None:
    url = own_postgres.create_database()
    server = start_server(url)
    own_postgres.stop("immediate")
    with trial.load(server):
        trial.wait_spooled(300)
        delete(server, "spool.db", BOTH)
        trial.wait_spooled(300)
    wait_until(lambda: "its commits were saved" in server.stdout_path.read_text())
    server.kill9()
    own_postgres.start()
    server.start()
    server.wait_drained()
    trial.judge("the spool's -wal and -shm deleted, killed -9", server, Rows(url), killed=True)
