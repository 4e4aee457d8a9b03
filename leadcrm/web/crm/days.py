"""Keeps the counts of past days beside what people ask for, in one worker of a node."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from leadcrm.crm.day_keeping import DayKeeper
from leadcrm.errors import StoreError
from leadcrm.web.crm.readers import Readers, TooBusy

PAUSE_S = 5.0
"""How long a changed day stays uncounted, where all others are counted."""

REST = 9.0
"""How many times as long as it worked it rests while days lack: after an upgrade, all of them do."""

RETRY_S = 30.0

logger = logging.getLogger("leadcrm.web.crm.days")


class DayWatch:
    """Keeps the days of one database."""

    def __init__(self, readers: Readers) -> None:
        """Take what reads and changes the database."""
        self._readers = readers
        self._keeper = DayKeeper()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            began_at = monotonic()
            try:
                lack = await self._readers.run(self._keeper.keep)
                pause_s = (monotonic() - began_at) * REST if lack else PAUSE_S
            except (StoreError, TooBusy):
                # The database is away, which others tell of.
                pause_s = RETRY_S
            except Exception:
                pause_s = RETRY_S
                text = "the counts of past days could not be kept"
                logger.exception(text, extra={"action": "count", "repeat_key": text})
            await asyncio.sleep(pause_s)
