"""Connections to each worker process of a server, for tests that need several workers to take part."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psutil

from tests.support.conversation import Conversation
from tests.support.server import Server
from tests.support.waiting import wait_until


def worker_pids(server: Server) -> list[int]:
    """Return the ids of the workers: the processes without children, also in a one-file executable."""
    processes = server.processes()
    parents = {process.ppid() for process in processes}
    return [process.pid for process in processes if process.pid not in parents]


@contextmanager
def connections_to_each_worker(server: Server, each: int) -> Iterator[list[list[Conversation]]]:
    """Open `each` connections to every worker and yield one list a worker.

    Any worker may accept a connection, so all but one are suspended meanwhile.
    """
    pids = worker_pids(server)
    with ExitStack() as stack:
        held = []
        for pid in pids:
            with _suspended([other for other in pids if other != pid]):
                connections = [stack.enter_context(Conversation(server.client)) for _ in range(each)]
                wait_until(lambda pid=pid, of=connections: _accepted(pid, of), what=f"worker {pid} to accept")  # type: ignore[misc]
            held.append(connections)
        yield held


@contextmanager
def _suspended(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _accepted(pid: int, connections: Sequence[Conversation]) -> bool:
    ports = {one.raddr.port for one in psutil.Process(pid).net_connections("tcp") if one.raddr}
    return ports.issuperset(connection.port for connection in connections)
