"""CPU time and memory of a process with all its descendants."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

WAIT_S = 60.0


def family(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def cpu_seconds(pid: int) -> float:
    """Return the total CPU time so far, including children that have ended."""
    total = 0.0
    for number, process in enumerate(family(pid)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            if number == 0:
                total += times.children_user + times.children_system
    return total


def memory_bytes(pid: int) -> int:
    """Return the total memory, with shared pages counted once (PSS)."""
    total = 0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until the condition holds, or exit."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends_at:
            raise SystemExit(f"bench: waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)
