"""systemd's protocols, without a library: listening sockets from it, states and watchdog to it.

Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from leadcrm.errors import ConfigError

_FIRST_FD = 3


def listen_sockets(environ: Mapping[str, str]) -> tuple[socket.socket, ...]:
    """Return the listening sockets that systemd passed to this process; none if it passed none.

    Raises:
        ConfigError: One of them accepts no connections.
    """
    if not _is_for_us(environ.get("LISTEN_PID")):
        return ()
    numbers = range(_FIRST_FD, _FIRST_FD + int(environ.get("LISTEN_FDS") or 0))
    return tuple(map(_listener, numbers))


def _listener(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    listener = socket.socket(fileno=descriptor)
    # A socket of another kind has no such option.
    with suppress(OSError):
        if listener.type == socket.SOCK_STREAM and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.setblocking(False)
            return listener
    fault = f"systemd passed a socket that accepts no connections: {listener.getsockname()}"
    raise ConfigError("LISTEN_FDS", fault, "stream sockets that listen: ListenStream= without Accept=yes")


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send systemd a state such as `READY=1`, if it asked for states, and say whether none is left to send.

    A full or missing notification socket, or no descriptor for one, is no reason to stop serving, so it is not an
    error.
    """
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return True
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        return True
    return False


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to feed systemd's watchdog, which is half its limit, or None where it is off."""
    limit_us = environ.get("WATCHDOG_USEC")
    return int(limit_us) / 2_000_000 if limit_us and _is_for_us(environ.get("WATCHDOG_PID")) else None


def _is_for_us(pid: str | None) -> bool:
    """Say whether a pid is that of this process or its parent, which in a one-file executable is the bootloader."""
    return not pid or int(pid) in (os.getpid(), os.getppid())
