"""Reads the bodies that take more than a moment, one after the other, so that all others are read in between.

- Each iteration of the event loop reads one such body, however many have arrived.
- The few laborious ones are read in a thread, within a budget of time. A thread alone does not free the event loop: the
  parsers hold the interpreter for as long as one call takes. So it rests after each body for a multiple of the time
  that the body took.

What does not get its turn in time is kept as postponed, and recovery makes its lead later.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic, thread_time
from typing import Protocol

from leadcrm.ingest.submission import Submission

TURN_S = 0.5
"""How long a body waits for its turn on the event loop."""

BUDGET_S = 0.5
"""The processor's time for laborious bodies that arrive together."""

REFILL_SHARE = 0.02
"""The share of a processor that laborious bodies get in the long run."""

REST_SHARE = 3.0
"""Seconds of rest after each second of reading, in which leads that arrive meanwhile are read and answered: each of
their steps may wait for the end of a parser's call."""

MAX_WAITING = 4
WAIT_S = 1.0
"""How many bodies wait for the thread, and how long. All waits together are well within a lead's deadline."""


class Read(Protocol):
    """Reads a submission's body; never raises."""

    def __call__(self, *, at_leisure: bool) -> Submission:
        """Return the submission with its body read; without leisure, postponed if that takes long."""


class Leisure:
    """The turns, the thread and its budget; for the event loop alone."""

    def __init__(self, *, max_decoded_bytes: int) -> None:
        """Take the limit of a body once its content codings are undone."""
        self._max_decoded_bytes = max_decoded_bytes
        self._turn = asyncio.Lock()
        self._thread_turn = asyncio.Lock()
        self._waiting = 0
        self._left_s = BUDGET_S
        self._refilled_at = monotonic()

    async def read(self, postponed: Submission, read: Read | None = None) -> Submission:
        """Return the submission with its body read, or as it is if there is no time for that now.

        Args:
            postponed: The submission.
            read: Reads its body; None where that of its row's source does.
        """
        read = read or self._read(postponed)
        if not await _acquire(self._turn, TURN_S):
            return postponed
        try:
            submission = read(at_leisure=False)
        finally:
            # Not at once, or all that wait would have their turns in one iteration of the loop.
            asyncio.get_running_loop().call_soon(self._turn.release)
        if not submission.is_postponed or self._waiting >= MAX_WAITING or not self._has_time():
            return submission
        self._waiting += 1
        try:
            has_turn = await _acquire(self._thread_turn, WAIT_S)
        finally:
            self._waiting -= 1
        return await self._read_in_thread(submission, read) if has_turn else submission

    def _read(self, postponed: Submission) -> Read:
        return partial(postponed.reprocessed, max_decoded_bytes=self._max_decoded_bytes)

    async def _read_in_thread(self, postponed: Submission, read: Read) -> Submission:
        if not self._has_time():
            self._thread_turn.release()
            return postponed
        job = asyncio.get_running_loop().run_in_executor(None, _timed, read)
        job.add_done_callback(self._rest)
        try:
            return (await asyncio.wait_for(asyncio.shield(job), WAIT_S))[0]
        except (asyncio.TimeoutError, TimeoutError):
            return postponed

    def _has_time(self) -> bool:
        now = monotonic()
        self._left_s = min(BUDGET_S, self._left_s + (now - self._refilled_at) * REFILL_SHARE)
        self._refilled_at = now
        return self._left_s > 0

    def _rest(self, job: asyncio.Future[tuple[Submission, float]]) -> None:
        """Charge the budget, and let the next body have the thread after a rest."""
        took_s = job.result()[1]
        self._left_s -= took_s
        job.get_loop().call_later(REST_SHARE * took_s, self._thread_turn.release)


def _timed(read: Read) -> tuple[Submission, float]:
    started = thread_time()
    return read(at_leisure=True), thread_time() - started


async def _acquire(lock: asyncio.Lock, timeout_s: float) -> bool:
    try:
        return await asyncio.wait_for(lock.acquire(), timeout_s)
    except (asyncio.TimeoutError, TimeoutError):
        return False
