"""Threads that read and change the database for the CRM, on connections of their own.

They share no connection, lock or queue with ingestion, which therefore never waits for them. Where the node's slots for
connections are all taken, they close theirs after each job, for others who wait. They connect for their
first job, so a database that is away delays neither the start nor anything else. They are daemons, so a database that
hangs does not delay the stop. What only reads may go to a standby.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from sanic.request import Request

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.entities import Entities
from leadcrm.database.postgres import deadline
from leadcrm.database.sessions import bind
from leadcrm.database.slots import ConnectionSlots
from leadcrm.database.standby import Standby
from leadcrm.errors import StoreUnavailable
from leadcrm.web.crm.position import KnownPosition, position_in

READERS = 2
"""Threads of a worker: one may be busy with a long count while the other reads pages."""

MAX_WAITING = 64
"""Jobs in the queue; a request beyond that gets 503 instead of waiting for all of them."""

JOB_TIMEOUT_S = 10.0
"""How long a job may wait for PostgreSQL. A person does not wait longer, and these few threads serve everybody."""

CONFLICT_SQLSTATE = "40001"
"""Of a standby that had to end a reader to go on."""

IDLE_S = 1.0
"""How often an idle thread looks whether others wait for its connection."""


class TooBusy(StoreUnavailable):
    """Too much is asked of the database already; the text says what, for the client."""


Result = TypeVar("Result")


class Reads(NamedTuple):
    """What it takes to read from a standby.

    Attributes:
        slots: For connections to it.
        known: What this node's people may know of.
        tell: Is told of each reading whether the standby served it.
    """

    standby: Standby
    slots: ConnectionSlots | None
    known: KnownPosition
    tell: Callable[[bool], None]


class _Job(NamedTuple):
    work: Callable[[Entities], Any]
    future: asyncio.Future[Any] | None
    connects_by: float
    """When it has waited for a connection long enough (monotonic)."""
    reads: bool = False
    position: float = 0.0
    """How far a standby must have replayed the primary's log to serve it."""


class _Database:
    """One database's binding, which all threads share."""

    def __init__(self, url: DatabaseURL, slots: ConnectionSlots | None) -> None:
        self.slots = slots
        self._url = url
        self._binding = threading.Lock()
        self._entities: Entities | None = None

    def bound(self) -> Entities:
        with self._binding:
            if self._entities is None:
                self._entities = bind(self._url)
            return self._entities

    def disconnect(self) -> None:
        if self._entities is not None:
            self._entities.database.disconnect()


