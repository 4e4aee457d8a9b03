"""leadcrm killed -9 at random and critical moments, restarted ten times in a row, and with a shifted clock."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from tests.conftest import StartServer
from tests.faults.injection import Injection
from tests.faults.trial import Trial
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server

KILLS = 4
SETTINGS = {"WORKERS": "2"}
CONNECTIONS = 64
PAUSE_S = 0.03
"""Pause of each connection between two leads, since the comparison takes time for each lead."""


def kill_at_a_random_moment(server: Server, within_s: float = 0.5) -> None:
    time.sleep(random.uniform(0, within_s))  # the random moment is the point: there is no condition to wait for
    server.kill9()
    server.start()


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_server_killed_while_it_spools_loses_nothing(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=SETTINGS)
    own_postgres.stop("immediate")
    with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S):
        for _ in range(KILLS):
            trial.wait_spooled(400)
            kill_at_a_random_moment(server)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    report = trial.judge(f"leadcrm killed -9 {KILLS} times while spooling", server, Rows(url), killed=True)
    assert report.acknowledged >= 1500


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_server_killed_while_it_drains_loses_nothing(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=SETTINGS)
    with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S):
        for _ in range(KILLS):
            own_postgres.stop("immediate")
            trial.wait_spooled(800)
            own_postgres.start()
            kill_at_a_random_moment(server, within_s=0.3)
        trial.wait_stored()
    server.wait_drained()
    report = trial.judge(f"leadcrm killed -9 {KILLS} times while draining", server, Rows(url), killed=True)
    assert report.acknowledged >= 1500


DRAIN_AND_DIE = """
import os, sys
from pathlib import Path
from leadcrm.configuration.config import load
from leadcrm.ingest.spool import drain
from leadcrm.ingest.opening import open_spool, open_store

config = load({}, os.environ, Path.cwd())
spool, store = open_spool(config), open_store(config)

def die(*_): os._exit(9)

where = sys.argv[1]
if where == "before the commit":
    store.write = die
elif where == "between the commit and the delete":
    spool.remove = die
elif where == "after the delete":
    remove = spool.remove
    spool.remove = lambda ids: (remove(ids), die())
while drain.drain_batch(spool, store, max_decoded_bytes=1 << 20):
    pass
"""


def test_a_drain_that_dies_between_any_two_of_its_steps_is_simply_done_again(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url)
    own_postgres.stop("immediate")
    with trial.load(server, pause_s=0):
        trial.wait_spooled(1500)
    server.terminate()
    own_postgres.start()
    waiting = [len(server.spooled())]
    for where in ("before the commit", "between the commit and the delete", "after the delete"):
        drain_and_die(server, where)
        waiting.append(len(server.spooled()))
        stored = Rows(url).raw()
        assert len({row["id"] for row in stored} | {row["id"] for row in server.spooled()}) == waiting[0]
    assert waiting[0] == waiting[1] == waiting[2] > waiting[3]
    assert len(stored) + waiting[3] == waiting[0]
    server.start()
    server.wait_drained()
    trial.judge("leadcrm killed between commit and delete of a drain", server, Rows(url))


def drain_and_die(server: Server, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAIN_AND_DIE, where],
        env=server.environment,
        cwd=server.directory,
        check=False,
    )
    assert done.returncode == 9


@pytest.mark.timeout(180)
def test_ten_restarts_in_a_row_lose_nothing(start_server: StartServer, database: str, rows: Rows, trial: Trial) -> None:
    server = start_server(database, environment=SETTINGS)
    with trial.load(server):
        for _ in range(10):
            trial.wait_stored(50)
            assert server.terminate() == 0
            server.start()
        trial.wait_stored(50)
    kind = "SQLite" if rows.is_sqlite else "PostgreSQL"
    trial.judge(f"10 restarts in a row, {kind}", server, rows)


def test_a_clock_that_steps_back_loses_nothing(
    start_server: StartServer, own_postgres: PostgresCluster, injection: Injection, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment={**SETTINGS, **injection.environment})
    with trial.load(server):
        for step_s in (-3600, 86400, -1):
            trial.wait_stored()
            injection.shift_clock(step_s)
            trial.wait_stored()
            own_postgres.stop("immediate")
            trial.wait_spooled()
            injection.shift_clock(step_s - 1800)
            trial.wait_spooled()
            own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    received = {row["received_at"] for row in Rows(url).raw()}
    assert (max(received) - min(received)).total_seconds() > 86400
    trial.judge("the clock stepping back an hour, a day, half an hour", server, Rows(url))
