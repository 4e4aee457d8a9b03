"""Access to the CRM: a request needs ADMIN_TOKEN.

The token is compared in constant time and is kept nowhere but in the configuration. Wrong tokens get slow responses,
one after the other for each address, so that guessing on many connections at once is no faster.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from hashlib import sha256
from time import monotonic

from sanic.request import Request

from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.strict_http import StrictHttp

GUESS_INTERVAL_S = 0.5
"""Between two responses to wrong tokens from one address."""

MAX_WAIT_S = 10.0
"""An address whose guesses would wait longer is refused, whatever its token, until they have been answered."""

MAX_ADDRESSES = 4_096

HOW_TO_OPEN = "The CRM is closed: set ADMIN_TOKEN, or ADMIN_TOKEN_FILE, to a secret of your own and restart leadcrm."


class Gate:
    """Checks the tokens of requests."""

    def __init__(self, token: str | None, addresses: ClientAddress) -> None:
        """Set the token; without one the gate is closed for everybody."""
        self._digest = None if token is None else sha256(token.encode()).digest()
        self._addresses = addresses
        self._due: OrderedDict[str, float] = OrderedDict()

    @property
    def is_closed(self) -> bool:
        """Say whether no token is set."""
        return self._digest is None

    def wait_s(self, request: Request) -> float:
        """Return in how many seconds this address may try again: 0 unless too many of its guesses wait."""
        wait_s = self._due.get(self._addresses.of(request), 0.0) - monotonic()
        return wait_s if wait_s > MAX_WAIT_S else 0.0

    async def admits(self, request: Request) -> bool:
        """Say whether the request has the token; False comes slowly."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = sha256(token.strip().encode(errors="surrogateescape")).digest()
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            return True
        if isinstance(request.stream, StrictHttp):
            # It would be held for as long as the response takes.
            request.stream.leave_body()
        await asyncio.sleep(self._count_guess(self._addresses.of(request)))
        return False

    def _count_guess(self, address: str) -> float:
        """Return in how many seconds the response to this guess is due."""
        now = monotonic()
        due = max(self._due.pop(address, 0.0), now) + GUESS_INTERVAL_S
        self._due[address] = due
        if len(self._due) > MAX_ADDRESSES:
            self._due.popitem(last=False)
        return due - now
