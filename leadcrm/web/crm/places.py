"""Places in the feed as parameters of routes: a number to go on from, and cursors of lists in the feed's order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sanic.response import HTTPResponse

from leadcrm.crm.feed import FeedGone
from leadcrm.web.crm.declarations import Call, InvalidRequest, Parameter, Response, one_of
from leadcrm.web.crm.responses import refuse
from leadcrm.web.crm.schemas import reference
from leadcrm.web.http.responses import Refusal

GONE = Refusal(410, "gone")

GONE_RESPONSE = Response(
    "Events after this number are no longer kept (FEED_DAYS), or it is none of this feed. `oldest` is the least that "
    "is accepted.",
    {"application/json": reference("Gone")},
)

SEQ_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}

ORDER = Parameter(
    "order",
    "`arrived`: the newest arrival first. `stored`: in the order of the feed, the oldest first, as far back as it is "
    "kept; a page may hold fewer than `limit`.",
    {"type": "string", "enum": ["arrived", "stored"], "default": "arrived"},
    one_of("arrived", "stored"),
)

_STORED_CURSOR = "stored-"

_OTHER_ORDER = "cursor: the `next` of a page in the same order is accepted"


def parse_seq(text: str) -> int:
    """Read a number of the feed."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    raise ValueError("the `next` of another page is accepted, a whole number")


def refuse_gone(error: FeedGone) -> HTTPResponse:
    """Return the response to a number that cannot be read on from."""
    text = f"The number is out of reach: {error}. {error.hint.capitalize()}."
    return refuse(GONE, text, oldest=error.oldest)


def cursor_of_either_order(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser of cursors, which in the feed's order are a whole number."""

    def parse_either(text: str) -> Any:
        return parse_seq(text[len(_STORED_CURSOR) :]) if text.startswith(_STORED_CURSOR) else parse(text)

    return parse_either


def write_stored_cursor(number: int | None) -> str | None:
    """Return the cursor of a list in the feed's order."""
    return None if number is None else f"{_STORED_CURSOR}{number}"


def cursor_of(call: Call) -> Any:
    """Return the cursor of a list.

    Raises:
        InvalidRequest: It is one of the other order.
    """
    cursor = call["cursor"]
    if cursor is not None and isinstance(cursor, int) != (call["order"] == "stored"):
        raise InvalidRequest(_OTHER_ORDER)
    return cursor
