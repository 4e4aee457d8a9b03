"""Unusual requests: chunked, slow, pipelined, incomplete, from senders that hang up, and ambiguous ones."""

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

SMUGGLED = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nIdempotency-Key: smuggled\r\nContent-Length: 2\r\n\r\n{}"
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


AMBIGUOUS_HEADS = {
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 50\r\n",
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two lengths in one": b"Content-Length: 5, 50\r\n",
    "a length and chunks in capitals": b"Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n",
    "chunks twice in capitals": b"Transfer-Encoding: Chunked\r\nTransfer-Encoding: CHUNKED\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "an unknown transfer coding": b"Transfer-Encoding: xchunked\r\n",
    "chunks that are not last": b"Transfer-Encoding: chunked, identity\r\n",
    "chunks after a vertical tab": b"Transfer-Encoding:\x0bchunked\r\n",
    "a blank before the colon": b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
    "a folded line": b"Content-Length: 5\r\nX: a\r\n Transfer-Encoding: chunked\r\n",
    "a folded value": b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n",
    "a bare line feed": b"Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n",
    "a bare carriage return": b"Content-Length: 5\r\nX: a\rTransfer-Encoding: chunked\r\n",
    "a NUL in a name": b"Content-Length: 5\r\nTransfer-Encoding\x00: chunked\r\n",
    "no name": b"Content-Length: 5\r\n: chunked\r\n",
    "a length with a sign": b"Content-Length: +5\r\n",
    "a length in hexadecimal": b"Content-Length: 0x5\r\n",
    "a length in other digits": "Content-Length: \uff15\r\n".encode(),
    "a length with an underscore": b"Content-Length: 0_5\r\n",
    "an empty length": b"Content-Length: \r\n",
    **{
        f"a length after the blank {blank!r}, which is none": b"Content-Length: " + blank + b"5\r\n"
        for blank in (b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\xc2\x85", b"\xc2\xa0", b"\xe3\x80\x80")
    },
    "a length before a vertical tab": b"Content-Length: 5\x0b\r\n",
    "a second host": b"Content-Length: 5\r\nHost: x\r\n",
    "another host": b"Content-Length: 5\r\nhost: y\r\n",
}


@pytest.mark.parametrize("head", AMBIGUOUS_HEADS.values(), ids=AMBIGUOUS_HEADS.keys())
def test_an_ambiguous_head_is_refused(shared_server: Server, stored: Rows, head: bytes) -> None:
    content = b"POST /api/lead HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n0\r\n\r\n"
    with Conversation(shared_server.client) as connection:
        connection.send(content + SMUGGLED)
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, b'{"ok":false,"error":"bad_request"}')
        assert answer.header("Connection") == "close"
        assert connection.rest() == b""
    assert_nothing_was_smuggled(shared_server, stored)


