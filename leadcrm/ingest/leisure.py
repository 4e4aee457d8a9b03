"""Reads the few laborious bodies of honest senders before they are answered, in a thread and within a budget of time.

A thread alone does not free the event loop: the parsers hold the interpreter for as long as one call takes. So it
rests after each body for a multiple of the time that the body took, and reads no more than its budget allows. What
does not fit is kept as postponed, and recovery makes its lead later.
"""

from __future__ import annotations

import asyncio
from time import monotonic, thread_time

from leadcrm.ingest.submission import Submission

BUDGET_S = 0.5
"""The processor's time for bodies that arrive together."""

REFILL_SHARE = 0.02
"""The share of a processor that is spent in the long run."""

REST_SHARE = 3.0
"""Seconds of rest after each second of reading, in which leads that arrive meanwhile are read and answered."""

MAX_WAITING = 4
WAIT_S = 1.5
"""How many bodies wait for the thread, and how long: well within the time in which a sender must be answered."""


class Leisure:
    """The thread and its budget; its methods are for the event loop."""

    def __init__(self, *, max_decoded_bytes: int) -> None:
        """Take the limit of a body once its content codings are undone."""
        self._max_decoded_bytes = max_decoded_bytes
        self._left_s = BUDGET_S
        self._refilled_at = monotonic()
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def read(self, submission: Submission) -> Submission:
        """Return a postponed submission with its body read, or as it is if there is no time for that now."""
        if self._waiting >= MAX_WAITING or not self._has_time():
            return submission
        self._waiting += 1
        try:
            await asyncio.wait_for(self._turn.acquire(), WAIT_S)
        except (asyncio.TimeoutError, TimeoutError):
            return submission
        finally:
            self._waiting -= 1
        if not self._has_time():
            self._turn.release()
            return submission
        reading = asyncio.get_running_loop().run_in_executor(None, self._read, submission)
        reading.add_done_callback(self._rest)
        try:
            return (await asyncio.wait_for(asyncio.shield(reading), WAIT_S))[0]
        except (asyncio.TimeoutError, TimeoutError):
            return submission

    def _has_time(self) -> bool:
        now = monotonic()
        self._left_s = min(BUDGET_S, self._left_s + (now - self._refilled_at) * REFILL_SHARE)
        self._refilled_at = now
        return self._left_s > 0

    def _read(self, submission: Submission) -> tuple[Submission, float]:
        started = thread_time()
        done = submission.reprocessed(max_decoded_bytes=self._max_decoded_bytes)
        return done, thread_time() - started

    def _rest(self, reading: asyncio.Future[tuple[Submission, float]]) -> None:
        """Charge the budget, and let the next body have its turn after a rest."""
        took_s = reading.result()[1]
        self._left_s -= took_s
        reading.get_loop().call_later(REST_SHARE * took_s, self._turn.release)
