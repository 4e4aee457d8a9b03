"""When a source counts as silent."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from leadcrm.crm.source_activity import Activity

FRIDAY = datetime(2026, 3, 6, 17)
HOURS = [FRIDAY - timedelta(hours=ago) for ago in range(14 * 24)]
WORKING_HOURS = [hour for hour in HOURS if hour.weekday() < 5 and 8 <= hour.hour < 18]
FIRST_WEEK = [hour for hour in WORKING_HOURS if hour > FRIDAY - timedelta(days=5)]
A_CAMPAIGN = HOURS[:3]
NOW_AND_THEN = HOURS[:: 5 * 24]
ONCE = HOURS[:1]


@pytest.mark.parametrize(
    ("hours", "usual", "silent"),
    [
        # Who sends round the clock is missed the same day, who sends in working hours not before the next week.
        (HOURS, timedelta(hours=5), timedelta(hours=7)),
        (WORKING_HOURS, timedelta(days=4), timedelta(days=6)),
        # Of a source of one week nobody knows yet that it rests on Saturdays.
        (FIRST_WEEK, timedelta(days=2.5), timedelta(days=4)),
        (A_CAMPAIGN, timedelta(days=2.5), timedelta(days=4)),
        (NOW_AND_THEN, timedelta(days=9), timedelta(days=11)),
        (ONCE, timedelta(days=29), None),
    ],
    ids=["round the clock", "working hours", "first week", "campaign", "now and then", "once"],
)
def test_a_source_is_silent_after_far_longer_than_its_longest_pause(
    hours: list[datetime], usual: timedelta, silent: timedelta | None
) -> None:
    activity = Activity(hours=hours, leads=2 * len(hours), last_lead=hours[0])
    assert activity.silence(FRIDAY + usual) is None
    if silent is not None:
        assert activity.silence(FRIDAY + silent) == silent
