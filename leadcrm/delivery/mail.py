"""One attempt to deliver by mail, over SMTP with TLS."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from datetime import timezone
from email.header import Header
from email.message import EmailMessage
from email.policy import Policy, default
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote

from leadcrm.crm.feed import FeedEvent
from leadcrm.delivery.addresses import addresses_of
from leadcrm.delivery.attempt import MAX_ADDRESSES, MAX_KEPT_BYTES, Attempt
from leadcrm.delivery.deadline import ending
from leadcrm.delivery.message import message_id, text_of
from leadcrm.delivery.sink import Sink

SMTP_S = 10.0
"""The limit for one step of the conversation, before the mail itself."""

MAIL_S = 60.0
"""The limit for the whole of it, until the mail is taken."""

QUIT_S = 2.0

MAX_ANSWER_BYTES = 65_536
"""Of one answer, which may have any number of lines: smtplib keeps all of them."""

_FIRST_REFUSAL = 400

_PORTS = {"smtps": 465, "smtp": 587}


MAX_REMEMBERED = 10_000
"""Mails of which it is remembered who has them."""


class _Recipients:
    """Who has a mail already that others were refused: they need no copy at each attempt. Forgotten at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._have_it: dict[tuple[str, str], frozenset[str]] = {}

    def left(self, sink: Sink, event: FeedEvent) -> list[str]:
        """Return those who do not have it."""
        have_it = self._have_it.get(self._key(sink, event), frozenset())
        return [address for address in _recipients_of(sink) if address not in have_it]

    def remember(self, sink: Sink, event: FeedEvent, refused: Collection[str]) -> None:
        """Remember that all have it but those who were refused."""
        have_it = frozenset(_recipients_of(sink)) - frozenset(refused)
        with self._lock:
            self._have_it.pop(self._key(sink, event), None)
            if refused and have_it:
                self._have_it[self._key(sink, event)] = have_it
            if len(self._have_it) > MAX_REMEMBERED:
                del self._have_it[next(iter(self._have_it))]

    @staticmethod
    def _key(sink: Sink, event: FeedEvent) -> tuple[str, str]:
        return sink.url.geturl(), message_id(event)


_recipients = _Recipients()


def _recipients_of(sink: Sink) -> list[str]:
    """Return the addresses, each once."""
    return list(dict.fromkeys(parse_qs(sink.url.query)["to"]))


def send_mail(sink: Sink, event: FeedEvent, context: ssl.SSLContext) -> Attempt:
    """Send an event as a mail. A receiver that refuses permanently may take it later: a person mends the address.

    Raises:
        OSError: The server cannot be reached.
    """
    port = sink.url.port or _PORTS[sink.url.scheme]
    connection = _connection(addresses_of(sink.host, port, allow_private=sink.allow_private)[:MAX_ADDRESSES], port)
    try:
        refused = _send(sink, event, connection, context)
    except smtplib.SMTPResponseException as error:
        # An answer that is out of place is no success either: the mail was not taken.
        is_refusal = error.smtp_code >= _FIRST_REFUSAL
        return Attempt(error.smtp_code if is_refusal else None, _text(error.smtp_error))
    except smtplib.SMTPRecipientsRefused as error:
        has_some = len(error.recipients) < len(_recipients_of(sink))
        return _refusal(error.recipients, is_partial=has_some)
    except smtplib.SMTPServerDisconnected as error:
        if isinstance(error.__context__, _EndlessAnswer):
            return Attempt(None, "its answer has no end")
        is_late = isinstance(error.__context__, TimeoutError)
        return Attempt(None, "it did not answer in time" if is_late else "it ended the connection")
    except smtplib.SMTPException as error:
        return Attempt(None, f"the mail server does not do what is needed: {type(error).__name__}")
    _recipients.remember(sink, event, refused)
    return _refusal(refused, is_partial=True) if refused else Attempt(250, "")


