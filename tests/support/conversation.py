"""One connection on which a test controls exactly which bytes are sent when."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from tests.support.client import Answer, Client
from tests.support.http1 import parse_answer
from tests.support.waiting import LONGEST_WAIT_S


class Conversation:
    """A TCP connection to a server, as a context manager."""

    def __init__(self, client: Client, *, timeout_s: float = LONGEST_WAIT_S) -> None:
        """Connect. Every wait ends after `timeout_s`."""
        self._socket = socket.create_connection((client.host, client.port), timeout=timeout_s)
        self._received = b""

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The local port, which identifies the server process at the other end."""
        return int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, content: bytes) -> None:
        """Send all bytes."""
        self._socket.sendall(content)

    def end_sending(self) -> None:
        """Close only the sending direction."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Answer:
        """Wait for the next complete response; fail if the connection ends before."""
        started = time.monotonic()
        while (parsed := parse_answer(self._received)) is None:
            assert self._receive(), f"the connection ended after {self._received!r}"
        self._received = self._received[parsed.size_bytes :]
        return Answer(parsed.status, parsed.headers, parsed.body, time.monotonic() - started)

    def wait_for(self, content: bytes) -> None:
        """Wait for these bytes and consume everything up to their end."""
        while content not in self._received:
            assert self._receive(), f"the connection ended after {self._received!r}"
        self._received = self._received.partition(content)[2]

    def rest(self) -> bytes:
        """Wait until the server closes or resets the connection, and return the remaining bytes."""
        with suppress(ConnectionError):
            while self._receive():
                pass
        rest, self._received = self._received, b""
        return rest

    def abort(self) -> None:
        """Reset the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close the connection."""
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
