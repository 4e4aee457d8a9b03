"""Ports for servers that restart on the same address.

They lie below the kernel's ephemeral range. Otherwise, while a server is down, an outgoing connection of the load
could get its port as local port. Processes that run tests beside each other each have ports of their own: or one could
get the port on which a server of another is about to start.
"""

import os
import random
import socket
from pathlib import Path

LOWEST_PORT = 10_000
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_given_out: set[int] = set()


def free_port() -> int:
    """Return a free port of 127.0.0.1 that this process has not returned before."""
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    highest_port = max(int(ephemeral[0]) - 1, LOWEST_PORT + 5_000)
    while True:
        port = random.randint(LOWEST_PORT, highest_port)
        if port in _given_out or port % PROCESSES != PROCESS:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_out.add(port)
        return port
