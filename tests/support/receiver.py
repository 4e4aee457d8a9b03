"""A receiver of deliveries: a real HTTP server whose paths answer, stall and misbehave as they are told."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson

Handler = Callable[[BaseHTTPRequestHandler], None]


class Received(NamedTuple):
    """One request, as it arrived."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def document(self) -> Any:
        """The body's JSON."""
        return orjson.loads(self.body)

    @property
    def id(self) -> str:
        """What names the event at every attempt."""
        return self.headers["webhook-id"]


def answer(status: int, body: bytes = b"", **headers: str) -> Handler:
    """Return what answers with a status; `Retry_After` names the header Retry-After."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if status != HTTPStatus.NO_CONTENT:
            request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return handle


def endless(request: BaseHTTPRequestHandler) -> None:
    """Answer 200, and never come to the end of the body."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65_536)


def trickle(request: BaseHTTPRequestHandler) -> None:
    """Send a byte of the head now and then, for ever."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.1)


def working(request: BaseHTTPRequestHandler) -> None:
    """Say now and then, for ever, that the answer will come."""
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.1)


class Receiver:
    """A server on 127.0.0.1; paths that were told nothing answer 204."""

    def __init__(self) -> None:
        """Start to listen."""
        self.received: defaultdict[str, list[Received]] = defaultdict(list)
        """What came in, by path."""
        self.handlers: dict[str, Handler] = {}
        self.connections: list[socket.socket] = []
        """All that were made, in order."""
        self._lead_ids: defaultdict[str, list[str]] = defaultdict(list)
        self._read: defaultdict[str, int] = defaultdict(int)
        self._reading = threading.Lock()
        self._closing = threading.Event()
        receiver = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = self.rfile.read(size)
                if len(body) < size:
                    # The sender was killed.
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received[self.path].append(Received(headers, body, time.monotonic()))
                with suppress(OSError):
                    receiver.handlers.get(self.path, answer(204))(self)

            def log_message(self, *_: object) -> None:
                pass

        class HttpServer(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            """As real ones have it: a connection that finds no place comes again after a second, then after three."""

            def handle_error(self, *_: object) -> None:
                """Say nothing of connections that end early."""

        self._server = HttpServer(("127.0.0.1", 0), Request)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def stall(self, _: BaseHTTPRequestHandler) -> None:
        """Answer nothing until the receiver is closed."""
        self._closing.wait(60)

    def forget(self) -> None:
        """Begin anew."""
        for kept in (self.received, self._lead_ids, self._read):
            kept.clear()

    def lead_ids(self, path: str) -> list[str]:
        """Return the ids of the leads that a path was told of as created, in order."""
        with self._reading:
            ids, read = self._lead_ids[path], self._read[path]
            # Each is parsed once: a test asks again and again while thousands arrive.
            events = [received.document for received in self.received[path][read:]]
            self._read[path] += len(events)
            ids += [event["leadId"] for event in events if event["type"] == "lead.created"]
            return list(ids)
