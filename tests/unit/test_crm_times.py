"""Times as people and programs write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from leadcrm.configuration.time_zone import parse_time_zone
from leadcrm.crm.times import local_text, parse_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-15", "2024-01-15T00:00:00"),
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00"),
        ("2024-01-15T10:30:00.25z", "2024-01-15T10:30:00.250000"),
        ("2024-01-15T10:30:00.123456789+02:00", "2024-01-15T08:30:00.123456"),
        ("2024-01-15 10:30", "2024-01-15T10:30:00"),
    ],
)
def test_a_time_is_read_as_utc(text: str, moment: str) -> None:
    assert parse_moment(text).isoformat() == moment


def test_a_date_is_a_day_of_its_zone() -> None:
    riga = parse_time_zone("Europe/Riga")
    assert parse_moment("2024-01-15", zone=riga).isoformat() == "2024-01-14T22:00:00"
    assert parse_moment("2024-03-31", zone=riga, is_end=True).isoformat() == "2024-03-31T21:00:00", "a day of 23 hours"
    assert parse_moment("2024-01-15T10:30", zone=riga).isoformat() == "2024-01-15T10:30:00"
    assert local_text(datetime(2024, 7, 1, 12), riga) == "2024-07-01T15:00:00.000+03:00"
    assert local_text(datetime(1, 1, 1), parse_time_zone("-05:00")) == "0001-01-01T00:00:00.000Z"


def test_a_date_that_ends_a_time_counts_as_a_whole() -> None:
    assert parse_moment("2024-01-15", is_end=True).isoformat() == "2024-01-16T00:00:00"
    assert parse_moment("2024-01-15T10:30:00Z", is_end=True).isoformat() == "2024-01-15T10:30:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-13-01",
        "20240115",
        "2024-W03-1",
        "2024-01-15T10",
        "2024-01-15T10:30:00 02:00",
        "9999-12-31T23:59:59-23:00",
        "0001-01-01T00:00:00+01:00",
    ],
)
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a date nor a time"):
        parse_moment(text)


def test_the_last_day_of_all_has_no_end() -> None:
    with pytest.raises(ValueError, match="neither a date nor a time"):
        parse_moment("9999-12-31", is_end=True)
