"""The rate limit: so many requests a client address, over all workers of the node.

The generic cell rate algorithm: one number an address says when its next request would be on time. The numbers
lie in a table in shared memory, found by a keyed hash, so neither many addresses nor chosen ones cost memory. Two
addresses that meet in one cell share a limit; with a thousand clients at once that is one in a thousand.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from time import monotonic

from leadcrm.configuration.config import RateLimit

_CELLS = 1 << 20  # 8 MiB, of which the kernel keeps what was touched


class RateLimiter:
    """Says of each request whether it is within the limit. Make it before the workers are forked."""

    def __init__(self, limit: RateLimit) -> None:
        """Take the limit; a client may send a whole period's requests at once, then one as each falls due."""
        self._interval_s = limit.per_s / limit.requests
        self._tolerance_s = limit.per_s - self._interval_s
        self._secret = os.urandom(16)
        self._memory = mmap.mmap(-1, _CELLS * 8)
        self._due = memoryview(self._memory).cast("d")

    def delay_s(self, address: str) -> float:
        """Count a request of this address and return 0, or the seconds until it may try again."""
        digest = blake2b(address.encode(), key=self._secret, digest_size=4).digest()
        cell = int.from_bytes(digest, "little") % _CELLS
        now = monotonic()
        due = max(self._due[cell], now)
        early_s = due - now - self._tolerance_s
        if early_s > 0:
            return float(early_s)
        self._due[cell] = due + self._interval_s
        return 0.0
