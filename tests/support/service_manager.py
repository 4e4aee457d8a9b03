"""A service manager's end of sd_notify(3): the states that a service tells."""

from __future__ import annotations

import socket
from pathlib import Path

WATCHDOG_S = 2.0
"""Of what a unit would say, so that a feeding is due every half second and some."""


class Manager:
    """The socket to which a service tells its state."""

    def __init__(self, path: Path, *, watchdog_s: float = WATCHDOG_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))}

    def told(self, timeout_s: float = 20.0) -> str:
        """Return the next state told. Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        return self._socket.recv(4096).decode()

    def wait_told(self, state: str) -> None:
        """Wait until the service has told a state."""
        while self.told() != state:
            pass

    def tells_within(self, timeout_s: float) -> bool:
        """Whether the service tells anything within a time."""
        try:
            return bool(self.told(timeout_s))
        except TimeoutError:
            return False

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
