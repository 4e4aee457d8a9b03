"""Waiting for a condition instead of a time."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_INTERVAL_S = 0.02
LONGEST_WAIT_S = 30.0
"""Nobody is promised it: a busy machine takes ten times as long for all. Tests that judge a time say which."""

Result = TypeVar("Result")


def wait_until(condition: Callable[[], Result], *, timeout_s: float = LONGEST_WAIT_S, what: str = "") -> Result:
    """Call `condition` until its result is true, and return that result.

    Raises:
        AssertionError: `timeout_s` has passed; the message contains `what`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {timeout_s:g} s in vain for {name}")
        time.sleep(POLL_INTERVAL_S)
