"""One attempt to deliver over HTTP, bounded in time and bytes whatever the receiver does.

No redirect is followed, TLS is verified against the host's name, and the connection goes to an address that was
checked. A receiver that keeps its connection open gets the next delivery over it. urllib3 has no limit for a whole
request, so a timer ends the socket.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, unquote

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from leadcrm.crm.feed import FeedEvent
from leadcrm.delivery.addresses import addresses_of
from leadcrm.delivery.attempt import MAX_ADDRESSES, MAX_KEPT_BYTES, Attempt
from leadcrm.delivery.connections import Connections, Destination, OpenConnection
from leadcrm.delivery.deadline import ending
from leadcrm.delivery.mail import send_mail
from leadcrm.delivery.message import Message, make_message
from leadcrm.delivery.sink import Sink

CONNECT_S = 5.0
"""The limit for a connection with TLS, at each address."""

ANSWER_S = 15.0
"""The limit for sending, and for the head of the answer to be there."""

BODY_S = 2.0
"""The limit for the answer's body, of which only the beginning is wanted."""

MAX_LEFT_BYTES = 16_384
"""What is read of a body beyond what is kept: at its end the connection can be used again."""

MIN_SECRET_PART = 16
"""Characters from which a user or a part of a path or query is taken for a secret, and is no word."""

MIN_SECRET = 4
"""Characters from which a password or path is looked for by itself: any text has a shorter one by chance."""

_BEFORE_THE_ANSWER = range(102, 200)
"""100 is passed by anyway; after 101 no answer in HTTP follows."""

_REDIRECTS = range(300, 400)

_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the authorities that they trust, for an executable whose OpenSSL was built elsewhere."""


logger = logging.getLogger("leadcrm.delivery")


def deliver(sink: Sink, event: FeedEvent, connections: Connections | None = None) -> Attempt:
    """Make one attempt to deliver an event, over one of the connections, which keep it, or a new one."""
    try:
        if sink.kind == "email":
            return send_mail(sink, event, tls_context())
        message = make_message(sink, event)
        attempt = _post(sink, message, connections)
        is_refused = attempt.is_refused or (sink.kind != "webhook" and _says_no(attempt.answer))
        # Cut only now: of a secret that the cut goes through, a part would stay.
        answer = _without_secrets(sink, message, attempt.answer)[:MAX_KEPT_BYTES]
        return attempt._replace(answer=answer, is_refused=is_refused)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Attempt(None, _reason(error))
    except Exception as error:
        # Without a result, the sink would come to this event again and again, and never to those behind it.
        text = "an event could not be sent"
        extra = {"action": "deliver", "sink": sink.name, "seq": event.seq, "repeat_key": f"{text} {sink.name}"}
        logger.exception(text, extra=extra)
        return Attempt(None, f"it could not be sent: {type(error).__name__}")


def _post(sink: Sink, message: Message, connections: Connections | None) -> Attempt:
    is_tls = sink.url.scheme == "https"
    destination = Destination(is_tls, sink.host, sink.url.port or (443 if is_tls else 80), sink.allow_private)
    headers = {**message.headers, "host": sink.url.netloc.rpartition("@")[2]}
    if connections is None:
        headers["connection"] = "close"
    try:
        if connections is not None and (kept := connections.take(destination)) is not None:
            # The receiver may close it in this very moment. Or the request made it do so: send that only once more.
            with suppress(ConnectionError, ssl.SSLError):
                return _exchange(kept, message, headers, connections)
        return _exchange(_connect(destination), message, headers, connections)
    except HTTPError as error:
        return Attempt(None, _reason(error))


def _connect(destination: Destination) -> OpenConnection:
    """Connect to the first of the host's addresses that takes it.

    Raises:
        HTTPError: None does.
        OSError: The same.
    """
    host, port = destination.host, destination.port
    failure: Exception | None = None
    for address in addresses_of(host, port, allow_private=destination.allow_private)[:MAX_ADDRESSES]:
        connection = _connection(address, port, host if destination.is_tls else None)
        try:
            connection.connect()
        except (HTTPError, OSError) as error:
            connection.close()
            failure = error
        else:
            return OpenConnection(connection, destination, monotonic())
    assert failure is not None
    raise failure


class _Head:
    """The lines of a head, of which the last is empty, but for its end, unless the connection has ended."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.last_line = b""

    def readline(self, limit: int) -> bytes:
        self.last_line = self._stream.readline(limit)
        return self.last_line

    def close(self) -> None:
        self._stream.close()


