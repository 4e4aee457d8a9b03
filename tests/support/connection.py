"""One connection of a load: raw sockets, keep-alive, no pipelining, and an exact account of how an attempt ended.

"Sent" means that the kernel took every byte: a request that was not sent was certainly not read, one that was sent
may have been.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.support.http1 import ParsedAnswer, parse_answer
from tests.support.journal import Outcome


@dataclass(frozen=True)
class Exchange:
    """How one attempt ended, and the answer if there was one."""

    outcome: Outcome
    answer: ParsedAnswer | None = None


class Connection:
    """One keep-alive connection, opened when needed and again after it broke."""

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
        """Send one request and read its answer; a connection that cannot be used again is closed."""
        if self._socket is not None and _has_ended(self._socket):
            self.close()
        self._connected = self._socket is not None
        self._sent = False
        try:
            exchange = await asyncio.wait_for(self._exchange(request), timeout_s)
        except asyncio.TimeoutError:
            exchange = Exchange(Outcome.TIMED_OUT if self._connected else Outcome.REFUSED)
        if exchange.answer is None or not self._sent or _says_close(exchange.answer):
            self.close()
        return exchange

    async def _exchange(self, request: bytes) -> Exchange:
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.get_running_loop().sock_connect(self._socket, self._address)
            except OSError:
                return Exchange(Outcome.REFUSED)
            self._connected = True
        connection = self._socket
        try:
            rest = request[connection.send(request) :]
        except BlockingIOError:
            rest = request
        except OSError:
            return await self._receive(connection)
        if not rest:
            self._sent = True
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
        with suppress(OSError):  # receiving meets the broken connection too, and perhaps an answer before that
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


def _has_ended(connection: socket.socket) -> bool:
    """Whether an idle connection was closed by the other side, or holds what nobody asked for."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _says_close(answer: ParsedAnswer) -> bool:
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in answer.headers)
