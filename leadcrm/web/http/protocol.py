"""The framework's HTTP protocol, changed so that a stop or a sender that hangs up or stalls costs no request.

At a stop, the framework closes every connection that has no request in progress, even if it was accepted a moment ago
and its request is on the way. This protocol waits a moment first.

When a sender stops sending, the framework drops everything it has not handled yet. Some senders hang up after a lead
without looking at the answer; others close only their sending side and wait. This protocol reads everything that was
sent, and answers it.

The framework lets a sender take all the time there is for a request, as long as a byte comes now and then, and reads a
body that nobody wants to its end. This protocol ends a request that is too slow, and answers without the rest of its
body: it drops what still comes for a moment, so that the sender sees the answer, and closes the connection.
"""

from __future__ import annotations

import logging
import select
from asyncio import BaseTransport, Transport
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from sanic.exceptions import BadRequest, RequestCancelled, RequestTimeout, SanicException, ServiceUnavailable
from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from leadcrm.web.http.client_address import client_of
from leadcrm.web.http.connections import Connections
from leadcrm.web.http.proxy_protocol import read_proxy_header
from leadcrm.web.http.strict_http import StrictHttp, may_begin_head

logger = logging.getLogger("leadcrm.web.http.protocol")

LINGER_S = 0.25
"""How long an idle connection may still send a request after the stop: more than one round trip."""

BURST_BYTES = 8 * 1024 * 1024
"""How much all connections of a worker may receive before their handlers run."""

DROPPED_BYTES = 1024 * 1024
DROPPING_S = 1.0
"""How much of a body that nobody wants is read and dropped, so that its sender sees the answer and no reset."""


AHEAD_BYTES = 16 * 1024 * 1024
"""How much all connections of a worker may send ahead: more requests while one is answered, or a body before its turn.
"""


class _Burst:
    """Counts the bytes received within one loop iteration, and pauses reading when they are too many."""

    def __init__(self) -> None:
        self._received = 0
        self._paused: list[Transport] = []

    def count(self, size: int, protocol: HttpProtocol) -> None:
        if not self._received:
            # `call_soon` runs this in the same loop iteration as the handlers of these bytes.
            protocol.loop.call_soon(self._end)
        self._received += size
        if self._received > BURST_BYTES and not self._paused:
            transports = (connection.transport for connection in protocol.connections)
            self._paused = [transport for transport in transports if transport and transport.is_reading()]
            for transport in self._paused:
                transport.pause_reading()

    def _end(self) -> None:
        self._received = 0
        for transport in self._paused:
            if not transport.is_closing():
                transport.resume_reading()
        self._paused = []


