"""What ingestion loses while old leads are pruned beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from statistics import median
from time import monotonic

from benchmark.rounds import measure
from benchmark.systems import EACH_DATABASE, KINDS, REPOSITORY, Kind, System
from tests.support.postgres import PostgresCluster

IDLE_S = 5.0


def prune(cluster: PostgresCluster, folder: Path, *, rows: int, rounds: int, seconds: float) -> str:
    """Compare the rate while `rows` old leads are pruned to the rate without, within the same rounds."""
    lines = [
        f"Rate at 64 connections while some of {rows:,} old leads are pruned to the rate without, {rounds} interleaved "
        f"rounds of {seconds:g} s. Target: 0.95 or more.",
        "",
        "| database | alone, leads/s | beside `prune`, leads/s | ratio | pruned meanwhile, rows/s "
        "| pruned with no load, rows/s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        kind = KINDS[name]
        with System(name, kind, cluster, folder / f"{name}-prune") as system:
            system.fill(rows)
            alone, beside, pruned = [], [], []
            for _ in range(rounds):
                alone.append(measure(system, 64, seconds).rate)
                running = _Prune(system, kind)
                beside.append(measure(system, 64, seconds).rate)
                pruned.append(running.stop())
                print(f"bench: {name} {alone[-1]:,.0f} {beside[-1]:,.0f} {pruned[-1]:,.0f}", flush=True)
            unloaded = _Prune(system, kind)
            unloaded.wait(IDLE_S)
            rate = unloaded.stop()
        label = "PostgreSQL" if system.database_url else "SQLite"
        before, after = median(alone), median(beside)
        lines.append(
            f"| {label} | {before:,.0f} | {after:,.0f} | {after / before:.3f} | {median(pruned):,.0f} | {rate:,.0f} |"
        )
    return "\n".join(lines)


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
        told = re.search(r"^(\d+) of \d+ raw rows were erased", text, re.MULTILINE)
        if told is None:
            raise SystemExit(f"bench: prune ended while it was measured:\n{text}")
        return int(told[1]) / took_s
