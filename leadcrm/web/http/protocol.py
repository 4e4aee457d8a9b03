"""The HTTP protocol of the framework, with a kinder way to stop and an ear for senders that hang up.

When a server stops, the framework closes every connection on which no request is being handled, also one that the
kernel accepted a moment ago and whose request is on its way. This one lets such a connection wait a moment first.

When a sender stops sending, the framework drops whatever it has not handled yet. Some send a lead, hang up and never
look at the answer; others stop sending and wait for it. This one reads what was sent to its end and answers.
"""

from __future__ import annotations

import select
from asyncio import BaseTransport, Transport
from collections.abc import Coroutine
from typing import Any

from sanic.exceptions import BadRequest, RequestCancelled
from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from leadcrm.web.http.strict_http import StrictHttp

LINGER_S = 0.25
"""How long a quiet connection may still send a request after the stop: a round trip and some."""

BURST_BYTES = 8 * 1024 * 1024
"""What all connections of a worker may receive before their handlers run."""


class _Burst:
    """What arrives between two turns of the handlers."""

    def __init__(self) -> None:
        self._received = 0
        self._paused: list[Transport] = []

    def count(self, size: int, protocol: HttpProtocol) -> None:
        if not self._received:
            # It runs in the turn in which the handlers of what arrived run too.
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
    """Gives what was sent its answer, though the server stops or the sender does."""

    HTTP_CLASS = StrictHttp
    __slots__ = ("_lingers", "_sender_done")
    _burst = _Burst()

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin a connection."""
        self._lingers = self._sender_done = False
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self._burst.count(len(data), self)
        super().data_received(data)

    def eof_received(self) -> bool:
        """Say whether to keep the connection for an answer: unless its task waits for more, which waits in vain."""
        self._sender_done = True
        return self._data_received.is_set()

    def receive_more(self) -> Coroutine[Any, Any, None]:
        """Wait for more of a request, which no longer comes once the sender has stopped sending."""
        if self._sender_done:
            if self.is_busy():
                raise BadRequest("the sender stopped within its request")
            raise RequestCancelled
        # Handed on, not awaited: a coroutine round the framework's would cost each request half a microsecond.
        return super().receive_more()

    def wind_down(self) -> None:
        """Answer what is on its way, say `Connection: close` with it, and close once nothing comes."""
        if self.http is not None:
            self.http.keep_alive = False
        if not self._lingers:
            self._lingers = True
            self.loop.call_later(LINGER_S, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        # Timers come before what has arrived meanwhile is read and handled, and after a pause of the process much has.
        if not self.recv_buffer and not self._has_unread():
            self.close_if_idle()

    def _has_unread(self) -> bool:
        if self.transport is None or self.transport.is_closing():
            return False
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def is_busy(self) -> bool:
        """Say whether a request is being received, handled or answered."""
        return self.http is not None and self.http.stage is not Stage.IDLE
