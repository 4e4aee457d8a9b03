"""One worker from start to stop.

The stop has an order that keeps the promise: first no new connections, then answers to all requests that were sent,
then the writer's last batch, then the log. An acknowledged lead is on disk by then; any other may be sent again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import monotonic, time

import uvloop
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP
from sanic.server import AsyncioServer

from leadcrm.database.standby import Standby
from leadcrm.errors import EXIT_FAILED
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.web.app import App, create_app
from leadcrm.web.database_view import write_down, write_down_standby
from leadcrm.web.http.connections import listen_backlog
from leadcrm.web.http.listener import accept_pending, allow_new_handshakes
from leadcrm.web.http.protocol import LingeringProtocol
from leadcrm.web.node import Node

CHECKPOINT_S = 0.5
"""How often a worker records in its metrics that its loop runs and what its writer does."""

SAME_SIGNAL_S = 1.0
"""Signals within this time are one: a bootloader, a process group and a supervisor may each pass the same one on."""

SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the interpreter's lock while the writer's thread waits for it, before and after a
commit. At Python's default of 5 ms, SQLite takes some 5 percent fewer leads."""

PROVEN_S = 8.0
"""How old the last commit of an idle worker is at most while its leads go to the database."""

DATABASE_WAIT_S = 1.0
"""How long the start waits for a slow database: leads can wait in the spool, senders cannot wait."""

LAST_BATCH_S = 3.0
"""How long the last batch may take even at an immediate stop: as long as a lead may wait for its answer."""

INCOMPLETE_S = 1.0
"""How long a request that is incomplete at the stop may take to come; nobody was promised anything for it."""

logger = logging.getLogger("leadcrm.web.worker")


def _do_nothing() -> None:
    pass


class Stop:
    """The state of the stop: `requested` by a first signal, `at_once` by a later one."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.at_once = asyncio.Event()
        self._requested_at = 0.0

    def signal(self) -> None:
        """Handle a signal to stop."""
        if not self.requested.is_set():
            self._requested_at = monotonic()
            self.requested.set()
        elif monotonic() - self._requested_at > SAME_SIGNAL_S:
            self.at_once.set()


def run_worker(
    node: Node,
    number: int,
    *,
    on_checkpoint: Callable[[], None] = _do_nothing,
    on_stop: Callable[[], None] = _do_nothing,
) -> bool:
    """Serve on the node's sockets until a signal.

    Args:
        node: the parts that all workers share.
        number: this worker's number, counted from 0.
        on_checkpoint: called in the event loop once the worker serves, and at every checkpoint.
        on_stop: called in the event loop when the stop begins.

    Returns:
        Whether every request that was sent before the stop got its answer.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_Worker(node, number).run(on_checkpoint, on_stop))
    finally:
        loop.close()


