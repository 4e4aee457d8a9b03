"""Times as people and programs give them: ISO 8601, of which a date alone is a whole day of UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_FRACTION = re.compile(r"\.(\d+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# RFC 3339, section 5.6; seconds and zone may be left out. What else Python reads depends on its version.
_MOMENT = re.compile(_DATE.pattern + r"(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII)


def parse_moment(text: str, *, is_end: bool = False) -> datetime:
    """Return a time as the columns hold it, in naive UTC; a time without a zone is UTC.

    A date alone is the beginning of its day or, where it `is_end`, the beginning of the next: the day counts as a
    whole. Raises ValueError.
    """
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError  # noqa: TRY301 - told as what cannot be read
        # Python 3.10 knows no Z, and fractions of three or six digits alone.
        plain = _FRACTION.sub(lambda found: f".{found[1][:6]:<06}", re.sub("[Zz]$", "+00:00", text), count=1)
        moment = datetime.fromisoformat(plain)
        if moment.tzinfo is not None:
            moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
        return moment + timedelta(days=1) if is_end and _DATE.fullmatch(text) else moment
    except (ValueError, OverflowError):
        raise ValueError("neither a date nor a time as in 2024-01-15 or 2024-01-15T10:30:00Z") from None
