"""What a text of SINKS_FILE may say, what is sent over which connection, and when it is tried again."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from leadcrm.delivery import addresses, connections, courier, dispatch, ledger, mail, sending
from leadcrm.delivery.addresses import is_public
from leadcrm.delivery.attempt import SCHEDULE_S, Attempt, next_attempt
from leadcrm.delivery.connections import Connections
from leadcrm.delivery.definition import parse_sinks
from leadcrm.delivery.mail import make_mail
from leadcrm.delivery.message import make_message
from leadcrm.delivery.people import example_event
from leadcrm.delivery.sending import deliver
from leadcrm.delivery.sink import Sink
from leadcrm.errors import SinksFault
from tests.support.certificates import make_certificate
from tests.support.receiver import Receiver, answer, endless, trickle, working
from tests.support.waiting import wait_until

NOW = datetime(2026, 1, 15)


def sink_of(text: str, folder: Path = Path("/")) -> Sink:
    (sink,) = parse_sinks(f"[sink.a]\n{text}", folder / "sinks.toml").values()
    return sink


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("url = 'https://a.example/'\nurls = 1", 3, "no such key"),
        ("kind = 'fax'\nurl = 'https://a.example/'", 2, "no kind 'fax'"),
        ("kind = 'webhook'", 1, "no URL"),
        ("url = 'ftp://a.example/'", 2, "begins with https or http"),
        ("url = 'http://a.example/'", 2, "allow_private"),
        ("url = 'https://10.0.0.1/'", 2, "private address"),
        ("url = 'https://[::ffff:127.0.0.1]/'", 2, "private address"),
        ("url = 'https://a.example:99999/'", 2, "no URL"),
        ("url = 'https://a.example/'\nevents = ['lead.gone']", 3, "no event 'lead.gone'"),
        ("kind = 'bitrix24'\nurl = 'https://a.example/rest/1/a/crm.lead.add.json'", 3, "ends before the method"),
        ("kind = 'bitrix24'\nurl = 'https://a.example/rest/1/a/crm.lead.add'", 3, "ends before the method"),
        ("kind = 'bitrix24'\nurl = 'https://a.example/rest/1/a/profile.json/'", 3, "ends before the method"),
        ("kind = 'telegram'\nurl = 'https://a.example/bot1:a/sendMessage?chat_id=1'", 3, "ends before the method"),
        ("kind = 'telegram'\nurl = 'https://a.example/bot1:a/?chat_id=1'", 3, "ends before the method"),
        ("kind = 'bitrix24'\nurl = 'https://a.example/'\nevents = ['lead.created', 'lead.changed']", 4, "alone"),
        ("url = 'https://a.example/'\nonly = { colour = 'red' }", 3, "no column 'colour'"),
        ("url = 'https://a.example/'\npayload = 'fat'", 3, "full or thin"),
        ("url = 'https://a.example/'\nsecret = 'whsec_é'", 3, "no Base64"),
        ("kind = 'email'\nurl = 'smtps://a.example?from=a@a.example&to=b@a.example%0aBcc:c@c'", 3, "no mail address"),
        ("kind = 'email'\nurl = 'smtps://u:p@a.example?from=a@a.example&to=b@a.example'", 3, "the sink's secret"),
        ("kind = 'email'\nurl = 'smtps://u@a.example?from=a@a.example&to=b@a.example'", 3, "go together"),
        ("kind = 'telegram'\nurl = 'https://a.example?chat_id=1'\nsecret = '1:a '", 4, "no bot's token"),
        ("url = 'https://a.example/'\nrate = 'often'", 3, "10/s"),
        ("url = 'https://a.example/'\ntext = 'hi'", 3, "has none"),
        ("url = 'https://a.example/'\nenabled = 'no'", 3, "true or false"),
        ("url = 'https://a.example/'\nsecret = 'whsec_%'", 3, "no Base64"),
        ("url = 'https://a.example/'\nsecret = ''", 3, "a secret is a text"),
        ("url = 'https://a.example/'\nsecret_file = 'none'", 3, "cannot be read"),
        ("kind = 'slack'\nurl = 'https://a.example/'\ntext = '{colour}'", 4, "no {colour}"),
        ("kind = 'telegram'\nurl = 'https://a.example/?chat_id=1'", 1, "the bot's token"),
        ("kind = 'telegram'\nsecret = 'a'\nurl = 'https://a.example/'", 4, "lacks chat_id="),
        ("kind = 'email'\nurl = 'smtps://a.example/?from=a@a.example'", 3, "lacks to="),
    ],
)
def test_a_fault_is_named_with_its_line_and_no_secret(text: str, line: int, fault: str) -> None:
    with pytest.raises(SinksFault) as raised:
        sink_of(text)
    (told,) = raised.value.faults
    assert told.startswith(f"line {line}: sink a: ")
    assert fault in told


@pytest.mark.parametrize(
    "text",
    [
        "kind = 'bitrix24'\nurl = 'https://a.example/hooks/crm.main/1'",
        "kind = 'bitrix24'\nurl = 'https://a.example/crm.main'",
        "kind = 'bitrix24'\nurl = 'https://a.example/relay.json/crm.lead.add/1/a/'",
        "kind = 'telegram'\nsecret = '1:a'\nurl = 'https://a.example/bot7:9/relay?chat_id=1'",
    ],
)
def test_a_url_may_have_the_like_of_a_method_before_its_end(text: str) -> None:
    assert sink_of(text).url.path


def test_all_faults_of_a_text_are_told_at_once() -> None:
    with pytest.raises(SinksFault) as raised:
        parse_sinks("[sink.A]\n[sink.b]\n[source.c]\n", Path("/sinks.toml"))
    assert len(raised.value.faults) == 3
    assert raised.value.exit_status == 78


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "fd00::1",
     "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1", "64:ff9b:1::a00:1", "fec0::1"],
)  # fmt: skip
def test_a_private_address_is_recognized_in_every_form(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


def test_public_addresses_are_those_that_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (text, 443)) for text in ("10.0.0.1", "1.1.1.1", "2606:4700::1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert addresses.addresses_of("a.example", 443, allow_private=False) == ["1.1.1.1", "2606:4700::1"]
    assert addresses.addresses_of("a.example", 443, allow_private=True)[0] == "10.0.0.1"


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_a_secret_is_read_as_the_official_library_reads_it(secret: str) -> None:
    message = make_message(sink_of(f"url = 'https://a.example/'\nsecret = '{secret}'"), example_event())
    Webhook(secret).verify(message.body, message.headers)


def test_pauses_follow_the_schedule_with_jitter_or_last_as_long_as_the_receiver_asks() -> None:
    for attempts, pause_s in enumerate(SCHEDULE_S, 1):
        pauses = {next_attempt(attempts, NOW, None) for _ in range(20)}
        assert len(pauses) > 1
        for at in pauses:
            assert at is not None
            assert NOW + timedelta(seconds=pause_s) <= at <= NOW + timedelta(seconds=1.2 * pause_s)
    assert next_attempt(1, NOW, 77) == NOW + timedelta(seconds=77)
    assert next_attempt(1, NOW, 1e9) == NOW + timedelta(days=1)
    assert next_attempt(len(SCHEDULE_S) + 1, NOW, None) is None


def test_another_node_takes_over_in_time() -> None:
    assert ledger.LEASE_S + dispatch.LEASE_RENEWAL_S + 2 * dispatch.TICK_S + courier.IDLE_S < 45


def test_a_receiver_that_stalls_or_never_ends_is_given_up_in_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ANSWER_S", 0.3)
    monkeypatch.setattr(sending, "BODY_S", 0.3)
    receiver.handlers = {"/stall": receiver.stall, "/trickle": trickle, "/endless": endless}
    for path, status in (("stall", None), ("trickle", None), ("endless", 200)):
        started = time.monotonic()
        attempt = deliver(sink_of(f"url = '{receiver.url}/{path}'\nallow_private = true"), example_event())
        assert attempt.status == status, path
        assert len(attempt.answer) <= 1024
        assert time.monotonic() - started < 3


def test_a_receiver_may_take_longer_to_answer_than_to_connect(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CONNECT_S", 0.1)
    receiver.handlers["/slow"] = lambda request: (time.sleep(0.3), answer(204)(request))[1]
    assert deliver(sink_of(f"url = '{receiver.url}/slow'\nallow_private = true"), example_event()).is_success


def test_a_receiver_that_keeps_its_connection_open_gets_the_next_delivery_over_it(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.handlers = {
        "/long": answer(200, b"x" * 5_000),
        "/longer": answer(200, b"x" * 50_000),
        "/close": answer(200, b"", connection="close"),
        "/endless": endless,
    }
    monkeypatch.setattr(sending, "BODY_S", 0.2)
    kept = Connections()

    def connections_after(path: str) -> int:
        sink = sink_of(f"url = '{receiver.url}/{path}'\nallow_private = true")
        assert deliver(sink, example_event(), kept).is_success
        return len(receiver.connections)

    assert [connections_after("a") for _ in range(3)] == [1, 1, 1]
    # Nothing may follow an answer that was not read to its end.
    assert [connections_after(path) for path in ("long", "longer", "a", "close", "a", "endless", "a")] == [
        *(1, 1, 2, 2, 3, 3, 4)
    ]
    # Another place is never asked over the same connection.
    localhost = sink_of(f"url = 'http://localhost:{receiver.port}/a'\nallow_private = true")
    assert deliver(localhost, example_event(), kept).is_success
    assert len(receiver.connections) == 5
    for limit in ("IDLE_S", "MAX_AGE_S"):
        with monkeypatch.context() as patch:
            assert connections_after("a") == (before := len(receiver.connections)), limit
            patch.setattr(connections, limit, 0)
            assert connections_after("a") == before + 1, limit
    kept.close()
    wait_until(lambda: receiver.connections[-1].fileno() == -1, what="the receiver to see the end")


def test_a_connection_that_a_receiver_ends_meanwhile_is_no_failed_attempt(receiver: Receiver) -> None:
    def hang_up(request: BaseHTTPRequestHandler) -> None:
        receiver.handlers.clear()
        request.connection.shutdown(socket.SHUT_RDWR)

    sink = sink_of(f"url = '{receiver.url}/a'\nallow_private = true")
    with closing(Connections()) as kept:
        assert deliver(sink, example_event(), kept).is_success
        receiver.connections[-1].shutdown(socket.SHUT_RDWR)
        assert deliver(sink, example_event(), kept).is_success
        # As the second request comes.
        receiver.handlers["/a"] = hang_up
        assert deliver(sink, example_event(), kept).is_success
    assert [len(receiver.connections), len(receiver.received["/a"])] == [3, 4]
    # A new connection that ends without an answer is a failure.
    receiver.handlers["/a"] = hang_up
    assert deliver(sink, example_event()) == Attempt(None, "Remote end closed connection without response")


def test_a_request_that_ends_its_connection_is_sent_only_once_more(receiver: Receiver) -> None:
    all_under_way = threading.Barrier(3)
    receiver.handlers = {
        "/a": lambda request: (all_under_way.wait(10), answer(204)(request))[1],
        "/poison": lambda request: request.connection.shutdown(socket.SHUT_RDWR),
    }
    sink = sink_of(f"url = '{receiver.url}/a'\nallow_private = true")
    with closing(Connections()) as kept, ThreadPoolExecutor() as threads:
        assert all(threads.map(lambda _: deliver(sink, example_event(), kept).is_success, range(3)))
        poisoned = sink_of(f"url = '{receiver.url}/poison'\nallow_private = true")
        assert deliver(poisoned, example_event(), kept).status is None
    assert len(receiver.received["/poison"]) == 2


def test_no_answer_is_taken_for_that_of_another_request(receiver: Receiver) -> None:
    def promise(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        time.sleep(0.05)
        answer(200 if request.path == "/taken" else 503)(request)

    receiver.handlers = {"/taken": promise, "/busy": promise, "/switched": answer(101)}
    with closing(Connections()) as kept:
        statuses = [
            deliver(sink_of(f"url = '{receiver.url}/{path}'\nallow_private = true"), example_event(), kept).status
            for path in ("taken", "busy", "taken", "switched", "taken")
        ]
    assert (statuses, len(receiver.connections)) == ([200, 503, 200, 101, 200], 2)


def test_a_receiver_that_is_too_slow_is_sent_nothing_again_at_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ANSWER_S", 0.3)
    receiver.handlers["/slow"] = working
    with closing(Connections()) as kept:
        for path, answer_of_it in (("fast", Attempt(204, "")), ("slow", Attempt(None, "it did not answer in time"))):
            sink = sink_of(f"url = '{receiver.url}/{path}'\nallow_private = true")
            assert deliver(sink, example_event(), kept) == answer_of_it
    assert [len(receiver.connections), len(receiver.received["/slow"])] == [1, 1]


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("12", b"", 12),
        ("Thu, 01 Jan 1970 00:00:00 GMT", b"", 0),
        ("soon", b"", None),
        ("", b'{"parameters":{"retry_after":9}}', 9),
        ("", b"[]", None),
        ("-5", b"", None),
        ("", b'{"parameters":{"retry_after":-9}}', 0),
        ("", b'{"parameters":{"retry_after":NaN}}', None),
        ("", b'{"parameters":{"retry_after":%s}}' % (b"9" * 400), None),
        ("", b"[" * 1_024, None),
    ],
)
def test_a_receiver_says_how_long_it_wants_to_be_left_alone(
    receiver: Receiver, header: str, body: bytes, seconds: float | None
) -> None:
    receiver.handlers["/busy"] = answer(429, body, Retry_After=header)
    sink = sink_of(f"url = '{receiver.url}/busy'\nallow_private = true")
    assert deliver(sink, example_event()) == Attempt(429, body.decode(), seconds)


def test_a_certificate_must_be_trusted_and_of_the_hosts_name(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver.wrap(context)

    def delivered(host: str) -> Attempt:
        sending.tls_context.cache_clear()
        return deliver(sink_of(f"url = 'https://{host}:{receiver.port}/a'\nallow_private = true"), example_event())

    assert delivered("localhost").answer == "its certificate is not trusted: self-signed certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert delivered("localhost").status == 204
    assert "not trusted" in delivered("127.0.0.1").answer
    assert [request.headers["host"] for request in receiver.received["/a"]] == [f"localhost:{receiver.port}"]
    sending.tls_context.cache_clear()


def test_a_mail_is_sent_and_what_the_server_answers_is_kept() -> None:
    said: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve_mail, args=(listener, said))
        thread.start()
        port = listener.getsockname()[1]
        url = f"smtp://127.0.0.1:{port}?from=a@a.example&to=b@a.example&to=c@a.example"
        sink = sink_of(
            f"kind = 'email'\nurl = '{url}'\ntext = '''Lead {{email}}\nof {{source}}'''\nallow_private = true"
        )
        assert deliver(sink, example_event()).is_success
        thread.join()
    recipients = [line.lower() for line in said if line.lower().startswith("rcpt")]
    assert recipients == ["rcpt to:<b@a.example>", "rcpt to:<c@a.example>"]
    assert "Subject: Lead test@example.com" in said
    assert make_mail(sink, example_event())["Message-ID"] in "\n".join(said)
    refused = deliver(sink, example_event())
    assert refused == Attempt(None, "it refused the connection")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=?utf-8?q?x=0ABcc:_evil@a.example?=", None),
        ("=?utf-8?b?DQpCY2M6IHg=?=", None),
        ("=?utf-8?q?a?= =?utf-8?q?=0D=0A=0D=0A?=", None),
        ("=?utf-8?q?J=C3=B6rg?=", None),
        ("J\u00f6rg " * 30 + "M", None),
        ("\N{GRINNING FACE}" * 190, None),
        ("a\x07b\x1b[31m\x7f\x9b", "a b [31m"),
        ("a\r\nBcc: b@a.example", "a"),
    ],
)
def test_a_mails_subject_shows_a_leads_text_as_it_is_and_makes_no_header(name: str, shown: str | None) -> None:
    event: Any = example_event()
    event = event._replace(lead=event.lead._replace(first_name=name))
    sink = sink_of("kind = 'email'\nurl = 'smtp://a.example?from=a@a.example&to=b@a.example'\ntext = 'By {firstName}'")
    made = make_mail(sink, event)
    written = made.as_bytes(policy=made.policy.clone(linesep="\r\n"))
    sent = message_from_bytes(written, policy=default)
    # The oldest servers take nothing else, and none adds the date that each mail must have.
    assert written.isascii()
    assert sent["Date"].datetime == event.at.replace(microsecond=0, tzinfo=timezone.utc)
    assert sent["Subject"] == f"By {name if shown is None else shown}"
    assert {name.lower() for name in sent} == {
        *("from", "to", "subject", "date", "message-id"),
        *("content-type", "content-transfer-encoding", "mime-version"),
    }
    assert sent.get_content().splitlines()[0].startswith(f"By {name[:1]}")
    # What a lead lacks makes no subject without a word.
    assert make_mail(replace(sink, text=f"{{phone}}\n \x07\n{sink.text}"), event)["Subject"] == sent["Subject"]


def test_a_mail_server_that_takes_its_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MAIL_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def trickle_on() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while True:
                    connection.sendall(b"2")
                    time.sleep(0.05)

        thread = threading.Thread(target=trickle_on)
        thread.start()
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}?from=a@a.example&to=b@a.example"
        started = time.monotonic()
        attempt = deliver(sink_of(f"kind = 'email'\nurl = '{url}'\nallow_private = true"), example_event())
        thread.join()
    assert not attempt.is_success
    assert time.monotonic() - started < 3


def test_an_event_that_cannot_be_sent_is_a_failed_attempt(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "make_message", lambda *_: 1 / 0)
    sink = sink_of(f"url = '{receiver.url}/'\nallow_private = true")
    assert deliver(sink, example_event()) == Attempt(None, "it could not be sent: ZeroDivisionError")


def serve_mail(listener: socket.socket, said: list[str]) -> None:
    """Take one mail as an SMTP server does."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rw", newline="\r\n", encoding="utf-8") as stream:

        def answer(text: str) -> None:
            stream.write(f"{text}\n")
            stream.flush()

        answer("220 here")
        for line in stream:
            said.append(line.rstrip("\r\n"))
            word = line[:4].lower()
            if word == "data":
                answer("354 go on")
                for text in stream:
                    said.append(text.rstrip("\r\n"))
                    if text in (".\r\n", ".\n"):
                        break
            if word == "quit":
                # What it says after the mail changes nothing.
                answer("421 no time")
                break
            answer("250 ok")


