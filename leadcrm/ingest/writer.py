"""The writer: one queue, one batch at a time.

Each request waits on a future, and one commit keeps all submissions that have gathered. There is no artificial delay:
the next batch gathers while the current one commits, and a single request starts a batch at once. Requests that the
event loop reads in one iteration share a batch.

`Writer._keep` is the path of a batch from top to bottom: write it to the store, else to the spool, then answer. The
event loop drives it (see `driving`). It sends a batch to PostgreSQL and waits for the socket itself; SQLite and the
spool commit in the driver's thread.

Invariants:
- A future gets a receipt only after the commit that holds its submission, in the database or in the spool.
- A submission waits for a failing database at most once: after a failure every batch goes to the spool, until
  `hand_over` brings a store that has committed a real write.
- Only the event loop's thread changes the writer's state, except in `hand_over`. The driver's thread touches only the
  store and the spool, which belong to the one batch under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, time

from leadcrm.errors import LeadcrmError, SpoolUnavailable, StoreUnavailable, SubmissionRefused
from leadcrm.ingest.batch import Batch, Pending, Result, are_receipts, by_request, first_error, is_wanted
from leadcrm.ingest.driving import InThread, LoopDriver, Operation
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.spool.spool import Spool, claimed_keys
from leadcrm.ingest.store.store import Known, Standing, Store, WriteResult
from leadcrm.ingest.submission import Receipt, Submission

MAX_BATCH_ROWS = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""The bounds of a batch, so that its commit stays well within the deadline."""

ANSWER_DEADLINE_S = 2.8
"""The contract promises an answer within 3 s of a lead's last byte; the tick that enforces it takes up to 0.1 s."""

TICK_S = 0.1
"""The interval between two checks for overdue waits and leads."""

IDLE_S = 2.0
"""The writer probes its store after this time without a batch, so that no lead is the first to find it gone."""

PAUSE_S = 0.5
"""A tick this late means that the process was suspended."""

LOOK_UP_PAUSE_S = 5.0
"""The pause after a failed read of the spool, during which the writer does not look up keys there."""

logger = logging.getLogger("leadcrm.ingest.writer")


