"""Attackers: many connections at once, from addresses of their own."""

from __future__ import annotations

import itertools
import socket
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
