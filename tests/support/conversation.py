"""One connection on which a test says exactly which bytes go when, and reads answers one by one."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from tests.support.client import Answer, Client
from tests.support.http1 import parse_answer


class Conversation:
    """A TCP connection to a server, as a context manager."""

    def __init__(self, client: Client, *, timeout_s: float = 10.0) -> None:
        """Connect; every wait is bounded by `timeout_s`."""
        self._socket = socket.create_connection((client.host, client.port), timeout=timeout_s)
        self._received = b""

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The client's end, by which the server's process that holds the other one is found."""
        return int(self._socket.getsockname()[1])

    def send(self, content: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(content)

    def end_sending(self) -> None:
        """Close the sending direction alone."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Answer:
        """Wait for the next answer. Raises AssertionError where the connection ends before it is whole."""
        started = time.monotonic()
        while (parsed := parse_answer(self._received)) is None:
            assert self._receive(), f"the connection ended after {self._received!r}"
        self._received = self._received[parsed.size_bytes :]
        return Answer(parsed.status, parsed.headers, parsed.body, time.monotonic() - started)

    def wait_for(self, content: bytes) -> None:
        """Wait until the server has sent these bytes, and read up to their end."""
        while content not in self._received:
            assert self._receive(), f"the connection ended after {self._received!r}"
        self._received = self._received.partition(content)[2]

    def rest(self) -> bytes:
        """Wait until the server closes, and return what it still sent. A reset counts as a close."""
        with suppress(ConnectionError):
            while self._receive():
                pass
        rest, self._received = self._received, b""
        return rest

    def abort(self) -> None:
        """Close it with a reset instead of an orderly end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _receive(self) -> bool:
        part = self._socket.recv(65536)
        self._received += part
        return bool(part)


def lead_request(
    body: bytes, *headers: tuple[bytes, bytes], key: bytes | None = None, target: bytes = b"/api/lead"
) -> bytes:
    """Return the bytes of a request that posts a lead."""
    given = list(headers)
    if key is not None:
        given.append((b"Idempotency-Key", key))
    lines = [b"POST " + target + b" HTTP/1.1", b"Host: test", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in given), b"", body])
