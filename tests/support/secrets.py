"""What no log may hold: every payload, token and password of the tests carries this mark, and every log is searched."""

from __future__ import annotations

from tests.support.server import Server

MARK = "no-log-may-hold"


def assert_no_secret_in_the_log(server: Server) -> None:
    """Search all that a server wrote, of every start."""
    for path in (server.stdout_path, server.stderr_path):
        lines = path.read_bytes().splitlines() if path.exists() else []
        telling = [line for line in lines if MARK.encode() in line]
        assert telling == [], f"{path} holds what no log may hold"
