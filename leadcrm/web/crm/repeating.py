"""Work that a worker repeats for ever in the background, beside what people ask for."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from leadcrm.errors import StoreError

RETRY_S = 30.0
"""The pause after a database that was away, which others tell of."""


class Repeating(ABC):
    """A task of the loop. Subclasses say what it does, and what to say where that fails."""

    def __init__(self, fault: str, *, action: str, fault_pause_s: float) -> None:
        """Set what to log after an unforeseen error, and the pause after one."""
        self._fault = fault
        self._action = action
        self._fault_pause_s = fault_pause_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    @abstractmethod
    async def _work(self) -> float:
        """Do it once, and return the pause until the next time in seconds."""

    async def _run(self) -> None:
        while True:
            try:
                pause_s = await self._work()
            except StoreError:
                pause_s = RETRY_S
            except Exception:
                pause_s = self._fault_pause_s
                logger = logging.getLogger(type(self).__module__)
                logger.exception(self._fault, extra={"action": self._action, "repeat_key": self._fault})
            await asyncio.sleep(pause_s)
