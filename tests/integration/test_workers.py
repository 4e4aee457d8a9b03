"""Several workers on one socket: a dead one is replaced, no acknowledged lead is lost, and no orphan stays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.comparison import compare
from tests.support.conversation import Conversation, lead_request
from tests.support.journal import Journal, Outcome
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import REPOSITORY, Server
from tests.support.waiting import wait_until
from tests.support.workers import worker_pids


@pytest.fixture
def two_workers(start_server: StartServer) -> Server:
    server = start_server(environment={"WORKERS": "2"})
    wait_until(lambda: server.client.metric("leadcrm_workers_with_database") == 2)
    return server


def test_a_killed_worker_is_replaced_and_its_counts_are_kept(two_workers: Server) -> None:
    server = two_workers
    for _ in range(20):
        server.client.post_lead({})
    for _ in range(2):
        before = worker_pids(server)
        os.kill(before[0], signal.SIGKILL)

        def is_replaced(before: list[int] = before) -> bool:
            now = worker_pids(server)
            return len(now) == 2 and before[0] not in now and before[1] in now

        wait_until(is_replaced)
        assert server.client.post_lead({}).status == 201
    assert server.client.metric("leadcrm_leads_total", outcome="created") == 22
    wait_until(lambda: server.client.metric("leadcrm_workers_with_database") == 2)
    deaths = [record for record in server.log_records() if record["msg"] == "a worker died"]
    assert [record["exit_code"] for record in deaths] == [-signal.SIGKILL] * 2
    assert server.terminate() == 0
    assert len(server.embedded_rows().leads()) == 22


def test_a_suspension_of_all_processes_is_no_stop(two_workers: Server) -> None:
    server = two_workers
    for _ in range(3):
        server.freeze()
        time.sleep(1.2)
        server.thaw()
        time.sleep(0.3)
        assert server.client.post_lead({}).status == 201
    assert server.running
    assert "stopping" not in server.log_text()


def test_all_workers_dead_at_once_are_replaced(two_workers: Server) -> None:
    two_workers.client.post_lead({})
    committed_at = wait_until(lambda: two_workers.client.metric("leadcrm_last_commit_timestamp_seconds"))
    before = worker_pids(two_workers)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(worker_pids(two_workers)) == 2 and not set(before) & set(worker_pids(two_workers)))
    wait_until(lambda: sum(record["msg"] == "serving" for record in two_workers.log_records()) == 4)
    assert two_workers.client.metric("leadcrm_last_commit_timestamp_seconds") == committed_at
    for pid in worker_pids(two_workers):
        os.kill(pid, signal.SIGKILL)
    # The supervisor still holds the socket, so this request waits for a new worker.
    assert two_workers.client.post_lead({}).status == 201
    wait_until(lambda: len(worker_pids(two_workers)) == 2)


def test_killing_workers_under_load_loses_no_acknowledged_lead(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    server = start_server(database, environment={"WORKERS": "2"})
    leads = generated_leads(1, repeat_share=0.3, conflict_share=0.1)
    with (
        Journal(tmp_path / "journal") as journal,
        Load(server.host, server.port, journal, leads, connections=32) as load,
    ):
        for _ in range(3):
            enough = journal.acknowledged_count + 200
            wait_until(lambda enough=enough: journal.acknowledged_count >= enough, timeout_s=30)  # type: ignore[misc]
            os.kill(worker_pids(server)[0], signal.SIGKILL)
        load.stop()
        server.terminate()
        journal.close()
    assert Outcome.REFUSED not in {entry.outcome for entry in journal.entries}
    assert compare(journal.entries, rows).faults() == {}


def test_when_the_supervisor_is_killed_its_workers_finish_their_requests_and_exit(two_workers: Server) -> None:
    with Conversation(two_workers.client) as connection:
        with two_workers.embedded_rows().writes_blocked():
            connection.send(lead_request(b"{}"))
            wait_until(lambda: two_workers.client.metric("leadcrm_received_bytes_total") == 2)
            two_workers.kill9(only_main=True)
        assert connection.answer().status == 201
    wait_until(lambda: two_workers.pids() == [], what="the workers to end")
    two_workers.start()
    assert two_workers.client.post_lead({}).status == 201


@pytest.fixture
def listening_socket() -> Iterator[socket.socket]:
    """A socket that outlives the service, as a service manager holds it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield listener


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_restart_under_socket_activation_refuses_no_connection(
    start_server: StartServer, listening_socket: socket.socket, tmp_path: Path, workers: str
) -> None:
    server = start_server(listening_socket=listening_socket, environment={"WORKERS": workers})
    address = listening_socket.getsockname()
    with (
        Journal(tmp_path / "journal") as journal,
        Load(*address, journal, generated_leads(1), connections=24, timeout_s=20) as staying,
        Load(*address, journal, generated_leads(2), connections=24, timeout_s=20, keep_alive=False) as coming,
    ):
        for _ in range(2):
            enough = journal.acknowledged_count + 200
            wait_until(lambda enough=enough: journal.acknowledged_count >= enough, timeout_s=30)  # type: ignore[misc]
            assert server.terminate() == 0
            # The kernel answers in the server's place, sooner than it sends the first packet again.
            socket.create_connection(address, timeout=0.9).close()
            server.start(wait=False)
        wait_until(lambda: journal.acknowledged_count >= enough + 200, timeout_s=30)
        staying.stop()
        coming.stop()
        journal.close()
    assert {entry.outcome for entry in journal.entries} == {Outcome.ANSWERED}
    assert {entry.status for entry in journal.entries} == {201}
    assert server.terminate() == 0
    assert compare(journal.entries, server.embedded_rows()).faults() == {}


