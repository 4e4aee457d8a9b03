"""Times as people and programs give them."""

from __future__ import annotations

from datetime import datetime

import pytest

from leadcrm.crm.times import parse_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-15", datetime(2024, 1, 15)),
        ("2024-01-15T10:30:00Z", datetime(2024, 1, 15, 10, 30)),
        ("2024-01-15T10:30:00.25z", datetime(2024, 1, 15, 10, 30, 0, 250_000)),
        ("2024-01-15T10:30:00.123456789+02:00", datetime(2024, 1, 15, 8, 30, 0, 123_456)),
        ("2024-01-15 10:30", datetime(2024, 1, 15, 10, 30)),
    ],
)
def test_a_time_is_read_as_utc(text: str, moment: datetime) -> None:
    assert parse_moment(text) == moment
    assert parse_moment(text, is_end=True) == (datetime(2024, 1, 16) if text == "2024-01-15" else moment)


@pytest.mark.parametrize(
    "text", ["", "now", "2024-13-01", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+01:00", "1"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a date nor a time"):
        parse_moment(text)


def test_the_last_day_of_all_has_no_end() -> None:
    with pytest.raises(ValueError, match="neither a date nor a time"):
        parse_moment("9999-12-31", is_end=True)
