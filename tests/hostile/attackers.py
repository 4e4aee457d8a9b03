"""Attackers: many connections at once, from addresses of their own."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from tests.support.server import Server

CONNECT_TIMEOUT_S = 5.0


@contextmanager
def open_connections(
    server: Server, count: int, content: bytes = b"", *, sources: Sequence[str] = ("127.0.0.2",)
) -> Iterator[list[socket.socket]]:
    """Open connections, from these addresses in turn, and send the same bytes on each; they stay open for the block.

    The server may end some of them at any time; sending to such a one is no error.
    """
    with ExitStack() as stack:
        connections = []
        for _, source in zip(range(count), itertools.cycle(sources)):
            connection = socket.create_connection(
                (server.host, server.port), timeout=CONNECT_TIMEOUT_S, source_address=(source, 0)
            )
            connections.append(stack.enter_context(connection))
            if content:
                send(connection, content)
        yield connections


def send(connection: socket.socket, content: bytes) -> bool:
    """Send bytes and return whether the connection still took them."""
    with suppress(OSError):
        connection.sendall(content)
        return True
    return False


def is_closed(connection: socket.socket) -> bool:
    """Say whether the server has ended the connection; reads what it said before."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def flood(server: Server, connections: int, request: bytes) -> Iterator[None]:
    """Send a request over and over on many connections, each as soon as the one before is answered, for the block."""

    async def attack() -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                while True:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                    await reader.readexactly(int(length))
            finally:
                writer.close()

    async def attack_until_ended() -> None:
        attacks = [asyncio.create_task(attack()) for _ in range(connections)]
        await asyncio.to_thread(ended.wait)
        for each in attacks:
            each.cancel()

    ended = threading.Event()
    attackers = threading.Thread(target=lambda: asyncio.run(attack_until_ended()))
    attackers.start()
    try:
        yield
    finally:
        ended.set()
        attackers.join()
