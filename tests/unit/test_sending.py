"""What counts as the answer of a receiver, and what of it as its consent."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leadcrm.delivery import mail, sending
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.connections import Connections
from leadcrm.delivery.definition import parse_sinks
from leadcrm.delivery.people import example_event
from leadcrm.delivery.sending import deliver
from leadcrm.delivery.sink import Sink
from tests.support.certificates import make_certificate
from tests.support.receiver import Receiver, answer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def sink_of(text: str) -> Sink:
    (sink,) = parse_sinks(f"[sink.a]\nallow_private = true\n{text}", Path("/sinks.toml")).values()
    return sink


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Treat each connection that comes in, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        handle(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("is_tls", [False, True])
def test_an_answer_counts_that_comes_before_the_request_was_read_but_is_no_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_tls: bool
) -> None:
    heads = {"no more": b"410 Gone\r\nretry-after: 60", "welcome": b"200 OK"}
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sending.tls_context.cache_clear()
    told = "no more"

    def refuse(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(connection, server_side=True) if is_tls else connection as stream:
            stream.recv(1_000)
            stream.sendall(b"HTTP/1.1 %s\r\ncontent-length: 7\r\n\r\n%s" % (heads[told], told.encode()))

    event: Any = example_event()
    event = event._replace(lead=event.lead._replace(description="x" * 5_000_000))
    connections = Connections()
    with listening(refuse) as port:
        sink = sink_of(f"url = '{'https' if is_tls else 'http'}://localhost:{port}/'")
        for _ in range(5):
            # The receiver's end is seen while the request is sent, or afterwards.
            assert deliver(sink, event, connections) == Attempt(410, "no more", 60.0)
        told = "welcome"
        attempt = deliver(sink, event, connections)
    assert (attempt.status, attempt.is_success) == (200, False)
    assert attempt.answer == "it ended the connection before it had the whole; welcome"
    sending.tls_context.cache_clear()


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ("HTTP/1.1 200 OK", "IncompleteRead"),
        ("HTTP/1.1 200 OK\r\n", "IncompleteRead"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "IncompleteRead"),
        ("HTTP/1.1 410 ", "IncompleteRead"),
        ("hello", "BadStatusLine"),
    ],
)
def test_an_answer_that_ends_within_its_head_is_none(head: str, fault: str) -> None:
    def begin_to_answer(connection: socket.socket) -> None:
        # What is unread when the connection closes would reset it.
        with connection.makefile("rb") as request:
            lengths = [line.split(b":")[1] for line in iter(request.readline, b"\r\n") if b"ength:" in line]
            request.read(int(lengths[0]))
        connection.sendall(head.encode())

    with listening(begin_to_answer) as port:
        attempt = deliver(sink_of(f"url = 'http://127.0.0.1:{port}/'"), example_event(), Connections())
    assert attempt == Attempt(None, f"it did not answer as HTTP does: {fault}")


@pytest.mark.parametrize(
    ("kind", "body", "is_taken"),
    [
        ("slack", b"ok", True),
        ("slack", b'{"ok":false,"error":"invalid_auth"}', False),
        ("telegram", b'{"ok":true,"result":{"text":"error"}}', True),
        ("telegram", b'{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}', False),
        ("bitrix24", b'{"result":7,"time":{}}', True),
        ("bitrix24", b'{"error":"QUERY_LIMIT_EXCEEDED","error_description":"Too many requests"}', False),
        ("slack", b"<!DOCTYPE html><title>Sign in</title>", False),
        ("telegram", b"\r\n <html>", False),
        ("bitrix24", b"<html><body>The portal is blocked</body></html>", False),
        ("bitrix24", b"", True),
        ("webhook", b'{"ok":false}', True),
        ("webhook", b"<html>", True),
    ],
)
def test_a_service_may_refuse_with_status_200(receiver: Receiver, kind: str, body: bytes, is_taken: bool) -> None:
    receiver.handlers = dict.fromkeys(("/", "/bot1:a/sendMessage", "/crm.lead.add.json"), answer(200, body))
    query, more = ("?chat_id=1", "secret = '1:a'") if kind == "telegram" else ("", "")
    attempt = deliver(sink_of(f"kind = '{kind}'\nurl = '{receiver.url}/{query}'\n{more}"), example_event())
    assert (attempt.status, attempt.answer.encode(), attempt.is_success) == (200, body, is_taken)


@pytest.mark.parametrize(
    ("rcpt", "end", "attempt"),
    [
        ("250 ok", "250 taken", (250, "")),
        ("451 4.7.1 greylisted", "", (451, "2 recipients were refused: 4.7.1 greylisted")),
        ("250 ok", "554 spam", (554, "spam")),
        ("250 ok", "", (None, "it ended the connection")),
        ("", "", (None, "it did not answer in time")),
    ],
)
def test_a_mail_server_may_look_at_the_mail_for_longer_than_at_anything_else(
    monkeypatch: pytest.MonkeyPatch, rcpt: str, end: str, attempt: tuple[int | None, str]
) -> None:
    monkeypatch.setattr(mail, "SMTP_S", 0.2)
    answers = {"RCPT": rcpt, "DATA": "354 go on", "QUIT": "221 bye"}

    def serve(connection: socket.socket) -> None:
        is_mail = False
        connection.sendall(b"220 here\r\n")
        with connection.makefile("r", newline="\r\n") as lines:
            for line in lines:
                text = answers.get(line[:4].upper(), "250 ok")
                if is_mail:
                    if line != ".\r\n":
                        continue
                    time.sleep(0.5)
                    text, is_mail = end, False
                    if not end:
                        return
                # What gets no answer waits until it goes.
                if text:
                    connection.sendall(f"{text}\r\n".encode())
                is_mail = text.startswith("354")

    with listening(serve) as port:
        url = f"smtp://127.0.0.1:{port}?from=a@a.example&to=b@a.example&to=c@a.example"
        made = deliver(sink_of(f"kind = 'email'\nurl = '{url}'"), example_event())
    assert (made.status, made.answer) == attempt


def test_a_mail_servers_answer_without_an_end_is_given_up_before_it_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mail, "MAIL_S", 2.0)
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"220 here\r\n")
        while True:
            sent += connection.send(b"250-go on\r\n" * 1_000)

    with listening(serve) as port:
        url = f"smtp://127.0.0.1:{port}?from=a@a.example&to=b@a.example"
        assert deliver(sink_of(f"kind = 'email'\nurl = '{url}'"), example_event()) == Attempt(
            None, "its answer has no end"
        )
    # The rest of it is what the connection holds.
    assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("url = 'http://u:pass@HOST/a/7c9e6679f7425a0d?token=e07fc1f90ae7d2b4&x=1'", "/a/7c9e6679f7425a0d"),
        ("url = 'http://u:pass@HOST/a/7c9e6679f7425a0d?token=e07fc1f90ae7d2b4&x=1'", "token=e07fc1f90ae7d2b4&amp;x=1"),
        ("url = 'http://u:pass@HOST/'", "Basic dTpwYXNz"),
        ("url = 'http://u:pass@HOST/'", "u:pass@"),
        ("kind = 'telegram'\nurl = 'http://HOST/?chat_id=1'\nsecret = '123:ABC-def'", "bot 123:ABC-def is unknown"),
    ],
)
def test_what_is_kept_of_an_answer_quotes_no_secret(text: str, quoted: str) -> None:
    body = f"Cannot POST {quoted}".encode()

    def quote(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    with listening(quote) as port:
        attempt = deliver(sink_of(text.replace("HOST", f"127.0.0.1:{port}")), example_event())
    assert attempt.answer.startswith("Cannot POST ")
    assert "***" in attempt.answer
    for secret in ("7c9e6679f7425a0d", "e07fc1f90ae7d2b4", "dTpwYXNz", "pass", "ABC-def"):
        assert secret not in attempt.answer


@pytest.mark.parametrize(
    ("url", "body", "kept"),
    [
        ("http://HOST/a/7c9e6679f7425a0d", "x" * 1_010 + "7c9e6679f7425a0d, no", "x" * 1_010 + "***, no"),
        ("http://HOST/a/7c9e6679f7425a0d", "x" * 1_022 + "7c9e6679f7425a0d, no", "x" * 1_022 + "**"),
        ("http://e07fc1f90ae7d2b4@HOST/a", "e07fc1f90ae7d2b4 is unknown", "*** is unknown"),
        ("http://u:a@HOST/a", "/an answer to u:a", "/an answer to ***"),
    ],
)
def test_a_secret_is_not_kept_in_part_and_one_of_a_letter_hides_no_text(url: str, body: str, kept: str) -> None:
    def quote(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body.encode()))

    with listening(quote) as port:
        sink = sink_of(f"url = '{url.replace('HOST', f'127.0.0.1:{port}')}'")
        assert deliver(sink, example_event()).answer == kept


def refuse_some(recipients: list[list[str]], refused: set[str], connection: socket.socket) -> None:
    """Take a mail for all but those who are refused, and note for whom."""
    recipients.append([])
    connection.sendall(b"220 here\r\n")
    with connection.makefile("r", newline="\r\n") as lines:
        is_mail = False
        for line in lines:
            word, address = line[:4].upper(), line.strip().rpartition(":")[2]
            is_taken = word != "RCPT" or address not in refused
            if word == "RCPT" and is_taken:
                recipients[-1].append(address[1])
            is_mail = (is_mail or word == "DATA") and line != ".\r\n"
            if not is_mail or word == "DATA":
                code = 354 if word == "DATA" else 250 if is_taken else 550
                connection.sendall(b"%d said\r\n" % code)


def test_a_mail_that_is_refused_for_one_address_is_tried_again_for_that_one_alone() -> None:
    recipients: list[list[str]] = []
    refused = {"<c@a.example>", "<d@a.example>"}
    with listening(partial(refuse_some, recipients, refused)) as port:
        addresses = "".join(f"&to={name}@a.example" for name in "bcd")
        sink = sink_of(f"kind = 'email'\nurl = 'smtp://127.0.0.1:{port}?from=a@a.example{addresses}'")
        attempts = [deliver(sink, example_event()) for _ in range(2)]
        refused.remove("<c@a.example>")
        attempts.append(deliver(sink, example_event()))
        refused.clear()
        attempts += [deliver(sink, example_event()) for _ in range(2)]
    assert recipients == [["b"], [], ["c"], ["d"], ["b", "c", "d"]]
    assert [attempt.is_success for attempt in attempts] == [False, False, False, True, True]
    # Its server works: neither pauses nor five days count.
    assert [attempt.is_partial for attempt in attempts] == [True, True, True, False, False]


def test_an_address_that_is_named_twice_gets_one_mail_and_its_refusal_is_that_of_all() -> None:
    recipients: list[list[str]] = []
    refused = {"<b@a.example>"}
    with listening(partial(refuse_some, recipients, refused)) as port:
        url = f"smtp://127.0.0.1:{port}?from=a@a.example&to=b@a.example&to=b@a.example"
        sink = sink_of(f"kind = 'email'\nurl = '{url}'")
        assert not deliver(sink, example_event()).is_partial
        refused.clear()
        assert deliver(sink, example_event()).is_success
    assert recipients == [[], ["b"]]
