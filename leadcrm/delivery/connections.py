"""Connections that a receiver keeps open between deliveries: a new one costs two more round trips.

A receiver may close such a connection at any time, also when the next request is under way. Whoever sends over one must
be ready to send again over a new one.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import NamedTuple

from urllib3.connection import HTTPConnection

IDLE_S = 4.0
"""How long a connection waits for its next delivery. Many servers close theirs after five seconds."""

MAX_AGE_S = 60.0
"""After that a host's name is looked up again: it may have moved."""


class Destination(NamedTuple):
    """Where a connection leads.

    Attributes:
        allow_private: Whether the address may be one of a private network.
    """

    is_tls: bool
    host: str
    port: int
    allow_private: bool


class OpenConnection(NamedTuple):
    """A connection, where it leads, and when it was made (monotonic)."""

    connection: HTTPConnection
    destination: Destination
    made_at: float


class Connections:
    """The connections of one sink that wait for their next delivery. Any thread may use it."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._waiting: list[tuple[OpenConnection, float]] = []

    def take(self, destination: Destination) -> OpenConnection | None:
        """Return the one that was used last, if its receiver has not closed it; None if there is none."""
        self.close_idle()
        with self._lock:
            while self._waiting:
                kept, _ = self._waiting.pop()
                if kept.destination == destination and kept.connection.is_connected:
                    return kept
                kept.connection.close()
        return None

    def give(self, kept: OpenConnection) -> None:
        """Keep one on which the last answer has ended."""
        with self._lock:
            self._waiting.append((kept, monotonic()))

    def close_idle(self) -> None:
        """Close those that have waited, or lived, for too long."""
        now = monotonic()
        with self._lock:
            old = [entry for entry in self._waiting if now - entry[1] > IDLE_S or now - entry[0].made_at > MAX_AGE_S]
            for entry in old:
                self._waiting.remove(entry)
                entry[0].connection.close()

    def close(self) -> None:
        """Close all that wait."""
        with self._lock:
            while self._waiting:
                self._waiting.pop()[0].connection.close()
