"""Looks now and then which sources have fallen silent, and tells /ready and /metrics of it."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from leadcrm.crm.source_activity import Activity, source_activities
from leadcrm.crm.times import now
from leadcrm.sources.live import LiveSources
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.repeating import Repeating
from leadcrm.web.silence import SilenceBoard

LOOK_S = 300.0
"""How often: nothing is called silent before hours have passed."""

logger = logging.getLogger("leadcrm.web.crm.silence")


class SilenceWatch(Repeating):
    """Looks at the sources of one node."""

    def __init__(self, readers: Readers, live: LiveSources, board: SilenceBoard) -> None:
        """Take what reads, the sources as they are now, and where to write what is found."""
        fault = "what came in at the sources could not be looked at"
        super().__init__(fault, action="sources", fault_pause_s=LOOK_S)
        self._readers = readers
        self._live = live
        self._board = board
        self._silent: set[str] = set()

    async def _work(self) -> float:
        names = [name for name, source in self._live.sources.items() if source.enabled]
        activities = await self._readers.run(source_activities) if names else {}
        silent_since = {name: _silent_since(activities.get(name, Activity())) for name in names}
        self._board.write({"sources": silent_since})
        silent = {name for name, since in silent_since.items() if since is not None}
        for name in sorted(silent - self._silent):
            extra = {"action": "sources", "source": name, "hint": f"leadcrm sources show {name}"}
            logger.warning("a source has fallen silent", extra=extra)
        self._silent = silent
        return LOOK_S


def _silent_since(activity: Activity) -> float | None:
    silence = activity.silence(now())
    return None if silence is None else datetime.now(timezone.utc).timestamp() - silence.total_seconds()
