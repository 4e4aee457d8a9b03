"""Senders that stop within a request and keep their connection open, as a phone without a network does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from sanic import Sanic

from leadcrm.web.app import App
from leadcrm.web.http.protocol import LingeringProtocol
from tests.support.application import application

TIMEOUT_S = "0.2"
"""In place of 20 seconds."""

BODY_HEAD = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"
CHUNKED_HEAD = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

STALLS = {
    "before the body": BODY_HEAD,
    "within the body": BODY_HEAD + b'{"email":"',
    "before a chunk": CHUNKED_HEAD,
    "within the size of a chunk": CHUNKED_HEAD + b"1",
    "within a chunk": CHUNKED_HEAD + b"20\r\n{",
    "within the trailers": CHUNKED_HEAD + b"2\r\n{}\r\n0\r\nX-T: 1",
    "within the head": BODY_HEAD[:30],
}


async def answers_to(app: App, requests: list[bytes]) -> tuple[list[bytes], int]:
    """Send each request on a connection of its own, which stays open; return all that comes back until each is closed.

    Returns:
        The bytes received, and the number of connections that the server still holds.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    server = await app.create_server(sock=listener, protocol=LingeringProtocol, return_asyncio_server=True)
    assert server is not None
    await server.startup()
    await server.start_serving()
    received, writers = [], []
    for request in requests:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writers.append(writer)
        writer.write(request)
        received.append(reader.read())
    try:
        return await asyncio.wait_for(asyncio.gather(*received), 20), len(server.connections)
    finally:
        for writer in writers:
            writer.close()
        server.close()


def run(main: Coroutine[Any, Any, tuple[list[bytes], int]]) -> tuple[list[bytes], int]:
    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_sender_that_stalls_gets_408_and_its_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Sanic allows several applications in one process only in this mode.
    monkeypatch.setattr(Sanic, "test_mode", True)
    with application(tmp_path, REQUEST_TIMEOUT=TIMEOUT_S) as app:
        received, held = run(answers_to(app, list(STALLS.values())))
    for stall, answer in zip(STALLS, received, strict=True):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 "), (stall, answer)
        assert b"\r\nconnection: close" in head, stall
        assert body == b'{"ok":false,"error":"request_timeout"}', stall
    assert held == 0
