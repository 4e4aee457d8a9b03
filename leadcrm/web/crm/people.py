"""`/api/session`: who is signed in, and staying so; `/api/tokens`: the tokens of people and programs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.crm.times import now
from leadcrm.crm.tokens import (
    MAX_NAME_CHARS,
    NAME_PATTERN,
    SESSION_DAYS,
    Right,
    Role,
    add_token,
    begin_session,
    check_name,
    end_session,
    list_tokens,
    revoke_token,
    token_document,
)
from leadcrm.errors import TokenRefused
from leadcrm.web.crm.caller import Caller
from leadcrm.web.crm.declarations import UUID_SCHEMA, Body, Call, Endpoint, Parameter, Response, Route, parse_uuid
from leadcrm.web.crm.gate import COOKIE
from leadcrm.web.crm.keyring import Keyring
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response, refuse
from leadcrm.web.crm.schemas import array, json_object, reference
from leadcrm.web.http.responses import NOT_FOUND, Refusal

MAX_DAYS = 3650

TAKEN = Refusal(409, "taken")

_ERROR = {"application/json": reference("Error")}
_SESSION = {"application/json": reference("Session")}
_COOKIE = {"Set-Cookie": "Signs the browser in: HttpOnly, SameSite=Strict, and Secure over https."}


class NewToken(NamedTuple):
    """Who gets a token, for what, and for how long."""

    name: str
    role: Role
    days: int | None


def _parse_new_token(document: Any) -> NewToken:
    if not isinstance(document, dict) or not {"name", "role"} <= document.keys() <= {"name", "role", "days"}:
        raise ValueError("an object with name, role and days is accepted")
    name, role, days = document["name"], document["role"], document.get("days")
    if not isinstance(name, str):
        raise ValueError("name is a text")  # noqa: TRY004 - reported like every other fault of a body
    if role not in [each.value for each in Role]:
        raise ValueError(f"role is one of {', '.join(each.value for each in Role)}")
    # To JSON, 90.0 is a whole number.
    is_whole = isinstance(days, (int, float)) and not isinstance(days, bool) and days == days // 1
    if days is not None and not (is_whole and 1 <= days <= MAX_DAYS):
        raise ValueError(f"days is a whole number from 1 to {MAX_DAYS}, or null")
    return NewToken(check_name(name), Role(role), days and int(days))


NEW_TOKEN = Body(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN},
            "role": {"type": "string", "enum": [role.value for role in Role]},
            "days": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_DAYS, "description": "Null for ever."},
        },
        "required": ["name", "role"],
        "additionalProperties": False,
    },
    _parse_new_token,
)

WHO = Route(
    "GET",
    "/api/session",
    "get_session",
    "Who is signed in, and what they may do",
    {200: Response("Name and role are null with ADMIN_TOKEN.", _SESSION)},
    right=Right.READ,
)

STAY = Route(
    "POST",
    "/api/session",
    "keep_session",
    "Stay signed in in this browser",
    {200: Response("Until when.", _SESSION, _COOKIE)},
    f"The cookie stands in for the token for {SESSION_DAYS} days, until it is signed out, or until the token is "
    "revoked or ends. It counts only beside the header `X-Leadcrm`, which no other site can make a browser send.",
    right=Right.READ,
)

LEAVE = Route(
    "DELETE",
    "/api/session",
    "end_session",
    "Sign this browser out",
    {200: Response("The cookie opens nothing any more.", {"application/json": json_object(ok={"const": True})})},
    right=Right.READ,
)

LIST = Route(
    "GET",
    "/api/tokens",
    "list_tokens",
    "The tokens of people and programs",
    {200: Response("Those in force first.", {"application/json": json_object(tokens=array(reference("Token")))})},
    "`usedAt` is exact to a minute.",
    right=Right.TOKENS,
)

ADD = Route(
    "POST",
    "/api/tokens",
    "add_token",
    "Give somebody a token",
    {
        201: Response(
            "The token, which is shown this once: only its hash is stored.",
            {"application/json": reference("NewToken")},
        ),
        409: Response("The name has a token already, or there are too many.", _ERROR),
    },
    right=Right.TOKENS,
    body=NEW_TOKEN,
)

REVOKE = Route(
    "DELETE",
    "/api/tokens/{id}",
    "revoke_token",
    "Take a token back",
    {
        200: Response("It opens nothing within seconds, on every node.", {"application/json": reference("Token")}),
        404: Response("No token in force has this id.", _ERROR),
    },
    parameters=(Parameter("id", "The token's id.", UUID_SCHEMA, parse_uuid, "path"),),
    right=Right.TOKENS,
)


class SessionRoutes:
    """The handlers of `/api/session`."""

    def __init__(self, readers: Readers, keyring: Keyring, admin_token: str | None) -> None:
        """Set the threads that change the database, what this worker knows, and ADMIN_TOKEN."""
        self._readers = readers
        self._keyring = keyring
        self._admin_token = admin_token
        self.endpoints = (Endpoint(WHO, self.get), Endpoint(STAY, self.keep), Endpoint(LEAVE, self.end))

    async def get(self, call: Call) -> HTTPResponse:
        """Return who is signed in."""
        token = call.caller.token
        return json_response(200, _session_document(call.caller, token and token.expires_at))

    async def keep(self, call: Call) -> HTTPResponse:
        """Keep a browser signed in."""
        caller = call.caller
        admin_token = self._admin_token if caller.is_admin else None
        secret, expires_at = await self._readers.run(
            lambda entities: begin_session(
                entities, token=caller.token, admin_token=admin_token, actor=caller.actor, replaces=caller.session
            )
        )
        self._keyring.forget()
        max_age_s = int((expires_at - now()).total_seconds())
        headers = {"set-cookie": _cookie(call.request, secret, max_age_s)}
        return json_response(200, _session_document(caller, expires_at, is_kept=True), headers)

    async def end(self, call: Call) -> HTTPResponse:
        """Sign a browser out."""
        caller = call.caller
        if caller.session is not None:
            secret = caller.session
            await self._readers.run(lambda entities: end_session(entities, secret, actor=caller.actor))
            self._keyring.forget()
        return json_response(200, {"ok": True}, {"set-cookie": _cookie(call.request, "", 0)})


class TokenRoutes:
    """The handlers of `/api/tokens`."""

    def __init__(self, readers: Readers, keyring: Keyring) -> None:
        """Set the threads that read and change the database, and what this worker knows."""
        self._readers = readers
        self._keyring = keyring
        self.endpoints = (Endpoint(LIST, self.list), Endpoint(ADD, self.add), Endpoint(REVOKE, self.revoke))

    async def list(self, _call: Call) -> HTTPResponse:
        """Return the tokens."""
        tokens = await self._readers.run(list_tokens)
        at = now()
        return json_response(200, {"tokens": [token_document(token, at) for token in tokens]})

    async def add(self, call: Call) -> HTTPResponse:
        """Make a token."""
        name, role, days = call.body
        at = now()
        expires_at = None if days is None else at + timedelta(days=days)
        try:
            token, secret = await self._readers.run(
                lambda entities: add_token(entities, name, role, expires_at, actor=call.actor)
            )
        except TokenRefused as refusal:
            return refuse(TAKEN, f"{refusal}: {refusal.hint}.")
        return json_response(201, {**token_document(token, at), "token": secret})

    async def revoke(self, call: Call) -> HTTPResponse:
        """Revoke a token."""
        token = await self._readers.run(lambda entities: revoke_token(entities, id=call["id"], actor=call.actor))
        self._keyring.forget()
        if token is None:
            return refuse(NOT_FOUND, REVOKE.responses[404].description)
        return json_response(200, token_document(token, now()))


def _session_document(caller: Caller, expires_at: datetime | None, *, is_kept: bool = False) -> dict[str, Any]:
    token = caller.token
    return {
        "name": token and token.name,
        "role": token and token.role,
        "rights": sorted(right.value for right in caller.rights),
        "expiresAt": expires_at,
        "isKept": is_kept or caller.session is not None,
    }


def _cookie(request: Request, secret: str, max_age_s: int) -> str:
    """Return the value of Set-Cookie.

    Without a path it is sent to what lies beside `/api/session` alone, wherever a proxy puts that. The scheme is the
    browser's own word for its own cookie, so nobody need be trusted for it.
    """
    headers = request.headers
    is_secure = headers.get("origin", "").startswith("https://") or headers.get("x-forwarded-proto") == "https"
    return f"{COOKIE}={secret}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"
