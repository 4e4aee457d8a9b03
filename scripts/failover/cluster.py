"""The processes of the cluster: etcd, three PostgreSQL under Patroni, HAProxy, two leadcrm nodes.

PostgreSQL comes from the tests' wheel. It refuses to run as root, so under root Patroni runs as `nobody`, by a Python
that this user can read. All addresses are on loopback, and everybody on this machine may connect.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2

from failover.members import Member, Process
from failover.programs import LIBRARIES, find_program, python_packages
from tests.support.ports import free_port
from tests.support.postgres import Installation
from tests.support.server import Server
from tests.support.waiting import wait_until

START_S = 90.0

SETTINGS = {
    "ttl": 20,
    "loop_wait": 3,
    "retry_timeout": 5,
    "primary_start_timeout": 0,
    "synchronous_mode": True,
    "failsafe_mode": True,
    "postgresql": {
        "use_pg_rewind": True,
        "use_slots": True,
        "parameters": {
            "max_connections": 100,
            "authentication_timeout": "5s",
            "wal_receiver_status_interval": "1s",
            "wal_log_hints": "on",
            "wal_keep_size": "128MB",
            "hot_standby_feedback": "on",
        },
    },
}

CUT = """
listen {name}
    bind 127.0.0.1:{port}
    server pg 127.0.0.1:{target}
"""

DATABASES = """
listen {name}
    bind 127.0.0.1:{port}
    option httpchk OPTIONS /{role}
    http-check expect status 200
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
"""

DEFAULTS = """
global
    maxconn 1000
defaults
    mode tcp
    timeout connect 3s
    timeout client 60s
    timeout server 60s
"""

LEADS = """
listen leads
    bind 127.0.0.1:{port}
    mode http
    option forwardfor
    option httpchk GET /ready?database
    http-check expect status 200
    default-server inter 1s fall 2 rise 1