def address_of(listener: socket.socket) -> Any:
    name = listener.getsockname()
    return name if isinstance(name, str) else name[:2]


def post_to(address: Any, family: int) -> bytes:
    """Post a lead on a new connection and return the beginning of the answer."""
    with socket.socket(family) as sender:
        sender.settimeout(10)
        sender.connect(address)
        sender.sendall(lead_request(b"{}"))
        return sender.recv(12)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_worker_serves_each_of_several_sockets(
    start_server: StartServer, listening_socket: socket.socket, tmp_path: Path, workers: str
) -> None:
    with (
        closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as ipv6,
        closing(socket.socket(socket.AF_UNIX)) as unix,
    ):
        unix.bind(str(tmp_path / "socket"))
        unix.listen(512)
        listeners = [listening_socket, ipv6, unix]
        server = start_server(
            listening_socket=listening_socket, more_sockets=[ipv6, unix], environment={"WORKERS": workers}
        )
        (listening,) = [record for record in server.log_records() if record["msg"] == "listening"]
        assert len(listening["address"].split(", ")) == 3
        # A worker that is suspended accepts nothing, so each of the others has to serve all.
        for suspended in worker_pids(server) if workers == "2" else [None]:
            if suspended is not None:
                os.kill(suspended, signal.SIGSTOP)
            for listener in listeners:
                assert post_to(address_of(listener), listener.family) == b"HTTP/1.1 201"
            if suspended is not None:
                os.kill(suspended, signal.SIGCONT)
        assert server.terminate() == 0
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(tmp_path / "socket"))
            waiting.sendall(lead_request(b"{}"))
            server.start()
            assert waiting.recv(12) == b"HTTP/1.1 201"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagrams", "does not listen"])
def test_a_passed_socket_that_accepts_no_connections_prevents_the_start(
    start_server: StartServer, listening_socket: socket.socket, kind: socket.SocketKind
) -> None:
    with closing(socket.socket(socket.AF_INET, kind)) as other:
        other.bind(("127.0.0.1", 0))
        server = start_server(listening_socket=listening_socket, more_sockets=[other], wait=False)
        assert server.exit_status() == 78
        assert "LISTEN_FDS: systemd passed a socket that accepts no connections" in server.log_text()
        assert not (server.data_dir / "leadcrm.db").exists()


def test_in_development_a_changed_source_restarts_the_program(start_server: StartServer, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(REPOSITORY / "leadcrm", sources / "leadcrm", ignore=shutil.ignore_patterns("__pycache__"))
    server = start_server(environment={"LEADCRM_ENV": "development", "PYTHONPATH": str(sources)})
    assert server.client.post_lead({}, key="a").status == 201
    pid, (worker,) = server.pid, worker_pids(server)
    answers = sources / "leadcrm" / "web" / "http" / "responses.py"
    answers.write_text(answers.read_text() + "\nthis is no Python\n")
    wait_until(lambda: "going on as before" in server.stdout_path.read_text())
    answers.write_text((REPOSITORY / "leadcrm/web/http/responses.py").read_text().replace("not_found", "found_nowhere"))
    # No connection is refused during the restart.
    wait_until(lambda: server.client.get("/x").body == b'{"ok":false,"error":"found_nowhere"}', timeout_s=20)
    assert server.client.post_lead({}, key="a").status == 409
    assert worker not in worker_pids(server)
    assert server.pid == pid
    assert not server.stdout_path.read_text().startswith("{"), "the log is for people"
    assert server.terminate() == 0
