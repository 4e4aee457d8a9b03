"""Lines that repeat: written at most once per interval, with a count of the suppressed ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

REPEAT_INTERVAL_S = 10.0
MAX_REPEAT_KEYS = 1000


class RepeatFilter(logging.Filter):
    """Suppresses a line with `extra={"repeat_key": …}` that repeats one of the same interval.

    The next line that passes carries the number of suppressed ones as its field `suppressed`.
    """

    def __init__(self, interval_s: float = REPEAT_INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to write the line."""
        repeat_key = getattr(record, "repeat_key", None)
        if repeat_key is None:
            return True
        key = (record.name, repeat_key)
        now_s = self._clock()
        written_s, suppressed = self._seen.get(key, (None, 0))
        if written_s is not None and now_s - written_s < self._interval_s:
            self._seen[key] = (written_s, suppressed + 1)
            return False
        if len(self._seen) >= MAX_REPEAT_KEYS:
            self._seen.clear()
        self._seen[key] = (now_s, 0)
        if suppressed:
            record.suppressed = suppressed
        return True