class Writer:
    """Keeps submissions in batches, in the store or else in the spool."""

    def __init__(self, spool: Spool | None, on_loss: Callable[[], None], budget: QueueBudget) -> None:
        """Assemble the writer; `spool` is None if spooling is off.

        `on_loss` is called in the event loop after a store has failed and was abandoned.
        """
        self._spool = spool
        self._budget = budget
        self._on_loss = on_loss
        self._store: Store | None = None
        self._driver = LoopDriver("leadcrm-writer")
        self._waiting: deque[Pending] = deque()
        self._deadlines: deque[tuple[float, asyncio.Future[Result]]] = deque()
        self._will_begin = False
        self._is_busy = False
        self._stopping = False
        self._was_late = False
        self._look_up_at = 0.0  # monotonic; for the driver's thread alone
        self._ended_at = 0.0  # monotonic; the end of the last batch or probe
        self.busy_since: float | None = None  # monotonic; None while idle
        self.refused_at: float | None = None  # monotonic; None while batches are kept
        self.refusal: LeadcrmError | None = None
        """Why a submission of the last batch could not be kept."""
        self.batches = 0
        self.rows = 0
        self.last_commit: float | None = None  # Unix time
        self.stored_at = 0.0  # Unix time of the last one in the database
        self.stored_id = ""  # of a row that the database has confirmed
        self.hand_overs = 0
        self.connected_at = 0.0  # Unix time of the last hand-over
        self.loss: Exception | None = None
        """Why the store was abandoned, or must be, although it still commits; None while it is trusted."""

    # For the event loop.

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the driver and the tick on `loop`, which also resolves the futures."""
        self._loop = loop
        self._driver.start(loop)
        self._ended_at = monotonic()
        self._tick_due_at = self._ended_at
        self._tick()

    def submit(self, submission: Submission) -> asyncio.Future[Result]:
        """Queue a submission and return a future, which never raises and resolves within `ANSWER_DEADLINE_S`.

        Its result is the receipt of a durable row, or the error that kept the row out.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._stopping:
            future.set_result(StoreUnavailable("leadcrm is stopping"))
            return future
        if not self._budget.take(submission.held_bytes):
            future.set_result(StoreUnavailable("too many leads wait to be kept"))
            return future
        self._deadlines.append((monotonic() + ANSWER_DEADLINE_S, future))
        self._waiting.append((submission, future))
        if not self._will_begin:
            self._will_begin = True
            # `call_soon` runs it after the handlers of all requests that this iteration of the loop has read.
            self._loop.call_soon(self._begin)
        return future

    # For any thread.

    @property
    def is_stuck(self) -> bool:
        """Say whether one batch has taken longer than a lead waits."""
        busy_since = self.busy_since
        return busy_since is not None and monotonic() - busy_since > ANSWER_DEADLINE_S

    @property
    def has_store(self) -> bool:
        """Say whether batches go to the database at the moment."""
        return self._store is not None

    @property
    def standing(self) -> Standing:
        """Return where batches go at the moment, and what a commit there survives."""
        store = self._store
        return Standing() if store is None else store.standing

    def hand_over(self, store: Store) -> None:
        """Give the writer, while it has no store, one that has just committed; the writer owns it from now on."""
        self.loss = None
        self.hand_overs += 1
        self.connected_at = time()
        self._store = store

    def stop(self) -> None:
        """Keep all queued submissions, then close store and spool. Blocks until then, so the loop must not call it."""
        if self._driver.is_started:
            self._loop.call_soon_threadsafe(self._stop)
            self._driver.join()

    # The transitions of the writer's state, all in the event loop.

    def _begin(self) -> None:
        """Begin the next batch, unless one is under way, whose end begins the next."""
        # A batch may end within `_run`, if nothing can keep it. The flag lets this loop begin the next one.
        self._will_begin = True
        try:
            while self._waiting and not self._is_busy:
                batch = self._take_batch()
                if batch.pending:
                    self._run(self._keep(batch))
        finally:
            self._will_begin = False
        if self._stopping and not self._is_busy:
            self._run(self._close())

    def _run(self, operation: Operation[None]) -> None:
        self._is_busy = True
        self.busy_since = monotonic()
        self._driver.run(operation)

    def _end(self) -> None:
        """Begin the next batch before this one is answered, so that the database works meanwhile."""
        self._is_busy = False
        self.busy_since = None
        self._ended_at = monotonic()
        if not self._will_begin:
            self._begin()

    def _tick(self) -> None:
        """Time out overdue waits and leads, and probe an idle store, at a steady pace."""
        now = monotonic()
        self._loop.call_later(TICK_S, self._tick)
        is_late = now > self._tick_due_at + PAUSE_S
        self._tick_due_at = now + TICK_S
        if is_late and not self._was_late:
            # The process was suspended. Replies may already be in the socket buffer, so skip one tick before timing
            # out. Skip only one: a process that is always late must still keep its deadlines.
            self._was_late = True
            return
        self._was_late = False
        self._driver.give_up_overdue(now)
        self._expire(now)
        if now - self._ended_at > IDLE_S and self._store is not None and not (self._is_busy or self._stopping):
            self._run(self._probe(self._store))

    def _expire(self, now: float) -> None:
        """Answer the senders whose deadline has passed, and drop their leads if no batch has taken them."""
        while self._deadlines and (self._deadlines[0][1].done() or self._deadlines[0][0] < now):
            _, future = self._deadlines.popleft()
            if not future.done():
                future.set_result(StoreUnavailable("nothing could keep the lead within its deadline"))
        while self._waiting and not is_wanted(self._waiting[0]):
            self._budget.give_back(self._waiting.popleft()[0].held_bytes)

    def _stop(self) -> None:
        self._stopping = True
        self._begin()

    # The path of a batch.

    def _take_batch(self) -> Batch:
        """Take waiting submissions for one batch, without the leads whose senders have got 503."""
        batch = Batch()
        while self._waiting and len(batch.pending) < MAX_BATCH_ROWS:
            held_bytes = self._waiting[0][0].held_bytes
            if batch.pending and batch.held_bytes + held_bytes > MAX_BATCH_BYTES:
                break
            pending = self._waiting.popleft()
            if is_wanted(pending):
                batch.held_bytes += held_bytes
                batch.pending.append(pending)
            else:
                self._budget.give_back(held_bytes)
        return batch

    def _keep(self, batch: Batch) -> Operation[None]:
        """Keep a batch in the database, else in the spool, and answer its senders."""
        results: Sequence[Result]
        try:
            results = by_request(batch, (yield from self._keep_somewhere(batch)))
        except LeadcrmError as error:
            _report("leads cannot be kept and are answered 503: %s", error)
            results = [error] * len(batch.pending)
        except Exception as error:  # the writer must survive any fault
            logger.exception("a batch failed", extra={"action": "write_batch", "repeat_key": "a batch failed"})
            results = [StoreUnavailable(f"unforeseen: {type(error).__name__}")] * len(batch.pending)
        if results:
            self.refusal = first_error(results)
            self.refused_at = None if self.refusal is None else monotonic()
        try:
            self._end()
        finally:
            self._answer(batch, results)

    def _keep_somewhere(self, batch: Batch) -> Operation[Sequence[Result]]:
        """Keep a batch's submissions and return a result each. Raises the `LeadcrmError` that keeps them all out."""
        store = self._store
        if store is None:
            return (yield from self._spool_all(batch))
        submissions = batch.submissions
        # The database does not know the keys in the spool yet.
        spooled_keys = {} if self._spool is None else self._spool.known_at_a_glance(submissions)
        if spooled_keys is None:
            spooled_keys = yield InThread(partial(self._look_up_in_spool, submissions))
        direct = submissions
        if spooled_keys:
            direct = [row for row in submissions if not row.holds_key or row.key_sha256 not in spooled_keys]
        try:
            written = yield from self._write(store, direct)
        except Exception as error:
            yield from self._abandon(store, error)
            # A lead whose sender got 503 meanwhile must not be kept: the sender's retry would become a second lead.
            batch.drop_refused()
            return (yield from self._spool_all(batch))
        self._count_commit(len(direct))
        self.stored_at = self.last_commit or 0.0
        if len(direct) == len(submissions) and are_receipts(written):
            if direct:
                self.stored_id = direct[-1].id
            return written
        rest = partial(self._spool_the_rest, submissions, direct, written, spooled_keys)
        results: Sequence[Result] = yield InThread(rest)
        return results

    def _write(self, store: Store, rows: list[Submission]) -> Operation[list[WriteResult]]:
        if self.loss is not None:
            raise self.loss
        return (yield from store.write(rows))

    def _spool_all(self, batch: Batch) -> Operation[Sequence[Result]]:
        if self._spool is None:
            raise StoreUnavailable("the database is away and SPOOL is off")
        if not batch.pending:
            return []
        results: Sequence[Result] = yield InThread(partial(self._spool.write, batch.submissions))
        self._count_commit(len(batch.pending))
        return results

    def _abandon(self, store: Store, error: Exception) -> Operation[None]:
        """Abandon a store that failed; batches go to the spool until recovery hands over another store."""
        if isinstance(error, StoreUnavailable):
            _report("the database is away, leads go to the spool: %s", error)
        else:
            text = "the database failed a batch"
            logger.error(text, exc_info=error, extra={"action": "write_batch", "repeat_key": text})
        self._store = None
        self.loss = error
        try:
            yield InThread(store.close)
        except Exception:
            # The batch must still go to the spool, and the writer on to the next one.
            text = "a connection could not be closed"
            logger.exception(text, extra={"action": "write_batch", "repeat_key": text})
        self._on_loss()

    def _answer(self, batch: Batch, results: Sequence[Result]) -> None:
        self._budget.give_back(batch.held_bytes)
        for (_, future), result in zip(batch.pending, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _probe(self, store: Store) -> Operation[None]:
        """Probe the idle store."""
        loss = self.loss
        if loss is None:
            try:
                yield from store.probe()
            except Exception as error:  # else the next lead would meet it
                loss = error
        if loss is not None:
            yield from self._abandon(store, loss)
        self._end()

    def _close(self) -> Operation[None]:
        yield InThread(self._close_files)
        self._driver.end()

    def _count_commit(self, rows: int) -> None:
        self.batches += 1
        self.rows += rows
        self.last_commit = time()

    # In the driver's thread, which may block on files.

    def _close_files(self) -> None:
        if self._store is not None:
            self._store.close()
        if self._spool is not None:
            self._spool.close()

    def _look_up_in_spool(self, submissions: list[Submission]) -> Known:
        """Return the holders of those keys of the batch that rows in the spool hold."""
        assert self._spool is not None
        if monotonic() < self._look_up_at:
            return {}
        try:
            if self._spool.is_empty():
                return {}
            return self._spool.known(claimed_keys(submissions))
        except SpoolUnavailable as error:
            # The database can still keep the batch. A key that the spool holds too becomes a duplicate in the drain.
            _report("keys could not be looked up in the spool: %s", error)
            # Each attempt on a file that another process holds takes a second.
            self._look_up_at = monotonic() + LOOK_UP_PAUSE_S
            return {}

    def _spool_the_rest(
        self,
        submissions: list[Submission],
        direct: list[Submission],
        written: list[WriteResult],
        spooled_keys: Known,
    ) -> list[Result]:
        """Spool the rows that the database refused and those whose keys the spool holds; return all rows' results."""
        results: dict[str, Result] = {}
        for row, result in zip(direct, written, strict=True):
            results[row.id] = result if isinstance(result, Receipt) else self._spool_refused(row, result)
        repeats = [row for row in submissions if row.id not in results]
        results.update(zip((row.id for row in repeats), self._spool_repeats(repeats, spooled_keys), strict=True))
        return [results[row.id] for row in submissions]

    def _spool_refused(self, row: Submission, refusal: SubmissionRefused) -> Result:
        if self._spool is None:
            return refusal
        _report("the database refused a raw row, which waits in the spool: %s", refusal)
        try:
            return self._spool.refuse(row, str(refusal))
        except LeadcrmError as error:
            _report("leads cannot be kept and are answered 503: %s", error)
            return error

    def _spool_repeats(self, rows: list[Submission], spooled_keys: Known) -> Sequence[Result]:
        """Spool the rows whose keys the spool holds. If that fails, only these rows get the error."""
        if not rows:
            return []
        assert self._spool is not None
        # Written as duplicates, because the drain may move the holder to the database first.
        holders = {row.id: spooled_keys[row.key_sha256] for row in rows if row.key_sha256}
        settled = [row if holders[row.id][0] == row.id else row.duplicating(*holders[row.id]) for row in rows]
        try:
            return self._spool.write(settled)
        except LeadcrmError as error:
            _report("leads cannot be kept and are answered 503: %s", error)
            return [error] * len(rows)


def _report(text: str, error: LeadcrmError) -> None:
    logger.error(text, error, extra={"action": "write_batch", "hint": error.hint, "repeat_key": text})
