"""Readers of the feed while leadcrm is killed -9 and its database goes away miss no lead and get none twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.faults.trial import LEAST_A_SECOND, Trial
from tests.support.crm_client import ENVIRONMENT
from tests.support.feed_readers import FeedReader, Listener, Poller
from tests.support.postgres import PostgresCluster
from tests.support.receiver import Receiver
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

KILLS = 2
LEADS_A_ROUND = 500
SETTINGS = {**ENVIRONMENT, "WORKERS": "2"}
CONNECTIONS = 32
PAUSE_S = 0.02


def kill_at_a_random_moment(server: Server) -> None:
    time.sleep(random.uniform(0, 0.3))  # the random moment is the point: there is no condition to wait for
    server.kill9()
    server.start()


def has_all(reader: FeedReader, count: int) -> bool:
    return len(reader.created) >= count


def judge(readers: list[FeedReader], rows: Rows) -> None:
    """Each reader has each lead exactly once, in the same order, its numbers ascending."""
    ids = sorted(str(row["id"]) for row in rows.leads())
    for reader in readers:
        timeout_s = 10 + len(ids) / LEAST_A_SECOND
        wait_until(partial(has_all, reader, len(ids)), timeout_s=timeout_s, what=f"{len(ids)} events")
        assert sorted(reader.created) == ids
        numbers = [event["seq"] for event in reader.events]
        assert numbers == sorted(set(numbers))
    assert readers[0].created == readers[1].created


@pytest.mark.timeout(120)
def test_readers_of_a_server_that_is_killed_get_every_lead_once(
    start_server: StartServer, database: str, rows: Rows, trial: Trial
) -> None:
    server = start_server(database, environment=SETTINGS)
    with Poller(server, 0) as poller, Listener(server, 0) as listener:
        with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S):
            for _ in range(KILLS):
                trial.wait_stored(300)
                kill_at_a_random_moment(server)
            trial.wait_stored()
        server.wait_drained()
        judge([poller, listener], rows)
    kind = "SQLite" if rows.is_sqlite else "PostgreSQL"
    trial.judge(f"leadcrm killed -9 {KILLS} times while its feed is read, {kind}", server, rows, killed=True)


@pytest.fixture
def leads(request: pytest.FixtureRequest) -> int:
    """How many leads the readers get: a few, or what `--leads` says."""
    return int(request.config.getoption("--leads"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The receiver of a sink."""
    with Receiver() as receiver:
        yield receiver


def kill_all(server: Server) -> None:
    server.kill9()
    server.start()


def kill_one(server: Server) -> None:
    """Kill a worker, or the process that delivers; the main process starts another one."""
    child = random.choice([process for process in server.processes() if process.pid != server.pid])
    child.kill()
    child.wait(timeout=10)
    server.wait_answering()


@pytest.mark.timeout(3600)
def test_readers_and_a_sink_get_every_lead_whatever_is_killed(
    start_server: StartServer,
    own_postgres: PostgresCluster,
    trial: Trial,
    receiver: Receiver,
    leads: int,
    tmp_path: Path,
) -> None:
    rounds = min(10, leads // LEADS_A_ROUND)
    patience_s = 60 + leads / LEAST_A_SECOND
    url = own_postgres.create_database()
    sinks = tmp_path / "sinks.toml"
    sinks.write_text(f'[sink.crm]\nurl = "{receiver.url}/crm"\nallow_private = true\ntests = true\n')
    server = start_server(url, environment={**SETTINGS, "SINKS_FILE": str(sinks)})
    with Poller(server, 0) as poller, Listener(server, 0) as listener:
        with trial.load(server, connections=CONNECTIONS, pause_s=PAUSE_S, most_s=patience_s):
            for _ in range(rounds):
                trial.wait_stored(leads // (2 * rounds))
                random.choice([kill_all, kill_one])(server)
                own_postgres.stop("immediate")
                trial.wait_spooled(leads // (2 * rounds))
                own_postgres.start()
                time.sleep(random.uniform(0, 0.3))  # the random moment is the point: there is no condition to wait for
                random.choice([kill_all, kill_one])(server)
            trial.wait_stored()
        server.wait_drained(patience_s)
        judge([poller, listener], Rows(url))
        last_read = time.monotonic()
        ids = set(poller.created)
        wait_until(lambda: set(receiver.lead_ids("/crm")) >= ids, timeout_s=patience_s, what="the last delivery")
    events = [event for event in tuple(receiver.received["/crm"]) if event.document["type"] == "lead.created"]
    assert {event.document["leadId"] for event in events} == ids
    assert len({(event.id, event.document["leadId"]) for event in events}) == len(ids)
    late_s = max(event.at for event in events) - last_read
    print(
        f"{len(ids)} leads, {len(events) - len(ids)} delivered once more, the last {late_s:.1f} s after all were read"
    )
    trial.judge(
        "all and single processes killed -9, PostgreSQL too, feed and sink read", server, Rows(url), killed=True
    )
