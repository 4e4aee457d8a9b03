"""Connections at a stop, when the process is suspended at the worst moment."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from types import SimpleNamespace

import pytest
import uvloop
from sanic import Sanic
from sanic.config import Config as SanicConfig
from sanic.response import HTTPResponse

from leadcrm.web.http.connections import Connections
from leadcrm.web.http.protocol import LINGER_S, LingeringProtocol

REQUEST = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"}"), 10)


class Pausing(LingeringProtocol):
    """Suspends the process right after a request was read, if `pauses` is set."""

    pauses = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.pauses:
            time.sleep(LINGER_S + 0.1)


async def converse(*, handed_over: bool) -> bytes:
    """Wind a connection down, and return its answer to a request that came while the process was suspended for longer.

    Args:
        handed_over: the loop has read the request before the suspension, but the request's task has not run yet.
    """
    app: Sanic[SanicConfig, SimpleNamespace] = Sanic(f"paused-{handed_over}", configure_logging=False)
    app.config.ACCESS_LOG = False
    app.ctx.trusted_proxies = ()
    app.ctx.connections = Connections(most=10, window_s=20, count=lambda _: None)

    @app.get("/health")
    async def _(_: object) -> HTTPResponse:
        return HTTPResponse(b"{}")

    listener = socket.create_server(("127.0.0.1", 0))
    server = await app.create_server(sock=listener, protocol=Pausing, return_asyncio_server=True)
    assert server is not None
    await server.startup()
    await server.start_serving()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        writer.write(REQUEST)
        await answer(reader)
        (connection,) = server.connections
        app.config.KEEP_ALIVE = False
        connection.wind_down()
        Pausing.pauses = handed_over
        os.write(writer.get_extra_info("socket").fileno(), REQUEST)
        if not handed_over:
            time.sleep(LINGER_S + 0.1)  # noqa: ASYNC251 - the suspension
        head = await answer(reader)
        assert await asyncio.wait_for(reader.read(), 10) == b""
    finally:
        Pausing.pauses = False
        writer.close()
        server.close()
    return head


@pytest.mark.parametrize("handed_over", [False, True], ids=["unread", "read, not handled"])
def test_a_request_that_came_during_a_suspension_is_answered_before_its_connection_closes(
    monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    # Sanic allows several applications in one process only in this mode.
    monkeypatch.setattr(Sanic, "test_mode", True)
    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        head = loop.run_until_complete(asyncio.wait_for(converse(handed_over=handed_over), 30))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in head.lower()
