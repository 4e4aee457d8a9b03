"""Unusual requests: chunked, slow, pipelined, incomplete, and from senders that hang up."""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer
from tests.support.conversation import Conversation, lead_request
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

CHUNKED_HEAD = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def stored(shared_server: Server, shared_database: str) -> Rows:
    return Rows(shared_database)


def assert_kept(answer: Answer, body: bytes, stored: Rows) -> None:
    assert answer.status == 201
    assert answer.receipt is not None
    assert answer.receipt.sha256 == hashlib.sha256(body).hexdigest()
    assert stored.raw_row(answer.receipt.raw_id)["body"] == body


def test_a_chunked_body_is_kept_decoded(shared_server: Server, stored: Rows) -> None:
    body = b'{"email":"chunked@example.com","x":"%s"}' % (b"y" * 70_000)
    with Conversation(shared_server.client) as connection:
        connection.send(CHUNKED_HEAD)
        for start in range(0, len(body), 999):
            part = body[start : start + 999]
            connection.send(b"%x;extension=1\r\n%s\r\n" % (len(part), part))
        connection.send(b"0\r\n\r\n")
        assert_kept(connection.answer(), body, stored)
        connection.send(lead_request(b"{}"))
        assert_kept(connection.answer(), b"{}", stored)


def test_a_chunked_body_sent_byte_by_byte_is_kept(shared_server: Server, stored: Rows) -> None:
    body = b'{"email":"dribbled@example.com"}'
    content = CHUNKED_HEAD + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with Conversation(shared_server.client) as connection:
        for byte in content:
            connection.send(bytes([byte]))
        assert_kept(connection.answer(), body, stored)


@pytest.mark.parametrize(
    "field",
    [b"Transfer-Encoding: Chunked", b"TRANSFER-ENCODING:CHUNKED", b"transfer-encoding: chunked \t"],
    ids=["capital", "upper case", "blanks after it"],
)
def test_chunks_are_read_however_their_coding_is_spelled(shared_server: Server, stored: Rows, field: bytes) -> None:
    head = CHUNKED_HEAD.replace(b"Transfer-Encoding: chunked", field)
    with Conversation(shared_server.client) as connection:
        for body in (b'{"email":"spelled@example.com"}', b"{}"):
            connection.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            assert_kept(connection.answer(), body, stored)


def test_trailers_are_read_and_dropped(shared_server: Server, stored: Rows) -> None:
    with Conversation(shared_server.client) as connection:
        for byte in CHUNKED_HEAD + b"2;x=1\r\n{}\r\n000\r\nX-Checksum: 1\r\nX-Signature:\r\n\r\n":
            connection.send(bytes([byte]))
        assert_kept(connection.answer(), b"{}", stored)
        connection.send(CHUNKED_HEAD + b"2\r\n[]\r\n0\r\nX-T: 1\r\n\r\n" + lead_request(b'{"email":"next"}'))
        assert connection.answer().status == 400
        assert_kept(connection.answer(), b'{"email":"next"}', stored)


def test_a_line_break_between_two_requests_is_ignored(shared_server: Server, stored: Rows) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"{}") + b"\r\n" + lead_request(b'{"email":"next"}'))
        assert_kept(connection.answer(), b"{}", stored)
        assert_kept(connection.answer(), b'{"email":"next"}', stored)


def test_the_target_of_a_whole_url_is_its_path_and_query(shared_server: Server, stored: Rows) -> None:
    request = lead_request(b"{}").replace(b"/api/lead", b"http://leads.example:80/api/lead?source=a/b", 1)
    with Conversation(shared_server.client) as connection:
        connection.send(request)
        answer = connection.answer()
    assert answer.receipt is not None
    assert stored.raw_row(answer.receipt.raw_id)["target"] == "/api/lead?source=a/b"


def test_an_empty_chunked_body_is_invalid_and_kept(shared_server: Server, stored: Rows) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(CHUNKED_HEAD + b"0\r\n\r\n")
        answer = connection.answer()
    assert answer.status == 400
    assert answer.receipt is not None
    assert stored.raw_row(answer.receipt.raw_id)["body"] == b""


def test_slow_senders_do_not_delay_others(shared_server: Server, stored: Rows) -> None:
    body = b'{"email":"slow@example.com"}'
    request = lead_request(body)
    with ExitStack() as stack:
        slow = [stack.enter_context(Conversation(shared_server.client)) for _ in range(50)]
        for position in range(0, len(request), 10):
            for connection in slow:
                connection.send(request[position : position + 10])
            started = time.monotonic()
            assert shared_server.client.post_lead({}).status == 201
            assert time.monotonic() - started < 2
        for connection in slow:
            assert_kept(connection.answer(), body, stored)


def test_pipelined_leads_are_answered_in_order(shared_server: Server, stored: Rows) -> None:
    bodies = [b'{"phone":"%d"}' % number for number in range(20)]
    with Conversation(shared_server.client) as connection:
        connection.send(b"".join(lead_request(body) for body in bodies))
        for body in bodies:
            assert_kept(connection.answer(), body, stored)


