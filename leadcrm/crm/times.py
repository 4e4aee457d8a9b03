"""Times as people and programs write them: ISO 8601, where a date alone means a whole day of UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_FRACTION = re.compile(r"\.(\d+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# RFC 3339, section 5.6, where seconds and zone may be left out. Python's own reading depends on its version.
_MOMENT = re.compile(_DATE.pattern + r"(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII)


def now() -> datetime:
    """Return the time in naive UTC, as the columns hold it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def parse_moment(text: str, *, is_end: bool = False) -> datetime:
    """Return a time in naive UTC, as the columns hold it. A time without a zone is UTC.

    Args:
        text: A date or a time.
        is_end: The time ends a period: a date alone then means the start of the next day, so that the whole day
            belongs to the period. Otherwise it means the start of that day.

    Raises:
        ValueError: The text is neither; the message says what is accepted.
    """
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError  # noqa: TRY301 - gets the same message as the errors below
        # Python 3.10 reads neither Z nor fractions of other than three or six digits.
        plain = _FRACTION.sub(lambda match: f".{match[1][:6]:<06}", re.sub("[Zz]$", "+00:00", text), count=1)
        moment = datetime.fromisoformat(plain)
        if moment.tzinfo is not None:
            moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
        return moment + timedelta(days=1) if is_end and _DATE.fullmatch(text) else moment
    except (ValueError, OverflowError):
        raise ValueError("neither a date nor a time as in 2024-01-15 or 2024-01-15T10:30:00Z") from None
