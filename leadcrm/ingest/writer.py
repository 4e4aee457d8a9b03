"""The writer: one queue, one batch at a time.

Requests wait on a future; all that has gathered is kept with one commit. There is no artificial delay: while one
batch commits, the next gathers, and a lone request does not wait. What one turn of the event loop reads is passed on
together. A batch that the database cannot take goes to the spool.

A thread of its own writes, since SQLite's files make their caller wait. PostgreSQL need not: while the spool is empty
the event loop itself sends it each batch and is told when the answer is there. Whatever is more than that (a key that
is taken, an error, a deadline) the loop leaves to the thread, which writes the batch again; ids make that harmless.

Invariants:
- A future gets a receipt only after the commit that holds its submission, in the database or in the spool.
- A submission waits for the database once at most: after a failure every batch goes to the spool, until
  `hand_over` brings a store that has proved itself.
- Only the event loop's thread touches futures. Store and spool belong to whoever is at a batch, loop or thread.

May import submission, store, spool and errors. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, time
from typing import NamedTuple

from leadcrm.errors import LeadcrmError, SpoolUnavailable, StoreUnavailable, SubmissionRefused
from leadcrm.ingest.spool import Spool
from leadcrm.ingest.store import Answer, Known, PostgresStore, Store
from leadcrm.ingest.submission import Receipt, Submission

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""A batch is one statement and one answer: bounded, so that one commit stays well within its deadline."""

ANSWER_DEADLINE_S = 2.8
"""The contract answers a lead within 3 s of its last byte, whatever hangs; the look at the deadlines takes its part."""

EXPIRY_INTERVAL_S = 0.1

LOOK_UP_PAUSE_S = 5.0
"""After the spool could not be read, before it is tried again while the database takes leads."""

Result = Receipt | LeadcrmError
Pending = tuple[Submission, "asyncio.Future[Result]"]

logger = logging.getLogger("leadcrm.ingest.writer")


class _Sent(NamedTuple):
    """A batch on its way to PostgreSQL; of its submissions the `wanted` ones were sent."""

    store: PostgresStore
    batch: list[Pending]
    wanted: list[Pending]
    timer: asyncio.TimerHandle