class _Answer(http.client.HTTPResponse):
    """The final answer: what a receiver says before it, such as 103, would else be taken for the answer.

    The one that follows would then be taken for that of the next request. And of one that ends within its head nobody
    knows what it would have been (RFC 9112, section 8).
    """

    def begin(self) -> None:
        stream = self.fp
        head: Any = _Head(stream)
        self.fp = head
        try:
            super().begin()
        finally:
            # A status that is none has closed it.
            if self.fp is head:
                self.fp = stream
        if not head.last_line:
            raise http.client.IncompleteRead(b"")

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in _BEFORE_THE_ANSWER:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _connection(address: str, port: int, tls_host: str | None) -> HTTPConnection:
    if tls_host is None:
        connection = HTTPConnection(address, port, timeout=CONNECT_S)
    else:
        connection = HTTPSConnection(
            address, port, timeout=CONNECT_S, ssl_context=tls_context(), server_hostname=tls_host
        )
    connection.response_class = _Answer
    return connection


def _exchange(
    kept: OpenConnection, message: Message, headers: dict[str, str], connections: Connections | None
) -> Attempt:
    """Send and take the answer. The connection is kept where another request may follow on it, else closed."""
    connection = kept.connection
    sock = connection.sock
    assert sock is not None
    is_sent = is_reusable = False
    try:
        # Not on the socket: urllib3 sets it there anew before it waits for the answer.
        connection.timeout = ANSWER_S
        with ending(sock, ANSWER_S):
            # A receiver may answer and close before it has read the whole: its answer counts.
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.request(
                    "POST",
                    message.target,
                    body=message.body,
                    headers=headers,
                    preload_content=False,
                    decode_content=False,
                )
                is_sent = True
            response = connection.getresponse()
        body = b""
        # The status is there: whatever becomes of the body changes nothing.
        with suppress(Exception):
            with ending(sock, BODY_S):
                body = response.read(MAX_KEPT_BYTES) or b""
                body += response.read(MAX_LEFT_BYTES) or b""
            is_http = response.status != HTTPStatus.SWITCHING_PROTOCOLS
            is_reusable = is_sent and is_http and response.closed and connection.sock is not None
    finally:
        if connections is not None and is_reusable:
            connections.give(kept)
        else:
            connection.close()
    answer = body.decode(errors="replace").replace("\0", "")
    if response.status in _REDIRECTS:
        answer = f"a redirect, which is not followed; {answer}"
    attempt = Attempt(response.status, answer, _retry_after_s(response, body))
    if attempt.is_success and not is_sent:
        # It cannot have what it was not sent.
        return attempt._replace(answer=f"it ended the connection before it had the whole; {answer}", is_refused=True)
    return attempt


def _retry_after_s(response: BaseHTTPResponse, body: bytes) -> float | None:
    """Return how long the receiver asks to be left alone: a number of seconds or a date, or as Telegram says it."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if text:
        with suppress(ValueError, TypeError, OverflowError):
            moment = parsedate_to_datetime(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    with suppress(ValueError, LookupError, TypeError, OverflowError, RecursionError):
        seconds = float(json.loads(body)["parameters"]["retry_after"])
        return max(0.0, seconds) if isfinite(seconds) else None
    return None


def _says_no(answer: str) -> bool:
    """Say whether a service's answer is an error, which some of them send with status 200.

    Slack and Telegram say `"ok": false` (https://core.telegram.org/bots/api#making-requests), Bitrix24 an `error`
    instead of a `result` (https://apidocs.bitrix24.com/error-codes.html). A page for people comes from where no hook
    is, or from something on the way: to sign in, to pay, or that all will be back soon.
    """
    if answer.lstrip().startswith("<"):
        return True
    with suppress(ValueError, RecursionError):
        document = json.loads(answer)
        if isinstance(document, dict):
            return document.get("ok") is False or ("error" in document and "result" not in document)
    return False


def _without_secrets(sink: Sink, message: Message, answer: str) -> str:
    """Return an answer without what is secret of its request, which pages of errors quote."""
    user, password = unquote(sink.url.username or ""), unquote(sink.url.password or "")
    parts = [user, *sink.url.path.split("/"), *(value for _, value in parse_qsl(sink.url.query))]
    secrets = [secret for secret in (message.target, password) if len(secret) >= MIN_SECRET]
    secrets += [part for part in parts if len(part) >= MIN_SECRET_PART]
    if user or password:
        secrets += [message.headers["authorization"], f"{user}:{password}"]
    if sink.kind == "telegram":
        secrets.append(sink.secrets[0].decode())
    for secret in sorted(secrets, key=len, reverse=True):
        answer = answer.replace(secret, "***")
    return answer


@cache
def tls_context() -> ssl.SSLContext:
    """Return what verifies a receiver's certificate and name."""
    context = ssl.create_default_context()
    if ssl.get_default_verify_paths().cafile is None:
        for path in filter(Path.exists, map(Path, _CA_FILES)):
            context.load_verify_locations(path)
            break
    return context


def _reason(error: Any) -> str:
    """Return why there was no answer, without a URL, which may be a secret."""
    cause = error
    while isinstance(cause, Exception) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return "it refused the connection"
    if isinstance(cause, OSError):
        return str(cause.strerror or cause) or type(cause).__name__
    return f"it did not answer as HTTP does: {type(cause).__name__}"
