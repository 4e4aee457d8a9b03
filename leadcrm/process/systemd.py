"""systemd's protocols, without a library: a listening socket from it, states and watchdog to it.

Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_FIRST_FD = 3


def listen_socket(environ: Mapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd passed to this process, or None."""
    if int(environ.get("LISTEN_FDS") or 0) < 1 or not _is_for_us(environ.get("LISTEN_PID")):
        return None
    os.set_inheritable(_FIRST_FD, False)
    listener = socket.socket(fileno=_FIRST_FD)
    listener.setblocking(False)
    return listener


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send systemd a state such as `READY=1`, if it asked for states.

    A full or missing notification socket is no reason to stop serving, so it is not an error.
    """
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to feed systemd's watchdog, which is half its limit, or None where it is off."""
    limit_us = environ.get("WATCHDOG_USEC")
    return int(limit_us) / 2_000_000 if limit_us and _is_for_us(environ.get("WATCHDOG_PID")) else None


def _is_for_us(pid: str | None) -> bool:
    """Say whether a pid is that of this process or its parent, which in a one-file executable is the bootloader."""
    return not pid or int(pid) in (os.getpid(), os.getppid())