"""


class Cluster:
    """Everything, from start to end."""

    def __init__(self, *, workers: int = 1, nodes_by: str = "hosts") -> None:
        """Fetch what is missing; nothing runs before `start`.

        Args:
            workers: Of each leadcrm node.
            nodes_by: How the nodes reach PostgreSQL: `hosts` names all three, `haproxy` the balancer.
        """
        self._etcd_program, self._haproxy_program = find_program("etcd"), find_program("haproxy")
        self._installation = Installation()
        self.folder = self._installation.directory
        self.folder.chmod(0o755)
        self._workers = workers
        self._nodes_by = nodes_by
        self.members = [Member(f"pg{number}", self.folder) for number in (1, 2, 3)]
        self.token = secrets.token_urlsafe(16)
        self.ports = {name: free_port() for name in ("etcd", "etcd_peer", "writer", "reader", "leads")}
        self.cut_ports = {member.name: free_port() for member in self.members}
        self.etcd: Process | None = None
        self.haproxy: Process | None = None
        self.way_of_a: Process | None = None
        self.nodes: list[Server] = []

    def start(self) -> None:
        """Start all, one after the other."""
        self.start_etcd()
        python, version = self._find_python()
        packages = self.folder / "python"
        shutil.copytree(python_packages(version), packages)
        subprocess.run(["chmod", "-R", "a+rX", packages], check=True)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "PYTHONPATH": str(packages),
        }
        for member in self.members:
            (self.folder / member.name).mkdir()
            if self._installation.as_user:
                user = self._installation.as_user
                os.chown(self.folder / member.name, user["user"], user["group"])
            settings = self.folder / f"{member.name}.yml"
            settings.write_text(json.dumps(self._settings_of(member), indent=1))  # JSON is YAML
            command: list[str | Path] = [python, "-m", "patroni", settings]
            member.patroni = Process(
                f"patroni-{member.name}", command, self.folder, env=environment, **self._installation.as_user
            )
            if member is self.members[0]:
                wait_until(lambda: self.members[0].is_primary, timeout_s=START_S, what="the first primary")
        self.wait_whole()
        with closing(psycopg2.connect(self.url("postgres", user="postgres"))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("CREATE ROLE lead LOGIN")
            cursor.execute("CREATE DATABASE leadcrm OWNER lead")
        self._start_nodes()

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "etcd_peer"))
        self.etcd = Process(
            "etcd",
            [
                *(self._etcd_program, "--name", "e1", "--data-dir", self.folder / "etcd", "--log-level", "warn"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"e1={peer}"),
            ],
            self.folder,
        )

    def stop_etcd(self) -> None:
        assert self.etcd is not None
        self.etcd.stop()

    def _find_python(self) -> tuple[str, str]:
        """Return a Python that PostgreSQL's user can run, and its version."""
        for python in (sys.executable, "/usr/bin/python3"):
            with suppress(OSError, subprocess.CalledProcessError):
                told = subprocess.check_output(
                    [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                    text=True,
                    cwd=self.folder,
                    **self._installation.as_user,
                )
                return python, told.strip()
        sys.exit("no Python that the user of PostgreSQL can run: install python3")

    def _settings_of(self, member: Member) -> dict[str, Any]:
        rules = [f"host {what} all 127.0.0.1/32 trust" for what in ("all", "replication")]
        accounts = {
            "superuser": {"username": "postgres"},
            "replication": {"username": "replicator"},
            "rewind": {"username": "rewinder"},
        }
        return {
            "scope": "lead",
            "name": member.name,
            "etcd3": {"hosts": [f"127.0.0.1:{self.ports['etcd']}"]},
            "restapi": {
                "listen": f"127.0.0.1:{member.rest_port}",
                "connect_address": f"127.0.0.1:{member.rest_port}",
            },
            "bootstrap": {
                "dcs": SETTINGS,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{member.port}",
                "connect_address": f"127.0.0.1:{member.port}",
                "data_dir": str(member.data),
                "bin_dir": str(self._installation.binaries),
                "pgpass": str(self.folder / member.name / "pgpass"),
                "authentication": accounts,
                "pg_hba": ["local all all trust", *rules],
                "parameters": {"unix_socket_directories": str(self.folder / member.name)},
                "create_replica_methods": ["basebackup"],
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
            },
        }

    def url(self, database: str = "leadcrm", *, user: str = "lead", more: str = "") -> str:
        """Return the URL with all three hosts; the one that takes writes is used."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write{more}"

    def _start_nodes(self) -> None:
        listeners = "".join(
            CUT.format(name=member.name, port=self.cut_ports[member.name], target=member.port)
            for member in self.members
        )
        self.way_of_a = self._start_haproxy("way-of-a", listeners, self.cut_ports["pg1"])
        ports = [free_port(), free_port()]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.cut_ports.values())
        urls = [f"postgresql://lead@{hosts}/leadcrm", self.url().partition("?")[0]]
        standbys = list(urls)
        if self._nodes_by == "haproxy":
            urls[1] = f"postgresql://lead@127.0.0.1:{self.ports['writer']}/leadcrm"
            standbys[1] = f"postgresql://lead@127.0.0.1:{self.ports['reader']}/leadcrm"
        self.haproxy = self._start_haproxy("haproxy", self._balancer(ports), self.ports["leads"])
        for name, port, url, standby in zip("ab", ports, urls, standbys, strict=True):
            node = Server(
                self.folder / f"node-{name}",
                database_url=url,
                environment={
                    "DATABASE_READ_URL": standby,
                    "NODE_NAME": f"node-{name}",
                    "PORT": str(port),
                    "WORKERS": str(self._workers),
                    "ADMIN_TOKEN": self.token,
                },
            )
            self.nodes.append(node.start())

    def _start_haproxy(self, name: str, text: str, port: int) -> Process:
        settings = self.folder / f"{name}.cfg"
        settings.write_text(DEFAULTS + text)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(LIBRARIES)}
        process = Process(name, [self._haproxy_program, "-db", "-f", settings], self.folder, env=environment)
        wait_until(lambda: process.answers(port), what=f"{name} to listen (see {process.log})")
        return process

    def _balancer(self, node_ports: list[int]) -> str:
        lines: list[str] = []
        for name, role in (("writer", "primary"), ("reader", "replica")):
            lines.append(DATABASES.format(name=name, port=self.ports[name], role=role))
            lines += [
                f"    server {member.name} 127.0.0.1:{member.port} check port {member.rest_port}\n"
                for member in self.members
            ]
        lines.append(LEADS.format(port=self.ports["leads"]))
        for name, port in zip("ab", node_ports, strict=True):
            lines.append(f"    server {name} 127.0.0.1:{port} check\n")
        for name, port in zip("ab", node_ports, strict=True):
            lines.append(f"    server {name}-spool 127.0.0.1:{port} backup\n")
        return "".join(lines)

    @property
    def primary(self) -> Member | None:
        """The member that Patroni says is the primary."""
        return next((member for member in self.members if member.is_primary), None)

    def wait_primary(self, besides: Member | None = None, timeout_s: float = START_S) -> Member:
        """Wait for a primary, another than the one given."""
        return wait_until(
            lambda: next((one for one in self.members if one is not besides and one.is_primary), None),
            timeout_s=timeout_s,
            what="a primary",
        )

    def wait_whole(self, timeout_s: float = START_S) -> Member:
        """Wait until a primary has two standbys, one of them synchronous, and return the primary."""

        def is_whole() -> Member | None:
            primary = self.primary
            standbys = [one for one in self.members if one is not primary and one.ask("/replica")[0] == 200]
            is_sync = any(one.is_sync_standby for one in standbys)
            return primary if primary and len(standbys) == 2 and is_sync else None

        return wait_until(is_whole, timeout_s=timeout_s, what="a primary with two standbys, one of them synchronous")

    def configure(self, **settings: Any) -> None:
        """Change Patroni's settings for all."""
        primary = self.wait_primary()
        status, _ = primary.ask("/config", settings, method="PATCH")
        assert status == 200, f"Patroni answered {status}"

    def switch_over(self) -> Member:
        """Let another member become the primary in good order, and return it."""
        primary = self.wait_primary()
        candidate = wait_until(lambda: next((one for one in self.members if one.is_sync_standby), None))
        document = {"leader": primary.name, "candidate": candidate.name}
        status, answer = primary.ask("/switchover", document, method="POST", timeout_s=60.0)
        assert status == 200, f"Patroni answered {status} {answer!r}"
        return self.wait_primary(primary)

    def stop(self) -> None:
        """End everything and delete its files."""
        for node in self.nodes:
            node.clean_up()
        for process in filter(None, (self.haproxy, self.way_of_a)):
            process.stop()
        for member in reversed(self.members):
            member.stop()
        if self.etcd is not None:
            self.etcd.stop()
        self._installation.remove()
