"""The measured systems: how each is started, where it takes leads and how many it has stored.

Each writes its default log to a file. Those on PostgreSQL have separate databases in one cluster with PostgreSQL's
default durability.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.fill import count_days, fill_postgres, fill_sqlite
from benchmark.peers import SOURCES, build_node_peers
from benchmark.usage import cpu_seconds, memory_bytes, wait_until
from tests.support.ports import free_port
from tests.support.postgres import PostgresCluster

REPOSITORY = Path(__file__).parents[2]
EXECUTABLE = REPOSITORY / "dist" / "leadcrm"


@dataclass(frozen=True)
class Kind:
    """The description of one system: its label, its command and its environment."""

    label: str
    durability: str
    command: Callable[[int, Path], list[str]]
    database: str = ""  # "postgres", "sqlite" or none
    environment: Mapping[str, str] = field(default_factory=dict)
    table: str | None = "leads"
    schema: Path | None = None
    path: str = "/api/lead"
    health: str = "/health"
    key_in_body: bool = False
    sqlite_file: str = ""


def _leadcrm(database: str, workers: int, source: Path = REPOSITORY, executable: bool = False) -> Kind:
    names = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
    form = ", executable" if executable else ""
    count = "1 worker" if workers == 1 else f"{workers} workers"
    program = [str(EXECUTABLE)] if executable else [sys.executable, "-m", "leadcrm"]
    return Kind(
        f"leadcrm, {names[database]}, {count}{form}",
        "commit before the answer" if database == "postgres" else "WAL, `synchronous=FULL`",
        lambda _port, _folder: [*program, "serve"],
        database,
        {"WORKERS": str(workers), **({} if executable else {"PYTHONPATH": str(source)})},
        sqlite_file="data/leadcrm.db",
    )


def _node(label: str, script: str, **environment: str) -> Kind:
    return Kind(
        label,
        "commit before the answer",
        lambda _port, _folder: ["node", str(build_node_peers() / script)],
        "postgres",
        {"NODE_ENV": "production", **environment},
        schema=SOURCES / "schema.sql",
    )


def _pocketbase(synchronous: str) -> Kind:
    def command(port: int, folder: Path) -> list[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        binary = shutil.which("pocketbase", path=path)
        if binary is None:
            raise SystemExit("bench: pocketbase is not installed: pip install -r scripts/benchmark/requirements.txt")
        source = SOURCES / "pocketbase"
        return [
            binary,
            "serve",
            f"--http=127.0.0.1:{port}",
            f"--dir={folder}/data",
            f"--migrationsDir={source}/pb_migrations",
            f"--hooksDir={source}/pb_hooks_{synchronous.lower()}",
        ]

    return Kind(
        f"PocketBase 0.40 (Go, SQLite), {synchronous}",
        f"WAL, `synchronous={synchronous}`",
        command,
        "sqlite",
        path="/api/collections/leads/records",
        health="/api/health",
        key_in_body=True,
        sqlite_file="data/data.db",
    )


def _floor(workers: int) -> Kind:
    return Kind(
        f"bare Sanic, nothing stored, {workers} process{'es' if workers > 1 else ''}",
        "none: the floor",
        lambda port, _folder: [sys.executable, str(SOURCES / "floor.py"), str(port), str(workers)],
        table=None,
    )


KINDS: dict[str, Kind] = {
    "leadcrm-postgres-1": _leadcrm("postgres", 1),
    "leadcrm-postgres-2": _leadcrm("postgres", 2),
    "leadcrm-sqlite-1": _leadcrm("sqlite", 1),
    "leadcrm-sqlite-2": _leadcrm("sqlite", 2),
    "leadcrm-executable": _leadcrm("postgres", 1, executable=True),
    "original": _node("the original's stack (Fastify 5, Prisma 7, PostgreSQL)", "original/dist/server.js"),
    "fastify-pg": _node("Fastify 5 with pg, prepared statements, PostgreSQL", "fastify_pg/server.js"),
    "fastify-pg-no-log": _node(
        "Fastify 5 with pg, prepared statements, PostgreSQL, no request log", "fastify_pg/server.js", REQUEST_LOG="off"
    ),
    "pocketbase": _pocketbase("NORMAL"),
    "pocketbase-full": _pocketbase("FULL"),
    "floor-1": _floor(1),
    "floor-2": _floor(2),
}


EACH_DATABASE = ("leadcrm-postgres-1", "leadcrm-sqlite-1")
"""Leadcrm with one worker on each database."""


def twin(name: str, source: Path) -> Kind:
    """Return a system of leadcrm that runs from another source tree."""
    _, database, workers = name.split("-")
    kind = _leadcrm(database, int(workers), source)
    return Kind(**{**vars(kind), "label": f"{kind.label}, before"})


class System:
    """One running system."""

    def __init__(self, name: str, kind: Kind, cluster: PostgresCluster, folder: Path) -> None:
        """Start the system and wait until it is healthy."""
        self.name, self.kind, self.folder = name, kind, folder
        folder.mkdir()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._cluster = cluster
        self.database_url = cluster.create_database() if kind.database == "postgres" else None
        if kind.schema is not None:
            cluster.execute(kind.schema.read_text(), url=self.database_url)
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATA_DIR": str(folder / "data"),
            **({"DATABASE_URL": self.database_url} if self.database_url else {}),
            **kind.environment,
        }
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                kind.command(port, folder),
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._answers, f"{kind.label} to answer; its log is {folder / 'log'}")

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id of its main process."""
        return self._process.pid

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            log = (self.folder / "log").read_text(errors="replace")[-3000:]
            raise SystemExit(f"bench: {self.kind.label} ended with status {self._process.returncode}:\n{log}")
        try:
            with urllib.request.urlopen(self.url + self.kind.health, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time of its processes and of its PostgreSQL, if any."""
        postmaster = self._cluster.processes()[:1] if self.database_url else []
        return cpu_seconds(self.pid), sum(cpu_seconds(process.pid) for process in postmaster)

    def memory_bytes(self) -> int:
        """Return the memory of its processes."""
        return memory_bytes(self.pid)

    def fill(self, rows: int) -> None:
        """Fill the tables of a system that is leadcrm, and count their past days as a server has that saw them pass."""
        if self.database_url:
            fill_postgres(self._cluster, self.database_url, rows)
            url = self.database_url
        else:
            file = self.folder / self.kind.sqlite_file
            fill_sqlite(file, rows)
            url = f"sqlite:///{file}"
        count_days(url)

    def stored(self) -> int | None:
        """Return the number of stored leads, or None for a system that stores none."""
        if self.kind.table is None:
            return None
        statement = f"SELECT count(*) FROM {self.kind.table}"
        if self.database_url:
            rows: list[Any] = self._cluster.execute(statement, url=self.database_url)
            return int(rows[0][0])
        with closing(sqlite3.connect(self.folder / self.kind.sqlite_file)) as connection:
            return int(connection.execute(statement).fetchone()[0])

    def stop(self) -> None:
        """Stop the system."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
