"""One worker's life: start, serve, stop.

The order of the stop is the promise's: first no new connections, then answers to all that was sent, then the
writer's last batch, then the log. Whoever was answered is on disk by then; whoever was not may try again.
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
from time import monotonic

import uvloop
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP
from sanic.server import AsyncioServer

from leadcrm.errors import EXIT_FAILED
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.web.app import App, create_app
from leadcrm.web.http.listener import take_on_everybody, take_on_nobody_new
from leadcrm.web.http.protocol import LingeringProtocol
from leadcrm.web.node import Node

CHECKPOINT_S = 0.5
"""How often a worker writes down that its loop turns and what its writer does."""

MOMENT_S = 1.0
"""Signals that come together are one wish: a bootloader, a process group and a supervisor may each pass it on."""

SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the interpreter's lock from the writer's thread, which wants it before and after a
commit. At Python's own 5 ms SQLite takes some 5 percent fewer leads."""

LISTEN_BACKLOG = 1024

FIRST_ATTEMPT_S = 1.0
"""How long the start waits for a database that is slow to answer: leads can wait in the spool, senders cannot."""

LAST_BATCH_S = 3.0
"""How long the last batch may take in any case: what a lead may wait for its answer."""

HANDSHAKE_S = 0.2
"""How long a handshake may still take at the stop: a round trip around the world."""

logger = logging.getLogger("leadcrm.web.worker")


def _do_nothing() -> None:
    pass


class Stop:
    """The wish to stop: `asked` by a first signal, `at_once` by a later one."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self._asked_at = 0.0

    def signal(self) -> None:
        """Note a signal."""
        if not self.asked.is_set():
            self._asked_at = monotonic()
            self.asked.set()
        elif monotonic() - self._asked_at > MOMENT_S:
            self.at_once.set()


def run_worker(
    node: Node,
    number: int,
    *,
    on_checkpoint: Callable[[], None] = _do_nothing,
    on_stop: Callable[[], None] = _do_nothing,
) -> bool:
    """Serve on the node's socket until a signal.

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
        self._ingestion = Ingestion(node.config, may_migrate=node.may_migrate)

    async def run(self, on_checkpoint: Callable[[], None], on_stop: Callable[[], None]) -> bool:
        loop = asyncio.get_running_loop()
        stop = Stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.signal)
        # A supervisor's child was born with them blocked, so that none could end it before it is ready for them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        self._ingestion.start(loop)
        await loop.run_in_executor(None, self._ingestion.wait_for_database, FIRST_ATTEMPT_S)
        app = create_app(self._node, self._ingestion, self._metrics)
        server = await _start_server(app, self._node.listener)
        checkpoints = loop.create_task(self._checkpoint(on_checkpoint))
        # What is there at the start stays: a collection need not look at it again.
        gc.collect()
        gc.freeze()
        self._metrics.set("serving", 1)
        on_checkpoint()
        logger.info("serving", extra={"action": "start"})

        await stop.asked.wait()
        on_stop()
        logger.info("stopping", extra={"action": "stop"})
        ends_at = monotonic() + self._node.config.shutdown_timeout_s
        all_answered = await self._wind_down(app, server, stop, ends_at)
        checkpoints.cancel()
        await self._end_ingestion(stop, ends_at)
        await server.after_stop()
        self._metrics.set("serving", 0)
        logger.info("stopped", extra={"action": "stop", "all_answered": all_answered})
        return all_answered

    async def _wind_down(self, app: App, server: AsyncioServer, stop: Stop, ends_at: float) -> bool:
        """Stop accepting, let every connection end its request; return whether none was cut off."""
        connections: set[LingeringProtocol] = server.connections
        # From now on every answer says that its connection closes.
        app.config.KEEP_ALIVE = False
        for connection in tuple(connections):
            connection.wind_down()
        if self._node.owns_listener:
            await _accept_pending(self._node.listener)
        server.close()
        while connections and monotonic() < ends_at and not stop.at_once.is_set():
            for connection in tuple(connections):
                connection.wind_down()
            await asyncio.sleep(0.02)
        all_answered = not any(connection.is_busy() for connection in connections)
        for connection in tuple(connections):
            connection.abort()
        return all_answered

    async def _end_ingestion(self, stop: Stop, ends_at: float) -> None:
        """Let the last batch be kept; a disk that hangs holds up the end no longer than senders may."""
        ended = asyncio.get_running_loop().run_in_executor(None, self._ingestion.stop)
        soonest = monotonic() + LAST_BATCH_S
        while not ended.done():
            if monotonic() > (soonest if stop.at_once.is_set() else max(soonest, ends_at)):
                # Nobody was answered for what it holds. An exit in good order would wait for its thread.
                logger.error("the last batch hangs, stopped without it", extra={"action": "stop"})
                self._node.log.close()
                os._exit(EXIT_FAILED)
            await asyncio.sleep(0.02)
        await ended

    async def _checkpoint(self, on_checkpoint: Callable[[], None]) -> None:
        metrics, writer = self._metrics, self._ingestion.writer
        batches = rows = 0
        while True:
            now = monotonic()
            metrics.set("loop_seen", now)
            # Waiting for work is progress; a batch under way has not passed since it began.
            metrics.set("writer_seen", writer.busy_since or now)
            metrics.add("batches", writer.batches - batches)
            metrics.add("batch_rows", writer.rows - rows)
            batches, rows = writer.batches, writer.rows
            metrics.set("last_commit", writer.last_commit or metrics.get("last_commit"))
            metrics.set("has_store", writer.has_store)
            on_checkpoint()
            await asyncio.sleep(CHECKPOINT_S)


async def _start_server(app: App, listener: socket.socket) -> AsyncioServer:
    take_on_everybody(listener)
    server = await app.create_server(
        sock=listener, protocol=LingeringProtocol, backlog=LISTEN_BACKLOG, return_asyncio_server=True
    )
    assert server is not None
    # Only a server that the framework started itself is noted there, and without a note every answer would carry an
    # empty Alt-Svc header.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    await server.startup()
    await server.before_start()
    await server.after_start()
    await server.start_serving()
    return server


async def _accept_pending(listener: socket.socket) -> None:
    """Let the loop accept what queues in the kernel, while the kernel takes on no more."""
    take_on_nobody_new(listener)
    await asyncio.sleep(HANDSHAKE_S)
