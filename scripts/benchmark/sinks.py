"""What ingestion pays for a receiver that is gone or slow: the same server with such a sink, and without."""

from __future__ import annotations

import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from benchmark.rounds import Sample, compared, measure
from benchmark.systems import EACH_DATABASE, KINDS, System
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster
from tests.support.receiver import Receiver, answer

SLOW_S = 30.0

TAKEN_IN_S = 3.0
"""A changed SINKS_FILE is taken in within seconds; nothing outside tells when all processes have."""

STATES = ("none", "gone", "slow")


def sinks(cluster: PostgresCluster, folder: Path, *, rounds: int, seconds: float) -> str:
    """Compare leads a second at 64 connections in interleaved turns within one server."""
    lines = [
        f"Rate at 64 connections beside a sink whose receiver refuses connections, and one that takes {SLOW_S:g} s to "
        f"answer, to the rate without, medians of {rounds} interleaved turns of {seconds:g} s. CPU is that of server "
        "and database, a lead. Target: 0.95 or more.",
        "",
        "| database | receiver | alone, leads/s | with, leads/s | ratio | alone, µs | with, µs | ratio | requests |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    with Receiver() as receiver:
        receiver.handlers["/"] = _answer_late
        for name in EACH_DATABASE:
            place = folder / f"{name}-sinks"
            file = folder / f"{name}.toml"
            urls = {"gone": f"http://127.0.0.1:{free_port()}/", "slow": f"{receiver.url}/"}
            _write(file, urls, "none")
            kind = KINDS[name]
            kind = replace(kind, environment={**kind.environment, "SINKS_FILE": str(file)})
            samples: dict[str, list[Sample]] = {state: [] for state in STATES}
            before = len(receiver.received["/"])
            with System(name, kind, cluster, place) as system:
                for number in range(rounds):
                    # Whoever comes later has the fuller tables.
                    for state in STATES if number % 2 else STATES[::-1]:
                        _write(file, urls, state)
                        time.sleep(TAKEN_IN_S)
                        samples[state].append(measure(system, 64, seconds))
                    last = [samples[state][-1] for state in STATES]
                    rates = " ".join(f"{one.rate:,.0f}/s {one.whole_cpu_us:,.0f} us" for one in last)
                    print(f"bench: {name} {', '.join(STATES)}: {rates}", flush=True)
                _write(file, urls, "none")
                label = "PostgreSQL" if system.database_url else "SQLite"
            requests = {"gone": "", "slow": str(len(receiver.received["/"]) - before)}
            for state in STATES[1:]:
                pairs = [*zip(samples["none"], samples[state], strict=True)]
                lines.append(f"| {label} | {state} | {compared(pairs)} | {requests[state]} |")
    return "\n".join(lines)


def _write(file: Path, urls: dict[str, str], state: str) -> None:
    file.write_text(
        "".join(
            f'[sink.{name}]\nurl = "{url}"\nallow_private = true\nenabled = {str(name == state).lower()}\n'
            for name, url in urls.items()
        )
    )


def _answer_late(request: BaseHTTPRequestHandler) -> None:
    time.sleep(SLOW_S)
    answer(204)(request)
