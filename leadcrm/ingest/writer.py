"""The writer: one queue, one batch at a time.

Requests wait on a future; all that has gathered is kept with one commit. There is no artificial delay: while one
batch commits, the next gathers, and a lone request does not wait. What one turn of the event loop reads is kept
together. A batch that the database cannot take goes to the spool.

The event loop begins every batch. While the spool is empty an ordinary batch is one statement: PostgreSQL is sent it
from the loop, and its socket tells when the commit is there; for SQLite, whose files make their caller wait, the loop
makes it ready and a thread commits it. Whatever takes more (a key that is taken, an error, rows in the spool) the
thread does alone, and writes the batch anew; ids make that harmless. What the loop reads of the files (whether the
spool is empty, whether they are there, how much room is left) the kernel has in memory.

Invariants:
- A future gets a receipt only after the commit that holds its submission, in the database or in the spool.
- A submission waits for the database once at most: after a failure every batch goes to the spool, until
  `hand_over` brings a store that has proved itself.
- Only the event loop's thread touches futures and what waits. The store and the spool belong to whoever is at the
  batch under way: the loop, or the thread from the task it is given to the loop's next call.

May import submission, store, spool and errors. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from queue import SimpleQueue
from time import monotonic, time
from typing import NamedTuple

from leadcrm.errors import LeadcrmError, SpoolUnavailable, StoreUnavailable, SubmissionRefused
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store import Answer, Known, PostgresStore, SqliteStore, Store
from leadcrm.ingest.submission import Receipt, Submission

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""A batch is one statement and one answer: bounded, so that one commit stays well within its deadline."""

LOOP_BYTES = 256 * 1024
"""Bodies that the event loop may encode at once: a mebibyte takes it ten milliseconds."""

ANSWER_DEADLINE_S = 2.8
"""The contract answers a lead within 3 s of its last byte, whatever hangs; the look at the deadlines takes its part."""

EXPIRY_INTERVAL_S = 0.1

IDLE_S = 2.0
"""After so long without a batch the writer looks whether its store is there, before a lead finds out."""

PAUSE_S = 0.5
"""A timer that comes so much too late tells of a pause of the process. What arrived meanwhile is read after it."""

LOOK_UP_PAUSE_S = 5.0
"""After the spool could not be read, before it is tried again while the database takes leads."""

Result = Receipt | LeadcrmError
Pending = tuple[Submission, "asyncio.Future[Result]"]

logger = logging.getLogger("leadcrm.ingest.writer")


class _Batch(NamedTuple):
    """What is kept together: of those that were taken from the queue, with all their bytes, the `wanted` ones."""

    taken_bytes: int
    wanted: list[Pending]

    @property
    def submissions(self) -> list[Submission]:
        return [submission for submission, _ in self.wanted]


