"""The parts of this node that all its workers share."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from leadcrm.configuration.config import Config
from leadcrm.logs.log_writer import LogWriter
from leadcrm.web.node_metrics import NodeMetrics
from leadcrm.web.rate_limit import RateLimiter


@dataclass(frozen=True, slots=True)
class Node:
    """The configuration, socket, metrics, limiter and log of this node; made once, before the workers are forked.

    Args:
        owns_listener: the socket ends with this service, so connections that wait in the kernel's queue at the stop
            must still be accepted. A socket that a service manager passed on outlives the service.
        may_migrate: workers apply pending migrations when they reach the database.
    """

    config: Config
    listener: socket.socket
    owns_listener: bool
    metrics: NodeMetrics
    limiter: RateLimiter | None
    log: LogWriter
    may_migrate: bool
