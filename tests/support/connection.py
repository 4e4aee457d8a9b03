"""One connection of a load: raw sockets, keep-alive, no pipelining, and the exact outcome of each attempt.

"Sent" means that the kernel accepted every byte. The server cannot have read all of a request that was not sent; it
may or may not have read one that was.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.support.http1 import ParsedAnswer, parse_answer
from tests.support.journal import Outcome


@dataclass(frozen=True)
class Exchange:
    """The outcome of one attempt, and its response if there was one."""

    outcome: Outcome
    answer: ParsedAnswer | None = None


class Connection:
    """One keep-alive connection, opened on demand and reopened after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._connected = False
        self._sent = False

    def close(self) -> None:
        """Close it; the next exchange opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def exchange(self, request: bytes, timeout_s: float) -> Exchange:
        """Send one request and read its response; close the connection if it cannot be reused."""
        if self._socket is not None and _has_ended(self._socket):
            self.close()
        self._connected = self._socket is not None
        self._sent = False
        # All of this before the loop runs anything else: a stopping server waits 0.25 s for a connection's request, and
        # a loop of a hundred connections on a busy machine may take as long to come round.
        if self._socket is None:
            self._socket = _new_socket()
            status = _begin_to_connect(self._socket, self._address)
            if status not in (0, errno.EALREADY):
                self.close()
                return Exchange(Outcome.REFUSED)
            self._connected = status == 0
        rest = self._send_at_once(self._socket, request) if self._connected else request
        try:
            exchange = await asyncio.wait_for(self._complete(self._socket, rest), timeout_s)
        except asyncio.TimeoutError:
            exchange = Exchange(Outcome.TIMED_OUT if self._connected else Outcome.REFUSED)
        if exchange.answer is None or not self._sent or _says_close(exchange.answer):
            self.close()
        return exchange

    def _send_at_once(self, connection: socket.socket, request: bytes) -> bytes | None:
        """Send what the kernel takes and return the rest; None if the connection has broken."""
        try:
            rest = request[connection.send(request) :]
        except BlockingIOError:
            return request
        except OSError:
            return None
        self._sent = not rest
        return rest

    async def _complete(self, connection: socket.socket, rest: bytes | None) -> Exchange:
        """Connect if that takes longer, send the rest of the request and read the response."""
        if not self._connected:
            try:
                await asyncio.get_running_loop().sock_connect(connection, self._address)
            except OSError:
                return Exchange(Outcome.REFUSED)
            self._connected = True
            rest = self._send_at_once(connection, rest or b"")
        if not rest:
            return await self._receive(connection)
        # A server may answer a large body before it has read all of it, so reading does not wait for sending.
        sending = asyncio.ensure_future(self._send(connection, rest))
        try:
            return await self._receive(connection)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, connection: socket.socket, rest: bytes) -> None:
        with suppress(OSError):  # `_receive` meets the same error, possibly after a response
            await asyncio.get_running_loop().sock_sendall(connection, rest)
            self._sent = True

    async def _receive(self, connection: socket.socket) -> Exchange:
        received = b""
        while True:
            try:
                part = await asyncio.get_running_loop().sock_recv(connection, 65536)
            except OSError:
                part = b""
            if not part:
                if received:
                    return Exchange(Outcome.TORN)
                return Exchange(Outcome.UNANSWERED if self._sent else Outcome.UNSENT)
            received += part
            try:
                answer = parse_answer(received)
            except ValueError:
                return Exchange(Outcome.TORN)
            if answer is not None:
                return Exchange(Outcome.ANSWERED, answer)


def _new_socket() -> socket.socket:
    new = socket.socket()
    new.setblocking(False)
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return new


def _begin_to_connect(connection: socket.socket, address: tuple[str, int]) -> int:
    """Return 0 once connected, EALREADY while the peer has not answered, else the error that it ended with."""
    status = connection.connect_ex(address)
    if status == errno.EINPROGRESS:
        # Linux brings a handshake over the loopback to its end at once, but only the second call says so.
        status = connection.connect_ex(address)
    return status


def _has_ended(connection: socket.socket) -> bool:
    """Say whether the peer closed an idle connection or sent unrequested bytes."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _says_close(answer: ParsedAnswer) -> bool:
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in answer.headers)
