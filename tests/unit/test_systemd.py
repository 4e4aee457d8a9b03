"""What systemd and the program say to each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.process.systemd import listen_socket, notify, watchdog_interval_s
from tests.support.server import REPOSITORY, clean_environment

SERVE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
from leadcrm.process.systemd import listen_socket
listener = listen_socket({"LISTEN_FDS": "1", "LISTEN_PID": sys.argv[2].replace("own", str(os.getpid()))})
print(listener and (listener.getsockname()[1], listener.getblocking(), os.get_inheritable(3)))
"""


def listened_by_a_child(meant: str) -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        done = subprocess.run(
            [sys.executable, "-c", SERVE, str(listener.fileno()), meant],
            pass_fds=[listener.fileno()],
            env=clean_environment(REPOSITORY),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout.strip().replace(str(listener.getsockname()[1]), "PORT")


def test_the_socket_handed_over_is_taken_and_kept_from_children() -> None:
    assert listened_by_a_child("own") == "(PORT, False, False)"


def test_a_one_file_executable_is_handed_what_its_bootloader_was() -> None:
    assert listened_by_a_child(str(os.getpid())) == "(PORT, False, False)"


def test_a_socket_meant_for_another_process_is_left_alone() -> None:
    assert listened_by_a_child("1") == "None"


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": ""}, {"LISTEN_PID": "1"}])
def test_without_sockets_there_is_none(environ: dict[str, str]) -> None:
    assert listen_socket(environ) is None


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.settimeout(5)
        yield manager


def test_a_state_is_told_at_a_path(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager.recv(100) == b"READY=1"


def test_a_state_is_told_at_an_abstract_address(manager: socket.socket) -> None:
    name = f"leadcrm-test-{os.getpid()}"
    manager.bind(f"\0{name}")
    notify("WATCHDOG=1", {"NOTIFY_SOCKET": f"@{name}"})
    assert manager.recv(100) == b"WATCHDOG=1"


def test_nobody_asked_or_nobody_there_is_no_error(tmp_path: Path) -> None:
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getppid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], interval_s: float | None) -> None:
    if os.getppid() == 1 and environ.get("WATCHDOG_PID") == "1":
        interval_s = 10.0
    assert watchdog_interval_s(environ) == interval_s
