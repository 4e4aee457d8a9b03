"""What ingestion pays for the feed: the same server with the trigger that writes each lead's event, and without."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2

from benchmark.systems import EACH_DATABASE, KINDS, System
from benchmark.turns import HEADER, compare
from tests.support.postgres import PostgresCluster

TRIGGER = "leads_feed_created"

LOCK_TIMEOUT_S = 30


def feed(cluster: PostgresCluster, folder: Path, *, rounds: int, seconds: float) -> str:
    """Compare leads a second and processor time, in pairs of turns within one load."""
    lines = [
        f"Rate at 64 connections with the feed to the rate without, medians of {rounds} pairs of turns of "
        f"{seconds:g} s, with standard errors. CPU is that of server and database, a lead. Target: 0.95 or more.",
        "",
        f"| database | {HEADER} |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in EACH_DATABASE:
        with System(name, KINDS[name], cluster, folder / f"{name}-feed") as system:
            cells = compare(system, _switch(system), rounds=rounds, seconds=seconds)
            label = "PostgreSQL" if system.database_url else "SQLite"
        lines.append(f"| {label} | {cells} |")
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