class LingeringProtocol(HttpProtocol):
    """Answers every request that was sent, even if the server stops or the sender hangs up."""

    HTTP_CLASS = StrictHttp
    __slots__ = (
        "_ahead_bytes",
        "_begun",
        "_droppable_bytes",
        "_fault",
        "_gives_way",
        "_held",
        "_lingers",
        "_sender_is_done",
        "arriving_since",
        "awaits_part",
        "client",
        "has_unwanted_body",
        "has_waited",
        "window_at",
        "window_bytes",
    )
    _burst = _Burst()

    def connection_made(self, transport: BaseTransport) -> None:
        """Initialize the state of a new connection."""
        self._lingers = self._sender_is_done = self._gives_way = False
        self.awaits_part = self.has_unwanted_body = False
        self.has_waited = True
        self._fault: SanicException | None = None
        self._ahead_bytes = self._droppable_bytes = self.window_bytes = 0
        self.arriving_since = self.window_at = 0.0
        super().connection_made(transport)
        self._time = monotonic()
        self._held: Connections = self.app.ctx.connections
        # The first bytes, while they may be the PROXY protocol's header; None from then on.
        self._begun = b"" if self._may_begin_with_proxy_header() else None
        assert self.conn_info is not None
        self.client = client_of(self.conn_info.client_ip, self.app.ctx.trusted_proxies)
        self._held.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's place."""
        self._held.leave(self)
        self.count_none_ahead()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes towards the burst, and hand them on."""
        self._burst.count(len(data), self)
        if self._droppable_bytes:
            self._drop(len(data))
            return
        if self._begun is not None and not (data := self._without_proxy_header(self._begun + data)):
            return
        if not (self.has_waited or self.awaits_part):
            self.count_ahead(len(data))
        self.awaits_part = False
        self.window_bytes += len(data)
        super().data_received(data)

    def _may_begin_with_proxy_header(self) -> bool:
        trusts = getattr(self.app.ctx, "trusts_proxy_header_of", None)
        return trusts is not None and self.conn_info is not None and trusts(self.conn_info.client_ip)

    def _without_proxy_header(self, begun: bytes) -> bytes:
        """Take the client's address from the header and return what follows it; a malformed one ends the connection."""
        assert self.conn_info is not None
        assert self.transport is not None
        try:
            header = read_proxy_header(begun)
        except ValueError:
            text = "a connection from a trusted proxy was closed: it begins with a malformed PROXY header"
            hint = "compare the proxy's settings, such as send-proxy, with PROXY_PROTOCOL"
            logger.warning(text, extra={"action": "connect", "hint": hint, "repeat_key": text})
            # No answer: who sends this speaks no HTTP yet.
            self.transport.abort()
            return b""
        self._begun = begun if header is None else None
        if header is None:
            return b""
        if header.address is not None:
            self.conn_info.client_ip = header.address
        return begun[header.size :]

    def count_ahead(self, size: int) -> None:
        """Count bytes that came before anybody waits for them, and read no more until somebody does."""
        self._ahead_bytes += size
        self._held.ahead_bytes += size
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            if self._held.ahead_bytes > AHEAD_BYTES:
                self.transport.abort()

    def count_none_ahead(self) -> None:
        """Note that what came ahead is being read."""
        self._held.ahead_bytes -= self._ahead_bytes
        self._ahead_bytes = 0

    def eof_received(self) -> bool:
        """Return whether to keep the connection open for an answer, as one to an incomplete request is too."""
        self._sender_is_done = True
        self.awaits_part = False
        if self._droppable_bytes:
            return False
        if self.is_busy():
            self._data_received.set()
        return self._data_received.is_set()

    def receive_more(self) -> Coroutine[Any, Any, None]:
        """Wait for more bytes of a request.

        Raises:
            BadRequest: the sender stopped sending within its request, or what it sent is no HTTP.
            RequestCancelled: the sender stopped sending between requests.
            RequestTimeout: the sender is too slow.
            ServiceUnavailable: the request must give way.
        """
        if self._sender_is_done:
            if self.is_busy():
                raise BadRequest("the sender stopped within its request")
            raise RequestCancelled
        if self._ahead_bytes:
            self.count_none_ahead()
        if self.is_busy():
            return self._receive_part()
        self.has_waited = True
        # Returned, not awaited: another coroutine around the framework's would cost each request half a microsecond.
        return super().receive_more()

    async def _receive_part(self) -> None:
        if self.recv_buffer and self.http.stage is Stage.REQUEST and not may_begin_head(self.recv_buffer):
            raise BadRequest("no HTTP")
        if not self.arriving_since:
            self.arriving_since = self.window_at = monotonic()
            self.window_bytes = 0
            self._held.watch(self)
        self.awaits_part = True
        await super().receive_more()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def fail(self, fault: SanicException) -> None:
        """End the request that waits for its rest with this fault, if one does."""
        if self.awaits_part:
            self.awaits_part = False
            self._fault = fault
            self._data_received.set()

    def be_too_slow(self) -> None:
        """End the present request: its sender is slower than any should be."""
        # It does not send, so it will see the answer: there is nothing to drop before the connection is closed.
        self._gives_way = True
        self.fail(RequestTimeout("the sender is too slow"))

    @property
    def unused_since(self) -> float | None:
        """When the connection was last of use; None while it is."""
        if self.awaits_part:
            return self.arriving_since
        if self.is_busy() == bool(self.recv_buffer) or not self._can_write.is_set():
            # It is idle; or its client sends more requests before it has its answer, or does not read that.
            return float(self._time)
        return None

    def give_way(self) -> None:
        """Close the connection soon: another needs its place."""
        self._gives_way = True
        if self.awaits_part:
            self.fail(ServiceUnavailable("too many connections"))
        elif not self.is_busy():
            self.close()
        elif self.transport is not None:
            # A close would wait for the client to read.
            self.transport.abort()

    def close(self, timeout: float | None = None) -> None:
        """Close the connection; after an answer that came before the end of its body, only once the sender saw it."""
        if self.has_unwanted_body and not self._gives_way and self.transport and not self.transport.is_closing():
            self.has_unwanted_body = False
            if not self._sender_is_done and self.transport.can_write_eof():
                self._droppable_bytes = DROPPED_BYTES
                self.transport.write_eof()
                self.transport.resume_reading()
                self.loop.call_later(DROPPING_S, self.close)
                return
        super().close(timeout=timeout)

    def _drop(self, count: int) -> None:
        self._droppable_bytes -= count
        if self._droppable_bytes <= 0:
            # Not 0: what still comes until the connection is closed must be dropped too.
            self._droppable_bytes = 1
            self.close()

    def wind_down(self) -> None:
        """Answer requests on the way with `Connection: close`, and close the connection once it is idle."""
        if self.http is not None:
            self.http.keep_alive = False
        if not self._lingers:
            self._lingers = True
            self.loop.call_later(LINGER_S, self._close_if_unused)

    def _close_if_unused(self) -> None:
        # The loop runs timers before it reads sockets: after a suspension of the process, requests may be waiting.
        if not self.recv_buffer and not self.has_unread():
            self.close_if_idle()

    def has_unread(self) -> bool:
        """Return whether bytes have come that the loop has not read."""
        if self.transport is None or self.transport.is_closing():
            return False
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def is_busy(self) -> bool:
        """Return whether a request is being received, handled or answered."""
        return self.http is not None and self.http.stage is not Stage.IDLE
