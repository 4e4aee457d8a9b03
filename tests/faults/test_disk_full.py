"""A full disk under each store: nothing is acknowledged unless it is kept, and the service recovers with free space."""

from __future__ import annotations

import shutil

from tests.conftest import StartServer
from tests.faults.disk import Disk
from tests.faults.trial import Trial, complaints
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

MOST_LOG_LINES = 12
"""Warnings and errors in a few seconds: logged, but not once per lead."""


def settings(disk: Disk, *, min_free_bytes: int = 0) -> dict[str, str]:
    return {"DATA_DIR": str(disk.folder / "data"), "MIN_FREE_BYTES": str(min_free_bytes), **disk.environment}


def health(server: Server) -> int:
    return server.client.get("/health").status


def test_a_full_disk_under_the_embedded_database_is_answered_503_until_there_is_room(
    start_server: StartServer, disk: Disk, trial: Trial
) -> None:
    server = start_server(environment=settings(disk))
    url = f"sqlite:///{server.data_dir / 'leadcrm.db'}"
    with trial.load(server, connections=4):
        trial.wait_stored()
        disk.fill()
        trial.wait_refused()
        wait_until(lambda: health(server) == 503, what="/health to turn 503")
        disk.free()
        trial.wait_stored()
        wait_until(lambda: health(server) == 200, what="/health to recover")
    server.wait_drained()
    assert 0 < len(complaints(server)) <= MOST_LOG_LINES, complaints(server)
    trial.judge("disk full under embedded SQLite, freed", server, Rows(url), least_kept_share=0)


def test_a_full_disk_under_the_spool_is_answered_503_until_there_is_room(
    start_server: StartServer, own_postgres: PostgresCluster, disk: Disk, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=settings(disk))
    with trial.load(server, connections=4):
        trial.wait_stored()
        own_postgres.stop("immediate")
        trial.wait_spooled()
        disk.fill()
        trial.wait_refused()
        wait_until(lambda: health(server) == 503, what="/health to turn 503")
        disk.free()
        trial.wait_spooled()
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    assert 0 < len(complaints(server)) <= MOST_LOG_LINES, complaints(server)
    trial.judge("disk full under the spool, PostgreSQL down; freed", server, Rows(url), least_kept_share=0)


def test_a_full_local_disk_keeps_no_lead_from_a_remote_database(
    start_server: StartServer, own_postgres: PostgresCluster, disk: Disk, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=settings(disk, min_free_bytes=1 << 20))
    with trial.load(server, connections=4):
        trial.wait_stored()
        disk.fill()
        trial.wait_stored(300)
        ready = server.client.get("/ready").json()
        assert ready["ok"]
        assert "MIN_FREE_BYTES" in ready["fault"]
        assert server.terminate() == 0
        server.start()
        trial.wait_stored()
        disk.free()
        trial.wait_stored()
    report = trial.judge("local disk full, PostgreSQL healthy", server, Rows(url))
    assert report.kept_share == 1


def test_below_the_headroom_leads_get_503_before_anything_fails(
    start_server: StartServer, disk: Disk, trial: Trial
) -> None:
    server = start_server(environment=settings(disk, min_free_bytes=4 << 20))
    url = f"sqlite:///{server.data_dir / 'leadcrm.db'}"
    with trial.load(server, connections=4):
        trial.wait_stored()
        disk.fill(left_bytes=2 << 20)
        trial.wait_refused()
        wait_until(lambda: health(server) == 503, what="/health to turn 503")
        disk.free()
        trial.wait_stored()
    server.wait_drained()
    assert all("fewer than MIN_FREE_BYTES" in text for text in complaints(server)), complaints(server)
    assert 0 < len(complaints(server)) <= MOST_LOG_LINES
    trial.judge("disk below MIN_FREE_BYTES, freed", server, Rows(url), least_kept_share=0)


def test_a_data_folder_that_is_gone_keeps_no_lead_from_a_remote_database(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment={"WORKERS": "2"})
    with trial.load(server, connections=4):
        trial.wait_stored()
        shutil.rmtree(server.data_dir)
        trial.wait_stored(300)
        ready = server.client.get("/ready")
        assert ready.status == 200
        assert f"{server.data_dir}: No such file or directory" in ready.json()["fault"]
    report = trial.judge("data folder deleted, PostgreSQL healthy", server, Rows(url))
    assert report.kept_share == 1
