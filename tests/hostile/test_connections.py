"""Attackers that hold connections: idle ones, half heads, half bodies."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.hostile.attackers import open_connections
from tests.hostile.siege import Siege
from tests.support.rows import Rows


def test_idle_connections_hold_nobody_up(start_server: StartServer, database: str, rows: Rows, siege: Siege) -> None:
    server = start_server(database, tracer=["prlimit", "--nofile=1024"])
    with siege.of(server, rows, "1,200 idle connections, 1,024 descriptors"), open_connections(server, 1200):
        siege.wait_acknowledged(20)


def test_half_open_connections_from_many_addresses_hold_nobody_up(start_server: StartServer, siege: Siege) -> None:
    server = start_server(tracer=["prlimit", "--nofile=1024"])
    half = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
    addresses = [f"127.0.1.{number}" for number in range(1, 200)]
    with (
        siege.of(server, server.embedded_rows(), "1,200 half-open connections from 200 addresses, 1,024 descriptors"),
        open_connections(server, 600, half, sources=addresses),
        open_connections(server, 600, half[:40], sources=addresses),
    ):
        siege.wait_acknowledged(20)
    assert server.client.metric("leadcrm_turned_away_total", reason="connections") > 300


def test_clients_that_read_no_answers_hold_nobody_up(start_server: StartServer, siege: Siege) -> None:
    """Each asks for more than the kernel keeps for it, so that the server waits for it to read."""
    server = start_server(environment={"ADMIN_TOKEN": "secret"}, tracer=["prlimit", "--nofile=128"])
    requests = b"GET /studio/app.js HTTP/1.1\r\nHost: x\r\n\r\n" * 700
    addresses = [f"127.0.1.{number}" for number in range(1, 80)]
    with (
        siege.of(server, server.embedded_rows(), "70 clients that read no answers, 128 descriptors"),
        open_connections(server, 70, requests, sources=addresses),
    ):
        siege.wait_acknowledged(20)
    assert server.client.metric("leadcrm_turned_away_total", reason="connections") > 10
