"""A blocking HTTP client: one request a connection, with exact bytes in both directions."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.http1 import parse_answer
from tests.support.waiting import LONGEST_WAIT_S

Headers = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Receipt:
    """A `Lead-Receipt` header: the stored row and its store."""

    raw_id: str
    sha256: str
    stored: str


def parse_receipt(header: str | None) -> Receipt | None:
    """Parse `raw=<uuid>; sha256=<hex>; stored=database|spool`."""
    if header is None:
        return None
    parts = dict(part.strip().split("=", 1) for part in header.split(";"))
    return Receipt(parts["raw"], parts["sha256"], parts["stored"])


@dataclass(frozen=True)
class Answer:
    """A complete HTTP response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    latency_s: float

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def receipt(self) -> Receipt | None:
        """The parsed `Lead-Receipt`."""
        return parse_receipt(self.header("Lead-Receipt"))

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests to one address."""

    host: str
    port: int

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Headers = (),
        timeout_s: float = 30.0,
    ) -> Answer:
        """Send one request with Host, Content-Length and the given headers, unchanged."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        with closing(connection):
            started = time.monotonic()
            connection.putrequest(method, target, skip_accept_encoding=True)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, tuple(response.getheaders()), content, time.monotonic() - started)

    def get(self, target: str, *, headers: Headers = (), timeout_s: float = 30.0) -> Answer:
        """Send a GET."""
        return self.request("GET", target, headers=headers, timeout_s=timeout_s)

    def post_lead(
        self,
        body: bytes | dict[str, Any],
        *,
        key: str | bytes | None = None,
        content_type: str | None = "application/json",
        headers: Headers = (),
        target: str = "/api/lead",
        timeout_s: float = 30.0,
    ) -> Answer:
        """Post a lead: bytes unchanged, a dict as JSON. `key` is the Idempotency-Key."""
        given = list(headers)
        if key is not None:
            given.append(("Idempotency-Key", key))
        if content_type is not None:
            given.append(("Content-Type", content_type))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", target, body=content, headers=given, timeout_s=timeout_s)

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of GET /metrics."""
        families = text_string_to_metric_families(self.get("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples]
        (value,) = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
        return float(value)

    def send_raw(self, content: bytes, *, answers: int = 1, timeout_s: float = LONGEST_WAIT_S) -> bytes:
        """Send bytes that need not be HTTP and return the bytes received.

        Returns after `answers` complete responses, or once the server closes or resets the connection.

        Raises:
            TimeoutError: neither happened within `timeout_s`.
        """
        received = b""
        with closing(socket.create_connection((self.host, self.port), timeout=timeout_s)) as connection:
            with suppress(ConnectionError):
                connection.sendall(content)
            with suppress(ConnectionError):
                while _whole_answers(received) < answers and (part := connection.recv(65536)):
                    received += part
        return received


def _whole_answers(received: bytes) -> int:
    count = 0
    while received and (answer := parse_answer(received)):
        received = received[answer.size_bytes :]
        count += 1
    return count
