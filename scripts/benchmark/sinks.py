"""What ingestion pays for a receiver that is gone or slow: beside one, the process that delivers is stopped and
continued by a signal, so that nothing else differs.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil

from benchmark.systems import EACH_DATABASE, KINDS, System
from benchmark.turns import HEADER, compare
from leadcrm.delivery.dispatch import NICENESS
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster
from tests.support.receiver import Receiver, answer

SLOW_S = 30.0


def sinks(cluster: PostgresCluster, folder: Path, *, rounds: int, seconds: float) -> str:
    """Compare leads a second and processor time, in pairs of turns within one load."""
    lines = [
        f"Rate at 64 connections beside a sink whose receiver refuses connections, and one that takes {SLOW_S:g} s to "
        f"answer, to the rate while the process that delivers is stopped: medians of {rounds} pairs of turns of "
        f"{seconds:g} s, with standard errors. CPU is that of server and database, a lead. Target: 0.95 or more.",
        "",
        f"| database | receiver | {HEADER} | requests |",
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
                with System(f"{name}-{state}", kind, cluster, folder / f"{name}-{state}") as system:
                    delivering = _delivering(system)

                    def switch(is_on: bool, process: psutil.Process = delivering) -> None:
                        process.send_signal(signal.SIGCONT if is_on else signal.SIGSTOP)

                    try:
                        cells = compare(system, switch, rounds=rounds, seconds=seconds)
                    finally:
                        switch(True)
                    label = "PostgreSQL" if system.database_url else "SQLite"
                requests = len(receiver.received["/"]) - before if state == "slow" else ""
                lines.append(f"| {label} | {state} | {cells} | {requests} |")
    return "\n".join(lines)


def _delivering(system: System) -> psutil.Process:
    (process,) = (child for child in psutil.Process(system.pid).children() if child.nice() == NICENESS)
    return process


def _answer_late(request: BaseHTTPRequestHandler) -> None:
    time.sleep(SLOW_S)
    answer(204)(request)
