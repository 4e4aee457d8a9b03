"""What ingestion loses while old leads are pruned beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from statistics import median
from time import monotonic

from benchmark.systems import EACH_DATABASE, KINDS, REPOSITORY, Kind, System
from benchmark.turns import HEADER, compare
from tests.support.postgres import PostgresCluster

IDLE_S = 5.0

STARTED_S = 1.5
"""After which the command has begun to erase."""


def prune(cluster: PostgresCluster, folder: Path, *, rows: int, rounds: int, seconds: float) -> str:
    """Compare the rate while `rows` old leads are pruned to the rate without, in pairs of turns within one load."""
    lines = [
        f"Rate at 64 connections while some of {rows:,} old leads are pruned to the rate without, medians of {rounds} "
        f"pairs of turns of {seconds:g} s, with standard errors. CPU is that of server and database, a lead. Target: "
        "0.95 or more.",
        "",
        f"| database | {HEADER} | pruned meanwhile, rows/s | pruned with no load, rows/s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        kind = KINDS[name]
        with System(name, kind, cluster, folder / f"{name}-prune") as system:
            system.fill(rows)
            pruning = _Pruning(system, kind)
            cells = compare(system, pruning.switch, rounds=rounds, seconds=seconds)
            pruning.switch(False)
            unloaded = _Prune(system, kind)
            unloaded.wait(IDLE_S)
            rate = unloaded.stop()
        label = "PostgreSQL" if system.database_url else "SQLite"
        lines.append(f"| {label} | {cells} | {median(pruning.rates):,.0f} | {rate:,.0f} |")
    return "\n".join(lines)


class _Pruning:
    """Prunes beside a system while it is switched on."""

    def __init__(self, system: System, kind: Kind) -> None:
        self._system = system
        self._kind = kind
        self._running: _Prune | None = None
        self.rates: list[float] = []
        """Rows a second, each time."""

    def switch(self, is_on: bool) -> None:
        """Start the command and wait until it erases, or interrupt it."""
        if self._running is not None:
            self.rates.append(self._running.stop())
        self._running = _Prune(self._system, self._kind) if is_on else None
        if self._running is not None:
            self._running.wait(STARTED_S)


class _Prune:
    """`leadcrm prune` beside a system, until it is interrupted."""

    def __init__(self, system: System, kind: Kind) -> None:
        self._began = monotonic()
        self._process = subprocess.Popen(
            [*kind.command(0, system.folder)[:-1], "prune", "--older-than", "1d", "--yes"],
            cwd=system.folder,
            env={**system.environment, "PYTHONPATH": os.fspath(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, seconds: float) -> None:
        """Wait; it must not end meanwhile."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise SystemExit("bench: prune ended while it was measured: too few rows")

    def stop(self) -> float:
        """Interrupt it and return the rows a second."""
        took_s = monotonic() - self._began
        self._process.send_signal(signal.SIGINT)
        _, text = self._process.communicate(timeout=60)
        told = re.search(r"^at least (\d+) of \d+ raw rows were erased", text, re.MULTILINE)
        if told is None:
            raise SystemExit(f"bench: prune ended while it was measured:\n{text}")
        return int(told[1]) / took_s
