"""Threads that read and change the database for the CRM, on connections of their own.

They share no connection, lock or queue with ingestion, which therefore never waits for them. Where the node's slots for
connections are all taken, they close theirs after each job, for others who wait. They connect for their
first job, so a database that is away delays neither the start nor anything else. They are daemons, so a database that
hangs does not delay the stop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.entities import Entities
from leadcrm.database.postgres import deadline
from leadcrm.database.sessions import bind
from leadcrm.database.slots import ConnectionSlots
from leadcrm.errors import StoreUnavailable

READERS = 2
"""Threads of a worker: one may be busy with a long count while the other reads pages."""

MAX_WAITING = 64
"""Jobs in the queue; a request beyond that gets 503 instead of waiting for all of them."""

JOB_TIMEOUT_S = 10.0
"""How long a job may wait for PostgreSQL. A person does not wait longer, and these few threads serve everybody."""


IDLE_S = 1.0
"""How often an idle thread looks whether others wait for its connection."""


class TooBusy(StoreUnavailable):
    """Too much is asked of the database already; the text says what, for the client."""


Result = TypeVar("Result")


class _Job(NamedTuple):
    work: Callable[[Entities], Any]
    future: asyncio.Future[Any] | None
    connects_by: float
    """When it has waited for a connection long enough (monotonic)."""


class Readers:
    """Some threads over one queue, and one binding of the entities."""

    def __init__(
        self,
        url: DatabaseURL,
        *,
        slots: ConnectionSlots | None = None,
        threads: int = READERS,
        name: str = "leadcrm-reader",
        keeps_connection: bool = False,
    ) -> None:
        """Set the database; the first jobs start the threads, which connect.

        Args:
            url: The database.
            slots: For the connections; None if they are not limited.
            threads: How many there are.
            name: What they are called.
            keeps_connection: Whether the jobs of a thread belong together.
        """
        self._url = url
        self._slots = slots
        self._keeps_connection = keeps_connection
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
        self._jobs.put(_Job(work, future, monotonic() + self._url.pool_timeout_s))
        return await future

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """Let the threads end after their current job and after `last`, without waiting for them."""
        if last is not None and self._started:
            self._jobs.put(_Job(lambda _: last(), None, 0.0))
        for _ in range(self._started):
            self._jobs.put(None)

    def _serve(self) -> None:
        slot: int | None = None
        while True:
            if slot is not None and self._gives_way():
                self._disconnect(slot)
                slot = None
            try:
                job = self._jobs.get(timeout=None if slot is None else IDLE_S)
            except queue.Empty:
                continue
            if job is None:
                break
            work, future, connects_by = job
            if future is not None and future.cancelled():
                continue
            try:
                if slot is None:
                    slot = self._take_slot(connects_by)
                with deadline(JOB_TIMEOUT_S):
                    result, error = work(self._bound()), None
            except Exception as caught:  # raised again where the job is awaited
                result, error = None, caught
            if future is not None:
                _deliver(future, result, error)
        self._disconnect(slot)

    def _gives_way(self) -> bool:
        return self._slots is not None and not self._keeps_connection and self._slots.are_all_taken()

    def _take_slot(self, until: float) -> int | None:
        if self._slots is None:
            return None
        slot = self._slots.take(until)
        if slot is None:
            raise TooBusy("All connections to the database are in use (connection_limit)")
        return slot

    def _disconnect(self, slot: int | None) -> None:
        """Close this thread's connection and free its slot."""
        if self._entities is not None:
            self._entities.database.disconnect()
        if self._slots is not None and slot is not None:
            self._slots.give_back(slot)

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
