"""The connections to PostgreSQL that a node's workers share, beside the one on which each worker's leads go.

Whoever reads for people, drains or replays needs a slot for as long as it holds a connection. Slots are locks on the
bytes of a file in memory: the kernel frees those of a worker that dies.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
from time import monotonic, sleep

from leadcrm.configuration.config import Config

POLL_S = 0.02
"""How often whoever waits looks for a free slot; there is no queue over all workers."""


class ConnectionSlots:
    """Some slots for all workers of a node; make it before they are forked."""

    def __init__(self, count: int) -> None:
        """Make the file."""
        self._count = count
        self._file = os.memfd_create("leadcrm-connections")
        self._mutex = threading.Lock()
        self._held: set[int] = set()

    def take(self, until: float = 0.0) -> int | None:
        """Take a slot; return its number, or None if none is free by `until` (monotonic)."""
        while (slot := self._take_free()) is None and monotonic() < until:
            sleep(random.uniform(POLL_S / 2, POLL_S))  # noqa: S311
        return slot

    def give_back(self, slot: int) -> None:
        """Free a slot; its connection is closed."""
        with self._mutex:
            self._held.discard(slot)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)

    def are_all_taken(self) -> bool:
        """Say whether the next who needs a connection must wait for it."""
        slot = self._take_free()
        if slot is not None:
            self.give_back(slot)
        return slot is None

    def _take_free(self) -> int | None:
        with self._mutex:
            for slot in range(self._count):
                # The kernel's locks tell processes apart, not threads.
                if slot not in self._held and self._lock(slot):
                    self._held.add(slot)
                    return slot
        return None

    def _lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:  # another worker's
            return False
        return True


def slots_of(config: Config) -> ConnectionSlots | None:
    """Return the slots of a node with this configuration; None for SQLite, which has no server to spare."""
    if config.database.path is not None:
        return None
    return ConnectionSlots(config.connection_limit - config.workers)


def slots_of_standby(config: Config) -> ConnectionSlots | None:
    """Return the slots for the standby; None without one. Each worker has a connection beside them, which looks."""
    if config.standby is None:
        return None
    return ConnectionSlots(config.standby_connection_limit - config.workers)