@pytest.mark.parametrize(
    ("only", "assigned_to", "is_wanted"),
    [
        ("['anna']", "anna", True),
        ("['anna']", None, False),
        ("['anna']", "Anna", False),
        ("''", None, True),
        ("['', 'anna']", "", True),
        ("''", "anna", False),
    ],
)
def test_an_empty_value_means_none(only: str, assigned_to: str | None, is_wanted: bool) -> None:
    sink = sink_of(f"url = 'https://a.example/'\ntests = true\nonly = {{ assignedTo = {only} }}")
    event: Any = example_event()
    assert sink.wants(event._replace(lead=event.lead._replace(assigned_to=assigned_to))) is is_wanted


def test_texts_of_people_are_put_in_and_nothing_else(receiver: Receiver) -> None:
    event: Any = example_event()
    event = event._replace(lead=event.lead._replace(first_name="{email}", last_name="<b>"))
    text = "text = '{firstName} {last_name} {phone}'\nallow_private = true"
    deliver(sink_of(f"kind = 'slack'\nurl = '{receiver.url}/slack'\n{text}"), event)
    (request,) = receiver.received["/slack"]
    assert request.document == {"text": "{email} &lt;b&gt; "}
    # A time is told with its zone, to the second.
    at = datetime(2026, 1, 15, 10, 30, 0, 123_456)
    told = event._replace(at=at, lead=event.lead._replace(created_at=at - timedelta(hours=2)))
    body = make_message(sink_of("kind = 'slack'\nurl = 'https://a.example/'\ntext = '{createdAt}, {at}'"), told).body
    assert json.loads(body)["text"] == "2026-01-15 08:30:00 UTC, 2026-01-15 10:30:00 UTC"
    # Slack cuts what it is sent, in the middle of an escaped character as well.
    for length in range(5):
        long = event._replace(lead=event.lead._replace(first_name="x" * length + "&" * 10_000, last_name=None))
        body = make_message(sink_of("kind = 'slack'\nurl = 'https://a.example/'\ntext = '{firstName}'"), long).body
        assert json.loads(body)["text"] == "x" * length + "&amp;" * 7_999 + "…"
    # Telegram refuses what is longer or empty.
    lead = event.lead._replace(first_name="\N{GRINNING FACE}" * 4_096, phone=" ")
    for name, text in (("firstName", "\N{GRINNING FACE}" * 2_047 + "…"), ("phone", f"lead.created {event.lead_id}")):
        sink = sink_of(f"kind = 'telegram'\nurl = 'https://a.example/?chat_id=1'\nsecret = 'a'\ntext = '{{{name}}}'")
        body = make_message(sink, event._replace(lead=lead)).body
        assert json.loads(body)["text"] == text
