"""Time zones by their names: those of the system's database, and offsets from UTC."""

from __future__ import annotations

import re
from datetime import timedelta, timezone, tzinfo
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):([0-5]\d)")


class TimeZone(NamedTuple):
    """A time zone as people name it."""

    name: str
    rules: tzinfo


UTC = TimeZone("UTC", timezone.utc)


def parse_time_zone(text: str) -> TimeZone:
    """Return the zone of a name such as `Europe/Riga` or of an offset such as `+02:00`.

    Raises:
        ValueError: The system knows no such zone; the message says what is accepted.
    """
    if text == UTC.name:
        return UTC
    if offset := _OFFSET.fullmatch(text):
        size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return TimeZone(text, timezone(-size if offset[1] == "-" else size))
    try:
        return TimeZone(text, ZoneInfo(text))
    # Some names are folders of the system's database, others no names of files at all.
    except (KeyError, ValueError, OSError):
        raise ValueError("no time zone that this system knows, such as Europe/Riga or +02:00") from None


def time_zone(text: str, _: Path) -> TimeZone:
    """Parse a time zone."""
    try:
        return parse_time_zone(text.strip())
    except ValueError as error:
        raise ValueError(f"{text[:60]!a} is {error}") from None
