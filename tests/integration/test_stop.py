"""The stop: every request is answered or the exit status says not, and no acknowledged lead is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.comparison import compare
from tests.support.conversation import Conversation, lead_request
from tests.support.journal import Entry, Journal, Outcome
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import START_TIMEOUT_S, Server
from tests.support.waiting import wait_until

IN_FLIGHT = 60


def received_bytes(server: Server) -> float:
    return server.client.metric("leadcrm_received_bytes_total")


def requests_without_an_answer(entries: list[Entry]) -> list[Outcome]:
    """Return the outcomes of requests that were sent completely and got no complete answer."""
    without_answer = (Outcome.UNANSWERED, Outcome.TORN, Outcome.TIMED_OUT)
    return [entry.outcome for entry in entries if entry.outcome in without_answer]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_every_request_in_flight_is_answered_before_the_exit(
    start_server: StartServer, database: str, rows: Rows, number: signal.Signals
) -> None:
    server = start_server(database)
    with ExitStack() as stack:
        connections = [stack.enter_context(Conversation(server.client)) for _ in range(IN_FLIGHT)]
        with rows.writes_blocked():
            for position, connection in enumerate(connections):
                connection.send(lead_request(b'{"email":"%d"}' % position))
            wait_until(lambda: received_bytes(server) >= sum(len(b'{"email":"%d"}' % n) for n in range(IN_FLIGHT)))
            server.send_signal(number)
            wait_until(lambda: any(record["msg"] == "stopping" for record in server.log_records()))
        answers = [connection.answer() for connection in connections]
        assert [answer.status for answer in answers] == [201] * IN_FLIGHT
        assert {answer.header("Connection") for answer in answers} == {"close"}
        assert [connection.rest() for connection in connections] == [b""] * IN_FLIGHT
    assert server.exit_status() == 0
    assert {lead["id"] for lead in rows.leads()} == {answer.json()["lead_id"] for answer in answers}


def test_a_request_half_sent_at_the_stop_is_read_and_answered(server: Server, rows: Rows) -> None:
    request = lead_request(b'{"email":"half sent"}')
    with Conversation(server.client) as connection, Conversation(server.client) as idle:
        connection.send(request[:-5])
        wait_until(lambda: server.client.get("/health").status == 200)
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: any(record["msg"] == "stopping" for record in server.log_records()))
        connection.send(request[-5:])
        answer = connection.answer()
        assert (answer.status, answer.header("Connection")) == (201, "close")
        assert idle.rest() == b""
    assert server.exit_status() == 0
    assert [lead["email"] for lead in rows.leads()] == ["half sent"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load_resets_no_request_that_was_sent(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path, workers: str
) -> None:
    server = start_server(database, environment={"WORKERS": workers})
    address = (server.host, server.port)
    with (
        Journal(tmp_path / "journal") as journal,
        Load(
            *address,
            journal,
            generated_leads(1, repeat_share=0.2, keyless_share=0.3),
            connections=40,
            timeout_s=START_TIMEOUT_S,
        ) as staying,
        # Most senders open a connection for each lead, so at a stop some are between handshake and request.
        Load(
            *address,
            journal,
            generated_leads(2, keyless_share=0.3),
            connections=40,
            keep_alive=False,
            timeout_s=START_TIMEOUT_S,
        ) as coming,
    ):
        for stop in (
            lambda: server.send_signal(signal.SIGTERM),
            lambda: os.killpg(server.pid, signal.SIGTERM),
            lambda: os.killpg(server.pid, signal.SIGINT),
        ):
            if not server.running:
                server.start(wait=False)
            enough = journal.acknowledged_count + 300
            wait_until(lambda enough=enough: journal.acknowledged_count >= enough, timeout_s=30)  # type: ignore[misc]
            stop()
            assert server.exit_status() == 0
            assert server.pids() == []
        staying.stop()
        coming.stop()
        journal.close()
    assert requests_without_an_answer(journal.entries) == []
    report = compare(journal.entries, rows)
    assert report.faults() == {}
    assert report.answers_by_status.keys() <= {201, 409}


def test_signals_in_quick_succession_count_as_one(server: Server, rows: Rows) -> None:
    with Conversation(server.client) as connection:
        with rows.writes_blocked():
            connection.send(lead_request(b"{}"))
            wait_until(lambda: received_bytes(server) == 2)
            for _ in range(5):
                server.send_signal(signal.SIGTERM)
                server.send_signal(signal.SIGINT)
        assert connection.answer().status == 201
    assert server.exit_status() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_later_stops_at_once_and_loses_nothing_acknowledged(
    start_server: StartServer, workers: str
) -> None:
    server = start_server(environment={"WORKERS": workers, "SPOOL": "off", "COMMIT_TIMEOUT": "2.5"})
    answers = [server.client.post_lead({}) for _ in range(20)]
    with Conversation(server.client) as waiting, server.embedded_rows().writes_blocked():
        waiting.send(lead_request(b"{}"))
        wait_until(lambda: received_bytes(server) == 21 * 2)
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: any(record["msg"] == "stopping" for record in server.log_records()))
        while server.running and time.monotonic() - started < 20:
            server.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert time.monotonic() - started < 10
        assert server.exit_status() == 1, "a request was cut off"
        assert waiting.rest() == b""
    assert server.pids() == []
    assert {lead["id"] for lead in server.embedded_rows().leads()} == {answer.json()["lead_id"] for answer in answers}


def test_a_request_that_stays_incomplete_is_answered_503_soon_after_the_stop(start_server: StartServer) -> None:
    server = start_server(environment={"WORKERS": "2"})
    parts = (lead_request(b"{}")[:-1], lead_request(b"{}")[:30], b"GET /health HTTP/1.1\r\n")
    with ExitStack() as stack:
        connections = [stack.enter_context(Conversation(server.client)) for _ in parts]
        for connection, part in zip(connections, parts, strict=True):
            connection.send(part)
        wait_until(lambda: server.client.get("/health").status == 200)
        started = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - started < 3
        assert [connection.answer().status for connection in connections] == [503] * 3
    assert {record["level"] for record in server.log_records()} == {"info"}


def test_a_stop_during_the_start_leaves_no_process(start_server: StartServer) -> None:
    for number in range(4):
        server = start_server(wait=False, environment={"WORKERS": str(1 + number % 2)})
        deadline = time.monotonic() + 10
        while server.stdout_path.stat().st_size == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert server.terminate() in (0, -signal.SIGTERM)
        assert server.pids() == []
