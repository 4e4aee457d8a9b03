"""Attackers that begin bodies and do not end them."""

from __future__ import annotations

from contextlib import ExitStack

from tests.conftest import StartServer
from tests.hostile.attackers import is_closed, open_connections, send
from tests.hostile.siege import Siege
from tests.support.conversation import lead_request
from tests.support.rows import Rows
from tests.support.waiting import wait_until

HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
NEARLY_ALL = b" " * (1_048_576 - 5_000)


def test_unfinished_bodies_hold_no_room_that_a_lead_needs(
    start_server: StartServer, database: str, rows: Rows, siege: Siege
) -> None:
    """They come from several addresses, and smaller ones fill what the large ones leave."""
    server = start_server(database)
    addresses = [f"127.0.1.{number}" for number in range(1, 14)]
    with siege.of(server, rows, "85 MB of unfinished bodies for 64 MB of memory"), ExitStack() as attack:
        connections = []
        for count, size in ((80, len(NEARLY_ALL)), (20, 100_000), (20, 10_000), (20, 1_000), (20, 100)):
            content = HEAD % b"/api/lead" + NEARLY_ALL[:size]
            connections += attack.enter_context(open_connections(server, count, content, sources=addresses))
        siege.wait_acknowledged(20)
        for connection in connections:
            send(connection, b" ")
        siege.wait_acknowledged(20)
    assert server.client.metric("leadcrm_turned_away_total", reason="body") > 15
    assert server.client.metric("leadcrm_turned_away_total", reason="no_room") == 0


def test_one_client_fills_no_more_than_its_share(start_server: StartServer, siege: Siege) -> None:
    server = start_server()
    content = HEAD % b"/api/lead" + NEARLY_ALL
    with (
        siege.of(server, server.embedded_rows(), "65 MB of unfinished bodies from one address"),
        open_connections(server, 65, content),
    ):
        siege.wait_acknowledged(20)
        assert 20_000_000 < server.client.metric("leadcrm_queue_bytes") <= 33_600_000


def test_a_byte_now_and_then_keeps_no_request_open(start_server: StartServer, siege: Siege) -> None:
    server = start_server(environment={"REQUEST_TIMEOUT": "2"})
    half_head = b"POST /api/lead HTTP/1.1\r\nX: "
    half_body = HEAD % b"/api/lead" + b" " * 100_000
    half_chunk = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"
    with (
        siege.of(server, server.embedded_rows(), "150 requests that come byte by byte"),
        open_connections(server, 50, half_head) as heads,
        open_connections(server, 50, half_body) as bodies,
        open_connections(server, 50, half_chunk) as chunks,
    ):
        connections = [*heads, *bodies, *chunks]

        def are_closed() -> bool:
            for connection in connections:
                send(connection, b" ")
            return all(is_closed(connection) for connection in connections)

        wait_until(are_closed, timeout_s=9)
    assert server.client.metric("leadcrm_turned_away_total", reason="too_slow") == 150


def test_bodies_that_no_route_wants_take_no_memory(start_server: StartServer, siege: Siege) -> None:
    server = start_server(environment={"ADMIN_TOKEN": "secret"})
    guess = b"\r\nAuthorization: Bearer wrong\r\n\r\n"
    idle_bytes = server.memory_bytes()
    targets = (b"/api/leads/bulk", b"/health", b"/metrics", b"/api/lead/", b"/api/leads")
    methods = (b"POST", b"GET", b"PATCH")
    requests = [(method + HEAD[4:-4] + guess) % target for target in targets for method in methods]
    with (
        siege.of(server, server.embedded_rows(), "300 bodies for other routes, without a token"),
        server.memory_peak() as memory,
        ExitStack() as attack,
    ):
        for request in requests:
            content = request + NEARLY_ALL
            attack.enter_context(open_connections(server, 300 // len(requests), content))
        siege.wait_acknowledged(10)
    assert memory.peak_bytes - idle_bytes < 60_000_000


def test_what_comes_ahead_of_its_turn_takes_little_memory(start_server: StartServer, siege: Siege) -> None:
    """While the database is away for a moment, requests wait, and bytes come after them."""
    server = start_server()
    idle_bytes = server.memory_bytes()
    lead = lead_request(b"{}")
    with (
        siege.of(server, server.embedded_rows(), "150 MB sent ahead by 600 connections"),
        server.memory_peak() as memory,
        ExitStack() as attack,
    ):
        with server.embedded_rows().writes_blocked():
            attack.enter_context(open_connections(server, 600, lead + b"x" * 250_000))
            siege.wait_acknowledged(10)
        siege.wait_acknowledged(10)
    assert memory.peak_bytes - idle_bytes < 50_000_000
