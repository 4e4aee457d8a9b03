"""The filter of leads, as parameters of a route."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from leadcrm.configuration.time_zone import TimeZone, parse_time_zone
from leadcrm.crm.documents import NAME_OF_COLUMN
from leadcrm.crm.leads import CONTAINED_COLUMNS, FILTER_COLUMNS, LeadFilter, texts_by_column
from leadcrm.crm.times import AskedTime, now, parse_asked
from leadcrm.web.crm.declarations import UUID_SCHEMA, Call, InvalidRequest, Parameter, one_of, parse_uuid, text_up_to

MAX_TEXT = 500
MAX_Q = 200

ANY_CASE = "in any case (of letters beyond ASCII: as given, all small, all capital or every word capitalized)"

COLUMN_OF_FILTER = {NAME_OF_COLUMN.get(column, column): column for column in FILTER_COLUMNS}
"""The columns that are filtered by exact values, by their public names."""

_CONTAINED = {NAME_OF_COLUMN.get(column, column): column for column in CONTAINED_COLUMNS}

FILTER_TEXT = {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[^\u0000]*$"}
_MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}


def _parse_contains(text: str) -> tuple[str, str]:
    name, _, part = text_up_to(MAX_TEXT)(text).partition(":")
    if name not in _CONTAINED or not part:
        raise ValueError(
            f"a column and a part of its value are accepted, as in offer:gold; columns: {', '.join(_CONTAINED)}"
        )
    return _CONTAINED[name], part


def _asked(*, is_end: bool) -> Callable[[str], AskedTime]:
    return lambda text: parse_asked(text, is_end=is_end)


def _parse_due(text: str) -> AskedTime:
    return (lambda _zone: now()) if text == "now" else parse_asked(text, is_end=True)


SINCE = Parameter("from", "Arrived at this time or later; a date is its beginning.", _MOMENT, _asked(is_end=False))
UNTIL = Parameter("to", "Arrived before this time; a date counts as a whole.", _MOMENT, _asked(is_end=True))
ZONE = Parameter(
    "zone",
    "Whose days dates and steps are, such as Europe/Riga or +02:00; without it, those of TIME_ZONE.",
    {"type": "string", "maxLength": 60},
    parse_time_zone,
)

SOURCE = Parameter(
    "source",
    "Exactly this source; `api` is `/api/lead`. Repeated: any of them.",
    FILTER_TEXT,
    text_up_to(MAX_TEXT),
    repeatable=True,
)
TESTS = Parameter(
    "tests",
    "Whether the senders' test leads count; without it they do not, unless `id` names them.",
    {"type": "string", "enum": ["include", "only"]},
    one_of("include", "only"),
)

FILTER_PARAMETERS = (
    Parameter("id", "This lead alone. Repeated: any of them.", UUID_SCHEMA, parse_uuid, repeatable=True),
    *(
        Parameter(
            name,
            f"Exactly this {name}; empty for none. Repeated: any of them.",
            FILTER_TEXT,
            text_up_to(MAX_TEXT),
            repeatable=True,
        )
        for name in COLUMN_OF_FILTER
    ),
    Parameter(
        "contains",
        f"A column and a part of its text, {ANY_CASE}, as in `offer:gold`. Repeated: any of one column's parts, and of "
        "several columns all.",
        {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^(" + "|".join(_CONTAINED) + r"):[^\u0000]+$"},
        _parse_contains,
        repeatable=True,
    ),
    SINCE,
    UNTIL,
    ZONE,
    Parameter("email", f"This whole address, {ANY_CASE}.", FILTER_TEXT, text_up_to(MAX_TEXT)),
    Parameter(
        "due",
        "The next call is due at this time or earlier; `now` is the time of the request.",
        {"anyOf": [*_MOMENT["anyOf"], {"type": "string", "enum": ["now"]}]},
        _parse_due,
    ),
    Parameter(
        "phone",
        "This number, however it is written, with or without its country.",
        FILTER_TEXT,
        text_up_to(MAX_TEXT),
    ),
    TESTS,
    Parameter(
        "q",
        f"How an email or a last name begins, {ANY_CASE}, or a phone by its digits; among the newest leads also any "
        "part of these or of a first name. Also any id, key, click id or request id of a lead.",
        {**FILTER_TEXT, "maxLength": MAX_Q},
        text_up_to(MAX_Q),
    ),
)


def zone_of(call: Call) -> TimeZone:
    """Return whose days a request means."""
    zone: TimeZone = call["zone"] or call.zone
    return zone


def moments_of(call: Call, *names: str) -> list[datetime | None]:
    """Return the times, naive UTC, that parameters mean in the request's zone.

    Raises:
        InvalidRequest: A time is past the first or the last of all in its zone.
    """
    try:
        return [call[name] and call[name](zone_of(call)) for name in names]
    except ValueError as error:
        raise InvalidRequest(f"{', '.join(names)}: {error}") from None


def parse_filter(call: Call) -> LeadFilter:
    """Return the filter that a request's parameters describe.

    Raises:
        InvalidRequest: A time is past the first or the last of all in its zone.
    """
    since, until, due = moments_of(call, "from", "to", "due")
    return LeadFilter(
        ids=call.parameters.get("id", ()),
        values=tuple((column, call[name]) for name, column in COLUMN_OF_FILTER.items() if call[name]),
        contains=texts_by_column(call["contains"]),
        since=since,
        until=until,
        email=call["email"],
        phone=call["phone"],
        tests=call["tests"],
        due=due,
        q=call.parameters.get("q") or None,
    )
