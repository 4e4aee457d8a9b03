"""Wrong tokens are answered slowly, so that guessing on many connections or from many addresses is no faster.

The right token never waits: it is compared first. Wrong ones wait for each other, those of one address or one IPv6
network, and all together.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from hashlib import sha256
from time import monotonic

from sanic.compat import Header

from leadcrm.web.http.client_address import network_of

GUESS_INTERVAL_S = 0.5
"""Between two answers to wrong tokens from one address."""

TOTAL_INTERVAL_S = 0.05
"""Between two answers to any wrong tokens."""

MAX_WAIT_S = 10.0
"""A guess whose answer would be due later is refused at once."""

MAX_ADDRESSES = 4_096


class Token:
    """A token of the configuration, as a digest."""

    def __init__(self, token: str | None) -> None:
        """Set the token; without one there is nothing to give."""
        self._digest = None if token is None else sha256(token.encode()).digest()

    @property
    def is_set(self) -> bool:
        """Say whether there is a token."""
        return self._digest is not None

    def is_in(self, headers: Header) -> bool:
        """Say whether a request has it. The time that this takes says nothing about the token."""
        given = bearer_token(headers)
        if self._digest is None or given is None:
            return False
        return hmac.compare_digest(sha256(given.encode(errors="surrogateescape")).digest(), self._digest)


def bearer_token(headers: Header) -> str | None:
    """Return the bearer token that a request has, right or wrong."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class Guesses:
    """When the answers to wrong tokens are due; for the event loop alone."""

    def __init__(self) -> None:
        """Remember no guess."""
        self._due: OrderedDict[str, float] = OrderedDict()
        self._total_due = 0.0

    async def hold_back(self, address: str) -> float:
        """Wait until the answer to a wrong token is due and return 0.0, or return at once how long it would take."""
        wait_s = self._count(network_of(address))
        if wait_s > MAX_WAIT_S:
            return wait_s
        await asyncio.sleep(wait_s)
        return 0.0

    def _count(self, network: str) -> float:
        """Return in how many seconds the answer to this guess is due; those that are refused do not add to it."""
        now = monotonic()
        due = max(self._due.get(network, 0.0), now) + GUESS_INTERVAL_S
        total_due = max(self._total_due, now) + TOTAL_INTERVAL_S
        wait_s = max(due, total_due) - now
        if wait_s <= MAX_WAIT_S:
            self._due[network] = due
            self._due.move_to_end(network)
            self._total_due = total_due
            if len(self._due) > MAX_ADDRESSES:
                self._due.popitem(last=False)
        return wait_s
