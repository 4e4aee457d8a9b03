"""CPU time by stage: samples of the server under load, assigned to the stages of a request.

py-spy samples the thread that holds the interpreter's lock 400 times a second, without pausing it. A sample belongs to
the innermost frame that matches a rule below. CPU time beyond the samples was spent without the lock.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from benchmark.load import Load, run_load
from benchmark.systems import EACH_DATABASE, KINDS, System
from tests.support.postgres import PostgresCluster

SAMPLES_A_SECOND = 400
CONNECTIONS = (1, 64)
RULES = tuple(
    (stage, re.compile(pattern))
    for stage, pattern in (
        ("log", r"leadcrm/(logs/\w+|web/request_log)\.py"),
        ("log", r"leadcrm/web/node_metrics\.py"),
        ("parse and normalize", r"leadcrm/ingest/(payload/\w+|normalize)\.py|^process "),
        ("encode for the database", r"leadcrm/ingest/raw_row\.py|(_encode|add_values|_statements?) .*/ingest/store/"),
        ("database: driver and, on SQLite, its work", r"leadcrm/(ingest/store|ingest/spool|database)/\w+\.py"),
        ("queue and hand-over between threads", r"leadcrm/ingest/(writer|driving|queue_budget)\.py|threading\.py"),
        ("mint: id, hashes, headers, the submission", r"(_mint|stored_headers|sent_key).*/web/ingest\.py"),
        (
            "mint: id, hashes, headers, the submission",
            r"leadcrm/(web/http/(client_address|header_text|request_id)|ingest/submission)\.py",
        ),
        ("reply: our answer", r"_answer .*/web/ingest\.py|leadcrm/web/http/responses\.py"),
        ("HTTP: checks of the head", r"leadcrm/web/http/\w+\.py"),
        ("HTTP: our handler", r"leadcrm/web/"),
        ("HTTP: the framework's reply", r"sanic/response/|sanic/headers\.py|^send |http1_response_header|^respond "),
        ("HTTP: the framework's request", r"sanic/|http1_request_header|^read |handle_request|connection_task"),
    )
)
REST = "event loop and the rest"
UNLOCKED = "without the lock: SQLite's own work, hashing, the log's writes"
ORDER = (*dict.fromkeys(stage for stage, _ in RULES), REST, UNLOCKED)


def stages(cluster: PostgresCluster, folder: Path, *, seconds: float) -> str:
    """Return a table of microseconds a lead by stage, for a lone sender and for 64."""
    columns: list[tuple[str, dict[str, float], str]] = []
    for name in EACH_DATABASE:
        with System(name, KINDS[name], cluster, folder / f"{name}-stages") as system:
            for connections in CONNECTIONS:
                columns.append(_of(system, folder / f"{name}.samples", seconds, connections))
    lines = [
        f"Microseconds of the server's CPU a lead, by stage and connections ({SAMPLES_A_SECOND} samples a second "
        f"for {seconds:g} s).",
        "",
        f"| stage | {' | '.join(label for label, _, _ in columns)} |",
        f"|---|{'--:|' * len(columns)}",
    ]
    for stage in ORDER:
        lines.append(f"| {stage} | {' | '.join(f'{times.get(stage, 0):.1f}' for _, times, _ in columns)} |")
    lines.append(f"| **all** | {' | '.join(f'**{sum(times.values()):.1f}**' for _, times, _ in columns)} |")
    lines += ["", *(f"- {label}: {note}" for label, _, note in columns)]
    return "\n".join(lines)


def _of(system: System, samples: Path, seconds: float, connections: int) -> tuple[str, dict[str, float], str]:
    loads: list[Load] = []
    load_seconds = seconds + 4

    def run() -> None:
        load = run_load(system.url, system.kind.path, connections=connections, seconds=load_seconds, key_in_body=False)
        loads.append(load)

    before = system.cpu_seconds()
    sender = threading.Thread(target=run)
    sender.start()
    _sample(system.pid, samples, seconds)
    sender.join()
    own, database = (after - first for after, first in zip(system.cpu_seconds(), before, strict=True))
    counted = _sorted(samples.read_text())
    requests = loads[0].requests
    times = {stage: count / SAMPLES_A_SECOND * 1e6 / (loads[0].rate * seconds) for stage, count in counted.items()}
    own_us, sampled_us = own / requests * 1e6, sum(times.values())
    if sampled_us > own_us:
        times = {stage: time_us * own_us / sampled_us for stage, time_us in times.items()}
    times[UNLOCKED] = max(0.0, own_us - sampled_us)
    note = (
        f"{loads[0].rate:,.0f} leads/s while sampled; the database's processes took {database / requests * 1e6:.0f} µs "
        "of CPU a lead."
    )
    return (f"{'PostgreSQL' if system.database_url else 'SQLite'}, {connections}", times, note)


def _sample(pid: int, output: Path, seconds: float) -> None:
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise SystemExit("bench: py-spy is not installed: pip install -r scripts/benchmark/requirements.txt")
    command = [program, "record", "--gil", "--nonblocking", "--rate", str(SAMPLES_A_SECOND), "--format", "raw"]
    command += ["--duration", str(round(seconds)), "--output", str(output), "--pid", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: py-spy failed (it needs root, or ptrace_scope 0):\n{done.stderr}")


def _sorted(raw: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = reversed(stack.split(";"))
        counted[next((stage for frame in frames if (stage := _stage(frame))), REST)] += int(count)
    return counted


def _stage(frame: str) -> str | None:
    return next((stage for stage, rule in RULES if rule.search(frame)), None)
