"""Sockets taken over from systemd, states reported to it, and the watchdog fed while all workers make progress."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic

import pytest

from leadcrm.process.service_manager import PROGRESS_S, ServiceManager
from leadcrm.process.systemd import listen_sockets, notify, watchdog_interval_s
from leadcrm.web.node_metrics import NodeMetrics
from tests.support.descriptors import no_descriptors
from tests.support.server import REPOSITORY, clean_environment

SERVE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
from leadcrm.process.systemd import listen_sockets
listeners = listen_sockets({"LISTEN_FDS": "1", "LISTEN_PID": sys.argv[2].replace("own", str(os.getpid()))})
print(*((listener.getsockname()[1], listener.getblocking(), os.get_inheritable(3)) for listener in listeners))
"""


def listened_by_a_child(listen_pid: str) -> str:
    """Return the listener that a child with this LISTEN_PID takes over, as the child prints it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        done = subprocess.run(
            [sys.executable, "-c", SERVE, str(listener.fileno()), listen_pid],
            pass_fds=[listener.fileno()],
            env=clean_environment(REPOSITORY),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout.strip().replace(str(listener.getsockname()[1]), "PORT")


def test_a_socket_for_this_process_is_taken_and_not_inherited_by_children() -> None:
    assert listened_by_a_child("own") == "(PORT, False, False)"


def test_a_socket_for_the_parent_is_taken_since_that_may_be_a_bootloader() -> None:
    assert listened_by_a_child(str(os.getpid())) == "(PORT, False, False)"


def test_a_socket_for_another_process_is_left_alone() -> None:
    assert listened_by_a_child("1") == ""


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": ""}, {"LISTEN_PID": "1"}])
def test_without_a_socket_from_systemd_there_is_none(environ: dict[str, str]) -> None:
    assert listen_sockets(environ) == ()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.settimeout(5)
        yield manager


def test_a_state_is_sent_to_a_path(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager.recv(100) == b"READY=1"


def test_a_state_is_sent_to_an_abstract_address(manager: socket.socket) -> None:
    name = f"leadcrm-test-{os.getpid()}"
    manager.bind(f"\0{name}")
    notify("WATCHDOG=1", {"NOTIFY_SOCKET": f"@{name}"})
    assert manager.recv(100) == b"WATCHDOG=1"


def test_a_missing_service_manager_is_no_error(tmp_path: Path) -> None:
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
def test_the_watchdog_interval_is_half_its_limit(environ: dict[str, str], interval_s: float | None) -> None:
    if os.getppid() == 1 and environ.get("WATCHDOG_PID") == "1":
        interval_s = 10.0
    assert watchdog_interval_s(environ) == interval_s


@pytest.fixture
def workers() -> NodeMetrics:
    """Two workers that serve and make progress."""
    metrics = NodeMetrics(2)
    for worker in metrics:
        worker.set("serving", 1)
        worker.set("loop_seen", monotonic())
        worker.set("writer_seen", monotonic())
    return metrics


@pytest.fixture
def environ(manager: socket.socket, tmp_path: Path) -> dict[str, str]:
    """The environment of a service with a watchdog that is fed at every tick."""
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2"}


def sent_by_a_tick(service: ServiceManager, manager: socket.socket) -> list[bytes]:
    service.tick()
    sent = []
    with suppress(BlockingIOError):
        while True:
            sent.append(manager.recv(100))
    return sent


def test_ready_is_reported_once_when_the_last_worker_serves(
    manager: socket.socket, workers: NodeMetrics, environ: dict[str, str]
) -> None:
    service = ServiceManager(workers, environ)
    workers.worker(1).set("serving", 0)
    assert b"READY=1" not in sent_by_a_tick(service, manager)
    workers.worker(1).set("serving", 1)
    assert b"READY=1" in sent_by_a_tick(service, manager)
    workers.worker(1).set("serving", 0)
    sent_by_a_tick(service, manager)
    workers.worker(1).set("serving", 1)
    assert b"READY=1" not in sent_by_a_tick(service, manager)


def test_what_could_not_be_sent_is_sent_at_the_next_tick(
    manager: socket.socket, workers: NodeMetrics, environ: dict[str, str]
) -> None:
    service = ServiceManager(workers, environ | {"WATCHDOG_USEC": "60000000"})
    with no_descriptors():
        assert sent_by_a_tick(service, manager) == []
    assert sent_by_a_tick(service, manager) == [b"READY=1", b"WATCHDOG=1"]


@pytest.mark.parametrize("thread", ["loop_seen", "writer_seen"])
def test_the_watchdog_is_not_fed_while_a_worker_makes_no_progress(
    manager: socket.socket, workers: NodeMetrics, environ: dict[str, str], thread: str
) -> None:
    service = ServiceManager(workers, environ)
    assert b"WATCHDOG=1" in sent_by_a_tick(service, manager)
    workers.worker(1).set(thread, monotonic() - PROGRESS_S - 1)
    assert b"WATCHDOG=1" not in sent_by_a_tick(service, manager)
    workers.worker(1).set(thread, monotonic())
    assert b"WATCHDOG=1" in sent_by_a_tick(service, manager)


def test_the_watchdog_is_fed_only_when_due_and_where_there_is_one(
    manager: socket.socket, workers: NodeMetrics, environ: dict[str, str]
) -> None:
    without_watchdog = ServiceManager(workers, {"NOTIFY_SOCKET": environ["NOTIFY_SOCKET"]})
    assert sent_by_a_tick(without_watchdog, manager) == [b"READY=1"]
    rarely_due = ServiceManager(workers, environ | {"WATCHDOG_USEC": "60000000"})
    assert sent_by_a_tick(rarely_due, manager) == [b"READY=1", b"WATCHDOG=1"]
    assert sent_by_a_tick(rarely_due, manager) == []


def test_the_stop_is_reported(manager: socket.socket, workers: NodeMetrics, environ: dict[str, str]) -> None:
    ServiceManager(workers, environ).say_stopping()
    assert manager.recv(100) == b"STOPPING=1"


def test_sinks_reach_their_receivers_after_any_other_example() -> None:
    examples = sorted((REPOSITORY / "systemd" / "examples").glob("*.conf"))
    # systemd reads drop-ins in the order of their names, and the last has its way.
    assert examples[-1].name == "sinks.conf"
    settings = examples[-1].read_text().partition("[Service]")[2].splitlines()
    assert {"PrivateNetwork=no", "IPAddressAllow=any"} <= {*settings}
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" in settings


def test_data_on_a_disk_of_its_own_is_waited_for() -> None:
    """`StateDirectory=` of a dynamic user lies in `/var/lib/private`."""
    unit = (REPOSITORY / "systemd" / "leadcrm.service").read_text()
    assert {"DynamicUser=yes", "StateDirectory=leadcrm"} <= {*unit.splitlines()}
    example = (REPOSITORY / "systemd" / "examples" / "own-disk.conf").read_text()
    assert example.partition("[Unit]\n")[2] == "RequiresMountsFor=/var/lib/private/leadcrm\n"


def test_no_example_sets_what_commands_must_know_too() -> None:
    for example in (REPOSITORY / "systemd" / "examples").glob("*.conf"):
        lines = example.read_text().splitlines()
        assert not [line for line in lines if line.startswith("Environment=")], example
