"""Senders that ask with `Expect: 100-continue` and must not be told to go on."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.support.conversation import Conversation, lead_request
from tests.support.server import Server


def test_a_sender_of_http_1_0_gets_no_100(shared_server: Server) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(b"POST /api/lead HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{")
        connection.send(b"}")
        received = connection.rest()
    assert received.startswith(b"HTTP/1.1 201 ")


UNWANTED_BODIES = [
    (401, b"POST /api/lead HTTP/1.1\r\nContent-Length: 2"),
    (401, b"POST /api/lead HTTP/1.1\r\nTransfer-Encoding: chunked"),
    (413, b"POST /api/lead HTTP/1.1\r\nAuthorization: Bearer token\r\nContent-Length: 9000000"),
    (404, b"POST /api/leed HTTP/1.1\r\nContent-Length: 2"),
    (405, b"PUT /api/lead HTTP/1.1\r\nContent-Length: 2"),
]


def test_a_sender_whose_body_is_not_wanted_gets_no_100(start_server: StartServer) -> None:
    server = start_server(environment={"INGEST_TOKEN": "token"})
    for status, line in UNWANTED_BODIES:
        with Conversation(server.client) as connection:
            connection.send(line + b"\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
            received = connection.rest()
        assert received.startswith(b"HTTP/1.1 %d " % status), line
        assert b"\r\nconnection: close\r\n" in received, line
        assert received.count(b"HTTP/1.1 ") == 1, line


def test_a_sender_that_did_not_wait_for_its_100_may_send_on(start_server: StartServer) -> None:
    server = start_server(environment={"INGEST_TOKEN": "token"})
    expecting = lead_request(b"{}", (b"Expect", b"100-continue"))
    with Conversation(server.client) as connection:
        connection.send(expecting)
        assert connection.answer().status == 401
        connection.send(lead_request(b"{}", (b"Authorization", b"Bearer token")))
        assert connection.answer().status == 201