def _send(
    sink: Sink, event: FeedEvent, connection: socket.socket, context: ssl.SSLContext
) -> dict[str, tuple[int, bytes]]:
    """Send a mail over a connection, which is closed, and return the recipients that were refused."""
    # A duplicate, because TLS takes the socket away.
    with connection.dup() as whole, ExitStack() as stack:
        stack.callback(connection.close)
        with ending(whole, MAIL_S):
            server = _server(sink, connection, context)
            stack.callback(server.close)
            if sink.url.scheme == "smtp" and (server.has_extn("starttls") or not sink.allow_private):
                server.starttls(context=context)
            if sink.secrets:
                server.login(unquote(sink.url.username or ""), sink.secrets[0].decode())
            refused = server.send_message(make_mail(sink, event), to_addrs=_recipients.left(sink, event))
        # It has the mail, whatever becomes of the farewell.
        with suppress(smtplib.SMTPException, OSError), ending(whole, QUIT_S):
            server.quit()
        return refused


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Subject(str):
    """A subject that is shown as it is, by the protocol of `email.policy` for values that fold themselves.

    Its default reads a lead's text as a header's: of `=?utf-8?q?=0ABcc:_a?=` it would make a header of its own.
    """

    name = "Subject"

    def fold(self, *, policy: Policy) -> str:
        charset = "us-ascii" if self.isascii() and "=?" not in self else "utf-8"
        text = Header(self, charset, header_name=self.name).encode(linesep=policy.linesep)
        return f"{self.name}: {text}{policy.linesep}"


def make_mail(sink: Sink, event: FeedEvent) -> EmailMessage:
    """Return the mail, whose Message-ID stays the same at every attempt."""
    query = parse_qs(sink.url.query)
    text = text_of(sink, event)
    # A server that takes no eight bits has not said so, and would have to change them.
    mail = EmailMessage(default.clone(cte_type="7bit"))
    mail["From"] = query["from"][0]
    mail["To"] = ", ".join(_recipients_of(sink))
    lines = (" ".join(_CONTROLS.sub(" ", line).split()) for line in text.splitlines())
    # A lead may lack all that the first line names.
    mail["Subject"] = _Subject(next(filter(None, lines), "")[:200])
    mail["Date"] = event.at.replace(tzinfo=timezone.utc)
    mail["Message-ID"] = f"<{message_id(event)}.{event.lead_id}@leadcrm>"
    mail.set_content(text)
    return mail


def _connection(addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first address that takes a connection."""
    failure: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), SMTP_S)
        except OSError as error:
            failure = error
    raise failure or OSError("the host has no address")


class _EndlessAnswer(OSError):  # noqa: N818 - named by the condition
    """An answer has more than `MAX_ANSWER_BYTES`."""


class _Lines:
    """The lines that a mail server says, of which one answer has a limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.left = MAX_ANSWER_BYTES

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise _EndlessAnswer
        return line

    def close(self) -> None:
        self._stream.close()


def _server(sink: Sink, connection: socket.socket, context: ssl.SSLContext) -> smtplib.SMTP:
    """Speak over a connection to an address that was checked; the certificate is of the host's name all the same."""

    class Smtp(smtplib.SMTP):
        # Not documented, but what smtplib's own SMTP_SSL overrides: its public argument is the host alone.
        def _get_socket(self, _host: str, _port: int, _timeout: float) -> Any:
            if sink.url.scheme == "smtps":
                return context.wrap_socket(connection, server_hostname=sink.host)
            return connection

        # Nor is the file that it reads answers from.
        def getreply(self) -> tuple[int, bytes]:
            if self.file is None:
                assert self.sock is not None
                self.file = _Lines(self.sock.makefile("rb"))
            self.file.left = MAX_ANSWER_BYTES
            return super().getreply()

        def data(self, msg: Any) -> tuple[int, bytes]:
            # It looks at the mail before it answers, often for longer, and another attempt would be another mail.
            assert self.sock is not None
            self.sock.settimeout(MAIL_S)
            return super().data(msg)

    return Smtp(sink.host, timeout=SMTP_S)


def _refusal(recipients: dict[str, tuple[int, bytes]], *, is_partial: bool) -> Attempt:
    code, text = next(iter(recipients.values()))
    return Attempt(code, f"{len(recipients)} recipients were refused: {_text(text)}", is_partial=is_partial)


def _text(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return text[:MAX_KEPT_BYTES].replace("\0", "")
