"""The parts of this node that all its workers share."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from leadcrm.configuration.config import Config
from leadcrm.database.slots import ConnectionSlots
from leadcrm.delivery.board import DeliveryBoard
from leadcrm.delivery.live import LiveSinks
from leadcrm.logs.log_writer import LogWriter
from leadcrm.sources.live import LiveSources
from leadcrm.web.node_metrics import NodeMetrics
from leadcrm.web.rate_limit import RateLimiter
from leadcrm.web.silence import SilenceBoard


@dataclass(frozen=True, slots=True)
class Node:
    """The configuration, sockets, metrics, limiter and log of this node; made once, before the workers are forked.

    Args:
        slots: for connections to PostgreSQL; None for SQLite.
        standby_slots: for those to the standby; None without one.
        owns_listeners: the sockets end with this service, so connections that wait in the kernel's queue at the stop
            must still be accepted. Sockets that a service manager passed on outlive the service.
        sources: the sources as they were read at the start; None to read them in each worker.
        sinks: the sinks as they were read at the start; None if nothing is delivered.
        board: what the process that delivers tells; None if nothing is delivered.
        silence: what the first worker tells of sources.
        may_migrate: workers apply pending migrations when they reach the database.
    """

    config: Config
    listeners: tuple[socket.socket, ...]
    owns_listeners: bool
    metrics: NodeMetrics
    limiter: RateLimiter | None
    slots: ConnectionSlots | None
    log: LogWriter
    may_migrate: bool
    standby_slots: ConnectionSlots | None = None
    sources: LiveSources | None = None
    sinks: LiveSinks | None = None
    board: DeliveryBoard | None = None
    silence: SilenceBoard = field(default_factory=SilenceBoard)
