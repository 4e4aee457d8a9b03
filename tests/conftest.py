"""Fixtures of every test: databases of both kinds, real servers, and how they are cleaned up.

A test that takes `database` runs on SQLite and on PostgreSQL, each time with a database of its own.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

from leadcrm.database.entities import Entities  # noqa: E402 - as what follows
from leadcrm.database.sessions import bind  # noqa: E402
from tests.support.crm import keep, url_of  # noqa: E402
from tests.support.memory import keep_temporary_files_in_memory  # noqa: E402 - rewritten above
from tests.support.postgres import Installation, PostgresCluster, PostgresServer, split_schema  # noqa: E402
from tests.support.rows import Rows  # noqa: E402
from tests.support.secrets import assert_no_secret_in_the_log  # noqa: E402
from tests.support.server import Server, StartServer  # noqa: E402

pytest_plugins = ["tests.support.figure_tables", "tests.support.skips"]

# On a busy machine any example may take long. Tests that judge a time measure the processor's.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

DATABASE_KINDS = ("sqlite", "postgres")
SERVERS = pytest.StashKey[list[Server]]()


def pytest_configure(config: pytest.Config) -> None:
    # Being told to end still stops the servers that were started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell has what it runs in the background ignore interrupts, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.getoption("--fault-table"):
        keep_temporary_files_in_memory()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # pytest sets this after the set-up, and reads it to remove `tmp_path`: an interrupted set-up would end in KeyError.
    item.stash.setdefault(tmppath_result_key, {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        for node in item.listchain():
            for server in node.stash.get(SERVERS, []):
                report.sections.append((f"log of {server!r}", server.log_text()))
    return report


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Give each test the umask of the start: a command that runs in this process changes it."""
    before = os.umask(0o077)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres_installation() -> Iterator[Installation]:
    """The binaries of PostgreSQL, from which clusters are made."""
    installation = Installation()
    yield installation
    installation.remove()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The PostgreSQL that tests share and never stop: ours, or what LEADCRM_TEST_DATABASE_URL names."""
    url = os.environ.get("LEADCRM_TEST_DATABASE_URL")
    if url:
        server = PostgresServer(url)
        yield server
        server.drop_all_created()
        return
    installation: Installation = request.getfixturevalue("postgres_installation")
    cluster = installation.new_cluster()
    cluster.start()
    yield cluster
    cluster.remove()


@pytest.fixture
def whole_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database, for a test that makes schemas or changes settings of its own in it."""
    url = postgres.create_database()
    try:
        if split_schema(url)[1] is not None:
            pytest.skip("the role of LEADCRM_TEST_DATABASE_URL may not create databases")
        yield url
    finally:
        postgres.drop_database(url)


@pytest.fixture
def latin1(postgres: PostgresServer, whole_database: str) -> Iterator[str]:
    """A database that lacks the letters of most languages."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    url = f"{whole_database.rpartition('/')[0]}/{name}"
    yield url
    postgres.drop_database(url)


@pytest.fixture
def own_postgres(postgres_installation: Installation) -> Iterator[PostgresCluster]:
    """A running PostgreSQL for one test to stop, kill and freeze."""
    cluster = postgres_installation.new_cluster()
    cluster.start()
    yield cluster
    cluster.remove()


def new_database(kind: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    """Yield the URL of a fresh database of a kind, and drop it afterwards."""
    if kind == "sqlite":
        directory.mkdir(parents=True, exist_ok=True)
        yield f"sqlite:///{directory / 'leads.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(params=DATABASE_KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, empty database, of each kind in turn."""
    yield from new_database(request.param, request, tmp_path / "database")


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    """The tables of `database`, migrated and bound."""
    keep(database, [])
    bound = bind(url_of(database))
    yield bound
    bound.database.disconnect()


@pytest.fixture
def rows(database: str) -> Rows:
    """What `database` holds."""
    return Rows(database)


def server_starter(node: pytest.Item | pytest.Collector, directory: Path) -> Iterator[StartServer]:
    """Yield what starts servers, and clean all of them up; where `node` fails, their logs are shown."""
    servers: list[Server] = []

    def start(database_url: str | None = None, *, wait: bool = True, **given: Any) -> Server:
        server = Server(directory / f"server-{len(servers)}", database_url=database_url, **given)
        servers.append(server)
        node.stash.setdefault(SERVERS, []).append(server)
        return server.start(wait=wait)

    yield start
    for server in servers:
        server.clean_up()
    for server in servers:
        assert_no_secret_in_the_log(server)


@pytest.fixture
def start_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers as real processes: `start_server(database, environment={"WORKERS": "2"})`."""
    yield from server_starter(request.node, tmp_path)


@pytest.fixture
def server(start_server: StartServer, database: str) -> Server:
    """A running server on `database`."""
    return start_server(database)


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def shared_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the database under `shared_server`."""
    yield from new_database(request.param, request, tmp_path_factory.mktemp("database"))


@pytest.fixture(scope="module")
def shared_server(
    request: pytest.FixtureRequest, shared_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server for tests of a module that neither stop it nor count all its rows: a start takes a second."""
    for start in server_starter(request.node, tmp_path_factory.mktemp("shared")):
        # The longest there is: these tests are about a database that is well, on machines that may stall.
        yield start(shared_database, environment={"COMMIT_TIMEOUT": "2.5"})
