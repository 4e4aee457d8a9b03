"""The floor: Sanic on uvloop that reads a lead and answers 201, without storing or logging it.

Run as `python floor.py PORT WORKERS`; it starts WORKERS processes on one socket.
"""

import asyncio
import os
import signal
import socket
import sys

import uvloop
from sanic import Request, Sanic
from sanic.response import HTTPResponse


def main(port: int, workers: int) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.setblocking(False)
    children = []
    for _ in range(workers - 1):
        if (pid := os.fork()) == 0:
            break
        children.append(pid)
    try:
        asyncio.set_event_loop(loop := uvloop.new_event_loop())
        loop.run_until_complete(_serve(listener))
    finally:
        for pid in children:
            os.kill(pid, signal.SIGTERM)


async def _serve(listener: socket.socket) -> None:
    app = Sanic("floor", configure_logging=False)
    app.config.ACCESS_LOG = False

    @app.get("/health")
    async def _health(_: Request) -> HTTPResponse:
        return HTTPResponse(b'{"ok":true}', content_type="application/json")

    @app.post("/api/lead")
    async def _lead(_: Request) -> HTTPResponse:
        return HTTPResponse(
            b'{"ok":true,"lead_id":"550e8400-e29b-41d4-a716-446655440000","deduplicated":false}',
            status=201,
            content_type="application/json",
        )

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await app.create_server(sock=listener, return_asyncio_server=True)
    await server.startup()
    await server.before_start()
    await server.after_start()
    await server.start_serving()
    await stop.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
