"""Cost at scale: full tables, an export of them, memory over a million leads, the drain of the spool."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import urllib.request
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median
from time import monotonic

from benchmark.load import run_load
from benchmark.rounds import cells, measure, run_rounds
from benchmark.systems import EACH_DATABASE, KINDS, Kind, System
from benchmark.usage import wait_until
from tests.support.postgres import PostgresCluster

MEMORY_STEP_S = 10.0
DRAIN_LOAD_S = 12.0


def growth(cluster: PostgresCluster, folder: Path, *, rows: int, rounds: int, seconds: float) -> str:
    """Compare the rate with `rows` rows to the rate on empty tables, within the same rounds."""
    lines = [
        f"Rate at 64 connections with {rows:,} rows to the rate on empty tables, {rounds} interleaved rounds of "
        f"{seconds:g} s. Target: 0.95 or more.",
        "",
        "| database | empty, leads/s | full, leads/s | ratio |",
        "|---|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        kind = KINDS[name]
        filled = Kind(**{**vars(kind), "label": f"{kind.label}, full"})
        with (
            System("full", filled, cluster, folder / f"{name}-full") as full,
            System("empty", kind, cluster, folder / f"{name}-empty") as empty,
        ):
            full.fill(rows)
            measured = cells(run_rounds([empty, full], [64], rounds=rounds, seconds=seconds))
        before, after = measured["empty", 64].rate, measured["full", 64].rate
        label = "PostgreSQL" if full.database_url else "SQLite"
        lines.append(f"| {label} | {before:,.0f} | {after:,.0f} | {after / before:.3f} |")
    return "\n".join(lines)


def export(cluster: PostgresCluster, folder: Path, *, rows: int, rounds: int, seconds: float) -> str:
    """Compare the rate during an export of `rows` leads to the rate without one, within the same rounds."""
    lines = [
        f"Rate at 64 connections while an export of {rows:,} leads runs to the rate without, {rounds} interleaved "
        f"rounds of {seconds:g} s. Target: more than 0.80. The export begins anew in every round and rests while leads "
        "arrive; alone it runs once from start to end.",
        "",
        "| database | alone, leads/s | beside an export, leads/s | ratio | exported meanwhile, leads/s "
        "| whole export with no load |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        token = secrets.token_urlsafe(16)
        kind = KINDS[name]
        kind = Kind(**{**vars(kind), "environment": {**kind.environment, "ADMIN_TOKEN": token}})
        with System(name, kind, cluster, folder / f"{name}-export") as system:
            system.fill(rows)
            whole = _Export(system.url, token)
            whole.join()
            if whole.leads != rows or whole.failure:
                raise SystemExit(f"bench: the export gave {whole.leads:,} of {rows:,} leads: {whole.failure}")
            alone, beside, exported = [], [], []
            for _ in range(rounds):
                alone.append(measure(system, 64, seconds).rate)
                running = _Export(system.url, token)
                beside.append(measure(system, 64, seconds).rate)
                if not running.is_alive():
                    raise SystemExit(
                        f"bench: the export ended while it was measured: {running.failure or 'too few rows'}"
                    )
                exported.append(running.stop())
        label = "PostgreSQL" if system.database_url else "SQLite"
        lines.append(
            f"| {label} | {median(alone):,.0f} | {median(beside):,.0f} | {median(beside) / median(alone):.2f} "
            f"| {median(exported):,.0f} | {whole.took_s:.0f} s |"
        )
    return "\n".join(lines)


class _Export(threading.Thread):
    """A client that reads an export at full speed and counts its leads."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self._request = urllib.request.Request(
            f"{url}/api/leads/export?format=ndjson", headers={"Authorization": f"Bearer {token}"}
        )
        self._stopping = False
        self._began = monotonic()
        self.leads = 0
        self.took_s = 0.0
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with urllib.request.urlopen(self._request, timeout=60) as answer:
                while not self._stopping and (piece := answer.read1(1 << 20)):
                    self.leads += piece.count(b"\n")
        except OSError as error:
            self.failure = error
        self.took_s = monotonic() - self._began

    def stop(self) -> float:
        """Hang up and return the leads a second."""
        self._stopping = True
        self.join()
        return self.leads / self.took_s


def memory(cluster: PostgresCluster, folder: Path, *, leads: int) -> str:
    """Record the memory of the server over `leads` leads."""
    lines = [
        f"Memory of the server's processes (PSS) over {leads:,} leads at 64 connections. Target: less than 20 MB "
        "growth after the first tenth.",
        "",
        "| database | after the first tenth, MB | at the end, MB | most, MB |",
        "|---|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        readings: list[float] = []
        sent = 0
        with System(name, KINDS[name], cluster, folder / f"{name}-memory") as system:
            while sent < leads:
                sent += run_load(
                    system.url, system.kind.path, connections=64, seconds=MEMORY_STEP_S, key_in_body=False
                ).requests
                if sent >= leads / 10:
                    readings.append(system.memory_bytes() / 1e6)
                print(f"bench: {sent:,} leads, {system.memory_bytes() / 1e6:.1f} MB", flush=True)
        label = "PostgreSQL" if system.database_url else "SQLite"
        lines.append(f"| {label} | {readings[0]:.1f} | {readings[-1]:.1f} | {max(readings):.1f} |")
    return "\n".join(lines)


def drain(cluster: PostgresCluster, folder: Path) -> str:
    """Stop the database under load, start it again and time the drain of the spool."""
    with System("drain", KINDS["leadcrm-postgres-1"], cluster, folder / "drain") as system:
        cluster.stop()
        run_load(system.url, system.kind.path, connections=64, seconds=DRAIN_LOAD_S, key_in_body=False)
        waiting = _spooled(system)
        cluster.start()
        wait_until(lambda: _spooled(system) == 0, "the spool to drain", timeout_s=300)
        wait_until(lambda: bool(_logged(system, "drain")), "the log of the drain")
        began = _logged(system, "recover", "the database takes leads")[-1]
        took_s = (_logged(system, "drain")[-1] - began).total_seconds()
    return (
        f"Drain of {waiting:,} rows from the spool into PostgreSQL: {took_s:.1f} s, {waiting / took_s:,.0f} leads/s. "
        "Target: 5,000 or more."
    )


def _spooled(system: System) -> int:
    with closing(sqlite3.connect(system.folder / "data" / "spool.db", timeout=10)) as connection:
        return int(connection.execute("SELECT count(*) FROM leads_raw").fetchone()[0])


def _logged(system: System, action: str, message: str = "") -> list[datetime]:
    found = []
    with (system.folder / "log").open() as log:
        for line in log:
            if f'"action":"{action}"' in line and message in line:
                found.append(datetime.fromisoformat(json.loads(line)["time"].replace("Z", "+00:00")))
    return found
