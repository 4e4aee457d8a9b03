"""Tokens of people and programs: what each role may do, and who holds which token.

Invariants:
- Of a token or a browser's session only the SHA-256 is stored. Both are 256 random bits: nobody can try so many, so a
  slow hash would protect nothing, and every request would pay for it.
- A name has one token in force. It is the author of what its holder changes.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc, select
from uuid_utils import uuid7

from leadcrm.crm.audit import Action, Actor, record
from leadcrm.crm.events import check_person
from leadcrm.crm.times import now
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import SubmissionRefused, TokenRefused

PREFIX = "lcrm_"
"""What a token begins with, so that people and scanners for leaked secrets know it."""

SESSION_DAYS = 30

MAX_NAME_CHARS = 100

_WORD = r"[^\s\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]+"

NAME_PATTERN = f"^{_WORD}( {_WORD})*$"
"""Words with a blank between them, and nothing that cannot be seen: two names must not look the same."""

MAX_TOKENS = 1_000
"""Tokens in force. Every worker that serves people has all of them in memory."""

MAX_SESSIONS = 50
"""Browsers that stay signed in with one token; the oldest gives way."""

TOLD_DAYS = 90
"""For so long the holder of a revoked token is told that it was revoked; then it is a wrong one."""

USED_INTERVAL = timedelta(minutes=1)
"""How exact the time of the last use is."""


class Right(str, Enum):
    """What a route asks for."""

    READ = "read"
    WORK = "work"
    BULK = "bulk"
    EXPORT = "export"
    REPLAY = "replay"
    OPERATE = "operate"
    TOKENS = "tokens"
    AUDIT = "audit"


class Role(str, Enum):
    """What a token is for; `lead` is a team lead."""

    READER = "reader"
    AGENT = "agent"
    LEAD = "lead"
    INTEGRATOR = "integrator"


RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {
        Role.READER: frozenset((Right.READ,)),
        Role.AGENT: frozenset((Right.READ, Right.WORK)),
        Role.LEAD: frozenset(Right),
        Role.INTEGRATOR: frozenset((Right.READ, Right.EXPORT)),
    }
)


class Token(NamedTuple):
    """A token without its secret; times are naive UTC."""

    id: UUID
    name: str
    role: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    def state_at(self, at: datetime) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "active"


class BrowserSession(NamedTuple):
    """A browser that stays signed in: with a token, or with the ADMIN_TOKEN that the proof was made of."""

    token_id: UUID | None
    admin_proof: bytes | None
    expires_at: datetime


class Keys(NamedTuple):
    """Everything that opens the CRM besides ADMIN_TOKEN, by its SHA-256."""

    tokens: Mapping[bytes, Token]
    sessions: Mapping[bytes, BrowserSession]

    def token(self, id: UUID | None) -> Token | None:
        """Return the token with an id."""
        return next((token for token in self.tokens.values() if token.id == id), None)


def digest(secret: str) -> bytes:
    """Return what is stored of a token or a session."""
    return sha256(secret.encode(errors="surrogateescape")).digest()


def prove_admin(secret: str, admin_token: str) -> bytes:
    """Return what binds a session to ADMIN_TOKEN and tells nothing of it to whoever reads the database."""
    return hmac.digest(secret.encode(errors="surrogateescape"), admin_token.encode(), "sha256")


def check_name(text: str) -> str:
    """Return a name for a token.

    Raises:
        ValueError: It is none; the message says what is accepted.
    """
    if len(text) > MAX_NAME_CHARS or not re.search(NAME_PATTERN, text) or text.endswith("\n"):
        raise ValueError(f"a name is words with a blank between them, of 1 to {MAX_NAME_CHARS} characters in all")
    return check_person(text)


def add_token(
    entities: Entities, name: str, role: Role, expires_at: datetime | None, *, actor: Actor
) -> tuple[Token, str]:
    """Make a token, and return it with its secret, which is stored nowhere. Durable on return.

    Raises:
        TokenRefused: The name has a token already, or there are too many.
        StoreUnavailable: The database cannot be changed.
    """
    secret = f"{PREFIX}{secrets.token_urlsafe(32)}"
    at = now()
    token = Token(UUID(str(uuid7())), name, role.value, at, actor.name, expires_at, None, None)
    try:
        with session(entities, writes=True):
            _make_room(entities, name, at)
            entities.token(**token._asdict(), sha256=digest(secret))
            detail = {"name": name, "role": role.value, "expiresAt": _text(expires_at)}
            record(entities, actor, Action.TOKEN_ADD, detail=detail)
    except SubmissionRefused as refusal:
        # Somebody else has just added it.
        raise TokenRefused(f"{name} has a token already", hint="revoke it first") from refusal
    return token, secret


def _make_room(entities: Entities, name: str, at: datetime) -> None:
    """Require that there is room for one more; an expired token of the same name is revoked.

    Names that differ only in case would be taken for each other.
    """
    in_force = list(select(token for token in entities.token if token.revoked_at is None).for_update())
    expired = [token for token in in_force if token.expires_at is not None and token.expires_at <= at]
    for token in in_force:
        if token.name.casefold() != name.casefold():
            continue
        if token not in expired:
            raise TokenRefused(f"{token.name} has a token already", hint="revoke it first")
        token.revoked_at = token.expires_at
    if len(in_force) - len(expired) >= MAX_TOKENS:
        raise TokenRefused(f"there are {MAX_TOKENS} tokens already", hint="revoke those that nobody uses")


def _text(at: datetime | None) -> str | None:
    return None if at is None else f"{at.isoformat(timespec='seconds')}Z"


def list_tokens(entities: Entities) -> list[Token]:
    """Return the tokens in force and the last thousand that were revoked, by name.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        in_force = _select(entities).where(lambda token: token.revoked_at is None)
        revoked = _select(entities).where(lambda token: token.revoked_at is not None)
        rows = [*in_force[:], *revoked.order_by(desc(Token._fields.index("revoked_at") + 1))[:MAX_TOKENS]]
    tokens = [Token._make(row[:-1]) for row in rows]
    return sorted(tokens, key=lambda token: (token.revoked_at is not None, token.name.casefold(), token.created_at))


