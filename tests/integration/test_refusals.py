"""Refusals: their exact bodies and headers, and that nothing is kept where nothing should be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain

import pytest

from tests.conftest import StartServer, server_starter
from tests.support.client import Answer
from tests.support.conversation import Conversation, lead_request
from tests.support.http1 import parse_answer
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import connections_to_each_worker

MEGABYTE = 1_048_576

ADMIN_TOKEN = b"a-secret-that-is-long-enough"


@pytest.fixture(scope="module")
def crm_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
        yield start(environment={"ADMIN_TOKEN": ADMIN_TOKEN.decode()})


def answered(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


def refusal(status: int, error: str) -> tuple[int, bytes]:
    return status, b'{"ok":false,"error":"%s"}' % error.encode()


@pytest.mark.parametrize("target", ["/x", "/api", "/api/leed", "/api/lead/1", "/%00", "/api/%2e%2e/x?y=z", "/health/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_answered_404(shared_server: Server, method: str, target: str) -> None:
    answer = shared_server.client.request(method, target, body=b"{}" if method == "POST" else None)
    assert answered(answer) == refusal(404, "not_found")
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Request-Id")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", "/api/lead", {"POST", "OPTIONS"}),
        ("PUT", "/api/lead", {"POST", "OPTIONS"}),
        ("DELETE", "/api/lead", {"POST", "OPTIONS"}),
        ("PATCH", "/api/lead", {"POST", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/ready", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_answered_405_with_the_allowed_ones(
    shared_server: Server, method: str, target: str, allowed: set[str]
) -> None:
    answer = shared_server.client.request(method, target, headers=[("X-Request-Id", "request-405")])
    assert answered(answer) == refusal(405, "method_not_allowed")
    assert set((answer.header("Allow") or "").replace(" ", "").split(",")) == allowed
    assert answer.header("X-Request-Id") == "request-405"


@pytest.mark.parametrize(
    "content",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"POST /api/lead HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST /api/lead HTTP/1.1\r\nContent-Length: nine\r\n\r\n",
        b"POST /api/lead HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /h\xc3\xa9alth HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST ?email=secret@lead.example HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST api/lead?email=secret@lead.example HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST http://?email=secret@lead.example HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST http://x?email=secret@lead.example HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"CONNECT secret@lead.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=[
        "nonsense",
        "no version",
        "a version to come",
        "two blanks",
        "no colon",
        "a word",
        "negative",
        "a path",
        "TLS",
        "a query without a path",
        "half a path",
        "a URL without a host",
        "a URL without a path",
        "a proxy's",
    ],
)
def test_malformed_http_is_answered_400_and_the_connection_closed(shared_server: Server, content: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(content)
        answer = connection.answer()
        assert answered(answer) == refusal(400, "bad_request")
        assert answer.header("Connection") == "close"
        assert connection.rest() == b""
    assert shared_server.client.get("/health").status == 200
    log = shared_server.log_text()
    assert "secret@lead.example" not in log
    assert "protocol.connection_task" not in log


def test_too_large_headers_are_answered_431(shared_server: Server) -> None:
    answer = shared_server.client.post_lead({}, headers=[("X-Large", "x" * 20_000)])
    assert answered(answer) == refusal(431, "headers_too_large")


def test_an_endless_head_is_answered_431(shared_server: Server) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(b"POST /api/lead HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for number in range(10_000):
                connection.send(b"X-Header-%d: 1234567890\r\n" % number)
        assert answered(connection.answer()) == refusal(431, "headers_too_large")


def test_a_body_of_the_maximum_size_is_kept_and_one_byte_more_is_answered_413(
    shared_server: Server, shared_database: str
) -> None:
    largest = b'{"description":"' + b"x" * (MEGABYTE - 18) + b'"}'
    assert len(largest) == MEGABYTE
    answer = shared_server.client.post_lead(largest)
    assert answer.status == 201
    assert Rows(shared_database).raw_row(answer.json()["lead_id"])["body"] == largest
    larger = shared_server.client.post_lead(largest + b" ")
    assert answered(larger) == refusal(413, "payload_too_large")
    assert larger.receipt is None


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_a_sender_of_twenty_megabytes_receives_413_while_it_sends(shared_server: Server, chunked: bool) -> None:
    size = 20 * MEGABYTE
    head = b"POST /api/lead HTTP/1.1\r\nHost: x\r\n"
    if chunked:
        content = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
    else:
        content = head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
    with socket.create_connection((shared_server.host, shared_server.port), timeout=10) as connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall(content)

        # Like a real sender, it looks for an answer while it sends.
        sender = threading.Thread(target=send)
        sender.start()
        received = b""
        while (answer := parse_answer(received)) is None:
            part = connection.recv(65536)
            assert part, "the connection ended without an answer"
            received += part
        with suppress(OSError):  # the server may have closed already
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert (answer.status, answer.body) == refusal(413, "payload_too_large")
    assert ("connection", "close") in {(name.lower(), value.lower()) for name, value in answer.headers}


def test_a_blocking_sender_of_two_megabytes_receives_413(shared_server: Server) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"x" * (2 * MEGABYTE - 1000)))
        assert answered(connection.answer()) == refusal(413, "payload_too_large")


def test_a_small_body_limit_applies_to_bodies_alone(start_server: StartServer) -> None:
    server = start_server(environment={"MAX_BODY_BYTES": "1000"})
    assert server.client.post_lead({}, key="k" * 6000).status == 201
    assert server.client.post_lead(b'{"email":"%s"}' % (b"x" * 988)).status == 201
    assert server.client.post_lead(b'{"email":"%s"}' % (b"x" * 989)).status == 413


def test_a_wrong_token_is_answered_401_and_nothing_is_kept(start_server: StartServer) -> None:
    server = start_server(environment={"INGEST_TOKEN": "a-token-no-log-may-hold"})
    client = server.client
    for headers in (
        [],
        [("Authorization", "Bearer wrong")],
        [("Authorization", "Bearer a-token-no-log-may-hol")],
        [("Authorization", "Basic a-token-no-log-may-hold")],
        [("Authorization", b"Bearer caf\xe9")],
        [("Authorization", "a-token-no-log-may-hold")],
    ):
        answer = client.post_lead({}, headers=headers)
        assert answered(answer) == refusal(401, "unauthorized")
        assert answer.header("WWW-Authenticate") == "Bearer"
    assert server.embedded_rows().raw() == []
    for scheme in ("Bearer", "bearer"):
        answer = client.post_lead({}, headers=[("Authorization", f"{scheme} a-token-no-log-may-hold")])
        assert answer.status == 201
    assert client.get("/health").status == 200
    preflight = client.request("OPTIONS", "/api/lead", headers=[("Origin", "https://a.example")])
    assert preflight.status == 204
    with Conversation(client) as sender_of_a_large_body:
        sender_of_a_large_body.send(lead_request(b"x" * (MEGABYTE - 1000)))
        assert answered(sender_of_a_large_body.answer()) == refusal(401, "unauthorized")


def test_a_client_over_its_rate_is_answered_429_with_the_time_to_wait(start_server: StartServer) -> None:
    server = start_server(environment={"RATE_LIMIT": "5/h", "WORKERS": "2", "TRUSTED_PROXIES": "127.0.0.0/8"})
    # To each worker more than the limit, so that no count of its own would do.
    with connections_to_each_worker(server, 6) as held:
        assert len(held) == 2
        answers = []
        for connection in chain(*held):
            connection.send(lead_request(b"{}"))
            answers.append(connection.answer())
    assert [answer.status for answer in answers] == [201] * 5 + [429] * 7
    over = answers[-1]
    assert answered(over) == refusal(429, "rate_limited")
    assert 0 < int(over.header("Retry-After") or 0) <= 3600
    assert over.header("Access-Control-Allow-Origin") == "*"
    assert server.client.get("/health").status == 200
    other = server.client.post_lead({}, headers=[("X-Forwarded-For", "198.51.100.7")])
    assert other.status == 201


def test_a_client_that_waits_as_long_as_it_is_told_is_within_its_rate(start_server: StartServer) -> None:
    server = start_server(environment={"RATE_LIMIT": "1/s"})
    refused = [answer for answer in (server.client.post_lead({}) for _ in range(5)) if answer.status == 429]
    # Each is told whole seconds, and the next is due within one.
    assert {answer.header("Retry-After") for answer in refused} == {"1"}


def test_x_forwarded_for_from_an_untrusted_peer_is_ignored(start_server: StartServer) -> None:
    server = start_server(environment={"RATE_LIMIT": "2/h"})
    statuses = [
        server.client.post_lead({}, headers=[("X-Forwarded-For", f"198.51.100.{number}")]).status for number in range(3)
    ]
    assert statuses == [201, 201, 429]
    assert {row["remote_addr"] for row in server.embedded_rows().raw()} == {"127.0.0.1"}


def test_a_trusted_proxy_is_recognized_on_a_dual_stack_socket(start_server: StartServer) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = start_server(environment={"HOST": "::", "RATE_LIMIT": "1/h", "TRUSTED_PROXIES": "127.0.0.0/8"})
    forwarded = ("198.51.100.7", "::ffff:198.51.100.8", "198.51.100.7")
    statuses = [server.client.post_lead({}, headers=[("X-Forwarded-For", sender)]).status for sender in forwarded]
    assert statuses == [201, 201, 429]
    assert [row["remote_addr"] for row in server.embedded_rows().raw()] == ["198.51.100.7", "198.51.100.8"]


def test_without_database_and_spool_senders_get_503_and_retry_after(start_server: StartServer) -> None:
    server = start_server(
        "postgresql://nobody@127.0.0.1:9/none", wait=False, environment={"SPOOL": "off", "CORS_ORIGINS": "*"}
    )
    server.wait_answering()
    answer = server.client.post_lead({}, key="a", headers=[("X-Request-Id", "request-503")])
    assert answered(answer) == refusal(503, "unavailable")
    assert int(answer.header("Retry-After") or 0) > 0
    assert answer.header("X-Request-Id") == "request-503"
    assert answer.header("Access-Control-Allow-Origin") == "*"
    assert answer.receipt is None
    health = server.client.get("/health")
    assert (health.status, health.json()["ok"]) == (503, False)


def test_senders_that_hang_up_within_their_bodies_give_their_room_back(start_server: StartServer) -> None:
    server = start_server(environment={"QUEUE_BYTES": "2097152"})
    for _ in range(5):
        with Conversation(server.client) as sender:
            sender.send(b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" + b" " * 1_000_000)
            wait_until(lambda: server.client.metric("leadcrm_queue_bytes") == 1_000_000)
        wait_until(lambda: server.client.metric("leadcrm_queue_bytes") == 0)
    assert server.client.post_lead(b" " * 1_048_574 + b"{}").status == 201


def test_where_leads_that_wait_fill_queue_bytes_large_ones_get_503_and_small_ones_find_room(
    start_server: StartServer,
) -> None:
    server = start_server(environment={"QUEUE_BYTES": "2097152", "COMMIT_TIMEOUT": "2.5"})
    with ExitStack() as stack:
        senders = [stack.enter_context(Conversation(server.client)) for _ in range(3)]
        with server.embedded_rows().writes_blocked():
            # One after the other: together, unfinished bodies of one client may fill half of the memory.
            received = 0
            for sender, size in zip(senders, (950_000, 950_000, 1_000), strict=True):
                sender.send(lead_request(b" " * (size - 2) + b"{}"))
                received += size
                wait_until(lambda bytes=received: server.client.metric("leadcrm_received_bytes_total") == bytes)  # type: ignore[misc]
            assert answered(server.client.post_lead(b" " * 200_000)) == refusal(503, "unavailable")
            wait_until(lambda: server.client.get("/health").status == 503)
            assert "QUEUE_BYTES" in server.client.get("/ready").json()["fault"]
        assert [sender.answer().status for sender in senders] == [201] * 3
    wait_until(lambda: server.client.metric("leadcrm_turned_away_total", reason="no_room") == 1)
    assert server.client.post_lead(b" " * 200_000).status == 400
    assert [record["msg"] for record in server.log_records() if record["level"] == "warn"] == [
        "leads are refused: those that wait to be written fill the memory for them"
    ]


def test_a_body_that_arrives_slowly_gives_way_to_whole_leads(start_server: StartServer) -> None:
    server = start_server(environment={"QUEUE_BYTES": "2097152"})
    half = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" + b" " * 1_000_000
    with Conversation(server.client) as slow, Conversation(server.client) as small:
        small.send(b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b" " * 900)
        slow.send(half)
        wait_until(lambda: server.client.metric("leadcrm_queue_bytes") == 1_000_900)
        assert server.client.post_lead(b" " * 1_000_000).status == 400
        answer = slow.answer()
        assert answered(answer) == refusal(503, "unavailable")
        assert (answer.header("Retry-After"), answer.header("Connection")) == ("5", "close")
        small.send(b" " * 98 + b"{}")
        assert small.answer().status == 201
    wait_until(lambda: server.client.metric("leadcrm_turned_away_total", reason="body") == 1)
    assert server.client.get("/health").status == 200


@pytest.mark.parametrize(
    ("token", "request_line", "status"),
    [
        (b"wrong", b"POST /api/leads/bulk", 401),
        (ADMIN_TOKEN, b"POST /api/leads/bulk", 413),
        (ADMIN_TOKEN, b"GET /api/leads", 200),
        (b"wrong", b"GET /health", 200),
        (b"wrong", b"POST /nowhere", 404),
        (b"wrong", b"PUT /api/lead", 405),
    ],
)
def test_an_answer_does_not_wait_for_a_body_that_is_not_wanted(
    crm_server: Server, token: bytes, request_line: bytes, status: int
) -> None:
    head = b"%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1048576\r\n\r\n"
    with Conversation(crm_server.client) as connection:
        connection.send(head % (request_line, token) + b"{")
        answer = connection.answer()
        assert (answer.status, answer.header("Connection")) == (status, "close")
        with suppress(ConnectionError):
            connection.send(b" " * 1_048_575)
        assert connection.rest() == b""


def test_a_body_that_came_whole_costs_no_connection(crm_server: Server) -> None:
    with Conversation(crm_server.client) as connection:
        for line, status in ((b"GET /health", 200), (b"POST /nowhere", 404), (b"POST /api/leads/bulk", 401)):
            connection.send(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            answer = connection.answer()
            assert (answer.status, answer.header("Connection")) == (status, "keep-alive")
    assert {record["level"] for record in crm_server.log_records()} == {"info"}
