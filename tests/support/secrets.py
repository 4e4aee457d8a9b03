"""Searches every log for the mark that the payloads, tokens and passwords of the tests contain."""

from __future__ import annotations

from tests.support.server import Server

MARK = "no-log-may-hold"


def assert_no_secret_in_the_log(server: Server) -> None:
    """Search the whole output of a server, over all its starts."""
    for path in (server.stdout_path, server.stderr_path):
        lines = path.read_bytes().splitlines() if path.exists() else []
        telling = [line for line in lines if MARK.encode() in line]
        assert telling == [], f"{path} holds a secret"
