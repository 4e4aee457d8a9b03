"""Waiting for the feed to go on, for all long polls and streams of a worker.

One look at the database every `POLL_INTERVAL_S` serves all of them; while nobody waits there is none. Nobody holds a
thread, a session or a connection while he waits. Listeners who are at the same place share one reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from sanic.request import Request

from leadcrm.crm.feed import Feed, FeedPage
from leadcrm.database.entities import Entities
from leadcrm.errors import LeadcrmError
from leadcrm.web.crm.readers import Readers, TooBusy

POLL_INTERVAL_S = 0.25

END_CHECK_S = 0.5
"""How often somebody who waits looks whether his client is gone or the worker stops, which would else wait for him."""

MAX_WAITING = 100
"""Long polls and listeners of a worker. Each has a connection, and a reading when the feed goes on."""

logger = logging.getLogger("leadcrm.web.crm")

Result = TypeVar("Result")
Shared = TypeVar("Shared")


def ends(request: Request) -> bool:
    """Say whether nobody waits for more: the worker stops, which clears KEEP_ALIVE, or the client is gone."""
    transport = request.transport
    return not request.app.config.KEEP_ALIVE or transport is None or transport.is_closing()


class FeedWatch:
    """Reads the feed at once, or as soon as it goes on."""

    def __init__(self, readers: Readers, feed: Feed, tell_lag: Callable[[float], None] = lambda _lag_s: None) -> None:
        """Set the threads that read the database, the feed, and who is told for how long it has been held back."""
        self._readers = readers
        self._tell_lag = tell_lag
        self._tell_lag(0)
        self._feed = feed
        self._waiting = 0
        self._watching: asyncio.Task[None] | None = None
        self._went_on = asyncio.Event()
        self._readings: dict[Hashable, asyncio.Task[Any]] = {}

    async def end(self) -> int:
        """Return the number after which only later events come.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be read.
        """
        return await self._share("end", self._feed.horizon.advance)

    async def read(
        self,
        after: int | None,
        make: Callable[[FeedPage], Result],
        *,
        limit: int,
        thin: bool = False,
        shared: bool = False,
    ) -> tuple[FeedPage, Result]:
        """Return the events after a number, and what `make` makes of them in the thread that reads.

        A shared reading may be one that somebody else has just begun.

        Raises:
            FeedGone: Events after this number are no longer kept.
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be read.
        """
        work = partial(self._read, after, make, limit, thin)
        if not shared:
            return await self._readers.run(work)
        return await self._share((after, make, limit, thin), work)

    async def _share(self, key: Hashable, work: Callable[[Entities], Shared]) -> Shared:
        """Do the work, or wait for the same work that somebody else has begun."""
        reading = self._readings.get(key)
        if reading is None:
            reading = asyncio.get_running_loop().create_task(self._readers.run(work))
            self._readings[key] = reading
            reading.add_done_callback(lambda _: self._readings.pop(key, None))
        # Somebody who leaves must not take it away from the others.
        result: Shared = await asyncio.shield(reading)
        return result

    def _read(
        self, after: int | None, make: Callable[[FeedPage], Result], limit: int, thin: bool, entities: Entities
    ) -> tuple[FeedPage, Result]:
        page = self._feed.read(entities, after, limit=limit, thin=thin)
        return page, make(page)

    def join(self) -> None:
        """Count one more who waits, until `leave`.

        Raises:
            TooBusy: Too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise TooBusy("Too many wait for the feed already")
        self._waiting += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def leave(self) -> None:
        """Count one less."""
        self._waiting -= 1

    async def wait(self, beyond: int, seconds: float, request: Request) -> None:
        """Wait until more of the feed can be read than up to a page's `until`. Join before.

        It ends early after so many seconds, or because `ends` says so of the request.
        """
        ends_at = monotonic() + seconds
        while self._feed.horizon.settled <= beyond and not ends(request) and (left := ends_at - monotonic()) > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._went_on.wait(), min(left, END_CHECK_S))

    async def _watch(self) -> None:
        seen = self._feed.horizon.settled
        while self._waiting:
            try:
                settled = await self.end()
            except LeadcrmError as error:
                text = "the feed cannot be read: %s"
                logger.warning(text, error, extra={"action": "announce", "hint": error.hint, "repeat_key": text})
            except Exception:
                text = "the feed cannot be read"
                logger.exception(text, extra={"action": "announce", "repeat_key": text})
            else:
                self._tell_lag(self._feed.horizon.lag_s)
                if settled != seen:
                    seen = settled
                    self._went_on.set()
                    self._went_on = asyncio.Event()
            await asyncio.sleep(POLL_INTERVAL_S)
        self._tell_lag(0)
