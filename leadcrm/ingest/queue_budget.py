"""The memory that leads may take on their way: one budget of `QUEUE_BYTES` a worker."""

from __future__ import annotations


class QueueBudget:
    """Counts the bytes of bodies that arrive and of submissions that wait; for the event loop's thread."""

    def __init__(self, max_bytes: int) -> None:
        """Begin with nothing held."""
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def take(self, count: int) -> bool:
        """Hold that many bytes more; False, and nothing is held, where they are too many."""
        if self.held_bytes + count > self._max_bytes:
            return False
        self.held_bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Hold that many bytes fewer."""
        self.held_bytes -= count
