"""Ports for servers that are stopped and started again on the same address.

They lie below the kernel's ephemeral range: while a server is down, none of the thousands of outgoing
connections of a load can be given its port as its own end.
"""

import random
import socket
from pathlib import Path

LOWEST_PORT = 10_000
_given_out: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens and that this process has not given out before."""
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    highest_port = max(int(ephemeral[0]) - 1, LOWEST_PORT + 5_000)
    while True:
        port = random.randint(LOWEST_PORT, highest_port)
        if port in _given_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_out.add(port)
        return port