NO_HOSTS = (
    *(b"", b"Host: x y\r\n", b"Host: x/z\r\n", b"Host: y@x\r\n", b"Host: x,y\r\nHost: x\r\n", b"Host: x#\r\n"),
    *(
        b"Host: [::1\r\n",
        b"Host: x:80:80\r\n",
        b"Host: x:8a\r\n",
        b"Host: x\x00\r\n",
        b"Host: \xc4\x81.lv\r\n",
        b"Host: %\r\n",
    ),
)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_request_without_one_good_host_is_refused(shared_server: Server, stored: Rows, host: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(b"POST /api/lead HTTP/1.1\r\n" + host + b"Content-Length: 2\r\n\r\n{}" + SMUGGLED)
        assert (connection.answer().status, connection.rest()) == (400, b"")
    assert_nothing_was_smuggled(shared_server, stored)


@pytest.mark.parametrize(
    "host", [b"", b" ", b"x", b"x.example:8443", b"x_y.example.", b"192.0.2.1:80", b"[2001:db8::1]:443", b"xn--p1ai:"]
)
def test_a_good_host_is_taken_an_empty_one_too(shared_server: Server, host: bytes) -> None:
    request = b"POST /api/lead HTTP/1.1\r\nHost:%s\r\nContent-Length: 2\r\n\r\n{}" % host
    with Conversation(shared_server.client) as connection:
        connection.send(request * 2)
        assert [connection.answer().status, connection.answer().status] == [201, 201]


def test_http_1_0_needs_no_host_and_has_no_chunks(shared_server: Server) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(b"POST /api/lead HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert connection.answer().status == 201
    with Conversation(shared_server.client) as connection:
        chunks = b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        connection.send(b"POST /api/lead HTTP/1.0\r\nHost: x\r\n" + chunks)
        answer = connection.answer()
        assert (answer.status, answer.header("Connection"), connection.rest()) == (400, "close", b"")


@pytest.mark.parametrize("target", [b"/api/lead#x", b"/api/lead?a=b#x", b"http://x/api/lead#", b"http://x#/api/lead"])
def test_a_target_with_a_fragment_is_refused(shared_server: Server, target: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"{}", target=target))
        answer = connection.answer()
        assert (answer.status, answer.header("Connection")) == (400, "close")


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


NO_HTTP = {
    "a TLS handshake": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 50,
    "bare line feeds": b"POST /api/lead HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "a bare line feed after the first line": b"POST /api/lead HTTP/1.1\r\nHost: x\nContent-Length: 2\n\n{}",
    "an SSH client": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"GET /health\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n",
    "a PROXY line": b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n",
    "the end of a body": b'"}',
    "an end of a body before a lead": b'"}POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}',
}


@pytest.mark.parametrize("content", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_bytes_that_are_no_http_are_answered_400_at_once_and_the_connection_is_closed(
    shared_server: Server, content: bytes
) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(content)
        answer = connection.answer()
        assert (answer.status, answer.body) == (400, b'{"ok":false,"error":"bad_request"}')
        assert answer.header("Connection") == "close"
        assert connection.rest() == b""


def test_a_body_longer_than_its_length_does_not_become_the_method_of_the_next_lead(
    start_server: StartServer, database: str
) -> None:
    server = start_server(database)
    body = '{"lastName":"B\u0113rzi\u0146\u0161"}'
    too_short = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode())
    with Conversation(server.client) as connection:
        connection.send(too_short + lead_request(b"{}", key=b"next"))
        assert connection.answer().status == 400
        answer = connection.answer()
        assert (answer.status, answer.header("Connection")) == (400, "close")
        assert connection.rest() == b""
    assert server.client.post_lead({}, key="next").status == 201
    server.terminate()
    assert {record.get("method", "POST") for record in server.log_records()} <= {"POST", "GET", "NONE"}


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


AMBIGUOUS_CHUNKS = {
    "a size with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size with a sign": b"+2\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "a size with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a size with blanks": b" 2 \r\n{}\r\n0\r\n\r\n",
    "a size in other digits": "\uff12\r\n{}\r\n0\r\n\r\n".encode(),
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"2\r\n{}xx0\r\n\r\n",
    "a line feed for a line break": b"2\n{}\n0\n\n",
    "a NUL within an extension": b"2;a\x00\r\n{}\r\n0\r\n\r\n",
    "a quote that is not closed": b'2;a="b\r\n{}\r\n0\r\n\r\n',
    "a quote that is closed by an escaped one": b'2;a="b\\"\r\n{}\r\n0\r\n\r\n',
    "a quote that is not closed after the last chunk": b'2\r\n{}\r\n0;"\r\n\r\n',
    "a line feed within an extension": b"2;a\n\r\n{}\r\n0\r\n\r\n",
    "a length as a trailer": b"2\r\n{}\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\n\r\n",
    "a key as a trailer": b"2\r\n{}\r\n0\r\nidempotency-key: late\r\n\r\n",
    "a folded trailer": b"2\r\n{}\r\n0\r\nX-T: 1\r\n 2\r\n\r\n",
    "a trailer without a name": b"2\r\n{}\r\n0\r\n: 1\r\n\r\n",
    "a request in place of a trailer": b"2\r\n{}\r\n0\r\nPOST /api/lead HTTP/1.1\r\n\r\n",
    "endless trailers": b"2\r\n{}\r\n0\r\nX-T: " + b"x" * 20_000 + b"\r\n\r\n",
    "an endless size": b"f" * 100 + b"\r\n",
    "an endless extension": b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("chunks", AMBIGUOUS_CHUNKS.values(), ids=AMBIGUOUS_CHUNKS.keys())
def test_ambiguous_chunks_are_refused(shared_server: Server, stored: Rows, chunks: bytes) -> None:
    before = len(stored.raw())
    with Conversation(shared_server.client) as connection:
        connection.send(CHUNKED_HEAD + chunks + SMUGGLED)
        answer = connection.answer()
        assert (answer.status, answer.body) in (
            (400, b'{"ok":false,"error":"bad_request"}'),
            (413, b'{"ok":false,"error":"payload_too_large"}'),
        )
        assert connection.rest() == b""
    assert len(stored.raw()) == before
    assert_nothing_was_smuggled(shared_server, stored)


def assert_nothing_was_smuggled(server: Server, stored: Rows) -> None:
    assert server.client.post_lead({}).status == 201
    assert stored.select("SELECT id FROM leads_raw WHERE idempotency_key = 'smuggled'") == []
