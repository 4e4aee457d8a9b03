"""What came in at each source lately, and which of them have fallen silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from uuid import UUID

from pony.orm import count, raw_sql, select

from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.statistics import moment_of
from leadcrm.crm.times import now
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.database.states import UNSTORED_STATES, State

PERIOD = timedelta(days=30)
"""What is looked at. Ids begin with their time, so that nothing older is read."""

WEEK, DAY = timedelta(days=7), timedelta(days=1)

LEAST_LEADS = 5
"""In the period. Of a source that sends less, nobody can say that it is silent."""

LONGER = 2
"""A source is silent after so many times its longest pause between two leads, which a night or a weekend may be."""

LEAST_SILENCE = timedelta(hours=6)
"""And after that at least."""

UNKNOWN_WEEK = timedelta(days=3)
"""The same for a source of which no whole week is known: its weekend is still to come."""


@dataclass(slots=True)
class Activity:
    """A source's last thirty days.

    Attributes:
        requests: Rows by state, parts of a body included.
        week: Those of the last seven days.
        day: Those of the last 24 hours.
        last_request: Naive UTC, as all times here; None if there was none.
        leads: Their number.
        hours: Those in which leads arrived.
        last_lead: None if there was none.
    """

    requests: dict[str, int] = field(default_factory=dict)
    week: dict[str, int] = field(default_factory=dict)
    day: dict[str, int] = field(default_factory=dict)
    last_request: datetime | None = None
    leads: int = 0
    hours: list[datetime] = field(default_factory=list)
    last_lead: datetime | None = None

    def silence(self, now: datetime) -> timedelta | None:
        """Return how long the source has been silent, or None if that is no longer than usual."""
        if self.last_lead is None or self.leads < LEAST_LEADS:
            return None
        hours = sorted(self.hours)
        longest = max((later - earlier for earlier, later in pairwise(hours)), default=timedelta())
        least = LEAST_SILENCE if self.last_lead - hours[0] >= WEEK else UNKNOWN_WEEK
        silent = now - self.last_lead
        return silent if silent > max(least, LONGER * longest) else None


def source_activities(entities: Entities) -> dict[str, Activity]:
    """Return what came in at each source but `/api/lead`.

    Requests that became leads are counted as leads, in an index of those of sources: their raw rows lie among all
    others, with their bodies.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    moment = now()
    activities: dict[str, Activity] = {}
    with session(entities):
        for name, span in _PERIODS.items():
            for source, state, number, last in _count(entities, moment - span):
                activity = activities.setdefault(source, Activity())
                getattr(activity, name)[state] = number
                activity.last_request = max(filter(None, (activity.last_request, last)))
        hours = _lead_hours(entities, moment - PERIOD)
    for source, start, number, last in hours:
        activity = activities.setdefault(source, Activity())
        activity.leads += number
        activity.hours.append(moment_of(str(start)))
        activity.last_lead = max(filter(None, (activity.last_lead, last)))
    return activities


_PERIODS = {"requests": PERIOD, "week": WEEK, "day": DAY}


def _count(entities: Entities, since: datetime) -> list[tuple[str, str, int, datetime]]:
    """Return source, state, number and newest time of what came in since."""
    first_id, states = _first_id(since), UNSTORED_STATES
    # "api" and "stored" are written out: only so do they match the predicates of the partial indexes.
    leads = select(
        (lead.source, count(), max(lead.created_at))
        for lead in entities.lead
        if lead.source != "api" and lead.created_at >= since
    )
    others = select(
        (row.source, row.state, count(), max(row.received_at))
        for row in entities.raw_lead
        if row.state in states and row.state != "stored" and row.id >= first_id and row.source != "api"
    )
    return [*((source, State.STORED.value, number, last) for source, number, last in leads), *others]


def _lead_hours(entities: Entities, since: datetime) -> list[tuple[str, Any, int, datetime]]:
    """Return source, hour, number and newest time of the leads since."""
    hour = raw_sql(dialect_of(entities).truncate('"lead".created_at', "hour"), str)
    leads = select(
        (lead.source, hour, count(), max(lead.created_at))
        for lead in entities.lead
        if lead.source != "api" and lead.created_at >= since
    )
    return list(leads)


def activity_document(activity: Activity, *, is_enabled: bool = True) -> dict[str, Any]:
    """Return a source's activity for programs and people; one that is switched off is meant to be silent."""
    silence = activity.silence(now()) if is_enabled else None
    return {
        "lastRequest": activity.last_request,
        "lastLead": activity.last_lead,
        "leads": activity.leads,
        "requests": activity.requests,
        "requestsOfWeek": activity.week,
        "requestsOfDay": activity.day,
        "warning": None if silence is None else f"silent for {in_words(silence)}",
    }


def in_words(silence: timedelta) -> str:
    """Return a silence in hours or days."""
    hours = int(silence.total_seconds() // 3600)
    return f"{hours} hours" if hours < 2 * 24 else f"{silence.days} days"


def _first_id(moment: datetime) -> UUID:
    milliseconds = int(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)
    return UUID(bytes=milliseconds.to_bytes(6, "big") + bytes(10))