class _Line:
    """One thread's connection to one database, and its slot."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self._slot: int | None = None

    @property
    def holds_slot(self) -> bool:
        return self._slot is not None

    def open(self, until: float) -> Entities:
        slots = self._database.slots
        if self._slot is None and slots is not None:
            self._slot = slots.take(until)
            if self._slot is None:
                raise TooBusy("All connections to the database are in use (connection_limit)")
        return self._database.bound()

    def close(self) -> None:
        self._database.disconnect()
        if self._slot is not None and self._database.slots is not None:
            self._database.slots.give_back(self._slot)
            self._slot = None

    def give_way(self) -> None:
        """Close it if others wait for its slot."""
        slots = self._database.slots
        if self._slot is not None and slots is not None and slots.are_all_taken():
            self.close()


class _Threads:
    """Some threads over one queue; the first jobs start them."""

    def __init__(self, names: list[str], serve: Callable[[queue.SimpleQueue[_Job | None]], None]) -> None:
        self._names = names
        self._serve = serve
        self._started = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def put(self, job: _Job) -> None:
        if self._jobs.qsize() >= MAX_WAITING:
            raise TooBusy("Too many wait for the database already")
        if self._started < len(self._names):
            name = self._names[self._started]
            threading.Thread(target=self._serve, args=(self._jobs,), name=name, daemon=True).start()
            self._started += 1
        self._jobs.put(job)

    def close(self, last: Callable[[], Any] | None) -> None:
        if last is not None and self._started:
            self._jobs.put(_Job(lambda _: last(), None, 0.0))
        for _ in range(self._started):
            self._jobs.put(None)


class Readers:
    """Some threads, and one binding of each database.

    What may go to a standby has threads of its own: it does not wait for what hangs at the primary.
    """

    def __init__(
        self,
        url: DatabaseURL,
        *,
        slots: ConnectionSlots | None = None,
        reads: Reads | None = None,
        threads: int = READERS,
        name: str = "leadcrm-reader",
        keeps_connection: bool = False,
    ) -> None:
        """Set the database; the first jobs start the threads, which connect.

        Args:
            url: The database.
            slots: For the connections; None if they are not limited.
            reads: The standby; None if there is none.
            threads: How many there are.
            name: What they are called.
            keeps_connection: Whether the jobs of a thread belong together: all go where the first one goes.
        """
        self._pool_timeout_s = url.pool_timeout_s
        self._primary = _Database(url, slots)
        self._reads = reads
        self._standby = _Database(reads.standby.url, reads.slots) if reads is not None else None
        self._keeps_connection = keeps_connection
        self._threads = self._reading_threads = _Threads([f"{name}-{number}" for number in range(threads)], self._serve)
        if reads is not None and not keeps_connection:
            names = [f"{name}-of-standby-{number}" for number in range(threads)]
            self._reading_threads = _Threads(names, self._serve)

    @property
    def has_standby(self) -> bool:
        """Say whether what only reads may go to a standby."""
        return self._standby is not None

    async def run(self, work: Callable[[Entities], Result]) -> Result:
        """Do the work in one of the threads, on the primary.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be reached.
            Exception: Whatever the work raises.
        """
        return await self._run(work)

    async def read(self, work: Callable[[Entities], Result], request: Request) -> Result:
        """Do work that changes nothing, on the standby if that is good enough. It may be done twice.

        Args:
            work: The work.
            request: Who asks; it tells what he knows of.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: Neither database can be reached.
            Exception: Whatever the work raises.
        """
        if self._reads is None:
            return await self._run(work)
        return await self._run(work, reads=True, position=position_in(request))

    async def change(self, work: Callable[[Entities], Result]) -> Result:
        """Do work that may change the database; later readings of this node see it.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be reached.
            Exception: Whatever the work raises.
        """
        reads = self._reads
        if reads is None:
            return await self._run(work)

        def change(entities: Entities) -> Result:
            try:
                return work(entities)
            finally:
                # Also after a failure: the commit may be in doubt.
                reads.known.note_change(entities)

        return await self._run(change)

    async def _run(self, work: Callable[[Entities], Result], *, reads: bool = False, position: float = 0.0) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        threads = self._reading_threads if reads else self._threads
        threads.put(_Job(work, future, monotonic() + self._pool_timeout_s, reads, position))
        return await future

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """Let the threads end after their current job and after `last`, without waiting for them."""
        self._threads.close(last)
        if self._reading_threads is not self._threads:
            self._reading_threads.close(None)

    def _serve(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        primary = _Line(self._primary)
        standby = None if self._standby is None else _Line(self._standby)
        lines = [line for line in (primary, standby) if line is not None]
        chosen: _Line | None = None
        while True:
            if not self._keeps_connection:
                for line in lines:
                    line.give_way()
            try:
                job = jobs.get(timeout=IDLE_S if any(line.holds_slot for line in lines) else None)
            except queue.Empty:
                continue
            if job is None:
                break
            if job.future is not None and job.future.cancelled():
                continue
            try:
                with deadline(JOB_TIMEOUT_S):
                    if chosen is None or not self._keeps_connection:
                        chosen = self._choose(job, primary, standby)
                    result, error = self._work(job, chosen, primary), None
            except Exception as caught:  # raised again where the job is awaited
                result, error = None, caught
            if job.future is not None:
                _deliver(job.future, result, error)
        for line in lines:
            line.close()

    def _choose(self, job: _Job, primary: _Line, standby: _Line | None) -> _Line:
        """Return the line on which to do a job."""
        reads = self._reads
        if reads is None or standby is None or not job.reads:
            return primary
        if not reads.standby.is_usable:
            standby.close()
            return primary

        def open_primary() -> Entities:
            return primary.open(job.connects_by)

        position = max(job.position, reads.known.position(open_primary))
        if self._keeps_connection:
            primary.close()
        else:
            primary.give_way()
        try:
            if reads.standby.serves(standby.open(job.connects_by), position):
                return standby
            reads.known.forget_beyond(position, open_primary)
        except TooBusy:
            raise
        except StoreUnavailable as error:
            reads.standby.fail(error)
        standby.close()
        return primary

    def _work(self, job: _Job, line: _Line, primary: _Line) -> Any:
        entities = line.open(job.connects_by)
        reads = self._reads
        if reads is None or not job.reads:
            return job.work(entities)
        if line is not primary and not self._keeps_connection:
            try:
                result = job.work(entities)
            except StoreUnavailable as error:
                # Replaying may need what a reader still reads, and ends him: that is no fault of the server.
                if error.sqlstate != CONFLICT_SQLSTATE:
                    reads.standby.fail(error)
                    line.close()
                line = primary
            else:
                reads.tell(True)
                return result
            entities = primary.open(job.connects_by)
        reads.tell(line is not primary)
        return job.work(entities)


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