class _Worker:
    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self._metrics = node.metrics.worker(number)
        self._ingestion = Ingestion(node.config, may_migrate=node.may_migrate, sources=node.sources, slots=node.slots)
        url, committed_at = node.config.standby, partial(node.metrics.greatest, "committed_at")
        self._standby = None if url is None else Standby(url, committed_at)

    async def run(self, on_checkpoint: Callable[[], None], on_stop: Callable[[], None]) -> bool:
        loop = asyncio.get_running_loop()
        stop = Stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.signal)
        # A supervisor forks its children with them blocked, so that none can end a child before its handlers are set.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        self._ingestion.start(loop)
        await loop.run_in_executor(None, self._ingestion.wait_for_database, DATABASE_WAIT_S)
        if self._standby is not None:
            self._standby.start()
        app = create_app(self._node, self._ingestion, self._metrics, self._standby)
        servers = await _start_servers(app, self._node.listeners)
        checkpoints = loop.create_task(self._checkpoint(on_checkpoint))
        # Objects made at the start live for ever, so later garbage collections can skip them.
        gc.collect()
        gc.freeze()
        self._metrics.set("serving", 1)
        on_checkpoint()
        logger.info("serving", extra={"action": "start"})

        await stop.requested.wait()
        on_stop()
        logger.info("stopping", extra={"action": "stop"})
        ends_at = monotonic() + self._node.config.shutdown_timeout_s
        all_answered = await self._wind_down(app, servers, stop, ends_at)
        checkpoints.cancel()
        if self._standby is not None:
            self._standby.stop()
        await self._end_ingestion(stop, ends_at)
        await servers[0].after_stop()
        self._metrics.set("serving", 0)
        logger.info("stopped", extra={"action": "stop", "all_answered": all_answered})
        return all_answered

    async def _wind_down(self, app: App, servers: list[AsyncioServer], stop: Stop, ends_at: float) -> bool:
        """Stop accepting, and answer every request that was sent; return whether all of those were answered."""
        # From now on, every answer says `Connection: close`.
        app.config.KEEP_ALIVE = False
        for connection in _connections(servers):
            connection.wind_down()
        if self._node.owns_listeners:
            # The other half of the time is for their answers, also where no descriptor is free to accept them.
            await accept_pending(self._node.listeners, (monotonic() + ends_at) / 2, stop.at_once)
        for server in servers:
            server.close()
        incomplete_end_at = monotonic() + INCOMPLETE_S
        while (connections := _connections(servers)) and monotonic() < ends_at and not stop.at_once.is_set():
            for connection in connections:
                connection.wind_down()
                if connection.awaits_part and monotonic() > incomplete_end_at:
                    connection.give_way()
            await asyncio.sleep(0.02)
        all_answered = not any(connection.is_busy() for connection in connections)
        for connection in connections:
            connection.abort()
        return all_answered

    async def _end_ingestion(self, stop: Stop, ends_at: float) -> None:
        """Write the last batch. A disk that hangs delays the end no longer than senders may."""
        ended = asyncio.get_running_loop().run_in_executor(None, self._ingestion.stop)
        batch_ends_at = monotonic() + LAST_BATCH_S
        while not ended.done():
            if monotonic() > (batch_ends_at if stop.at_once.is_set() else max(batch_ends_at, ends_at)):
                # No lead in it was acknowledged. A normal exit would wait for the thread that hangs.
                logger.error("the last batch hangs, stopped without it", extra={"action": "stop"})
                self._node.log.close()
                os._exit(EXIT_FAILED)
            await asyncio.sleep(0.02)
        await ended

    async def _checkpoint(self, on_checkpoint: Callable[[], None]) -> None:
        metrics, writer = self._metrics, self._ingestion.writer
        batches = rows = refused = given_way = reconnects = 0
        budget = self._ingestion.budget
        while True:
            now = monotonic()
            metrics.set("loop_seen", now)
            # A writer that waits for work makes progress; one with a batch under way has made none since it began.
            metrics.set("writer_seen", writer.busy_since or now)
            metrics.add("batches", writer.batches - batches)
            metrics.add("batch_rows", writer.rows - rows)
            metrics.add("turned_away_no_room", budget.refused - refused)
            metrics.add("turned_away_body", budget.given_way - given_way)
            batches, rows = writer.batches, writer.rows
            refused, given_way = budget.refused, budget.given_way
            metrics.set("last_commit", writer.last_commit or metrics.get("last_commit"))
            write_down(self._ingestion, metrics)
            if writer.has_store:
                metrics.set("committed_at", max(writer.stored_at, time() - PROVEN_S))
            metrics.add("reconnects", max(0, writer.hand_overs - 1) - reconnects)
            reconnects = max(0, writer.hand_overs - 1)
            metrics.set("queue_bytes", budget.held_bytes)
            if self._standby is not None:
                write_down_standby(self._standby, metrics)
            on_checkpoint()
            await asyncio.sleep(CHECKPOINT_S)


async def _start_servers(app: App, listeners: tuple[socket.socket, ...]) -> list[AsyncioServer]:
    """Start a server of the application on each socket."""
    servers: list[AsyncioServer] = []
    for listener in listeners:
        allow_new_handshakes(listener)
        server = await app.create_server(
            sock=listener, protocol=LingeringProtocol, backlog=listen_backlog(), return_asyncio_server=True
        )
        assert server is not None
        servers.append(server)
    # The framework registers only servers that it started itself. Without an entry, every answer would carry an empty
    # Alt-Svc header.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    # These are events of the application, not of one server.
    await servers[0].startup()
    await servers[0].before_start()
    await servers[0].after_start()
    for server in servers:
        await server.start_serving()
    return servers


def _connections(servers: list[AsyncioServer]) -> set[LingeringProtocol]:
    return {connection for server in servers for connection in server.connections}
