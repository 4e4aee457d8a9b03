"""The harness starts, watches and ends a server's processes; a small stand-in takes the server's place."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import ports
from tests.support.server import Server
from tests.support.waiting import wait_until

# Serves GET /health, logs one JSON line, and has a worker that heeds no SIGTERM.
STAND_IN = f"""#!{sys.executable}
import http.server, json, os, signal, socket, sys
if "FAILS" in os.environ:
    sys.exit("there is no disk")
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print(json.dumps({{"msg": "ready", "arguments": sys.argv[1:], **os.environ}}), flush=True)
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler, bind_and_activate=False)
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    server.socket = socket.socket(fileno=3)
else:
    server.server_bind()
    server.server_activate()
server.serve_forever()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A started stand-in."""
    executable = tmp_path / "stand-in"
    executable.write_text(STAND_IN, encoding="utf-8")
    executable.chmod(0o755)
    monkeypatch.setenv("LEADCRM_TEST_EXECUTABLE", str(executable))
    monkeypatch.setenv("ADMIN_TOKEN", "the caller's")
    server = Server(tmp_path / "server", database_url="sqlite:////x", environment={"WORKERS": "2"})
    yield server.start()
    server.clean_up()
    assert server.pids() == []


def test_a_server_gets_a_clean_environment_and_its_log_is_read(stand_in: Server) -> None:
    (record,) = stand_in.log_records()
    assert record["arguments"] == ["serve"]
    assert (record["DATABASE_URL"], record["WORKERS"]) == ("sqlite:////x", "2")
    assert "ADMIN_TOKEN" not in record


def test_the_processes_and_the_memory_of_workers_count(stand_in: Server) -> None:
    assert stand_in.pids()[0] == stand_in.pid
    assert len(stand_in.pids()) == 2
    with stand_in.memory_peak() as peak:
        assert stand_in.memory_bytes() > 1_000_000
    assert peak.peak_bytes > 1_000_000


def test_killing_the_main_process_leaves_the_worker_to_be_cleaned_up(stand_in: Server) -> None:
    stand_in.kill9(only_main=True)
    assert stand_in.exit_status() == -9
    assert len(stand_in.pids()) == 1


def test_a_server_starts_again_on_its_port_after_its_end(stand_in: Server) -> None:
    assert stand_in.terminate() == 3
    stand_in.kill9()
    wait_until(lambda: not stand_in.pids())
    stand_in.start()
    assert len(stand_in.log_records()) == 2


@pytest.mark.usefixtures("stand_in")
def test_a_listening_socket_is_handed_over_as_systemd_does(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        activated = Server(tmp_path / "activated", listening_socket=listening)
        try:
            activated.start()
            assert activated.log_records()[0]["LISTEN_PID"] == str(activated.pid) != str(os.getpid())
        finally:
            activated.clean_up()


@pytest.mark.usefixtures("stand_in")
def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    failing = Server(tmp_path / "failing", environment={"FAILS": "1"})
    try:
        with pytest.raises(AssertionError, match=r"(?s)ended with status 1.*there is no disk"):
            failing.start()
    finally:
        failing.clean_up()


def test_processes_that_run_tests_beside_each_other_share_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PROCESSES", 3)
    given = []
    for process in range(3):
        monkeypatch.setattr(ports, "PROCESS", process)
        given.append({ports.free_port() % 3 for _ in range(20)})
    assert given == [{0}, {1}, {2}]
