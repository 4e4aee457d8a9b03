"""Somebody copies a file over the embedded database or the spool in use: it stays the same file with other content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.faults.trial import Trial
from tests.support.command import leadcrm
from tests.support.crm_client import BEARER, ENVIRONMENT
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until


def back_up(server: Server) -> Path:
    backup = server.directory / "backup.db"
    run(server, "backup", str(backup))
    return backup


def run(server: Server, *arguments: str, status: int = 0) -> str:
    result = leadcrm(server.data_dir.parent, *arguments, DATA_DIR=str(server.data_dir))
    assert result.returncode == status, result
    return result.stdout + result.stderr


def fault_of(server: Server) -> str:
    return str(json.loads(server.client.get("/ready").body)["fault"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_backup_is_copied_over_the_embedded_database(start_server: StartServer, trial: Trial, workers: str) -> None:
    server = start_server(environment={"WORKERS": workers, **ENVIRONMENT})
    with trial.load(server, connections=4):
        trial.wait_stored(100)
        backup = back_up(server)
        # A reader has the database open too.
        assert server.client.get("/api/leads", headers=[BEARER]).status == 200
        trial.wait_stored(100)
        shutil.copyfile(backup, server.data_dir / "leadcrm.db")
        trial.wait_spooled(1)
        trial.wait_stored(300)
        assert server.client.get("/api/leads", headers=[BEARER]).status == 200
    wait_until(lambda: "rows were salvaged from" in server.stdout_path.read_text())
    assert "was overwritten under the running server; what its log" in server.stdout_path.read_text()
    # What the log had comes back through the spool: no row that was confirmed is missing.
    assert ("was overwritten" in fault_of(server), "lacks" in fault_of(server)) == (True, False)
    server.kill9()
    server.start()
    server.wait_drained()
    trial.judge(
        f"a backup copied over embedded SQLite, {workers} workers, killed -9",
        server,
        server.embedded_rows(),
        killed=True,
    )
    assert "was overwritten under the running server" in run(server, "verify", status=1)
    (kept,) = server.data_dir.glob("*.overwritten-*Z")
    for file in server.data_dir.glob(f"{kept.name}*"):
        file.unlink()
    run(server, "verify")
    assert fault_of(server) == "None"


def test_a_backup_is_copied_over_the_embedded_database_of_a_killed_server(
    start_server: StartServer, trial: Trial
) -> None:
    """SQLite would lay the log of the content that is gone over the backup as soon as it opens them."""
    server = start_server()
    with trial.load(server):
        trial.wait_stored(100)
        backup = back_up(server)
        trial.wait_stored(100)
        server.kill9()
    shutil.copyfile(backup, server.data_dir / "leadcrm.db")
    # A command that comes before the start does no harm either.
    run(server, "check", status=1)
    server.start()
    server.wait_drained()
    server.kill9()
    server.start()
    trial.judge("a backup copied over a killed server's embedded SQLite", server, server.embedded_rows(), killed=True)
    assert "was overwritten" in fault_of(server)
    run(server, "verify", status=1)
    (kept,) = server.data_dir.glob("*.overwritten-*Z")
    for file in server.data_dir.glob(f"{kept.name}*"):
        file.unlink()
    run(server, "verify")


def test_what_a_damaged_database_still_holds_is_added_to_the_backup(start_server: StartServer, trial: Trial) -> None:
    server = start_server()
    with trial.load(server):
        trial.wait_stored(100)
    backup = back_up(server)
    with trial.load(server):
        trial.wait_stored(100)
    assert server.terminate() == 0
    with (server.data_dir / "leadcrm.db").open("r+b") as file:
        file.write(b"\xff" * 4096)
    server.start()
    with trial.load(server):
        trial.wait_spooled(100)
    assert fault_of(server) == "the database is damaged: `leadcrm check`"
    assert server.terminate() == 0
    assert "leadcrm restore BACKUP --yes" in run(server, "check", status=1)
    assert "were salvaged from the damaged one" in run(server, "restore", str(backup), "--yes")
    server.start()
    server.wait_drained()
    trial.judge("embedded SQLite's first page damaged, an old backup restored", server, server.embedded_rows())
    run(server, "verify")


def test_the_spool_is_emptied(start_server: StartServer, own_postgres: PostgresCluster, trial: Trial) -> None:
    url = own_postgres.create_database()
    server = start_server(url)
    own_postgres.stop("immediate")
    with trial.load(server):
        trial.wait_spooled(300)
        (server.data_dir / "spool.db").write_bytes(b"")
        trial.wait_spooled(300)
    assert "spool.db was overwritten under the running server" in server.stdout_path.read_text()
    wait_until(lambda: "damaged and set aside" in fault_of(server))
    server.kill9()
    own_postgres.start()
    server.start()
    server.wait_drained()
    trial.judge("the spool's file emptied in use, killed -9", server, Rows(url), killed=True)
