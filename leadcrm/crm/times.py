"""Times as people and programs write them: ISO 8601, where a date alone means a whole day."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from leadcrm.configuration.time_zone import UTC, TimeZone

_FRACTION = re.compile(r"\.(\d+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# RFC 3339, section 5.6, where seconds and zone may be left out. Python's own reading depends on its version.
_MOMENT = re.compile(_DATE.pattern + r"(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII)


def now() -> datetime:
    """Return the time in naive UTC, as the columns hold it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def parse_moment(text: str, *, is_end: bool = False, zone: TimeZone = UTC) -> datetime:
    """Return a time in naive UTC, as the columns hold it. A time without an offset is UTC.

    Args:
        text: A date or a time.
        is_end: The time ends a period: a date alone then means the start of the next day, so that the whole day
            belongs to the period. Otherwise it means the start of that day.
        zone: Whose day a date means.

    Raises:
        ValueError: The text is neither; the message says what is accepted.
    """
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError  # noqa: TRY301 - gets the same message as the errors below
        # Python 3.10 reads neither Z nor fractions of other than three or six digits.
        plain = _FRACTION.sub(lambda match: f".{match[1][:6]:<06}", re.sub("[Zz]$", "+00:00", text), count=1)
        moment = datetime.fromisoformat(plain)
        if _DATE.fullmatch(text):
            moment = (moment + timedelta(days=1) if is_end else moment).replace(tzinfo=zone.rules)
        return moment if moment.tzinfo is None else moment.astimezone(timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ValueError("neither a date nor a time as in 2024-01-15 or 2024-01-15T10:30:00Z") from None


AskedTime = Callable[[TimeZone], datetime]
"""A time as somebody asked for it: which moment it is depends on the zone."""


def parse_asked(text: str, *, is_end: bool) -> AskedTime:
    """Return a time to be resolved in a zone.

    Raises:
        ValueError: The text is no time; the message says what is accepted.
    """
    parse_moment(text, is_end=is_end)
    return lambda zone: parse_moment(text, is_end=is_end, zone=zone)


def local_text(at: datetime, zone: TimeZone) -> str:
    """Return a time of a column as people of a zone read it, with its offset; in UTC with a Z."""
    if zone.rules is not timezone.utc:
        try:
            return at.replace(tzinfo=timezone.utc).astimezone(zone.rules).isoformat(timespec="milliseconds")
        except OverflowError:
            pass  # next to the first or the last time of all
    return f"{at.isoformat(timespec='milliseconds')}Z"
