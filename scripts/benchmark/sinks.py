"""What ingestion pays for a receiver that is gone or slow: one load, beside which the process that delivers runs and
does not.

The machine's own speed changes within seconds by more than what is looked for. So turns are short, many and in pairs,
and the process is stopped and continued by a signal: nothing else differs.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmark.load import run_load
from benchmark.rounds import Turn, compared
from benchmark.systems import EACH_DATABASE, KINDS, System
from leadcrm.delivery.dispatch import NICENESS
from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster
from tests.support.receiver import Receiver, answer

CONNECTIONS = 64
SLOW_S = 30.0

SETTLE_S = 5.0
"""After which the first leads have gone to the sink and the load runs evenly."""


def sinks(cluster: PostgresCluster, folder: Path, *, rounds: int, seconds: float) -> str:
    """Compare leads a second and processor time at 64 connections, in pairs of turns within one load."""
    lines = [
        f"Rate at {CONNECTIONS} connections beside a sink whose receiver refuses connections, and one that takes "
        f"{SLOW_S:g} s to answer, to the rate while the process that delivers is stopped: medians of {rounds} pairs of "
        f"turns of {seconds:g} s. CPU is that of server and database, a lead. A ratio is the median of the pairs', "
        "with its standard error. Target: 0.95 or more.",
        "",
        "| database | receiver | alone, leads/s | with, leads/s | ratio | alone, µs | with, µs | ratio | requests |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    with Receiver() as receiver:
        receiver.handlers["/"] = _answer_late
        urls = {"gone": f"http://127.0.0.1:{free_port()}/", "slow": f"{receiver.url}/"}
        for name in EACH_DATABASE:
            for state, url in urls.items():
                file = folder / f"{name}-{state}.toml"
                file.write_text(f'[sink.{state}]\nurl = "{url}"\nallow_private = true\n')
                kind = KINDS[name]
                kind = replace(kind, environment={**kind.environment, "SINKS_FILE": str(file)})
                before = len(receiver.received["/"])
                with System(name, kind, cluster, folder / f"{name}-{state}") as system:
                    pairs = _pairs(system, rounds, seconds)
                    label = "PostgreSQL" if system.database_url else "SQLite"
                requests = len(receiver.received["/"]) - before if state == "slow" else ""
                lines.append(f"| {label} | {state} | {compared(pairs)} | {requests} |")
                print(f"bench: {lines[-1]}", flush=True)
    return "\n".join(lines)


def _pairs(system: System, rounds: int, seconds: float) -> list[tuple[Turn, Turn]]:
    """Measure without and beside the process that delivers."""
    (delivering,) = (child for child in psutil.Process(system.pid).children() if child.nice() == NICENESS)
    pairs = []
    with _load(system, SETTLE_S + rounds * 2 * (seconds + 0.1)):
        time.sleep(SETTLE_S)
        for number in range(rounds):
            turns = {}
            for runs in (False, True) if number % 2 else (True, False):
                delivering.send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
                turns[runs] = _turn(system, seconds)
            pairs.append((turns[False], turns[True]))
        delivering.send_signal(signal.SIGCONT)
    return pairs


@contextmanager
def _load(system: System, seconds: float) -> Iterator[None]:
    """Send leads until the block ends, for `seconds` at least."""
    kind = system.kind
    arguments = {"connections": CONNECTIONS, "seconds": seconds, "key_in_body": kind.key_in_body}
    thread = threading.Thread(target=run_load, args=(system.url, kind.path), kwargs=arguments)
    thread.start()
    yield
    thread.join()


def _turn(system: System, seconds: float) -> Turn:
    client = Client("127.0.0.1", urlsplit(system.url).port or 0)
    began, cpu_s, leads = (
        time.monotonic(),
        -sum(system.cpu_seconds()),
        -client.metric("leadcrm_leads_total", outcome="created"),
    )
    time.sleep(seconds)
    took_s = time.monotonic() - began
    leads += client.metric("leadcrm_leads_total", outcome="created")
    cpu_s += sum(system.cpu_seconds())
    return Turn(leads / took_s, cpu_s / leads * 1e6)


def _answer_late(request: BaseHTTPRequestHandler) -> None:
    time.sleep(SLOW_S)
    answer(204)(request)
