"""The memory that leads may hold until they are kept: a budget of `QUEUE_BYTES` for each worker."""

from __future__ import annotations


class QueueBudget:
    """Counts the bytes of arriving bodies and of waiting submissions; only for the event loop's thread."""

    def __init__(self, max_bytes: int) -> None:
        """Allow `max_bytes` to be held at once."""
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def take(self, count: int) -> bool:
        """Hold `count` more bytes and return True; return False and hold none of them if they exceed the budget."""
        if self.held_bytes + count > self._max_bytes:
            return False
        self.held_bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Release `count` bytes."""
        self.held_bytes -= count
