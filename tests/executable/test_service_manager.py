"""The executable and its service manager: states told, sockets handed over, restarts that nobody notices."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comparison import compare
from tests.support.journal import Journal, Outcome, read_journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import Server, StartServer
from tests.support.service_manager import WATCHDOG_S, Manager
from tests.support.waiting import wait_until

RESTARTS = 2


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def listening_socket() -> Iterator[socket.socket]:
    """A socket as the service manager keeps it: it listens whether anybody serves or not."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_says_ready_while_healthy_feeds_the_watchdog_and_says_that_it_stops(
    start_server: StartServer, manager: Manager, workers: str
) -> None:
    server = start_server(environment={**manager.environment, "WORKERS": workers}, wait=False)
    assert manager.told() == "READY=1"
    assert server.client.get("/health").status == 200
    assert [manager.told(), manager.told()] == ["WATCHDOG=1"] * 2
    server.send_signal(signal.SIGTERM)
    manager.wait_told("STOPPING=1")
    assert server.exit_status() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_watchdog_starves_while_a_worker_hangs(start_server: StartServer, manager: Manager, workers: str) -> None:
    server = start_server(environment={**manager.environment, "WORKERS": workers})
    manager.wait_told("WATCHDOG=1")
    worker = server.processes()[-1]
    worker.suspend()
    wait_until(lambda: not manager.tells_within(2 * WATCHDOG_S), timeout_s=40, what="the watchdog to starve")
    worker.resume()
    manager.wait_told("WATCHDOG=1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_on_the_socket_it_is_handed(
    start_server: StartServer, listening_socket: socket.socket, workers: str
) -> None:
    # It could not bind that address.
    server = start_server(listening_socket=listening_socket, environment={"WORKERS": workers, "HOST": "192.0.2.1"})
    assert server.client.post_lead(b"{}").status == 201


@pytest.mark.parametrize("keep_alive", [False, True], ids=["a-connection-a-lead", "keep-alive"])
def test_restarts_under_load_cost_no_request(
    start_server: StartServer,
    listening_socket: socket.socket,
    database: str,
    rows: Rows,
    tmp_path: Path,
    keep_alive: bool,
) -> None:
    server = start_server(database, listening_socket=listening_socket)
    with Journal(tmp_path / "journal") as journal:
        with _load(server, journal, keep_alive) as load:
            for _ in range(RESTARTS):
                _wait_for_answers(journal, load)
                assert server.terminate() == 0
                server.start()
            _wait_for_answers(journal, load)
        server.wait_drained()
        server.terminate()
    _expect_every_request_answered(journal, rows)


@pytest.mark.parametrize("keep_alive", [False, True], ids=["a-connection-a-lead", "keep-alive"])
def test_two_instances_on_one_socket_change_places_under_load(
    start_server: StartServer,
    listening_socket: socket.socket,
    database: str,
    rows: Rows,
    tmp_path: Path,
    keep_alive: bool,
) -> None:
    shared = {"DATA_DIR": str(tmp_path / "data")}
    old = start_server(database, listening_socket=listening_socket, environment=shared)
    new = start_server(database, listening_socket=listening_socket, environment=shared, wait=False)
    wait_until(lambda: _times_served(new) == 1, timeout_s=30)
    with Journal(tmp_path / "journal") as journal:
        with _load(old, journal, keep_alive) as load:
            for leaving in (old, new):
                _wait_for_answers(journal, load)
                assert leaving.terminate() == 0
                served = _times_served(leaving)
                leaving.start(wait=False)
                # Whether it is healthy nobody can ask: the other one may answer.
                wait_until(lambda: _times_served(leaving) > served, timeout_s=30)  # noqa: B023 - called at once
            _wait_for_answers(journal, load)
        new.wait_drained()
        assert (old.terminate(), new.terminate()) == (0, 0)
    _expect_every_request_answered(journal, rows)


def _load(server: Server, journal: Journal, keep_alive: bool) -> Load:
    leads = generated_leads(1, repeat_share=0.2, keyless_share=0.2)
    return Load(server.host, server.port, journal, leads, connections=16, keep_alive=keep_alive, pause_s=0.01)


def _times_served(server: Server) -> int:
    return sum(record["msg"] == "serving" for record in server.log_records())


def _wait_for_answers(journal: Journal, load: Load) -> None:
    before = journal.acknowledged_count
    wait_until(lambda: journal.acknowledged_count >= before + 200 or not load.running, timeout_s=60)


def _expect_every_request_answered(journal: Journal, rows: Rows) -> None:
    report = compare(read_journal(journal.path), rows)
    assert report.outcomes == {Outcome.ANSWERED: report.attempts}
    assert set(report.answers_by_status) == {201, 409}
    assert report.faults() == {}
