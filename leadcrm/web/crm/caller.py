"""Who asks for something, and what they may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.tokens import RIGHTS, Right, Role, Token


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a route.

    Attributes:
        actor: Their name for histories and the audit trail.
        token: Their token; None for ADMIN_TOKEN, which may do all.
        session: What the cookie held, where the browser stays signed in.
        holds: Says whether they would still be let in.
    """

    actor: Actor
    token: Token | None
    session: str | None
    holds: Callable[[], Awaitable[bool]]

    @property
    def is_admin(self) -> bool:
        """Say whether it is ADMIN_TOKEN."""
        return self.actor.via is Via.ADMIN_TOKEN

    @property
    def rights(self) -> frozenset[Right]:
        """Return what they may do."""
        return frozenset(Right) if self.token is None else RIGHTS[Role(self.token.role)]

    def may(self, right: Right | None) -> bool:
        """Say whether they may use a route; one that names no right is for ADMIN_TOKEN alone."""
        return self.is_admin or (right is not None and right in self.rights)
