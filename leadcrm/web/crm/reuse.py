"""Counts that are made again only after a multiple of the time that they took.

Counting many leads takes long, and pages that show the numbers ask for them again and again. Once a count is no longer
fresh, a slow one is still returned to those who ask while a new one is made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from sanic.request import Request

from leadcrm.database.entities import Entities
from leadcrm.web.crm.readers import Readers

CACHE_PER_COST = 20
"""A count is fresh for so many times as long as it took, so counting uses a twentieth of one reader at most."""

CHEAP_S = 0.02
"""What takes no longer is counted each time, so that people see their own change at once."""

MAX_CACHE_S = 120.0
"""The age at which a count is no longer returned, even while a new one is made."""

QUICK_S = 0.5
"""A count that takes no longer than this is waited for instead of returning the old one."""

MAX_CACHED = 32


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was counted, when (monotonic) and how long it took, both in seconds."""

    value: Any
    made_at: float
    took_s: float

    @property
    def age_s(self) -> float:
        return monotonic() - self.made_at

    @property
    def is_fresh(self) -> bool:
        return self.took_s > CHEAP_S and self.age_s < self.took_s * CACHE_PER_COST


class ReusedCounts:
    """The latest counts of one worker, by what was asked."""

    def __init__(self, readers: Readers) -> None:
        """Set the threads that count."""
        self._readers = readers
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._counting: dict[Hashable, asyncio.Task[_Answer]] = {}

    async def get(self, question: Hashable, count: Callable[[Entities], Any], request: Request) -> Any:
        """Return what `count` returns, or returned a while ago for the same question; `request` is of who asks."""
        cached = self._answers.get(question)
        if cached is not None and cached.is_fresh:
            return cached.value
        counting = self._counting.get(question)
        if counting is None:
            counting = asyncio.get_running_loop().create_task(self._count(question, count, request))
            # Retrieve the exception so asyncio does not log it; the next caller retries.
            counting.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._counting[question] = counting
        if cached is not None and cached.took_s > QUICK_S and cached.age_s < MAX_CACHE_S:
            return cached.value
        # Shielded, since others may wait for the same count.
        return (await asyncio.shield(counting)).value

    async def _count(self, question: Hashable, count: Callable[[Entities], Any], request: Request) -> _Answer:
        def read(entities: Entities) -> _Answer:
            started = monotonic()
            value = count(entities)
            return _Answer(value, monotonic(), monotonic() - started)

        try:
            answer = await self._readers.read(read, request)
        finally:
            del self._counting[question]
        self._answers[question] = answer
        self._answers.move_to_end(question)
        if len(self._answers) > MAX_CACHED:
            self._answers.popitem(last=False)
        return answer
