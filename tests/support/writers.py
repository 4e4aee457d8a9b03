"""A writer as a worker runs it: in an event loop, with a store and perhaps a spool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.writer import Writer

LARGE_BYTES = 64 * 1024 * 1024


def spool_in(directory: Path) -> Spool:
    """Return a spool of a folder, opened as a writer's is after its first batch: the loop may look at it."""
    directory.mkdir(parents=True, exist_ok=True)
    spool = Spool(directory, max_bytes=1 << 30, min_free_bytes=0)
    assert spool.is_empty()
    return spool


def run_writer(
    use: Callable[[Writer], Awaitable[None]],
    *,
    store: Store | None = None,
    spool: Spool | None = None,
    max_held_bytes: int = LARGE_BYTES,
) -> Writer:
    """Run a writer in this thread's loop until `use` is done, and return it stopped; it closes store and spool."""
    writer = Writer(spool, lambda: None, QueueBudget(max_held_bytes))

    async def main() -> None:
        writer.start(asyncio.get_running_loop())
        if store is not None:
            writer.hand_over(store)
        try:
            await use(writer)
        finally:
            await asyncio.to_thread(writer.stop)

    # The loop that workers use: how it watches a socket is its own.
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return writer


async def until(condition: Callable[[], bool], what: str, *, timeout_s: float = 10) -> None:
    """Wait for a condition while the loop goes on."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, f"waited {timeout_s:g} s in vain: {what}"
        await asyncio.sleep(0.01)
