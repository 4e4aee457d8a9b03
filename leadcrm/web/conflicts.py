"""Notices where many conflicts come from one address: somebody may use the keys of others before they do."""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import monotonic

from leadcrm.web.http.client_address import network_of

MANY = 20
PERIOD_S = 600.0
"""A sender that mends a lead and sends it again under its key makes one conflict now and then."""

MAX_NETWORKS = 4_096

logger = logging.getLogger("leadcrm.web.conflicts")


class ConflictWatch:
    """Counts the conflicts of each address or IPv6 network; for the event loop alone."""

    def __init__(self) -> None:
        """Remember no conflict."""
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def is_one_of_many(self, address: str) -> bool:
        """Count a conflict, and say whether its address has sent many; warn when it has."""
        network, now = network_of(address), monotonic()
        since, count = self._counts.get(network, (now, 0))
        if now - since > PERIOD_S:
            since, count = now, 0
        self._counts[network] = since, count + 1
        self._counts.move_to_end(network)
        if len(self._counts) > MAX_NETWORKS:
            self._counts.popitem(last=False)
        if count + 1 == MANY:
            text = (
                "many leads from %s came under keys that others had used: they are kept as conflicts and are no leads"
            )
            hint = "`leadcrm raw list --state conflict` lists them, `leadcrm replay` makes leads of them"
            logger.warning(text, address, extra={"action": "ingest", "hint": hint, "repeat_key": text})
        return count + 1 >= MANY
