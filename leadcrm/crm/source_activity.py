"""What came in at each source lately, and which of them have fallen silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from pony.orm import count, select

from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.ingest.submission import API_SOURCE

PERIOD = timedelta(days=30)
"""What is looked at. Ids begin with their time, so that nothing older is read."""

LEAST_LEADS = 5
"""In the period. Of a source that sends less, nobody can say that it is silent."""

LEAST_SILENCE = timedelta(days=1)
PAUSES = 10
"""A source is silent after so many times its usual pause between two leads, and a day at least."""


@dataclass(slots=True)
class Activity:
    """A source's last thirty days.

    Attributes:
        requests: Rows by state, parts of a body included.
        last_request: Naive UTC, as all times here; None if there was none.
        leads: Their number.
        first_lead: None if there was none.
    """

    requests: dict[str, int] = field(default_factory=dict)
    last_request: datetime | None = None
    leads: int = 0
    first_lead: datetime | None = None
    last_lead: datetime | None = None

    def silence(self, now: datetime) -> timedelta | None:
        """Return how long the source has been silent, or None if that is no longer than usual."""
        if self.first_lead is None or self.last_lead is None or self.leads < LEAST_LEADS:
            return None
        usual = (self.last_lead - self.first_lead) / (self.leads - 1)
        silent = now - self.last_lead
        return silent if silent > max(LEAST_SILENCE, PAUSES * usual) else None


def source_activities(entities: Entities) -> dict[str, Activity]:
    """Return what came in at each source but `/api/lead`.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    since = now() - PERIOD
    first_id, api = _first_id(since), API_SOURCE
    activities: dict[str, Activity] = {}
    with session(entities):
        rows = select(
            (row.source, row.state, count(), max(row.received_at))
            for row in entities.raw_lead
            if row.id >= first_id and row.source != api
        )[:]
        leads = select(
            (lead.source, count(), min(lead.created_at), max(lead.created_at))
            for lead in entities.lead
            if lead.source != api and lead.created_at >= since
        )[:]
    for source, state, number, last in rows:
        activity = activities.setdefault(source, Activity())
        activity.requests[state] = number
        activity.last_request = max(filter(None, (activity.last_request, last)))
    for source, number, first, last in leads:
        activity = activities.setdefault(source, Activity())
        activity.leads, activity.first_lead, activity.last_lead = number, first, last
    return activities


def activity_document(activity: Activity) -> dict[str, Any]:
    """Return a source's activity for programs and people."""
    silence = activity.silence(now())
    return {
        "lastRequest": activity.last_request,
        "lastLead": activity.last_lead,
        "leads": activity.leads,
        "requests": activity.requests,
        "warning": None if silence is None else f"silent for {silence.days} days",
    }


def now() -> datetime:
    """Return the time as the columns hold it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def _first_id(moment: datetime) -> UUID:
    milliseconds = int(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)
    return UUID(bytes=milliseconds.to_bytes(6, "big") + bytes(10))
