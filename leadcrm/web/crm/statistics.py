"""`/api/stats` and `/api/stats/outcomes`: counts by time, value and outcome, and what became of leads."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from sanic.response import HTTPResponse

from leadcrm.crm.dialects import Step
from leadcrm.crm.documents import NAME_OF_COLUMN, outcomes_document, statistics_document
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.outcomes import Outcome, outcomes_by
from leadcrm.crm.past_days import count_with_days
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.statistics import MAX_VALUES, Statistics, statistics
from leadcrm.crm.tokens import Right
from leadcrm.crm.value_counts import DIMENSIONS
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.web.crm.declarations import Call, Endpoint, InvalidRequest, Parameter, Response, Route, one_of
from leadcrm.web.crm.filters import FILTER_PARAMETERS, parse_filter, zone_of
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.reuse import ReusedCounts
from leadcrm.web.crm.schemas import reference

MAX_STEPS = 1_000
"""Six weeks of hours, or some years of days."""

MAX_PERIOD = timedelta(days=MAX_STEPS)

DEFAULT_PERIOD = timedelta(days=1)

_FILTER = tuple(parameter for parameter in FILTER_PARAMETERS if parameter.name not in ("id", "q"))

_COLUMN_OF_DIMENSION = {NAME_OF_COLUMN.get(column, column): column for column in DIMENSIONS}

ROUTE = Route(
    "GET",
    "/api/stats",
    "count",
    "Counts by time, source and outcome",
    {200: Response("The counts.", {"application/json": reference("Statistics")})},
    "Without from and to, the last day. A count that took long is repeated for a while: twenty times what "
    "it took, and two minutes at most. `spooled` is what waits in this node's spool now. Where the filter asks for "
    "more than sources, the requests that are no leads are not counted. Of each column there are the "
    f"{MAX_VALUES} most frequent values.",
    (
        Parameter(
            "step",
            "Counts by hour or by day; without it, by hour up to a week.",
            {"type": "string", "enum": ["hour", "day"]},
            one_of("hour", "day"),
        ),
        *_FILTER,
    ),
    right=Right.READ,
)

OUTCOMES = Route(
    "GET",
    "/api/stats/outcomes",
    "count_outcomes",
    "What became of leads, by the values of a column",
    {200: Response("Leads by value and status.", {"application/json": reference("Outcomes")})},
    "`touched` is how many of them people changed or noted, `firstTouchSeconds` the median time from arrival to that. "
    "Without from and to, the last day; else as `/api/stats`.",
    (
        Parameter(
            "by",
            "The column; the person that a lead is assigned to unless said otherwise.",
            {"type": "string", "enum": list(_COLUMN_OF_DIMENSION), "default": "assignedTo"},
            one_of(*_COLUMN_OF_DIMENSION),
        ),
        *_FILTER,
    ),
    right=Right.READ,
)


class StatisticsRoutes:
    """The handlers of these routes."""

    def __init__(self, readers: Readers, spool: SpoolReader, counts: ReusedCounts) -> None:
        """Set the threads that read, the spool, and what counts."""
        self._readers = readers
        self._spool = spool
        self._counts = counts
        self.endpoints = (Endpoint(ROUTE, self.count), Endpoint(OUTCOMES, self.outcomes))

    async def count(self, call: Call) -> HTTPResponse:
        """Return the statistics of a period."""
        asked, zone = parse_filter(call), zone_of(call)
        since, until = _resolve_period(asked)
        step: Step = call["step"] or ("hour" if until - since <= timedelta(days=7) else "day")
        if until - since > MAX_STEPS * (timedelta(hours=1) if step == "hour" else timedelta(days=1)):
            raise InvalidRequest(f"from, to: up to {MAX_STEPS} {step}s are counted at once")

        def read(entities: Entities) -> Statistics:
            with session(entities):
                return statistics(entities, _with_period(asked), step, zone, count_with_days)

        counted = await self._counts.get(("statistics", asked, step, zone), read, call.request)
        spooled = await self._readers.read(lambda _: self._spool.count(), call.request)
        return json_response(200, statistics_document(counted, spooled))

    async def outcomes(self, call: Call) -> HTTPResponse:
        """Return what became of the leads of a period."""
        name = call["by"] or "assignedTo"
        asked = parse_filter(call)
        since, until = _resolve_period(asked)
        if until - since > MAX_PERIOD:
            raise InvalidRequest(f"from, to: up to {MAX_STEPS} days are counted at once")

        def read(entities: Entities) -> list[Outcome]:
            with session(entities):
                return outcomes_by(entities, _with_period(asked), _COLUMN_OF_DIMENSION[name])

        counted = await self._counts.get(("outcomes", asked, name), read, call.request)
        return json_response(200, outcomes_document(name, since, until, counted))


def _with_period(asked: LeadFilter) -> LeadFilter:
    """Return a filter with both ends of its period: without an end it ends now, whenever that is."""
    since, until = _resolve_period(asked)
    return replace(asked, since=since, until=until)


def _resolve_period(asked: LeadFilter) -> tuple[datetime, datetime]:
    end = asked.until or datetime.now(timezone.utc).replace(tzinfo=None)
    try:
        return asked.since or end - DEFAULT_PERIOD, end
    except OverflowError:
        raise InvalidRequest("to: a later time is accepted") from None