class Writer:
    """Keeps submissions in batches, in a thread of its own."""

    def __init__(self, spool: Spool | None, on_loss: Callable[[], None], *, max_held_bytes: int) -> None:
        """Take the spool, if there is to be one; `on_loss` is called, in the writer's thread, when a store failed.

        `max_held_bytes` bounds the bodies that wait, those of senders that hung up included.
        """
        self._spool = spool
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0
        self._on_loss = on_loss
        self._store: Store | None = None
        self._arrived: list[Pending] = []
        self._waiting: deque[Pending] = deque()
        self._wake = threading.Condition()
        self._sent: _Sent | None = None
        self._is_thread_asked = False
        self._is_thread_at_work = False
        self._stopping = False
        self._deadlines: deque[tuple[float, asyncio.Future[Result]]] = deque()
        self._thread = threading.Thread(target=self._run, name="leadcrm-writer", daemon=True)
        self._look_up_at = 0.0  # monotonic
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
        self._loop.call_later(EXPIRY_INTERVAL_S, self._expire)

    def submit(self, submission: Submission) -> asyncio.Future[Result]:
        """Queue a submission; the future's result is its receipt, durable by then, or the error that kept it out.

        It is never later than `ANSWER_DEADLINE_S`, and never raises.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._held_bytes + submission.body_bytes > self._max_held_bytes:
            future.set_result(StoreUnavailable("too many leads wait to be kept"))
            return future
        self._held_bytes += submission.body_bytes
        self._deadlines.append((monotonic() + ANSWER_DEADLINE_S, future))
        if not self._arrived:
            # It runs when all requests that this turn of the loop has read are handled.
            self._loop.call_soon(self._pass_on)
        self._arrived.append((submission, future))
        return future

    def _pass_on(self) -> None:
        """Queue all that arrived in one turn of the loop: begun with the first, a batch would hold that alone."""
        with self._wake:
            self._waiting.extend(self._arrived)
            self._arrived.clear()
        self._begin()

    def _begin(self) -> None:
        """Begin the next batch, unless one is under way: send it, or have the thread write it."""
        with self._wake:
            if self._sent is not None or self._is_thread_at_work or not self._waiting:
                return
            store = self._store
            if not isinstance(store, PostgresStore) or self._stopping or not self._has_empty_spool():
                self._ask_thread()
                return
            batch = self._next_batch()
            wanted = [pending for pending in batch if _is_wanted(pending)]
            # Whatever goes wrong from here on, at the deadline the batch is the thread's.
            timer = self._loop.call_later(store.timeout_s, self._give_up)
            self._sent = _Sent(store, batch, wanted, timer)
        self.busy_since = monotonic()
        if wanted and store.send([submission for submission, _ in wanted]):
            self._await_answer(self._sent)
        else:
            self._leave_to_thread(self._sent)

    def _has_empty_spool(self) -> bool:
        return self._spool is None or self._spool.is_empty_at_a_glance()

    def _await_answer(self, sent: _Sent) -> None:
        """Take the answer of what was sent if it is there, else come back when the socket is ready."""
        event = sent.store.awaits()
        if event == select.POLLIN:
            self._loop.add_reader(sent.store.descriptor, self._on_ready, sent, self._loop.remove_reader)
        elif event == select.POLLOUT:
            self._loop.add_writer(sent.store.descriptor, self._on_ready, sent, self._loop.remove_writer)
        else:
            self._receive(sent)

    def _on_ready(self, sent: _Sent, unwatch: Callable[[int], bool]) -> None:
        unwatch(sent.store.descriptor)
        self._await_answer(sent)

    def _receive(self, sent: _Sent) -> None:
        answers = sent.store.received()
        if answers is None:
            self._leave_to_thread(sent)
            return
        self._committed(len(answers))
        self.refused_at = None
        self._end(sent)
        self._begin_next(sent.batch, sent.wanted, answers)

    def _give_up(self) -> None:
        """Leave the batch that was sent to the thread, and without its connection: nothing answered in time."""
        sent = self._sent
        assert sent is not None
        self._loop.remove_reader(sent.store.descriptor)
        self._loop.remove_writer(sent.store.descriptor)
        sent.store.give_up()
        self._leave_to_thread(sent)

    def _leave_to_thread(self, sent: _Sent) -> None:
        with self._wake:
            self._waiting.extendleft(reversed(sent.batch))
            self._end(sent)
            self._ask_thread()

    def _end(self, sent: _Sent) -> None:
        sent.timer.cancel()
        self.busy_since = None
        with self._wake:
            self._sent = None
            if self._stopping:
                self._wake.notify()

    def _ask_thread(self) -> None:
        self._is_thread_asked = True
        self._wake.notify()

    def _expire(self) -> None:
        now = monotonic()
        while self._deadlines and (self._deadlines[0][1].done() or self._deadlines[0][0] < now):
            _, future = self._deadlines.popleft()
            if not future.done():
                future.set_result(StoreUnavailable("nothing could keep the lead within its deadline"))
        with self._wake:
            while self._waiting and not _is_wanted(self._waiting[0]):
                self._held_bytes -= self._waiting.popleft()[0].body_bytes
        self._loop.call_later(EXPIRY_INTERVAL_S, self._expire)

    def _begin_next(self, batch: list[Pending], wanted: list[Pending], results: Sequence[Result]) -> None:
        """Begin the next batch before this one is answered: the database works on it meanwhile."""
        try:
            self._begin()
        finally:
            self._finish(batch, wanted, results)

    def _finish(self, batch: list[Pending], wanted: list[Pending], results: Sequence[Result]) -> None:
        self._held_bytes -= sum(submission.body_bytes for submission, _ in batch)
        for (_, future), result in zip(wanted, results, strict=True):
            if not future.done():
                future.set_result(result)

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
        """Give the writer a store that has just committed, for this thread to use from now on."""
        with self._wake:
            self._store = store

    def stop(self) -> None:
        """Keep all that is queued, then end the thread and close the store. Blocks until then."""
        with self._wake:
            self._stopping = True
            self._pass_on()
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    # The writer's side.

    def _run(self) -> None:
        while batch := self._take():
            self.busy_since = monotonic()
            wanted = [pending for pending in batch if _is_wanted(pending)]
            results = self._keep([submission for submission, _ in wanted]) if wanted else []
            self.busy_since = None
            self._is_thread_at_work = False
            self._loop.call_soon_threadsafe(self._begin_next, batch, wanted, results)
        if self._store is not None:
            self._store.close()
        if self._spool is not None:
            self._spool.close()

    def _take(self) -> list[Pending]:
        """Wait for work and return a batch of it; empty when the writer is to end."""
        with self._wake:
            while not self._may_take() and not (self._stopping and not self._waiting and self._sent is None):
                self._wake.wait()
            batch = self._next_batch()
            self._is_thread_at_work = bool(batch)
            self._is_thread_asked = False
            return batch

    def _may_take(self) -> bool:
        # What only the thread can write it takes by itself: the loop may be slow to ask.
        is_its_turn = self._is_thread_asked or not isinstance(self._store, PostgresStore)
        return bool(self._waiting) and self._sent is None and is_its_turn

    def _next_batch(self) -> list[Pending]:
        batch: list[Pending] = []
        size = 0
        while self._waiting and len(batch) < BATCH_ROWS:
            size += self._waiting[0][0].body_bytes
            if batch and size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _keep(self, submissions: list[Submission]) -> Sequence[Result]:
        """Keep a batch in the database, else in the spool; an answer each, in order."""
        try:
            results = self._keep_somewhere(submissions)
        except LeadcrmError as error:
            self.refused_at = monotonic()
            _report("leads cannot be kept and are answered 503: %s", error)
            return [error] * len(submissions)
        except Exception as error:  # the writer must live on, whatever it meets
            self.refused_at = monotonic()
            logger.exception("a batch failed", extra={"action": "write_batch", "repeat_key": "a batch failed"})
            return [StoreUnavailable(f"unforeseen: {type(error).__name__}")] * len(submissions)
        self.refused_at = None
        return results

    def _keep_somewhere(self, submissions: list[Submission]) -> Sequence[Result]:
        store = self._store
        if store is None:
            return self._to_spool(submissions)
        at_home = self._held_in_spool(submissions)
        direct = [row for row in submissions if row.key_sha256 not in at_home] if at_home else submissions
        try:
            answers = store.write(direct) if direct else []
        except Exception as error:
            self._lose(store, error)
            return self._to_spool(submissions)
        self._committed(len(direct))
        results = dict(zip((row.id for row in direct), self._spool_the_refused(direct, answers), strict=True))
        spooled = [row for row in submissions if row.id not in results]
        if spooled:
            results.update(zip((row.id for row in spooled), self._to_spool(spooled), strict=True))
        return [results[row.id] for row in submissions]

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
            kept = self._spool.write([row])
            self._spool.mark_refused(row.id, str(answer))
            results.extend(kept)
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
        with self._wake:
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
