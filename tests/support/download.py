"""An answer of the CRM that is read as slowly as a test wants."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from tests.support.crm_client import Crm, request_head


class Download:
    """A request whose answer is read as slowly as the test wants."""

    def __init__(self, crm: Crm, target: str, *, receive_bytes: int = 65_536) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(20)
        self._socket.connect((crm.server.host, crm.server.port))
        self._socket.sendall(request_head(target))
        self.received = bytearray()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def read_until(self, content: bytes) -> None:
        searched = 0
        while self.received.find(content, max(0, searched - len(content))) < 0:
            searched = len(self.received)
            assert self._receive(), f"the connection ended after {self.received[-200:]!r}"

    def hears(self, content: bytes, *, within_s: float) -> bool:
        """Say whether some bytes come within a time."""
        ends_at = time.monotonic() + within_s
        while content not in self.received and (left_s := ends_at - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            with suppress(TimeoutError):
                if not self._receive():
                    break
        self._socket.settimeout(20)
        return content in self.received

    def read_to_the_end(self) -> bytearray:
        """Read until the server closes, in whatever way."""
        with suppress(ConnectionError):
            while self._receive():
                pass
        return self.received

    def abort(self) -> None:
        """Hang up, as a browser does in the middle of a download."""
        if self._socket.fileno() < 0:
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _receive(self) -> bool:
        part = self._socket.recv(65_536)
        self.received += part
        return bool(part)
