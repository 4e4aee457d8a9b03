"""The framework's HTTP protocol, changed so that a stop or a sender that hangs up or stalls costs no request.

At a stop, the framework closes every connection that has no request in progress, even if it was accepted a moment ago
and its request is on the way. This protocol waits a moment first.

When a sender stops sending, the framework drops everything it has not handled yet. Some senders hang up after a lead
without looking at the answer; others close only their sending side and wait. This protocol reads everything that was
sent, and answers it.

When a sender stalls within a body, the framework answers that the service is unavailable, then waits for the rest of
the body for ever. A phone that lost its network would hold a descriptor until it returns. This protocol answers that
the sender took too long, and closes the connection.
"""

from __future__ import annotations

import logging
import select
from asyncio import BaseTransport, Transport
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from sanic.exceptions import BadRequest, RequestCancelled, RequestTimeout
from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from leadcrm.web.http.proxy_protocol import read_proxy_header
from leadcrm.web.http.strict_http import StrictHttp, may_begin_head

logger = logging.getLogger("leadcrm.web.http.protocol")

LINGER_S = 0.25
"""How long an idle connection may still send a request after the stop: more than one round trip."""

BURST_BYTES = 8 * 1024 * 1024
"""How much all connections of a worker may receive before their handlers run."""


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
    __slots__ = ("_begun", "_lingers", "_sender_is_done")
    _burst = _Burst()

    def connection_made(self, transport: BaseTransport) -> None:
        """Initialize the state of a new connection."""
        self._lingers = self._sender_is_done = False
        super().connection_made(transport)
        # The first bytes, while they may be the PROXY protocol's header; None from then on.
        self._begun = b"" if self._may_begin_with_proxy_header() else None

    def data_received(self, data: bytes) -> None:
        """Count the bytes towards the burst, and hand them on."""
        self._burst.count(len(data), self)
        if self._begun is None or (data := self._without_proxy_header(self._begun + data)):
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

    def eof_received(self) -> bool:
        """Return whether to keep the connection open for an answer, as one to an incomplete request is too."""
        self._sender_is_done = True
        if self.is_busy():
            self._data_received.set()
        return self._data_received.is_set()

    def receive_more(self) -> Coroutine[Any, Any, None]:
        """Wait for more bytes of a request.

        Raises:
            BadRequest: the sender stopped sending within its request, or what it sent is no HTTP.
            RequestCancelled: the sender stopped sending between requests.
        """
        if self._sender_is_done:
            if self.is_busy():
                raise BadRequest("the sender stopped within its request")
            raise RequestCancelled
        if self.recv_buffer and self.http.stage is Stage.REQUEST and not may_begin_head(self.recv_buffer):
            raise BadRequest("no HTTP")
        # Returned, not awaited: another coroutine around the framework's would cost each request half a microsecond.
        return super().receive_more()

    def check_timeouts(self) -> None:
        """End a request whose sender stalls; called every half of the shortest timeout."""
        http, task = self.http, self._task
        reads_body = http is not None and http.stage is Stage.HANDLER and http.request_body
        if task is None or not reads_body or monotonic() - self._time <= self.request_timeout:
            super().check_timeouts()
            return
        http.exception = RequestTimeout("the sender stalled within its body")
        # The framework would wait for the rest of the body, and never look at the time again.
        http.request_body = None
        task.cancel()

    def wind_down(self) -> None:
        """Answer requests on the way with `Connection: close`, and close the connection once it is idle."""
        if self.http is not None:
            self.http.keep_alive = False
        if not self._lingers:
            self._lingers = True
            self.loop.call_later(LINGER_S, self._close_if_unused)

    def _close_if_unused(self) -> None:
        # The loop runs timers before it reads sockets: after a suspension of the process, requests may be waiting.
        if not self.recv_buffer and not self._has_unread():
            self.close_if_idle()

    def _has_unread(self) -> bool:
        if self.transport is None or self.transport.is_closing():
            return False
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def is_busy(self) -> bool:
        """Return whether a request is being received, handled or answered."""
        return self.http is not None and self.http.stage is not Stage.IDLE