def _select(entities: Entities) -> Any:
    """Return the query of all tokens: the fields of each `Token`, and its hash."""
    return select(
        (
            token.id,
            token.name,
            token.role,
            token.created_at,
            token.created_by,
            token.expires_at,
            token.revoked_at,
            token.used_at,
            token.sha256,
        )
        for token in entities.token
    ).without_distinct()


def revoke_token(entities: Entities, *, id: UUID | None = None, name: str | None = None, actor: Actor) -> Token | None:
    """Revoke the token in force with an id or a name, and return it; None if there is none. Durable on return.

    Workers notice it within seconds. Browsers that stay signed in with it do so no longer.

    Raises:
        StoreUnavailable: The database cannot be changed.
    """
    with session(entities, writes=True):
        tokens = entities.token
        row = tokens.get_for_update(id=id) if id else tokens.get_for_update(name=name, revoked_at=None)
        if row is None or row.revoked_at is not None:
            return None
        row.revoked_at = now()
        token_id = row.id
        select(each for each in entities.browser_session if each.token_id == token_id).delete(bulk=True)
        record(entities, actor, Action.TOKEN_REVOKE, detail={"name": row.name, "role": row.role})
        return Token(*(getattr(row, name) for name in Token._fields))


def read_keys(entities: Entities) -> Keys:
    """Return everything that opens the CRM besides ADMIN_TOKEN.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    at = now()
    told_since = at - timedelta(days=TOLD_DAYS)
    with session(entities):
        tokens = _select(entities).where(lambda token: token.revoked_at is None or token.revoked_at > told_since)
        sessions = select(
            (each.sha256, each.token_id, each.admin_proof, each.expires_at)
            for each in entities.browser_session
            if each.expires_at > at
        ).without_distinct()
        return Keys(
            {bytes(row[-1]): Token._make(row[:-1]) for row in tokens},
            {bytes(row[0]): BrowserSession._make(row[1:]) for row in sessions},
        )


def begin_session(
    entities: Entities, *, token: Token | None, admin_token: str | None, actor: Actor, replaces: str | None = None
) -> tuple[str, datetime]:
    """Keep a browser signed in, and return the secret for its cookie and until when. Durable on return.

    Args:
        entities: The bound database.
        token: The token that it signed in with; None for ADMIN_TOKEN.
        admin_token: ADMIN_TOKEN, where it signed in with that.
        actor: Who signs in.
        replaces: The secret of the session that this one takes the place of.

    Raises:
        StoreUnavailable: The database cannot be changed.
    """
    secret, at = secrets.token_urlsafe(32), now()
    expires_at = at + timedelta(days=SESSION_DAYS)
    if token is not None and token.expires_at is not None:
        expires_at = min(expires_at, token.expires_at)
    token_id = token.id if token else None
    with session(entities, writes=True):
        sessions = entities.browser_session
        replaced = b"" if replaces is None else digest(replaces)
        select(each for each in sessions if each.expires_at <= at or each.sha256 == replaced).delete(bulk=True)
        kept = select(each for each in sessions if each.token_id == token_id)
        for surplus in list(kept.order_by(lambda each: desc(each.created_at)).for_update())[MAX_SESSIONS - 1 :]:
            surplus.delete()
        sessions(
            sha256=digest(secret),
            token_id=token_id,
            admin_proof=None if admin_token is None else prove_admin(secret, admin_token),
            created_at=at,
            expires_at=expires_at,
        )
        record(entities, actor, Action.SIGN_IN)
    return secret, expires_at


def end_session(entities: Entities, secret: str, *, actor: Actor) -> None:
    """Sign a browser out. Durable on return.

    Raises:
        StoreUnavailable: The database cannot be changed.
    """
    with session(entities, writes=True):
        row = entities.browser_session.get_for_update(sha256=digest(secret))
        if row is not None:
            row.delete()
            record(entities, actor, Action.SIGN_OUT)


def note_uses(entities: Entities, ids: Iterable[UUID], at: datetime) -> None:
    """Set the time of the last use of tokens. The caller holds the session."""
    wanted = list(ids)
    if not wanted:
        return
    recent = at - USED_INTERVAL
    # In the order of ids: two workers that lock the same rows in opposite order would wait for each other.
    rows = select(token for token in entities.token if token.id in wanted).order_by(lambda token: token.id)
    for row in rows.for_update():
        if row.used_at is None or row.used_at <= recent:
            row.used_at = at


def token_document(token: Token, at: datetime) -> dict[str, Any]:
    """Return a token as JSON has it."""
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "state": token.state_at(at),
        "createdAt": token.created_at,
        "createdBy": token.created_by,
        "expiresAt": token.expires_at,
        "revokedAt": token.revoked_at,
        "usedAt": token.used_at,
    }
