"""The start of `leadcrm serve`: which faults it reports and refuses, and which it starts with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.postgres import PASSWORD, PostgresCluster, PostgresServer
from tests.support.rows import Rows, sqlite_path
from tests.support.server import Server
from tests.support.waiting import wait_until

EXIT_CONFIG = 78


def refused_with(server: Server) -> tuple[int, str]:
    """Wait until the server exits; return its exit status and its only line on stderr."""
    status = server.exit_status()
    lines = server.stderr_path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1, lines
    return status, lines[0]


@pytest.mark.parametrize(
    ("environment", "variable", "fault"),
    [
        ({"PORT": "70000"}, "PORT", "70000"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL", "loud"),
        ({"WORKERS": "0"}, "WORKERS", "0"),
        ({"MAX_BODY_BYTES": "lots"}, "MAX_BODY_BYTES", "lots"),
        ({"RATE_LIMIT": "600 a minute"}, "RATE_LIMIT", "600 a minute"),
        ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TRUSTED_PROXIES", "10.0.0.0/99"),
        ({"DATABASE_URL": "mysql://user:a-password-no-log-may-hold@host/db"}, "DATABASE_URL", "postgresql://"),
        ({"DATA_DIR": "/proc/nowhere"}, "DATA_DIR", "/proc/nowhere"),
        ({"HOST": "203.0.113.1"}, "HOST", "203.0.113.1"),
        ({"INGEST_TOKEN_FILE": "/does/not/exist"}, "INGEST_TOKEN", "/does/not/exist"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, Mapping) else None,
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(
    start_server: StartServer, environment: dict[str, str], variable: str, fault: str
) -> None:
    server = start_server(environment=environment, wait=False)
    status, line = refused_with(server)
    assert status == EXIT_CONFIG
    assert variable in line
    assert fault in line
    assert "accepted" in line
    assert PASSWORD not in line


def test_a_folder_whose_disk_is_not_mounted_is_named(start_server: StartServer, tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "disk" / "data"
    link.symlink_to(target)
    status, line = refused_with(start_server(environment={"DATA_DIR": str(link)}, wait=False))
    assert (status, f"DATA_DIR: {link} leads to {target}, which is not there" in line) == (EXIT_CONFIG, True)


@pytest.mark.parametrize("kind", ["source", "sink"])
def test_a_file_that_names_no_tables_is_refused_with_the_command_that_checks_it(
    start_server: StartServer, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "tables.toml"
    file.write_text(f"[[{kind}]]\n")
    status, line = refused_with(start_server(environment={f"{kind.upper()}S_FILE": str(file)}, wait=False))
    assert status == EXIT_CONFIG
    assert f"{kind} is no table: write [{kind}.NAME]" in line
    assert f"leadcrm {kind}s check" in line


def test_a_second_server_on_the_same_port_is_refused_and_makes_no_database(start_server: StartServer) -> None:
    server = start_server()
    second = start_server(environment={"PORT": str(server.port)}, wait=False)
    status, line = refused_with(second)
    assert status == 1
    assert f"port {server.port}" in line
    assert "taken" in line
    assert not list(second.data_dir.glob("leadcrm.db*"))
    assert server.client.post_lead({}).status == 201


def test_a_schema_newer_than_the_program_is_refused(
    start_server: StartServer, database: str, server: Server, rows: Rows
) -> None:
    server.client.post_lead({})
    server.terminate()
    rows.execute("INSERT INTO leadcrm_migrations (version, name, applied_at) VALUES (9000, 'later', 'tomorrow')")
    before = rows.raw()
    status, line = refused_with(start_server(database, wait=False))
    assert status == EXIT_CONFIG
    assert "9000" in line
    assert rows.raw() == before


@pytest.mark.parametrize("tables", [("leads",), ("leads_raw",), ("leads", "leads_raw")], ids=" and ".join)
def test_tables_of_another_program_are_named_and_not_changed(
    start_server: StartServer, database: str, tables: tuple[str, ...]
) -> None:
    rows = Rows(database)
    for table in tables:
        rows.execute(f'CREATE TABLE {table} (id text, "clickId" text)')
        rows.execute(f"INSERT INTO {table} VALUES ('1', 'kept')")
    status, line = refused_with(start_server(database, wait=False))
    assert status == EXIT_CONFIG
    for table in tables:
        assert re.search(rf"\b{table}\b", line)
        assert rows.select(f'SELECT "clickId" FROM {table}') == [{"clickId": "kept"}]
    assert "migrate --from-original" in line


def test_with_foreign_tables_found_after_the_start_leads_go_to_the_spool(
    start_server: StartServer, own_postgres: PostgresCluster
) -> None:
    database = own_postgres.create_database()
    own_postgres.execute("CREATE TABLE leads (id text)", url=database)
    own_postgres.stop()
    server = start_server(database)
    own_postgres.start()
    wait_until(lambda: any("another program" in record["msg"] for record in server.log_records()))
    assert server.client.post_lead({}).receipt.stored == "spool"  # type: ignore[union-attr]


def test_two_servers_that_start_together_on_an_empty_database_both_serve(
    start_server: StartServer, database: str, rows: Rows
) -> None:
    servers = [start_server(database, wait=False) for _ in range(2)]
    for server in servers:
        server.wait_healthy()
        answer = server.client.post_lead({}, key="both")
        assert answer.receipt is not None
        assert answer.receipt.stored == "database"
    assert len(rows.leads()) == 1
    versions = [row["version"] for row in rows.select("SELECT version FROM leadcrm_migrations ORDER BY version")]
    assert versions == list(range(1, len(versions) + 1))


def test_without_its_database_it_starts_and_spools_leads(
    start_server: StartServer, own_postgres: PostgresCluster
) -> None:
    database = own_postgres.create_database()
    own_postgres.stop()
    server = start_server(database)
    answers = [server.client.post_lead({"email": str(number)}, key=f"k{number}") for number in range(5)]
    assert [answer.status for answer in answers] == [201] * 5
    assert {answer.receipt and answer.receipt.stored for answer in answers} == {"spool"}
    repeat = server.client.post_lead({"email": "0"}, key="k0")
    assert (repeat.status, repeat.json()["lead_id"]) == (409, answers[0].json()["lead_id"])
    own_postgres.start()
    rows = Rows(database)
    wait_until(lambda: has_tables(rows) and len(rows.leads()) == 5, timeout_s=20)
    assert [lead["id"] for lead in rows.leads()] == [answer.json()["lead_id"] for answer in answers]
    wait_until(lambda: server.client.metric("leadcrm_spool_rows") == 0)
    after = server.client.post_lead({}, key="k4")
    assert (after.status, after.receipt.stored) == (409, "database")  # type: ignore[union-attr]


def test_without_database_and_spool_it_answers_503_until_the_database_is_back(
    start_server: StartServer, own_postgres: PostgresCluster
) -> None:
    database = own_postgres.create_database()
    own_postgres.stop()
    server = start_server(database, wait=False, environment={"SPOOL": "off"})
    server.wait_answering()
    for _ in range(2):
        assert server.client.get("/health").status == 503
        refused = server.client.post_lead({}, key="k")
        assert (refused.status, refused.header("Retry-After")) == (503, "5")
        own_postgres.start()
        server.wait_healthy()
        assert server.client.post_lead({}, key="k").status in (201, 409)
        own_postgres.stop("immediate")
        wait_until(lambda: server.client.post_lead({}).status == 503)
        wait_until(lambda: server.client.get("/health").status == 503)
    own_postgres.start()
    server.wait_healthy()
    assert len([row for row in Rows(database).raw() if row["idempotency_key"] == "k" and row["body"]]) == 1


def test_with_no_migrate_an_empty_database_stays_empty(start_server: StartServer, database: str, rows: Rows) -> None:
    server = start_server(database, arguments=["--no-migrate"])
    assert server.client.post_lead({}).receipt.stored == "spool"  # type: ignore[union-attr]
    assert not has_tables(rows)
    assert any("leadcrm migrate" in record.get("hint", "") for record in server.log_records())


def has_tables(rows: Rows) -> bool:
    if not rows.is_sqlite:
        return bool(rows.select("SELECT 1 AS found FROM pg_tables WHERE schemaname = current_schema()"))
    return sqlite_path(rows.database_url).exists() and bool(rows.select("SELECT 1 AS found FROM sqlite_master"))


def test_the_schema_of_the_url_is_created_and_holds_the_tables(
    start_server: StartServer, postgres: PostgresServer, whole_database: str
) -> None:
    url = f"{whole_database}?schema=Sales%20%22leads%22&connection_limit=10&pool_timeout=5&pgbouncer=false"
    server = start_server(url)
    lead_id = server.client.post_lead({"email": "a"}, key="in a schema").json()["lead_id"]
    assert server.client.post_lead({"email": "a"}, key="in a schema").status == 409
    server.terminate()
    server.start()
    assert server.client.post_lead({"email": "a"}, key="in a schema").json()["lead_id"] == lead_id
    find = "SELECT schemaname, tablename FROM pg_tables WHERE tablename = 'leads'"
    assert postgres.execute(find, url=whole_database) == [('Sales "leads"', "leads")]
    leads = postgres.execute('SELECT id::text, email FROM "Sales ""leads""".leads', url=whole_database)
    assert leads == [(lead_id, "a")]


