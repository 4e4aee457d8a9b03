"""Up to where in the primary's log this node's people may know of: a standby that is read from must have got there.

What they know of is their changes, the answers to senders and the feed. Changes note the place in the log themselves.
Leads come too often for that: here the primary is asked when somebody reads, if there were answers since it was asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.database.entities import Entities
from leadcrm.database.standby import log_position
from leadcrm.errors import StoreUnavailable
from leadcrm.web.node_metrics import OUTCOMES, NodeMetrics, WorkerMetrics

COOKIE = "leadcrm_seen"
"""With it the place of a change reaches the node that is asked next."""

COOKIE_S = 600
"""How long it is kept: few standbys are further behind."""

MAX_DIGITS = 20


class KnownPosition:
    """The place, by all workers of the node."""

    def __init__(self, node: NodeMetrics, worker: WorkerMetrics) -> None:
        """Set where the workers write down what they know."""
        self._node = node
        self._worker = worker
        self._lock = threading.Lock()
        self._asked_at: tuple[float, ...] = ()
        self._asked = 0.0

    def note_change(self, entities: Entities) -> None:
        """Write down the primary's place after a change on this thread's connection."""
        try:
            position = log_position(entities)
        except StoreUnavailable:
            # Whoever reads next asks.
            self._worker.add("unplaced_changes")
            return
        with self._lock:
            self._worker.set("changed_position", max(position, self._worker.get("changed_position")))

    def note_feed(self, seq: int) -> None:
        """Write down the number up to which the feed was read."""
        self._worker.set("told_seq", seq)

    @property
    def changed(self) -> float:
        """The place of this node's last change."""
        return self._node.greatest("changed_position")

    def position(self, primary: Callable[[], Entities]) -> float:
        """Return the place, for which the primary may have to be asked.

        While it is away, what came in last is left out: to see it late is better than to see nothing.
        """
        told = (
            self._node.greatest("told_seq"),
            self._node.total("unplaced_changes"),
            *(self._node.total(f"outcome_{name}") for name in OUTCOMES),
        )
        if told != self._asked_at and any(worker.get("has_store") for worker in self._node):
            with suppress(StoreUnavailable):
                self._ask(primary(), told)
        return max(self._asked, self.changed)

    def forget_beyond(self, position: float, primary: Callable[[], Entities]) -> None:
        """Forget a place that no standby has reached, if the primary has not either.

        It was a place of a log that is gone: the database was restored, or another server took over without the end.
        """
        with suppress(StoreUnavailable):
            end = log_position(primary())
            if position > end:
                with self._lock:
                    self._asked = min(self._asked, end)
                    for worker in self._node:
                        worker.set("changed_position", min(worker.get("changed_position"), end))

    def _ask(self, entities: Entities, told: tuple[float, ...]) -> None:
        position = log_position(entities)
        with self._lock:
            self._asked, self._asked_at = max(position, self._asked), told


def position_in(request: Request) -> float:
    """Return the place of the last change that the client made, on whichever node; 0 without one."""
    text = request.cookies.get(COOKIE) or ""
    return float(text) if text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS else 0.0


def tell_position(response: HTTPResponse, position: float) -> None:
    """Let the client show the place of its change to the nodes that it asks next."""
    response.headers["set-cookie"] = (
        f"{COOKIE}={position:.0f}; Path=/api; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict"
    )