class Writer:
    """Keeps submissions in batches."""

    def __init__(self, spool: Spool | None, on_loss: Callable[[], None], *, max_held_bytes: int) -> None:
        """Take the spool, if there is to be one; `on_loss` is called, in the writer's thread, when a store failed.

        `max_held_bytes` bounds the bodies that wait, those of senders that hung up included.
        """
        self._spool = spool
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0
        self._on_loss = on_loss
        self._store: Store | None = None
        self._waiting: deque[Pending] = deque()
        self._is_begin_due = False
        self._under_way: _Batch | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopping = False
        self._deadlines: deque[tuple[float, asyncio.Future[Result]]] = deque()
        self._thread = threading.Thread(target=self._run, name="leadcrm-writer", daemon=True)
        self._look_up_at = 0.0  # monotonic
        self._ended_at = 0.0  # monotonic; of the last batch or look
        self.refused_at: float | None = None  # monotonic; None while batches are kept
        self.batches = 0
        self.rows = 0
        self.last_commit: float | None = None  # Unix time
        self.busy_since: float | None = None  # monotonic; None while it waits for work

    # The event loop's side.

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; answers arrive on `loop`."""
        self._loop = loop
        self._thread.start()
        self._expires_at = self._ended_at = monotonic()
        self._expire()

    def submit(self, submission: Submission) -> asyncio.Future[Result]:
        """Queue a submission; the future's result is its receipt, durable by then, or the error that kept it out.

        It is never later than `ANSWER_DEADLINE_S`, and never raises.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._stopping:
            future.set_result(StoreUnavailable("leadcrm is stopping"))
            return future
        if self._held_bytes + submission.held_bytes > self._max_held_bytes:
            future.set_result(StoreUnavailable("too many leads wait to be kept"))
            return future
        self._held_bytes += submission.held_bytes
        self._deadlines.append((monotonic() + ANSWER_DEADLINE_S, future))
        self._waiting.append((submission, future))
        if not self._is_begin_due:
            self._is_begin_due = True
            # It runs when all requests that this turn of the loop has read are handled.
            self._loop.call_soon(self._begin)
        return future

    def _begin(self) -> None:
        """Begin the next batch, unless one is under way."""
        self._is_begin_due = False
        if self._under_way is not None:
            return
        if not self._waiting:
            if self._stopping:
                self._tasks.put(None)
            return
        batch = self._under_way = self._next_batch()
        self.busy_since = monotonic()
        store = self._store
        has_begun = False
        try:
            if (
                isinstance(store, (PostgresStore, SqliteStore))
                and batch.wanted
                and batch.taken_bytes <= LOOP_BYTES
                and self._has_empty_spool()
            ):
                has_begun = store.begin(batch.submissions)
        finally:
            if not has_begun:
                self._leave_to_thread(batch)
        if isinstance(store, PostgresStore) and has_begun:
            due_at = self.busy_since + store.timeout_s
            self._patience = self._loop.call_later(store.timeout_s, self._give_up, store, batch, due_at)
            self._await_answer(store, batch)
        elif isinstance(store, SqliteStore) and has_begun:
            self._tasks.put(partial(self._commit, store, batch))

    def _leave_to_thread(self, batch: _Batch) -> None:
        # Begun in vain, it may have taken so long that senders were told 503 meanwhile.
        still_wanted = [pending for pending in batch.wanted if _is_wanted(pending)]
        self._tasks.put(partial(self._keep, batch._replace(wanted=still_wanted)))

    def _next_batch(self) -> _Batch:
        taken: list[Pending] = []
        taken_bytes = 0
        while self._waiting and len(taken) < BATCH_ROWS:
            more_bytes = self._waiting[0][0].held_bytes
            if taken and taken_bytes + more_bytes > BATCH_BYTES:
                break
            taken_bytes += more_bytes
            taken.append(self._waiting.popleft())
        return _Batch(taken_bytes, [pending for pending in taken if _is_wanted(pending)])

    def _has_empty_spool(self) -> bool:
        return self._spool is None or self._spool.is_empty_at_a_glance()

    def _await_answer(self, store: PostgresStore, batch: _Batch) -> None:
        """Take PostgreSQL's answer if it is there, else come back when its socket is ready."""
        event = store.awaits()
        if event == select.POLLIN:
            self._loop.add_reader(store.descriptor, self._on_ready, self._loop.remove_reader, store, batch)
        elif event == select.POLLOUT:
            self._loop.add_writer(store.descriptor, self._on_ready, self._loop.remove_writer, store, batch)
        else:
            self._receive(store, batch)

    def _on_ready(self, unwatch: Callable[[int], bool], store: PostgresStore, batch: _Batch) -> None:
        unwatch(store.descriptor)
        self._await_answer(store, batch)

    def _receive(self, store: PostgresStore | SqliteStore, batch: _Batch) -> None:
        """Take what became of a batch that was begun."""
        answers: Sequence[Answer] | None = None
        try:
            answers = store.received()
        finally:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            if answers is None:
                self._leave_to_thread(batch)
        if answers is None:
            return
        self._committed(len(answers))
        self.refused_at = None
        self._end(batch, answers)

    def _give_up(self, store: PostgresStore, batch: _Batch, due_at: float) -> None:
        """Give up PostgreSQL, which has not answered in time."""
        if monotonic() > due_at + PAUSE_S:
            # Once, whatever the second time is.
            self._patience = self._loop.call_later(EXPIRY_INTERVAL_S, self._give_up, store, batch, inf)
            return
        self._patience = None
        try:
            self._loop.remove_reader(store.descriptor)
            self._loop.remove_writer(store.descriptor)
            store.give_up()
        finally:
            self._leave_to_thread(batch)

    def _end(self, batch: _Batch, results: Sequence[Result]) -> None:
        """Begin the next batch before this one is answered: it is worked on meanwhile."""
        self._under_way = None
        self.busy_since = None
        self._ended_at = monotonic()
        try:
            self._begin()
        finally:
            self._finish(batch, results)

    def _finish(self, batch: _Batch, results: Sequence[Result]) -> None:
        self._held_bytes -= batch.taken_bytes
        for (_, future), result in zip(batch.wanted, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _expire(self) -> None:
        now = monotonic()
        self._loop.call_later(EXPIRY_INTERVAL_S, self._expire)
        due_at, self._expires_at = self._expires_at, now + EXPIRY_INTERVAL_S
        if now > due_at + PAUSE_S:
            # Once, whatever the second time is.
            self._expires_at = inf
            return
        while self._deadlines and (self._deadlines[0][1].done() or self._deadlines[0][0] < now):
            _, future = self._deadlines.popleft()
            if not future.done():
                future.set_result(StoreUnavailable("nothing could keep the lead within its deadline"))
        while self._waiting and not _is_wanted(self._waiting[0]):
            self._held_bytes -= self._waiting.popleft()[0].held_bytes
        if now - self._ended_at > IDLE_S:
            self._look_at_store()

    def _look_at_store(self) -> None:
        """Let the thread write nothing to the store, unless there is something to do."""
        if self._store is None or self._under_way is not None or self._waiting or self._stopping:
            return
        batch = self._under_way = _Batch(0, [])
        self.busy_since = monotonic()
        self._tasks.put(partial(self._look, self._store, batch))

    def _stop(self) -> None:
        self._stopping = True
        self._begin()

    # Any thread's side.

    @property
    def is_stuck(self) -> bool:
        """Say whether it has been at one batch for longer than a lead waits."""
        busy_since = self.busy_since
        return busy_since is not None and monotonic() - busy_since > ANSWER_DEADLINE_S

    @property
    def has_store(self) -> bool:
        """Say whether batches go to the database now."""
        return self._store is not None

    def hand_over(self, store: Store) -> None:
        """Give the writer a store that has just committed, to be its own from now on."""
        self._store = store

    def stop(self) -> None:
        """Keep all that is queued, then end the thread and close the store. Blocks until then: not for the loop."""
        if self._thread.ident is not None:
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join()

    # The thread's side.

    def _run(self) -> None:
        while task := self._tasks.get():
            try:
                task()
            except Exception:  # the writer must live on, whatever it meets
                logger.exception("a task failed", extra={"action": "write_batch", "repeat_key": "a task failed"})
        if self._store is not None:
            self._store.close()
        if self._spool is not None:
            self._spool.close()

    def _commit(self, store: SqliteStore, batch: _Batch) -> None:
        try:
            store.commit()
        finally:
            self._loop.call_soon_threadsafe(self._receive, store, batch)

    def _look(self, store: Store, batch: _Batch) -> None:
        try:
            store.write([])
        except Exception as error:  # the next lead would meet it
            self._lose(store, error)
        finally:
            self._loop.call_soon_threadsafe(self._end, batch, [])

    def _keep(self, batch: _Batch) -> None:
        """Keep a batch in the database, else in the spool."""
        results = self._results(batch.submissions) if batch.wanted else []
        self._loop.call_soon_threadsafe(self._end, batch, results)

    def _results(self, submissions: list[Submission]) -> Sequence[Result]:
        """Keep submissions and return an answer each, in order."""
        try:
            results = self._keep_somewhere(submissions)
        except LeadcrmError as error:
            return self._refused(error, len(submissions))
        except Exception as error:  # the writer must live on, whatever it meets
            self.refused_at = monotonic()
            logger.exception("a batch failed", extra={"action": "write_batch", "repeat_key": "a batch failed"})
            return [StoreUnavailable(f"unforeseen: {type(error).__name__}")] * len(submissions)
        if not any(isinstance(result, LeadcrmError) for result in results):
            self.refused_at = None
        return results

    def _keep_somewhere(self, submissions: list[Submission]) -> Sequence[Result]:
        store = self._store
        if store is None:
            return self._to_spool(submissions)
        at_home = self._held_in_spool(submissions)
        direct = [row for row in submissions if row.key_sha256 not in at_home] if at_home else submissions
        try:
            # Without a row too: a store that failed what was begun says so here.
            answers = store.write(direct)
        except Exception as error:
            self._lose(store, error)
            return self._to_spool(submissions)
        self._committed(len(direct))
        results = dict(zip((row.id for row in direct), self._spool_the_refused(direct, answers), strict=True))
        repeats = [row for row in submissions if row.id not in results]
        if repeats:
            results.update(zip((row.id for row in repeats), self._spool_repeats(repeats, at_home), strict=True))
        return [results[row.id] for row in submissions]

    def _spool_repeats(self, rows: list[Submission], at_home: Known) -> Sequence[Result]:
        """Spool rows whose keys are held there. Where that cannot be, the rest of their batch is committed still."""
        # As duplicates already: the drain may take the holder to the database before they are written.
        holders = {row.id: at_home[row.key_sha256] for row in rows if row.key_sha256}
        settled = [row if holders[row.id][0] == row.id else row.duplicating(*holders[row.id]) for row in rows]
        try:
            return self._to_spool(settled)
        except LeadcrmError as error:
            return self._refused(error, len(rows))

    def _refused(self, error: LeadcrmError, count: int) -> list[Result]:
        self.refused_at = monotonic()
        _report("leads cannot be kept and are answered 503: %s", error)
        return [error] * count

    def _held_in_spool(self, submissions: list[Submission]) -> Known:
        """Return which keys of the batch are held by rows in the spool; the database does not know them yet."""
        if self._spool is None or monotonic() < self._look_up_at:
            return {}
        try:
            if self._spool.is_empty():
                return {}
            return self._spool.known([row.key_sha256 for row in submissions if row.key_sha256 and row.holds_key])
        except SpoolUnavailable as error:
            # The database still can: a key that lies in the spool then shows as a duplicate when it is drained.
            _report("keys could not be looked up in the spool: %s", error)
            # A file that another process holds costs a second each time.
            self._look_up_at = monotonic() + LOOK_UP_PAUSE_S
            return {}

    def _spool_the_refused(self, rows: list[Submission], answers: Sequence[Answer]) -> list[Result]:
        results: list[Result] = []
        for row, answer in zip(rows, answers, strict=True):
            if not isinstance(answer, SubmissionRefused) or self._spool is None:
                results.append(answer)
                continue
            _report("the database refused a raw row, which waits in the spool: %s", answer)
            try:
                kept = self._spool.write([row])
                self._spool.mark_refused(row.id, str(answer))
                results.extend(kept)
            except LeadcrmError as error:
                results.extend(self._refused(error, 1))
        return results

    def _to_spool(self, submissions: list[Submission]) -> Sequence[Result]:
        if self._spool is None:
            raise StoreUnavailable("the database is away and SPOOL is off")
        answers = self._spool.write(submissions)
        self._committed(len(submissions))
        return answers

    def _lose(self, store: Store, error: Exception) -> None:
        if isinstance(error, StoreUnavailable):
            _report("the database is away, leads go to the spool: %s", error)
        else:
            text = "the database failed a batch"
            logger.exception(text, extra={"action": "write_batch", "repeat_key": text})
        self._store = None
        store.close()
        self._on_loss()

    def _committed(self, rows: int) -> None:
        self.batches += 1
        self.rows += rows
        self.last_commit = time()


def _is_wanted(pending: Pending) -> bool:
    """Say whether a submission is still to be kept.

    If its sender was told 503 already, keeping it would make its retry a second lead. A sender that hung up cancelled
    its future: its lead arrived whole and is kept.
    """
    _, future = pending
    return not future.done() or future.cancelled()


def _report(text: str, error: LeadcrmError) -> None:
    logger.error(text, error, extra={"action": "write_batch", "hint": error.hint, "repeat_key": text})
