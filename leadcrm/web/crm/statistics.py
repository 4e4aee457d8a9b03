"""`/api/stats`: counts by time, source and outcome."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from sanic.response import HTTPResponse

from leadcrm.crm.dialects import Step
from leadcrm.crm.documents import statistics_document
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.statistics import Statistics, statistics
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.web.crm.declarations import Call, Endpoint, InvalidRequest, Parameter, Response, Route, one_of
from leadcrm.web.crm.filters import SINCE, SOURCE, TESTS, UNTIL
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.reuse import ReusedCounts
from leadcrm.web.crm.schemas import reference

MAX_STEPS = 1_000
"""Six weeks of hours, or some years of days."""

DEFAULT_PERIOD = timedelta(days=1)

ROUTE = Route(
    "GET",
    "/api/stats",
    "count",
    "Counts by time, source and outcome",
    {200: Response("The counts.", {"application/json": reference("Statistics")})},
    "Without from and to, the last day. `created` are the leads, without the senders' tests. A count that took long is "
    "repeated for a while: twenty times what it took, and two minutes at most. `spooled` is what waits in this node's "
    "spool now.",
    (
        SINCE,
        UNTIL,
        Parameter(
            "step",
            "Counts by hour or by day; without it, by hour up to a week.",
            {"type": "string", "enum": ["hour", "day"]},
            one_of("hour", "day"),
        ),
        SOURCE,
        TESTS,
    ),
)


class StatisticsRoutes:
    """The handler of the route."""

    def __init__(self, readers: Readers, spool: SpoolReader, counts: ReusedCounts) -> None:
        """Set the threads that read, the spool, and what counts."""
        self._readers = readers
        self._spool = spool
        self._counts = counts
        self.endpoints = (Endpoint(ROUTE, self.count),)

    async def count(self, call: Call) -> HTTPResponse:
        """Return the statistics of a period."""
        since, until = _resolve_period(call["from"], call["to"])
        step: Step = call["step"] or ("hour" if until - since <= timedelta(days=7) else "day")
        if until - since > MAX_STEPS * (timedelta(hours=1) if step == "hour" else timedelta(days=1)):
            raise InvalidRequest(f"from, to: up to {MAX_STEPS} {step}s are counted at once")

        def read(entities: Entities) -> Statistics:
            # Without an end, the period ends now, whenever that is.
            since, until = _resolve_period(call["from"], call["to"])
            with session(entities):
                return statistics(entities, since, until, step, sources=sources, tests=call["tests"])

        sources = tuple(sorted(call["source"]))
        question = ("statistics", call["from"], call["to"], step, sources, call["tests"])
        counted = await self._counts.get(question, read, call.request)
        spooled = await self._readers.read(lambda _: self._spool.count(), call.request)
        return json_response(200, statistics_document(counted, spooled))


def _resolve_period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or datetime.now(timezone.utc).replace(tzinfo=None)
    try:
        return since or end - DEFAULT_PERIOD, end
    except OverflowError:
        raise InvalidRequest("to: a later time is accepted") from None
