"""CORS: which pages of other sites may send leads and read the answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer, server_starter
from tests.support.client import Answer, Client
from tests.support.server import Server

ORIGIN = [("Origin", "https://landing.example")]


@pytest.fixture(scope="module")
def narrowed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server that two origins may use."""
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("narrowed")):
        origins = "https://landing.example, http://localhost:8080"
        yield start(environment={"CORS_ORIGINS": origins, "MAX_BODY_BYTES": "1000"}).client


def allowed(answer: Answer) -> str | None:
    return answer.header("Access-Control-Allow-Origin")


def assert_allowed(answer: Answer, origin: str = "https://landing.example") -> None:
    """A page of this origin may read the answer, even to a request with cookies, as sendBeacon makes it."""
    assert allowed(answer) == origin
    assert answer.header("Access-Control-Allow-Credentials") == "true"
    assert words(answer, "Vary") == {"origin"}


def words(answer: Answer, name: str) -> set[str]:
    return set((answer.header(name) or "").lower().replace(" ", "").split(","))


@pytest.mark.parametrize("target", ["/api/lead", "/health"])
def test_every_origin_may_send_by_default_after_a_preflight(shared_server: Server, target: str) -> None:
    asked = [
        *ORIGIN,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type, idempotency-key, x-request-id, x-own"),
        ("X-Request-Id", "request-of-options"),
    ]
    answer = shared_server.client.request("OPTIONS", target, headers=asked)
    assert (answer.status, answer.header("X-Request-Id")) == (204, "request-of-options")
    assert answer.body == b""
    assert_allowed(answer)
    assert {"post", "get"} <= words(answer, "Access-Control-Allow-Methods")
    headers = words(answer, "Access-Control-Allow-Headers")
    assert {"content-type", "idempotency-key", "x-request-id", "x-own"} <= headers
    assert int(answer.header("Access-Control-Max-Age") or 0) > 0


def test_a_page_may_read_receipt_and_request_id(shared_server: Server) -> None:
    for answer in (
        shared_server.client.post_lead({}, headers=ORIGIN),
        shared_server.client.post_lead(b"nothing", headers=ORIGIN),
        shared_server.client.get("/health", headers=ORIGIN),
    ):
        assert_allowed(answer)
        assert words(answer, "Access-Control-Expose-Headers") == {"lead-receipt", "x-request-id"}


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", "/api/lead", b"{}"),
        ("POST", "/api/lead", b"x" * 1_100_000),
        ("POST", "/api/lead", b"nothing"),
    ],
    ids=["405", "413", "400"],
)
def test_a_page_may_read_errors_too(shared_server: Server, method: str, target: str, body: bytes) -> None:
    answer = shared_server.client.request(method, target, body=body, headers=ORIGIN)
    assert answer.status >= 400
    assert_allowed(answer)


def test_a_page_may_read_that_a_path_is_unknown(shared_server: Server) -> None:
    answer = shared_server.client.request("POST", "/api/other", body=b"{}", headers=ORIGIN)
    assert (answer.status, allowed(answer)) == (404, "*")


def test_a_page_of_a_file_has_the_origin_null_and_may_send(shared_server: Server) -> None:
    assert_allowed(shared_server.client.post_lead({}, headers=[("Origin", "null")]), "null")


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/api/leads"), ("DELETE", "/api/leads"), ("OPTIONS", "/api/leads"), ("GET", "/api/stats"), ("GET", "/no")],
)
def test_no_page_may_use_the_visitors_credentials_elsewhere(shared_server: Server, method: str, target: str) -> None:
    answer = shared_server.client.request(method, target, headers=ORIGIN)
    assert allowed(answer) in (None, "*")
    assert answer.header("Access-Control-Allow-Credentials") is None


@pytest.mark.parametrize("origin", [b"https://a\nX-Evil: 1", b"https://a\rX-Evil: 1", "https://\u0101".encode()])
def test_an_origin_cannot_write_headers_of_its_own(shared_server: Server, origin: bytes) -> None:
    content = b"GET /health HTTP/1.1\r\nHost: x\r\nOrigin: " + origin + b"\r\nConnection: close\r\n\r\n"
    received = shared_server.client.send_raw(content)
    assert b"X-Evil" not in received
    assert b"access-control-allow-credentials" not in received


def test_a_preflight_cannot_write_headers_of_its_own(shared_server: Server) -> None:
    content = (
        b"OPTIONS /api/lead HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\nX-Evil: 1\r\n"
        b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x\nX-Evil: 1\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert b"X-Evil" not in shared_server.client.send_raw(content)


@pytest.mark.parametrize("origin", ["https://landing.example", "http://localhost:8080"])
def test_narrowed_origins_let_the_named_ones_in(narrowed: Client, origin: str) -> None:
    headers = [("Origin", origin)]
    for answer in (
        narrowed.post_lead({}, headers=headers),
        narrowed.post_lead(b"nothing", headers=headers),
        narrowed.post_lead(b"x" * 1001, headers=headers),
        narrowed.get("/health", headers=headers),
        narrowed.request("OPTIONS", "/api/lead", headers=headers),
    ):
        assert_allowed(answer, origin)


@pytest.mark.parametrize("origin", ["https://other.example", "https://landing.example.evil.example", "null", ""])
def test_narrowed_origins_keep_all_others_out(narrowed: Client, origin: str) -> None:
    headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")]
    preflight = narrowed.request("OPTIONS", "/api/lead", headers=headers)
    assert allowed(preflight) is None
    assert preflight.header("Access-Control-Allow-Methods") is None
    assert preflight.header("Access-Control-Allow-Credentials") is None
    answer = narrowed.post_lead({}, headers=headers)
    assert answer.status == 201
    assert allowed(answer) is None
    assert words(answer, "Vary") == {"origin"}


def test_a_sender_that_is_no_page_needs_no_origin(narrowed: Client) -> None:
    assert narrowed.post_lead({}).status == 201
