"""The connections of one worker: how many there may be, which of them give way, and how slow a sender may be.

Every descriptor that a stranger holds could be a lead's, the database's or a probe's. So the number of connections
stays below the limit of descriptors, and none of them is refused while another has long done nothing: the one that has
been without a complete request for the longest gives way, be it idle or half sent. No client holds more than a share.

A connection costs nothing here while its requests come in one piece. Only one that waits for the rest of a request is
watched.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Iterable
from heapq import nsmallest
from time import monotonic
from typing import Protocol

MAX_CONNECTIONS = 8_192
"""Of each worker, whatever the limit of descriptors: 8,192 idle connections take some 100 MB."""

OWN_DESCRIPTORS = 64
"""For databases, spool, files, log and the loop."""

MAX_BACKLOG = 1_024

SHARE = 2
"""One client may hold one of so many parts of the connections: it may be a proxy, or an office with one address."""

BATCH = 64
"""Where connections give way, one of so many goes, so that looking for them is not needed for each new one."""

LEAST_BYTES_PER_S = 500
"""The slowest sender there is: a hundredth of what the worst mobile networks carry."""


logger = logging.getLogger("leadcrm.web.http.connections")


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft


def listen_backlog() -> int:
    """Return how many connections may wait in the kernel's queue.

    The loop accepts all that wait at once, before any can give way, so there must be descriptors left for all of them.
    """
    return max(16, min(MAX_BACKLOG, descriptor_limit() // 4 - OWN_DESCRIPTORS))


def max_connections() -> int:
    """Return how many connections a worker may hold, so that the queue and its own descriptors still find room."""
    limit = descriptor_limit()
    return max(16, min(MAX_CONNECTIONS, limit - listen_backlog() - OWN_DESCRIPTORS))


class Held(Protocol):
    """A connection, as it is held here.

    Attributes:
        client: The network that counts as one client; None for a trusted proxy's connection and a Unix socket's.
        unused_since: When it was last of use: opened, or done with a request. None while a request is being answered.
        awaits_part: It waits for the rest of a request.
        arriving_since: When the present request began to arrive in parts; 0 if none does.
        window_at: The beginning of the present window of the least rate.
        window_bytes: What has arrived since then.
    """

    client: str | None
    awaits_part: bool
    arriving_since: float
    window_at: float
    window_bytes: int

    @property
    def unused_since(self) -> float | None: ...

    def has_unread(self) -> bool: ...

    def give_way(self) -> None: ...

    def be_too_slow(self) -> None: ...


class Connections:
    """All connections of one worker; only for the event loop's thread.

    Attributes:
        ahead_bytes: What all of them have sent before anybody waited for it.
    """

    def __init__(self, most: int, window_s: float, count: Callable[[str], None]) -> None:
        """Take the limits.

        Args:
            most: How many connections there may be.
            window_s: A sender sends its request within this time, or `LEAST_BYTES_PER_S` in each such time.
            count: Counts a connection that was turned away, by the reason.
        """
        self._most = most
        self._most_of_client = most // SHARE
        self._window_s = window_s
        self._count = count
        self.ahead_bytes = 0
        self._all: set[Held] = set()
        self._by_client: dict[str, set[Held]] = {}
        self._arriving: set[Held] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: Held) -> None:
        """Hold a new connection, and let others give way if there are too many."""
        self._all.add(connection)
        if connection.client is not None:
            of_client = self._by_client.setdefault(connection.client, set())
            of_client.add(connection)
            if len(of_client) > self._most_of_client:
                self._make_room(of_client, connection)
        if len(self._all) > self._most:
            self._make_room(self._all, connection)

    def leave(self, connection: Held) -> None:
        """Forget a connection that has ended or gives way."""
        self._all.discard(connection)
        self._arriving.discard(connection)
        if connection.client is not None and (of_client := self._by_client.get(connection.client)):
            of_client.discard(connection)
            if not of_client:
                del self._by_client[connection.client]

    def watch(self, connection: Held) -> None:
        """See to it that the rest of a request arrives."""
        self._arriving.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    @property
    def _sweep_s(self) -> float:
        return min(self._window_s / 4, 1.0)

    def _make_room(self, among: Iterable[Held], newcomer: Held) -> None:
        unused = [
            (since, id(connection), connection)
            for connection in among
            if connection is not newcomer and (since := connection.unused_since) is not None
        ]
        for _, _, connection in nsmallest(len(unused) // BATCH + 1, unused):
            self._give_way(connection)
        if not unused and among is self._all:
            self._give_way(newcomer)

    def _give_way(self, connection: Held) -> None:
        self._count("connections")
        text = "too many connections: those without a complete request for the longest are closed"
        hint = "`ss -tn state established` counts them by address; raise LimitNOFILE, or `ulimit -n`"
        logger.warning(text, extra={"action": "connections", "hint": hint, "repeat_key": text})
        # Its descriptor is closed later in this turn of the loop: it must not be counted, or asked, again.
        self.leave(connection)
        connection.give_way()

    def _sweep(self) -> None:
        now = monotonic()
        for connection in tuple(self._arriving):
            if not connection.arriving_since:
                self._arriving.discard(connection)
            elif connection.awaits_part and now - connection.window_at >= self._window_s:
                # After a suspension of the process, the rest may be waiting: the loop runs timers before it reads.
                if connection.window_bytes >= LEAST_BYTES_PER_S * self._window_s or connection.has_unread():
                    connection.window_at, connection.window_bytes = now, 0
                else:
                    self._count("too_slow")
                    self._arriving.discard(connection)
                    connection.be_too_slow()
        self._timer = None
        if self._arriving:
            self._timer = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)
