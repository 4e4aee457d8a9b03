"""Attackers that hold connections: idle ones, half heads, half bodies."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.hostile.attackers import open_connections
from tests.hostile.siege import Siege
from tests.support.rows import Rows


def test_idle_connections_hold_nobody_up(start_server: StartServer, database: str, rows: Rows, siege: Siege) -> None:
    server = start_server(database, tracer=["prlimit", "--nofile=1024"])
    with siege.of(server, rows, "1,200 idle connections, 1,024 descriptors"), open_connections(server, 1200):
        siege.wait_acknowledged(20)
