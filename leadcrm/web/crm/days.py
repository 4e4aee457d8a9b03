"""Keeps the counts of past days beside what people ask for, in one worker of a node."""

from __future__ import annotations

from time import monotonic

from leadcrm.crm.day_keeping import DayKeeper
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.repeating import RETRY_S, Repeating

PAUSE_S = 5.0
"""How long a changed day stays uncounted, where all others are counted."""

REST = 9.0
"""How many times as long as it worked it rests while days lack: after an upgrade, all of them do."""


class DayWatch(Repeating):
    """Keeps the days of one database."""

    def __init__(self, readers: Readers) -> None:
        """Take what reads and changes the database."""
        super().__init__("the counts of past days could not be kept", action="count", fault_pause_s=RETRY_S)
        self._readers = readers
        self._keeper = DayKeeper()

    async def _work(self) -> float:
        began_at = monotonic()
        lack = await self._readers.run(self._keeper.keep)
        return (monotonic() - began_at) * REST if lack else PAUSE_S
