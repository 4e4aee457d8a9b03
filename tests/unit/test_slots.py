"""Slots for connections, shared by the processes of a node."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from leadcrm.database.slots import ConnectionSlots
from tests.support.waiting import wait_until


def test_threads_never_hold_the_same_slot() -> None:
    slots = ConnectionSlots(5)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: slots.take(), range(8)))
    assert sorted(slot for slot in taken if slot is not None) == [0, 1, 2, 3, 4]
    assert slots.are_all_taken()
    slots.give_back(3)
    assert not slots.are_all_taken()
    assert slots.take() == 3


def test_a_slot_of_a_process_that_was_killed_is_free_again() -> None:
    slots = ConnectionSlots(1)
    child = os.fork()
    if not child:
        slots.take()
        signal.pause()
    try:
        wait_until(slots.are_all_taken)
        started = monotonic()
        assert slots.take(started + 0.1) is None
        assert monotonic() - started >= 0.1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert slots.take(monotonic() + 1) == 0
