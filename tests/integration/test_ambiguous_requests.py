"""Requests that two programs may read differently, and bytes that are no HTTP: nothing is smuggled in behind them."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest

from tests.conftest import StartServer
from tests.support.conversation import Conversation, lead_request
from tests.support.rows import Rows
from tests.support.server import Server

SMUGGLED = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nIdempotency-Key: smuggled\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED_HEAD = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def stored(shared_server: Server, shared_database: str) -> Rows:
    return Rows(shared_database)


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


@pytest.mark.parametrize(
    "target", ["/api/lead?name=J\u0101nis", "/api/lead?a=%41&b=\u041e\u0437\u043e\u043b\u0430", "/api/lead?\xe9=\xa0"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1251"])
def test_a_target_beyond_ascii_is_kept_as_escapes_and_ends_where_it_did(
    shared_server: Server, shared_database: str, target: str, encoding: str
) -> None:
    sent = target.encode(encoding, "ignore") + b"\x85"
    with Conversation(shared_server.client) as connection:
        connection.send(lead_request(b"{}", target=sent) + lead_request(b"{}"))
        answers = [connection.answer(), connection.answer()]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].receipt is not None
    kept = Rows(shared_database).raw_row(answers[0].receipt.raw_id)["target"]
    assert kept.isascii()
    assert unquote_to_bytes(kept) == unquote_to_bytes(sent)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/lead?\xc4\x81 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3",
        b"POST /api/lead?\xc4\x81 HTTP/1.1\r\nHost: x\r\nContent-Length : 2",
        b"POST /api/lead?\xc4 \x81 HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
        b"POST /api/lead?\xc4\x81\nX: y HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
        b"POST http://x\xe9/api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
        b"POST /api/lead?\xc4\x81#a HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    ],
)
def test_an_ambiguous_head_is_refused_whatever_its_target_is(shared_server: Server, head: bytes) -> None:
    with Conversation(shared_server.client) as connection:
        connection.send(head + b"\r\n\r\n{}")
        answer = connection.answer()
        assert (answer.status, answer.header("Connection")) == (400, "close")


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
