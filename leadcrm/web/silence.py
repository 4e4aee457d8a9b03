"""What the first worker of a node tells the others of sources that have fallen silent."""

from __future__ import annotations

from datetime import timedelta
from time import time

from leadcrm.crm.source_activity import in_words
from leadcrm.delivery.board import Board


class SilenceBoard(Board):
    """Of each source that is switched on, since when it has been silent, which is a time only if that is unusual."""

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each source has been silent; 0 for no longer than usual."""
        sources: dict[str, float | None] = self.read().get("sources", {})
        return {name: 0.0 if since is None else max(0.0, time() - since) for name, since in sources.items()}

    def fault(self) -> str:
        """Return which sources an operator should look at; empty if there are none."""
        silent = {name: timedelta(seconds=age_s) for name, age_s in self.ages().items() if age_s}
        return "; ".join(f"the source {name} has been silent for {in_words(age)}" for name, age in silent.items())