def test_two_schemas_of_one_database_are_independent(start_server: StartServer, whole_database: str) -> None:
    servers = [start_server(f"{whole_database}?schema={schema}") for schema in ("one", "other")]
    assert [server.client.post_lead({}, key="k").status for server in servers] == [201, 201]


def test_flags_override_the_environment_and_that_overrides_dotenv(start_server: StartServer, tmp_path: Path) -> None:
    directory = tmp_path / "server-0"
    directory.mkdir()
    (directory / ".env").write_text("MAX_BODY_BYTES=10\nNODE_NAME=from-dotenv\nCORS_ORIGINS=https://from.dotenv\n")
    server = start_server(
        environment={"MAX_BODY_BYTES": "20", "NODE_NAME": "from-the-environment"}, arguments=["--max-body-bytes", "30"]
    )
    assert server.client.post_lead(b" " * 30).status == 400
    assert server.client.post_lead(b" " * 31).status == 413
    assert server.client.post_lead({}, headers=[("Origin", "https://from.dotenv")]).header("Vary") == "Origin"
    (row,) = [row for row in server.embedded_rows().raw() if row["state"] == "stored"]
    assert row["node"] == "from-the-environment"


def test_the_service_may_have_as_many_descriptors_as_the_system_allows(start_server: StartServer) -> None:
    server = start_server(tracer=["prlimit", "--nofile=128:4096"])
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    assert re.findall(r"^Max open files +(\d+) +(\d+)", limits, re.MULTILINE) == [("4096", "4096")]
