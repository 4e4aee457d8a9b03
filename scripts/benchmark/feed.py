"""What ingestion pays for the feed: the same server with the trigger that writes each lead's event, and without."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2

from benchmark.rounds import Sample, compared, measure
from benchmark.systems import EACH_DATABASE, KINDS, System
from tests.support.postgres import PostgresCluster

TRIGGER = "leads_feed_created"

LOCK_TIMEOUT_S = 30


def feed(cluster: PostgresCluster, folder: Path, *, rounds: int, seconds: float) -> str:
    """Compare leads a second and processor time at 64 connections, in pairs of turns within one server."""
    lines = [
        f"Rate at 64 connections with the feed to the rate without, medians of {rounds} interleaved pairs of "
        f"{seconds:g} s. CPU is that of server and database, a lead. Target: 0.95 or more.",
        "",
        "| database | without, leads/s | with, leads/s | ratio | without, µs | with, µs | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        with System(name, KINDS[name], cluster, folder / f"{name}-feed") as system:
            set_feed = _switch(system)
            pairs: list[tuple[Sample, Sample]] = []
            for number in range(rounds):
                turns = {}
                # Whoever comes second has the fuller tables.
                for is_on in (True, False) if number % 2 else (False, True):
                    set_feed(is_on)
                    turns[is_on] = measure(system, 64, seconds)
                pairs.append((turns[False], turns[True]))
                rates = " ".join(f"{one.rate:,.0f}/s {one.whole_cpu_us:,.0f} us" for one in pairs[-1])
                print(f"bench: {name} without, with: {rates}", flush=True)
            set_feed(True)
            label = "PostgreSQL" if system.database_url else "SQLite"
        lines.append(f"| {label} | {compared(pairs)} |")
    return "\n".join(lines)


def _switch(system: System) -> Callable[[bool], None]:
    """Return what switches the trigger on and off beside the running server."""
    if system.database_url is not None:
        url = system.database_url

        def switch(is_on: bool) -> None:
            with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE leads {'ENABLE' if is_on else 'DISABLE'} TRIGGER {TRIGGER}")

        return switch
    assert system.kind.sqlite_file is not None
    file = system.folder / system.kind.sqlite_file
    with closing(sqlite3.connect(file)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (TRIGGER,)).fetchone()

    def switch_file(is_on: bool) -> None:
        with closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT_S)) as connection:
            connection.execute(f"DROP TRIGGER IF EXISTS {TRIGGER}")
            if is_on:
                connection.execute(sql)
            connection.commit()

    return switch_file
