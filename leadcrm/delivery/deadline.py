"""The end of a connection whose other side takes its time: each byte of a slow answer would renew a timeout."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic, sleep

LOOK_S = 0.05
"""By how much a connection may outlast its deadline."""


class _Deadline:
    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self.sock = sock
        self.ends_at = ends_at
        self.has_ended = False


class _Deadlines:
    """One thread for all deadlines: a timer for each took a third of the time of a delivery."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[_Deadline] = set()
        self._is_needed = threading.Event()
        threading.Thread(target=self._run, name="leadcrm-deadlines", daemon=True).start()

    def add(self, deadline: _Deadline) -> None:
        with self._lock:
            self._open.add(deadline)
        self._is_needed.set()

    def remove(self, deadline: _Deadline) -> None:
        with self._lock:
            self._open.discard(deadline)

    def _run(self) -> None:
        while self._is_needed.wait():
            with self._lock:
                for deadline in self._open:
                    if monotonic() >= deadline.ends_at:
                        deadline.has_ended = True
                        with suppress(OSError):
                            # Not that of TLS, which another thread may be reading with.
                            socket.socket.shutdown(deadline.sock, socket.SHUT_RDWR)
                if not self._open:
                    self._is_needed.clear()
            sleep(LOOK_S)


_deadlines = cache(_Deadlines)


@contextmanager
def ending(sock: socket.socket, seconds: float) -> Iterator[None]:
    """End a socket's connection unless the block ends in time.

    Raises:
        TimeoutError: It did not, however it took the end: half a head is none, and nobody else ended it.
    """
    deadline = _Deadline(sock, monotonic() + seconds)
    deadlines = _deadlines()
    deadlines.add(deadline)
    try:
        yield
    except Exception:
        if deadline.has_ended:
            raise TimeoutError from None
        raise
    finally:
        deadlines.remove(deadline)
    if deadline.has_ended:
        raise TimeoutError
