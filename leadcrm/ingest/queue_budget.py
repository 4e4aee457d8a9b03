"""The memory that leads may hold until they are kept: a budget of `QUEUE_BYTES` for each worker.

A lead that has arrived keeps its place until it is kept. A body that is still arriving does not: its sender was
promised nothing, so it gives way where room is short. Thus no number of unfinished bodies keeps a whole lead out. Where
leads that wait have filled the budget, large leads are refused before small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

SMALL_BYTES = 16 * 1024
"""Leads up to this size may use all of the budget: a form's is a kilobyte, of which the reserve holds thousands."""

RESERVE = 16
"""The part of the budget that is kept for small leads is one of so many."""

SHARE = 2
"""One client's unfinished bodies may fill one of so many parts of the budget: it may be a proxy with many senders."""

BATCH = 32
"""Where bodies give way, one of so many parts of the budget becomes free, so that it is not needed for each lead."""


class Arrival:
    """A body that is arriving: what it holds, since when, and for which client."""

    __slots__ = ("began", "client", "give_way", "held_bytes")

    def __init__(self, client: str | None, give_way: Callable[[], None]) -> None:
        self.began = monotonic()
        self.client = client
        self.give_way = give_way
        self.held_bytes = 0


class QueueBudget:
    """Counts the bytes of arriving bodies and of waiting submissions; only for the event loop's thread.

    Attributes:
        held_bytes: All that is held now.
        refused: How many leads were refused for lack of room.
        given_way: How many unfinished bodies lost their place.
        refused_at: The monotonic time of the latest refusal; any thread may read it.
    """

    def __init__(
        self, max_bytes: int, *, largest_bytes: int = 0, on_refusal: Callable[[], None] = lambda: None
    ) -> None:
        """Allow `max_bytes` to be held at once.

        Args:
            max_bytes: All that may be held.
            largest_bytes: The size of the largest body, which always has room in an empty budget.
            on_refusal: Called for each lead that is refused for lack of room.
        """
        self._on_refusal = on_refusal
        self._max_bytes = max_bytes
        self._max_large_bytes = max(max_bytes - max_bytes // RESERVE, min(largest_bytes, max_bytes))
        self._share_bytes = max(max_bytes // SHARE, largest_bytes)
        self._arrivals: set[Arrival] = set()
        self._held_by_client: dict[str, int] = {}
        self.held_bytes = 0
        self.refused = 0
        self.given_way = 0
        self.refused_at: float | None = None

    def take(self, count: int) -> bool:
        """Hold `count` more bytes and return True; return False and hold none of them if they exceed the budget."""
        limit = self._max_bytes if count <= SMALL_BYTES else self._max_large_bytes
        if self.held_bytes + count > limit and not self._make_room(self.held_bytes + count - limit):
            self._refuse()
            return False
        self.held_bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Release `count` bytes."""
        self.held_bytes -= count

    def begin(self, client: str | None, give_way: Callable[[], None]) -> Arrival:
        """Note a body that begins to arrive; call `end` with it in any case.

        Args:
            client: Whose share it counts towards; None for a proxy, which sends for many.
            give_way: Called when the body has lost its place; it must drop what has arrived.
        """
        arrival = Arrival(client, give_way)
        self._arrivals.add(arrival)
        return arrival

    def extend(self, arrival: Arrival, count: int) -> bool:
        """Hold `count` more bytes of a body; return False if it has lost its place, and then hold none of it."""
        client = arrival.client
        if client is not None:
            over = self._held_by_client.get(client, 0) + count - self._share_bytes
            if over > 0:
                self._evict(over, [other for other in self._arrivals if other.client == client])
        if arrival not in self._arrivals or not self.take(count):
            return False
        if arrival not in self._arrivals:
            # It made room for itself.
            self.held_bytes -= count
            return False
        arrival.held_bytes += count
        if client is not None:
            self._held_by_client[client] = self._held_by_client.get(client, 0) + count
        return True

    def end(self, arrival: Arrival) -> None:
        """Release a body's bytes: it has arrived, or never will."""
        self._arrivals.discard(arrival)
        self._release(arrival)

    def _release(self, arrival: Arrival) -> None:
        self.held_bytes -= arrival.held_bytes
        client = arrival.client
        if client is not None and arrival.held_bytes:
            left = self._held_by_client[client] - arrival.held_bytes
            if left:
                self._held_by_client[client] = left
            else:
                del self._held_by_client[client]
        arrival.held_bytes = 0

    def _make_room(self, needed: int) -> bool:
        """Let unfinished bodies give way; return False, and keep all of them, if that would not be enough."""
        if sum(arrival.held_bytes for arrival in self._arrivals) < needed:
            return False
        self._evict(max(needed, self._max_bytes // BATCH), self._arrivals)
        return True

    def _evict(self, needed: int, arrivals: set[Arrival] | list[Arrival]) -> None:
        """Let the slowest of these bodies for their size give way: those that have held most bytes for the longest."""
        now = monotonic()
        for arrival in sorted(arrivals, key=lambda arrival: arrival.held_bytes * (now - arrival.began), reverse=True):
            if needed <= 0:
                return
            needed -= arrival.held_bytes
            self.given_way += 1
            self.end(arrival)
            arrival.give_way()

    def _refuse(self) -> None:
        self.refused += 1
        self.refused_at = monotonic()
        self._on_refusal()