def test_a_pipelined_repeat_is_a_duplicate(shared_server: Server) -> None:
    request = lead_request(b"{}", key=b"pipelined")
    with Conversation(shared_server.client) as connection:
        connection.send(request * 3)
        answers = [connection.answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [201, 409, 409]
    assert len({answer.json()["lead_id"] for answer in answers}) == 1


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue "], ids=["usual", "capital and a blank"])
def test_a_sender_that_expects_100_continue_gets_it(shared_server: Server, stored: Rows, expectation: bytes) -> None:
    body = b'{"email":"asked@example.com"}'
    head, _, _ = lead_request(body, (b"Expect", expectation)).partition(b"\r\n\r\n")
    with Conversation(shared_server.client) as connection:
        connection.send(head + b"\r\n\r\n")
        connection.wait_for(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(body)
        assert_kept(connection.answer(), body, stored)


def test_a_sender_that_expects_100_continue_for_too_large_a_body_gets_413(shared_server: Server) -> None:
    head = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
    with Conversation(shared_server.client) as connection:
        connection.send(head)
        assert connection.answer().status == 413


def test_an_unknown_expectation_is_answered_417(shared_server: Server) -> None:
    answer = shared_server.client.post_lead({}, headers=[("Expect", "a-miracle")])
    assert (answer.status, answer.body) == (417, b'{"ok":false,"error":"expectation_failed"}')


def test_a_sender_of_http_1_0_is_answered_and_its_connection_closed(shared_server: Server, stored: Rows) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(b"POST /api/lead HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert_kept(connection.answer(), b"{}", stored)
        assert connection.rest() == b""


def test_an_incomplete_body_is_no_lead_and_logs_no_error(start_server: StartServer, database: str) -> None:
    server = start_server(database)
    request = lead_request(b'{"email":"half@example.com"}', key=b"half")
    for end in (10, len(request) - 20, len(request) - 1):
        with Conversation(server.client) as connection:
            connection.send(request[:end])
    with Conversation(server.client) as connection:
        connection.send(request[:-1])
        connection.end_sending()
        connection.rest()
    assert server.client.post_lead({}, key="half").status == 201
    server.terminate()
    assert [row["idempotency_key"] for row in Rows(database).raw()] == ["half"]
    assert [record for record in server.log_records() if record["level"] not in ("info", "debug")] == []


@pytest.mark.parametrize("size", [2, 500_000], ids=["small", "large"])
def test_a_lead_is_kept_though_its_sender_hangs_up_at_once(shared_server: Server, stored: Rows, size: int) -> None:
    keys = [b"hung-up-%d-%d" % (size, number) for number in range(30)]
    for key in keys:
        with Conversation(shared_server.client) as connection:
            connection.send(lead_request(b"{" + b" " * (size - 2) + b"}", key=key))

    def kept() -> bool:
        found = stored.select("SELECT idempotency_key FROM leads_raw WHERE state = 'stored'")
        return {row["idempotency_key"] for row in found}.issuperset(key.decode() for key in keys)

    wait_until(kept)


def test_a_lead_is_kept_though_its_sender_aborts_during_the_commit(start_server: StartServer, database: str) -> None:
    server = start_server(database, environment={"COMMIT_TIMEOUT": "2.5"})
    stored = Rows(database)
    senders = [Conversation(server.client) for _ in range(20)]
    with stored.writes_blocked():
        for number, sender in enumerate(senders):
            sender.send(lead_request(b"{}", key=b"vanished-%d" % number))
        wait_until(lambda: server.client.metric("leadcrm_received_bytes_total") == 40)
        for sender in senders:
            sender.abort()
    wait_until(lambda: len(stored.leads()) == 20)
    assert server.client.post_lead({}, key="vanished-0").status == 409


@pytest.mark.parametrize("size", [2, 500_000], ids=["small", "large"])
def test_a_sender_that_closes_its_sending_side_gets_its_answer(shared_server: Server, stored: Rows, size: int) -> None:
    body = b"{" + b" " * (size - 2) + b"}"
    for _ in range(10):
        with Conversation(shared_server.client) as connection:
            connection.send(lead_request(body))
            connection.end_sending()
            assert_kept(connection.answer(), body, stored)
            assert connection.rest() == b""


def test_a_sender_that_stops_within_a_pipelined_request_gets_the_answers_to_those_before(shared_server: Server) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"{}") * 2 + lead_request(b"{}")[:-1])
        connection.end_sending()
        received = connection.rest()
    assert received.count(b"HTTP/1.1 201 ") == 2
    assert received.count(b"HTTP/1.1 201 ") + received.count(b"HTTP/1.1 400 ") == received.count(b"HTTP/1.1 ")


def test_a_nul_in_a_header_is_replaced_in_the_stored_row(shared_server: Server, stored: Rows) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"{}", (b"X-Odd", b"a\x00b"), key=b"k\x00"))
        answer = connection.answer()
    row = stored.raw_row(answer.json()["lead_id"])
    assert (row["headers"]["x-odd"], row["idempotency_key"]) == ("a\ufffdb", "k\ufffd")
    assert row["key_sha256"] == hashlib.sha256(b"k\x00").digest()


@pytest.mark.parametrize("size", [b"100000000", b"fffffffffffffff", b"100001", b"100001;x"])
def test_a_chunk_over_the_limit_is_answered_413_before_any_of_it_comes(shared_server: Server, size: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(CHUNKED_HEAD + b"2\r\n{}\r\n" + size + b"\r\n")
        answer = connection.answer()
        assert (answer.status, answer.body) == (413, b'{"ok":false,"error":"payload_too_large"}')
        assert answer.header("Connection") == "close"


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="b;c"', b';a="\\"";b', b" ; a", b";a=\\"])
def test_a_chunk_may_have_extensions(shared_server: Server, extension: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(CHUNKED_HEAD + b"2" + extension + b"\r\n{}\r\n0" + extension + b"\r\n\r\n")
        assert connection.answer().status == 201


@pytest.mark.parametrize("part", [b"POST /api/lead HTTP/1.1\r\nHo", lead_request(b"{}")[:-1], CHUNKED_HEAD + b"2\r\n{"])
def test_a_sender_that_closes_its_sending_side_within_a_request_is_answered_400(
    shared_server: Server, part: bytes
) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(part)
        connection.end_sending()
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, b'{"ok":false,"error":"bad_request"}')
        assert connection.rest() == b""
