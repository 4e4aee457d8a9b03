"""Access to the CRM: a request needs ADMIN_TOKEN, or a token whose role has the route's right.

A browser that stays signed in sends a cookie instead. It counts only beside a header that no other site can make a
browser send: that takes a preflight, which the CRM's API answers to nobody. `SameSite=Strict` says the same once more.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.times import now
from leadcrm.crm.tokens import PREFIX, RIGHTS, BrowserSession, Right, Role, Token, prove_admin
from leadcrm.web.crm.caller import Caller
from leadcrm.web.crm.changes import parse_actor
from leadcrm.web.crm.keyring import Keyring
from leadcrm.web.crm.responses import refuse
from leadcrm.web.guesses import Guesses, bearer_token
from leadcrm.web.guesses import Token as ConfiguredToken
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.responses import RATE_LIMITED, UNAUTHORIZED, Refusal
from leadcrm.web.http.strict_http import StrictHttp

HOW_TO_OPEN = "The CRM is closed: set ADMIN_TOKEN, or ADMIN_TOKEN_FILE, to a secret of your own and restart leadcrm."

FORBIDDEN = Refusal(403, "forbidden")

COOKIE = "leadcrm"

COOKIE_HEADER = "x-leadcrm"
"""What stands beside the cookie."""

DEFAULT_ACTOR = "api"

_DOES = {
    Right.READ: "read",
    Right.WORK: "change leads",
    Right.BULK: "change many leads at once",
    Right.EXPORT: "export leads",
    Right.REPLAY: "replay requests",
    Right.OPERATE: "see and try sources, sinks and deliveries",
    Right.TOKENS: "see, give and take back tokens",
    Right.AUDIT: "read the audit trail",
}


class Gate:
    """Lets requests in, or says why not."""

    def __init__(self, admin_token: str | None, keyring: Keyring, addresses: ClientAddress, guesses: Guesses) -> None:
        """Set ADMIN_TOKEN, without which the gate is closed for everybody, and the tokens of people."""
        self._admin_token = admin_token
        self._admin = ConfiguredToken(admin_token)
        self._keyring = keyring
        self._addresses = addresses
        self._guesses = guesses

    @property
    def is_closed(self) -> bool:
        """Say whether no token is set."""
        return not self._admin.is_set

    async def admit(self, request: Request, right: Right | None) -> Caller | HTTPResponse:
        """Return who asks, or the answer to a request that may not pass; to one with a wrong token it comes slowly.

        Raises:
            StoreUnavailable: The token is not known, and the database cannot be read.
        """
        if self.is_closed:
            return refuse(FORBIDDEN, HOW_TO_OPEN)
        caller = await self._identify(request)
        if isinstance(caller, Caller) and not caller.may(right):
            return refuse(FORBIDDEN, _why_not(caller, right))
        return caller

    async def _identify(self, request: Request) -> Caller | HTTPResponse:
        if self._admin.is_in(request.headers):
            return self._admin_caller(request, None, _always)
        given = bearer_token(request.headers)
        if given is not None:
            # No other text can be a token, so that nothing need be looked for.
            token = await self._keyring.find_token(given) if given.startswith(PREFIX) else None
            if token is None:
                return await self._refuse_guess(request)
            if fault := _fault_of(token):
                return _unauthorized(fault)
            return self._person(request, token, None, partial(self._token_holds, given))
        cookie = request.cookies.get(COOKIE) if request.headers.get(COOKIE_HEADER) else None
        if cookie is None:
            return _unauthorized("Authorization: Bearer with a token is needed.")
        caller = await self._signed_in(request, cookie)
        return caller or _unauthorized("The sign-in has ended: sign in again.")

    async def _signed_in(self, request: Request, cookie: str) -> Caller | None:
        found = await self._keyring.find_session(cookie)
        if found is None or not self._session_holds_now(cookie, *found):
            return None
        _, token = found
        holds = partial(self._session_holds, cookie)
        if token is None:
            return self._admin_caller(request, cookie, holds)
        return self._person(request, token, cookie, holds)

    def _session_holds_now(self, cookie: str, session: BrowserSession, token: Token | None) -> bool:
        if session.expires_at <= now():
            return False
        if session.token_id is not None:
            return token is not None and not _fault_of(token)
        assert self._admin_token is not None
        # Whoever changes ADMIN_TOKEN signs out all who came with the one before.
        return hmac.compare_digest(session.admin_proof or b"", prove_admin(cookie, self._admin_token))

    async def _session_holds(self, cookie: str) -> bool:
        found = await self._keyring.find_session(cookie)
        return found is not None and self._session_holds_now(cookie, *found)

    async def _token_holds(self, secret: str) -> bool:
        token = await self._keyring.find_token(secret)
        return token is not None and not _fault_of(token)

    def _admin_caller(self, request: Request, session: str | None, holds: Callable[[], Awaitable[bool]]) -> Caller:
        return Caller(Actor(_claimed(request) or DEFAULT_ACTOR, Via.ADMIN_TOKEN), None, session, holds)

    def _person(
        self, request: Request, token: Token, session: str | None, holds: Callable[[], Awaitable[bool]]
    ) -> Caller:
        return Caller(Actor(token.name, Via.TOKEN, _claimed(request)), token, session, holds)

    async def _refuse_guess(self, request: Request) -> HTTPResponse:
        if isinstance(request.stream, StrictHttp):
            # It would be held for as long as the answer takes.
            request.stream.leave_body()
        wait_s = await self._guesses.hold_back(self._addresses.of(request))
        if wait_s:
            return refuse(RATE_LIMITED, "Too many wrong tokens.", {"retry-after": str(ceil(wait_s))})
        return _unauthorized("This token is wrong.")


async def _always() -> bool:
    return True


def _claimed(request: Request) -> str | None:
    """Return whom a request says to act for; routes that take it check it themselves."""
    try:
        return parse_actor(request.headers.get("x-actor", "")) or None
    except ValueError:
        return None


def _fault_of(token: Token) -> str:
    """Return why a token opens nothing; empty if it does."""
    state = token.state_at(now())
    if state == "active":
        return ""
    at = token.revoked_at if state == "revoked" else token.expires_at
    assert at is not None
    verb = "was revoked" if state == "revoked" else "expired"
    return f"This token {verb} on {at:%Y-%m-%d} at {at:%H:%M} UTC: ask for another one."


def _why_not(caller: Caller, right: Right | None) -> str:
    role = "" if caller.token is None else caller.token.role
    if right is None:
        return f"The role {role} may not do that; ADMIN_TOKEN may."
    able = [each.value for each in Role if right in RIGHTS[each]]
    return f"The role {role} may not {_DOES[right]}; {', '.join(able)} may."


def _unauthorized(message: str) -> HTTPResponse:
    return refuse(UNAUTHORIZED, message, {"www-authenticate": "Bearer"})
