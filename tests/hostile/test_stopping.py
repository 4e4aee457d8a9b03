"""A stop while attackers hold connections half open."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import StartServer
from tests.hostile.attackers import open_connections
from tests.support.comparison import compare
from tests.support.journal import Journal, Outcome
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.waiting import wait_until

HALF_OPEN = (
    b"",
    b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Le",
    b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
    b"POST /api/lead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
)


def test_a_stop_with_500_half_open_connections_takes_three_seconds_and_answers_what_is_complete(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    server = start_server(database)
    with (
        Journal(tmp_path / "journal") as journal,
        ExitStack() as attack,
        Load(
            server.host, server.port, journal, generated_leads(1), connections=8, keep_alive=False, pause_s=0.01
        ) as load,
    ):
        for content in HALF_OPEN:
            attack.enter_context(open_connections(server, 500 // len(HALF_OPEN), content))
        wait_until(lambda: journal.acknowledged_count >= 50)
        started = time.monotonic()
        assert server.terminate() == 0
        took_s = time.monotonic() - started
        load.stop()
        journal.close()
    print(f"the stop took {took_s:.1f} s")
    assert took_s < 3
    report = compare(journal.entries, rows)
    assert report.faults() == {}
    assert {Outcome.UNANSWERED, Outcome.TORN, Outcome.TIMED_OUT}.isdisjoint(report.outcomes), report.outcomes
    assert {record["level"] for record in server.log_records()} <= {"info"}
