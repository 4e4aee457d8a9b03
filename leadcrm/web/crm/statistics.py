"""`/api/stats`: counts by time, source and outcome, and how often they are counted anew.

A count over many leads takes its time, and pages that show it ask again and again. So a count is repeated while it
is young next to what it cost; where it costs long, whoever asks then is still given the old one, and a new one is
made behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from time import monotonic

from sanic.response import HTTPResponse

from leadcrm.crm.dialects import Step
from leadcrm.crm.documents import statistics_document
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.statistics import Statistics, statistics
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.web.crm.answers import answer
from leadcrm.web.crm.declarations import Answer, Call, InvalidRequest, Parameter, Route, one_of
from leadcrm.web.crm.filters import SINCE, UNTIL
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.schemas import reference

MOST_STEPS = 1_000
"""Six weeks of hours, or some years of days."""

DEFAULT_TIME = timedelta(days=1)

LIFE_PER_COST = 20
"""A count is young for so many times what it took: counting is a twentieth of one reader's time at most."""

LONGEST_LIFE_S = 120.0
"""Older than this it is told to nobody."""

QUICK_S = 0.5
"""Who asks for a count that takes no longer can wait for a new one."""

MOST_KEPT = 32

Question = tuple["datetime | None", "datetime | None", Step]


@dataclass(frozen=True, slots=True)
class Count:
    """A count, when it was made (monotonic) and what it took, both in seconds."""

    result: Statistics
    made_at: float
    took_s: float

    @property
    def age_s(self) -> float:
        """Return how old it is."""
        return monotonic() - self.made_at

    @property
    def is_young(self) -> bool:
        """Say whether it need not be made anew."""
        return self.age_s < self.took_s * LIFE_PER_COST


class StatisticsRoutes:
    """The route of the statistics."""

    def __init__(self, readers: Readers, spool: SpoolReader) -> None:
        """Take who reads."""
        self._readers = readers
        self._spool = spool
        self._counts: OrderedDict[Question, Count] = OrderedDict()
        self._making: dict[Question, asyncio.Task[Count]] = {}
        self.routes = (
            Route(
                "GET",
                "/api/stats",
                "count",
                "Counts by time, source and outcome",
                self.count,
                {200: Answer("The counts.", {"application/json": reference("Statistics")})},
                "Without from and to, the last day. A count that took long is repeated for a while: twenty times what "
                "it took, and two minutes at most. `spooled` is what waits in this node's spool now.",
                (
                    SINCE,
                    UNTIL,
                    Parameter(
                        "step",
                        "Counts by hour or by day; without it, by hour up to a week.",
                        {"type": "string", "enum": ["hour", "day"]},
                        one_of("hour", "day"),
                    ),
                ),
            ),
        )

    async def count(self, call: Call) -> HTTPResponse:
        """Answer the statistics of a time."""
        since, until = _time_of(call["from"], call["to"])
        step: Step = call["step"] or ("hour" if until - since <= timedelta(days=7) else "day")
        if until - since > MOST_STEPS * (timedelta(hours=1) if step == "hour" else timedelta(days=1)):
            raise InvalidRequest(f"from, to: up to {MOST_STEPS} {step}s are counted at once")
        counted = await self._counted((call["from"], call["to"], step))
        spooled = await self._readers.run(lambda _: self._spool.count())
        return answer(200, statistics_document(counted.result, spooled))

    async def _counted(self, question: Question) -> Count:
        known = self._counts.get(question)
        if known is not None and known.is_young:
            return known
        making = self._making.get(question)
        if making is None:
            making = asyncio.get_running_loop().create_task(self._make(question))
            # Where nobody waits for it, its fault is the next one's to meet.
            making.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._making[question] = making
        if known is not None and known.took_s > QUICK_S and known.age_s < LONGEST_LIFE_S:
            return known
        # Shielded: others wait for the same count.
        return await asyncio.shield(making)

    async def _make(self, question: Question) -> Count:
        since, until = _time_of(question[0], question[1])
        step = question[2]

        def read(entities: Entities) -> Count:
            started = monotonic()
            with session(entities):
                result = statistics(entities, since, until, step)
            return Count(result, monotonic(), monotonic() - started)

        try:
            count = await self._readers.run(read)
        finally:
            del self._making[question]
        self._counts[question] = count
        self._counts.move_to_end(question)
        if len(self._counts) > MOST_KEPT:
            self._counts.popitem(last=False)
        return count


def _time_of(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or datetime.now(timezone.utc).replace(tzinfo=None)
    try:
        return since or end - DEFAULT_TIME, end
    except OverflowError:
        raise InvalidRequest("to: a later time is accepted") from None
