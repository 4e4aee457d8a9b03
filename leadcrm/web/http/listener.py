"""The listening socket at the stop: how nobody's connection is taken on that nobody will answer.

A server that closes its socket resets whoever the kernel has taken on meanwhile: their connection stands, their request
may be sent, and nobody has accepted them. So the kernel is first told to take on nobody new, then all that were taken
on are accepted, then the socket is closed. Whoever knocks in between is not refused either: its kernel knocks again a
second later, when the next server may be there.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress

# asm-generic/socket.h; Python's socket module has no names for them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27

_DROP_NEW_CONNECTIONS = (
    # Classic BPF over a TCP segment (https://docs.kernel.org/networking/filter.html): code, jump if true, if false, k.
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone, a first knock?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else let all of it through
)


def take_on_nobody_new(listener: socket.socket) -> None:
    """Let the handshakes under way end and begin no other, in every process that shares the socket."""
    if sys.platform == "linux":
        program = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW_CONNECTIONS)
        memory = ctypes.create_string_buffer(program)
        header = struct.pack("HP", len(_DROP_NEW_CONNECTIONS), ctypes.addressof(memory))
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
            return
    # The next best: a queue for one. Handshakes under way may then end in a reset.
    listener.listen(0)


def take_on_everybody(listener: socket.socket) -> None:
    """Undo `take_on_nobody_new`, which the socket keeps when the process that serves it is replaced."""
    if sys.platform == "linux":
        with suppress(OSError):  # ENOENT: nothing to undo
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
