"""Programs that read the feed as integrators' do: they go on from where they were, whatever happens to the server."""

from __future__ import annotations

import json
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import closing
from http.client import HTTPException
from typing import Any

from tests.support.crm_client import BEARER, request_head
from tests.support.server import Server

RETRY_S = 0.05


class FeedReader(ABC):
    """A thread that reads until it is closed."""

    def __init__(self, server: Server, after: int) -> None:
        """Begin after a number."""
        self.events: list[dict[str, Any]] = []
        self.created: list[str] = []
        """The ids of the leads that it was told of, in order."""
        self._server = server
        self._after = after
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def __enter__(self) -> FeedReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._read()
            except (OSError, HTTPException, ValueError, AssertionError):
                self._closing.wait(RETRY_S)

    def _take(self, events: list[dict[str, Any]]) -> None:
        if events:
            self.events += events
            self.created += [event["leadId"] for event in events if event["type"] == "lead.created"]
            self._after = events[-1]["seq"]

    @abstractmethod
    def _read(self) -> None:
        """Read on from `_after` until the connection ends."""


class Poller(FeedReader):
    """Asks for the next page again and again."""

    def _read(self) -> None:
        answer = self._server.client.get(f"/api/feed?after={self._after}&limit=37&wait=1", headers=[BEARER])
        assert answer.status == 200
        document = answer.json()
        self._take(document["events"])
        assert document["next"] == self._after


class Listener(FeedReader):
    """Listens to the stream, and comes back with Last-Event-ID."""

    def _read(self) -> None:
        head = request_head("/api/leads/stream")[:-2] + b"Last-Event-ID: %d\r\n\r\n" % self._after
        with closing(socket.create_connection((self._server.host, self._server.port), timeout=0.2)) as connection:
            connection.sendall(head)
            received, listens = b"", False
            while not self._closing.is_set():
                try:
                    part = connection.recv(65_536)
                except TimeoutError:
                    continue
                if not part:
                    raise ConnectionResetError
                received += part
                if not listens:
                    answer, ended, rest = received.partition(b"\r\n\r\n")
                    if not ended:
                        continue
                    # A server that refuses keeps the connection for the next request: nothing would come on it.
                    assert answer.startswith(b"HTTP/1.1 200 ")
                    listens, received = True, rest
                *blocks, received = received.split(b"\n\n")
                for block in blocks:
                    data = block.partition(b"data: ")[2]
                    if data:
                        self._take([json.loads(data)])
