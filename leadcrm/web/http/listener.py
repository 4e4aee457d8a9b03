"""The listening socket at the stop: the kernel must not complete a connection that the service will not answer.

When a socket is closed, the kernel resets the connections in its queue: complete, perhaps with a request sent, but not
yet accepted. So the service first stops new handshakes, then accepts the queued connections, then closes the socket. A
client that connects in between is not refused: its kernel sends its SYN again a second later, when the next server may
be listening.
"""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
import struct
import sys
from contextlib import suppress
from time import monotonic

HANDSHAKE_S = 0.2
"""How long a handshake under way at the stop may take: a round trip around the world."""

ACCEPT_S = 0.005
"""How long the loop goes on before it is asked again whether it has accepted all connections."""

# asm-generic/socket.h; Python's socket module has no names for them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27

_DROP_NEW_CONNECTIONS = (
    # Classic BPF over a TCP segment (https://docs.kernel.org/networking/filter.html): code, jump if true, if false, k.
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone, the first packet of a handshake?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else accept all of it
)


def stop_new_handshakes(listener: socket.socket) -> None:
    """Complete the handshakes under way and begin no other, for every process that shares the socket."""
    if sys.platform == "linux":
        program = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW_CONNECTIONS)
        memory = ctypes.create_string_buffer(program)
        header = struct.pack("HP", len(_DROP_NEW_CONNECTIONS), ctypes.addressof(memory))
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
            return
    # The next best is a queue for one connection. Handshakes under way may then end in a reset.
    listener.listen(0)


def allow_new_handshakes(listener: socket.socket) -> None:
    """Undo `stop_new_handshakes`, which stays in force on a socket that outlives its process."""
    if sys.platform == "linux":
        with suppress(OSError):  # ENOENT: nothing to undo
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


async def accept_pending(listeners: tuple[socket.socket, ...], ends_at: float, at_once: asyncio.Event) -> None:
    """Let the loop accept the connections in the kernel's queues, while the kernel completes no new ones.

    It ends early once `at_once` is set.
    """
    for listener in listeners:
        stop_new_handshakes(listener)
    await asyncio.sleep(HANDSHAKE_S)
    # The loop accepts one connection of a queue in each iteration, and a busy one runs few of them in that time.
    while any(map(_has_pending, listeners)) and monotonic() < ends_at and not at_once.is_set():  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(ACCEPT_S)
    # The one that was accepted last is among the server's connections only an iteration later.
    await asyncio.sleep(ACCEPT_S)


def _has_pending(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener.fileno(), select.POLLIN)
    return bool(poller.poll(0))
