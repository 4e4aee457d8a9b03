"""Reports to systemd: the service is ready, makes progress, stops."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from leadcrm.process import systemd
from leadcrm.web.node_metrics import NodeMetrics

PROGRESS_S = 10.0
"""Each worker's loop and writer must have passed a checkpoint within this time, or the watchdog is not fed."""


class ServiceManager:
    """Reports to systemd from the metrics of the node's workers; does nothing where no systemd listens."""

    def __init__(self, metrics: NodeMetrics, environ: Mapping[str, str]) -> None:
        """Take the metrics to judge by, and the environment that says where systemd listens."""
        self._metrics = metrics
        self._environ = environ
        self._watchdog_interval_s = systemd.watchdog_interval_s(environ)
        self._is_ready = False
        self._fed_at = 0.0

    def tick(self) -> None:
        """Report once that all workers serve, and feed the watchdog when it is due. Call it twice a second."""
        if not self._is_ready and all(worker.get("serving") for worker in self._metrics):
            self._is_ready = systemd.notify("READY=1", self._environ)
        now = monotonic()
        if self._is_watchdog_due(now) and self._all_make_progress(now) and systemd.notify("WATCHDOG=1", self._environ):
            self._fed_at = now

    def say_stopping(self) -> None:
        """Report that the stop has begun."""
        systemd.notify("STOPPING=1", self._environ)

    def _is_watchdog_due(self, now: float) -> bool:
        interval_s = self._watchdog_interval_s
        return interval_s is not None and now - self._fed_at >= interval_s / 2

    def _all_make_progress(self, now: float) -> bool:
        return all(
            min(worker.get("loop_seen"), worker.get("writer_seen")) > now - PROGRESS_S for worker in self._metrics
        )
