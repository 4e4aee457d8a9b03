"""Access to the CRM: a request needs ADMIN_TOKEN."""

from __future__ import annotations

from math import ceil

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.web.crm.responses import refuse
from leadcrm.web.guesses import Guesses, Token, bearer_token
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.responses import RATE_LIMITED, UNAUTHORIZED, Refusal
from leadcrm.web.http.strict_http import StrictHttp

HOW_TO_OPEN = "The CRM is closed: set ADMIN_TOKEN, or ADMIN_TOKEN_FILE, to a secret of your own and restart leadcrm."

FORBIDDEN = Refusal(403, "forbidden")


class Gate:
    """Checks the tokens of requests."""

    def __init__(self, token: str | None, addresses: ClientAddress, guesses: Guesses) -> None:
        """Set the token; without one the gate is closed for everybody."""
        self._token = Token(token)
        self._addresses = addresses
        self._guesses = guesses

    @property
    def is_closed(self) -> bool:
        """Say whether no token is set."""
        return not self._token.is_set

    async def refusal(self, request: Request) -> HTTPResponse | None:
        """Return the answer to a request that may not pass; to one with a wrong token it comes slowly."""
        if self.is_closed:
            return refuse(FORBIDDEN, HOW_TO_OPEN)
        if self._token.is_in(request.headers):
            return None
        if bearer_token(request.headers) is not None:
            if isinstance(request.stream, StrictHttp):
                # It would be held for as long as the answer takes.
                request.stream.leave_body()
            wait_s = await self._guesses.hold_back(self._addresses.of(request))
            if wait_s:
                return refuse(RATE_LIMITED, "Too many wrong tokens.", {"retry-after": str(ceil(wait_s))})
        return refuse(UNAUTHORIZED, "Authorization: Bearer with ADMIN_TOKEN is needed.", {"www-authenticate": "Bearer"})
