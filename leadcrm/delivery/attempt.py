"""What came of one attempt to deliver, and when the next one is due."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import NamedTuple

SCHEDULE_S = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""The pauses after each failure (https://www.standardwebhooks.com); after the last one a delivery is dead."""

JITTER = 0.2
"""By how much of itself a pause may be longer: what failed together should not come back together."""

MAX_RETRY_AFTER_S = 24 * 3600.0

LONGEST_PAUSE = timedelta(seconds=max(MAX_RETRY_AFTER_S, SCHEDULE_S[-1] * (1 + JITTER)))

MAX_KEPT_BYTES = 1024
"""How much of an answer is kept."""

MAX_ADDRESSES = 3
"""Of a host, that are tried."""

GONE = 410


class Attempt(NamedTuple):
    """What came of an attempt.

    Attributes:
        status: The receiver's; None if there was none.
        answer: The beginning of its answer, or why there was none.
        retry_after_s: How long it asks to be left alone.
        is_refused: It did not take the event, whatever its status says.
        is_partial: It has taken the event for some of those whom it is for.
    """

    status: int | None
    answer: str
    retry_after_s: float | None = None
    is_refused: bool = False
    is_partial: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300 and not self.is_refused

    @property
    def is_final(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == GONE

    def in_ascii(self) -> Attempt:
        """Return it with an answer that a database of any encoding takes."""
        return self._replace(answer=self.answer.encode("ascii", "backslashreplace").decode())

    def __str__(self) -> str:
        return f"{self.status} {self.answer}".strip() if self.status else self.answer


def next_attempt(attempts: int, now: datetime, retry_after_s: float | None) -> datetime | None:
    """Return when to try again after so many attempts; None if it was the last one."""
    if attempts > len(SCHEDULE_S):
        return None
    pause_s = SCHEDULE_S[attempts - 1] * (1 + JITTER * random.random())  # noqa: S311 - no secret
    return now + timedelta(seconds=max(pause_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)))
