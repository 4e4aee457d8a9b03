"""The rate limit for each client address, over all workers of the node.

It is the generic cell rate algorithm, which needs one number per address: when its next request is due. The numbers are
in a table in shared memory, indexed by a keyed hash, so the memory is constant however many addresses there are, and no
sender can choose its cell. Two addresses in one cell share a limit; of a thousand clients at once, one does so.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from time import monotonic

from leadcrm.configuration.config import RateLimit

_CELLS = 1 << 20  # 8 MiB, of which the kernel allocates the pages that are used


class RateLimiter:
    """Decides for each request whether it is within the limit. Make it before the workers are forked."""

    def __init__(self, limit: RateLimit) -> None:
        """Take the limit: a client may send a whole period's requests at once, then each one when it is due."""
        self._interval_s = limit.per_s / limit.requests
        self._tolerance_s = limit.per_s - self._interval_s
        self._secret = os.urandom(16)
        self._memory = mmap.mmap(-1, _CELLS * 8)
        self._due = memoryview(self._memory).cast("d")

    def delay_s(self, address: str) -> float:
        """Count a request of this address and return 0; over the limit, return the seconds until it may retry."""
        digest = blake2b(address.encode(), key=self._secret, digest_size=4).digest()
        cell = int.from_bytes(digest, "little") % _CELLS
        now = monotonic()
        due = max(self._due[cell], now)
        early_s = due - now - self._tolerance_s
        if early_s > 0:
            return float(early_s)
        self._due[cell] = due + self._interval_s
        return 0.0
