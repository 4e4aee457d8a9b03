"""The id that every answer carries as `X-Request-Id`: the sender's, or a new one."""

from __future__ import annotations

from sanic.request import Request
from uuid_utils import uuid7

from leadcrm.web.http.header_text import MAX_ECHO, readable


def request_id_of(request: Request) -> str | None:
    """Return the sender's request id in a form that a header and a column can hold, or None."""
    text: str | None = request.headers.get("x-request-id")
    if not text:
        return None
    if not (text.isascii() and text.isprintable()):
        # A line break that the parser let through would split our answer in two.
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in readable(text))
    return text[:MAX_ECHO]


def new_request_id() -> str:
    """Return an id for a request that came without one."""
    return str(uuid7())
