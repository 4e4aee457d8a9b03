"""Who may use the CRM: whoever knows ADMIN_TOKEN.

The token is compared in constant time and stands nowhere but in the configuration. Wrong ones are answered slowly:
the answers of one address follow one another, so that asking on many connections at once guesses no faster.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from hashlib import sha256
from time import monotonic

from sanic.request import Request

from leadcrm.web.http.client_address import ClientAddress

GUESS_INTERVAL_S = 0.5
"""Between two answers to wrong tokens from one address."""

LONGEST_WAIT_S = 10.0
"""Past this an address is refused without a look at its tokens, until its waiting guesses are answered."""

MOST_ADDRESSES = 4_096

HOW_TO_OPEN = "The CRM is closed: set ADMIN_TOKEN, or ADMIN_TOKEN_FILE, to a secret of your own and restart leadcrm."


class Gate:
    """Judges the token of a request."""

    def __init__(self, token: str | None, addresses: ClientAddress) -> None:
        """Take the token; without one nobody may pass."""
        self._digest = None if token is None else sha256(token.encode()).digest()
        self._addresses = addresses
        self._due: OrderedDict[str, float] = OrderedDict()

    @property
    def is_closed(self) -> bool:
        """Say whether there is no token at all."""
        return self._digest is None

    def wait_s(self, request: Request) -> float:
        """Return in how many seconds this address may try again: 0 unless its wrong guesses pile up."""
        wait_s = self._due.get(self._addresses.of(request), 0.0) - monotonic()
        return wait_s if wait_s > LONGEST_WAIT_S else 0.0

    async def admits(self, request: Request) -> bool:
        """Say whether the request bears the token; False comes slowly."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = sha256(given.strip().encode(errors="surrogateescape")).digest()
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            return True
        await asyncio.sleep(self._count_guess(self._addresses.of(request)))
        return False

    def _count_guess(self, address: str) -> float:
        now = monotonic()
        due = max(self._due.pop(address, 0.0), now) + GUESS_INTERVAL_S
        self._due[address] = due
        if len(self._due) > MOST_ADDRESSES:
            self._due.popitem(last=False)
        return due - now
