"""The end of a connection whose other side takes its time: each byte of a slow answer would renew a timeout."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def ending(sock: socket.socket, seconds: float) -> Iterator[None]:
    """End a socket's connection unless the block ends in time.

    Raises:
        TimeoutError: It did not, however well it took the end: half a head is none.
    """
    has_ended = threading.Event()

    def end() -> None:
        has_ended.set()
        with suppress(OSError):
            # Not that of TLS, which another thread may be reading with.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if has_ended.is_set():
        raise TimeoutError
