"""A TCP proxy that can act like a faulty firewall: drop every byte silently, or break every connection."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class Proxy:
    """Forwards connections to a local port until told otherwise; one thread, no buffer beyond one read."""

    def __init__(self, target_port: int) -> None:
        """Listen on a free port of 127.0.0.1 and forward to `target_port`."""
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._swallowing = False
        self._refusing = False
        self._messages: int | None = None
        self._left: dict[socket.socket, int] = {}
        self.has_swallowed = False
        self._breaking = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    def swallow(self) -> None:
        """Drop every byte from now on; connections stay open, and new ones are accepted."""
        self._swallowing = True

    def forward(self) -> None:
        """Forward again; close the connections whose bytes were dropped."""
        self._break_off()
        self._swallowing = self._refusing = False

    def cut(self, *, messages: int | None = None) -> None:
        """Close every connection; new ones forward `messages` reads of their client, then drop all (None: never)."""
        self._messages = messages
        self.has_swallowed = False
        self._break_off()

    def let_new_ones_be(self) -> None:
        """Forward new connections in full; silent ones stay silent."""
        self._messages = None

    def refuse(self) -> None:
        """Close every connection, and new ones at once."""
        self._refusing = True
        self._break_off()

    def _break_off(self) -> None:
        self._breaking.set()
        while self._breaking.is_set() and self._thread.is_alive():
            self._thread.join(0.01)

    def close(self) -> None:
        """Close the listener and all connections."""
        self._closing = True
        self._thread.join()
        for connection in self._peers:
            connection.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.02):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if connection is self._listener:
                    self._accept()
                elif connection in self._peers:
                    self._pass_on(connection)
            if self._breaking.is_set():
                for connection in list(self._peers):
                    self._drop(connection)
                self._breaking.clear()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        if self._messages is not None:
            self._left[client] = self._messages
        for here, there in ((client, server), (server, client)):
            self._peers[here] = there
            self._selector.register(here, selectors.EVENT_READ)

    def _pass_on(self, connection: socket.socket) -> None:
        with suppress(OSError):
            received = connection.recv(65536)
            if received:
                if self._swallows(connection):
                    self.has_swallowed = True
                else:
                    self._peers[connection].sendall(received)
                return
        self._drop(connection)

    def _swallows(self, connection: socket.socket) -> bool:
        left = self._left.get(connection)
        if left is not None:
            self._left[connection] = left - 1
        return self._swallowing or (left is not None and left <= 0)

    def _drop(self, connection: socket.socket) -> None:
        for end in (connection, self._peers.get(connection)):
            if end is not None and end in self._peers:
                self._selector.unregister(end)
                del self._peers[end]
                self._left.pop(end, None)
                end.close()
