"""Threads that read and change the database for the CRM, on connections of their own.

They share no connection, lock or queue with ingestion, which therefore never waits for them. They connect for their
first job, so a database that is away delays neither the start nor anything else. They are daemons, so a database that
hangs does not delay the stop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.entities import Entities
from leadcrm.database.postgres import deadline
from leadcrm.database.sessions import bind
from leadcrm.errors import StoreUnavailable

READERS = 2
"""Threads of a worker: one may be busy with a long count while the other reads pages."""

MAX_WAITING = 64
"""Jobs in the queue; a request beyond that gets 503 instead of waiting for all of them."""

JOB_TIMEOUT_S = 10.0
"""How long a job may wait for PostgreSQL. A person does not wait longer, and these few threads serve everybody."""


class TooBusy(StoreUnavailable):
    """Too much is asked of the database already; the text says what, for the client."""


Result = TypeVar("Result")

_Job = tuple[Callable[[Entities], Any], "asyncio.Future[Any] | None"]


class Readers:
    """Some threads over one queue, and one binding of the entities."""

    def __init__(self, url: DatabaseURL, *, threads: int = READERS, name: str = "leadcrm-reader") -> None:
        """Set the database; the first jobs start the threads, which connect."""
        self._url = url
        self._names = [f"{name}-{number}" for number in range(threads)]
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = 0
        self._binding = threading.Lock()
        self._entities: Entities | None = None

    async def run(self, work: Callable[[Entities], Result]) -> Result:
        """Do the work in one of the threads.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be reached.
            Exception: Whatever the work raises.
        """
        if self._jobs.qsize() >= MAX_WAITING:
            raise TooBusy("Too many wait for the database already")
        if self._started < len(self._names):
            threading.Thread(target=self._serve, name=self._names[self._started], daemon=True).start()
            self._started += 1
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, future))
        return await future

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """Let the threads end after their current job and after `last`, without waiting for them."""
        if last is not None and self._started:
            self._jobs.put((lambda _: last(), None))
        for _ in range(self._started):
            self._jobs.put(None)

    def _serve(self) -> None:
        while job := self._jobs.get():
            work, future = job
            if future is not None and future.cancelled():
                continue
            try:
                with deadline(JOB_TIMEOUT_S):
                    result, error = work(self._bound()), None
            except Exception as caught:  # raised again where the job is awaited
                result, error = None, caught
            if future is not None:
                _deliver(future, result, error)
        if self._entities is not None:
            self._entities.database.disconnect()

    def _bound(self) -> Entities:
        with self._binding:
            if self._entities is None:
                self._entities = bind(self._url)
            return self._entities


def _deliver(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    """Set the result of a future of the loop from another thread."""

    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
