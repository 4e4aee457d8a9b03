"""`/api/stats`: counts by time, source and outcome, cached.

A count over many leads takes long, and pages that show it ask for it again and again. So a count is reused for a
multiple of the time it took. After that a slow count is still returned to those who ask while a new one is made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from time import monotonic
from typing import NamedTuple

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.crm.dialects import Step
from leadcrm.crm.documents import statistics_document
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.statistics import Statistics, statistics
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.web.crm.declarations import Call, Endpoint, InvalidRequest, Parameter, Response, Route, one_of
from leadcrm.web.crm.filters import SINCE, SOURCE, TESTS, UNTIL
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.schemas import reference

MAX_STEPS = 1_000
"""Six weeks of hours, or some years of days."""

DEFAULT_PERIOD = timedelta(days=1)

CACHE_PER_COST = 20
"""A count is fresh for so many times as long as it took, so counting uses a twentieth of one reader at most."""

MAX_CACHE_S = 120.0
"""The age at which a count is no longer returned, even while a new one is made."""

QUICK_S = 0.5
"""A count that takes no longer than this is waited for instead of returning the old one."""

MAX_CACHED = 32

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
    right=Right.READ,
)


class Question(NamedTuple):
    """What is asked: `since` and `until` as the request gives them; without an end, the period ends now."""

    since: datetime | None
    until: datetime | None
    step: Step
    sources: tuple[str, ...]
    tests: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """A count, when it was made (monotonic) and how long it took, both in seconds."""

    statistics: Statistics
    made_at: float
    took_s: float

    @property
    def age_s(self) -> float:
        """Return how old it is."""
        return monotonic() - self.made_at

    @property
    def is_fresh(self) -> bool:
        """Say whether it can be returned without making a new one."""
        return self.age_s < self.took_s * CACHE_PER_COST


class StatisticsRoutes:
    """The handler of the route, and its cache."""

    def __init__(self, readers: Readers, spool: SpoolReader) -> None:
        """Set the threads that read the database, and the spool."""
        self._readers = readers
        self._spool = spool
        self._counts: OrderedDict[Question, Count] = OrderedDict()
        self._counting: dict[Question, asyncio.Task[Count]] = {}
        self.endpoints = (Endpoint(ROUTE, self.count),)

    async def count(self, call: Call) -> HTTPResponse:
        """Return the statistics of a period."""
        since, until = _resolve_period(call["from"], call["to"])
        step: Step = call["step"] or ("hour" if until - since <= timedelta(days=7) else "day")
        if until - since > MAX_STEPS * (timedelta(hours=1) if step == "hour" else timedelta(days=1)):
            raise InvalidRequest(f"from, to: up to {MAX_STEPS} {step}s are counted at once")
        question = Question(call["from"], call["to"], step, tuple(sorted(call["source"])), call["tests"])
        count = await self._get_count(question, call.request)
        spooled = await self._readers.read(lambda _: self._spool.count(), call.request)
        return json_response(200, statistics_document(count.statistics, spooled))

    async def _get_count(self, question: Question, request: Request) -> Count:
        cached = self._counts.get(question)
        if cached is not None and cached.is_fresh:
            return cached
        counting = self._counting.get(question)
        if counting is None:
            counting = asyncio.get_running_loop().create_task(self._count(question, request))
            # Retrieve the exception so asyncio does not log it; the next caller retries.
            counting.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._counting[question] = counting
        if cached is not None and cached.took_s > QUICK_S and cached.age_s < MAX_CACHE_S:
            return cached
        # Shielded, since others may wait for the same count.
        return await asyncio.shield(counting)

    async def _count(self, question: Question, request: Request) -> Count:
        since, until = _resolve_period(question.since, question.until)

        def read(entities: Entities) -> Count:
            started = monotonic()
            with session(entities):
                counts = statistics(
                    entities, since, until, question.step, sources=question.sources, tests=question.tests
                )
            return Count(counts, monotonic(), monotonic() - started)

        try:
            count = await self._readers.read(read, request)
        finally:
            del self._counting[question]
        self._counts[question] = count
        self._counts.move_to_end(question)
        if len(self._counts) > MAX_CACHED:
            self._counts.popitem(last=False)
        return count


def _resolve_period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or datetime.now(timezone.utc).replace(tzinfo=None)
    try:
        return since or end - DEFAULT_PERIOD, end
    except OverflowError:
        raise InvalidRequest("to: a later time is accepted") from None
