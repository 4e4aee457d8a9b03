"""Requests whose bodies nobody reads unless a handler does."""

from __future__ import annotations

from sanic.request import Request


class BodilessRequest(Request):
    """Leaves the body where it is.

    The framework would read all of it into memory before any handler runs, for every route, and before anybody has
    looked at a token. Here a handler that wants a body reads it under a limit of its own.
    """

    async def receive_body(self) -> None:
        """Read nothing."""
