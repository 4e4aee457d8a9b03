"""What operators and their tools do in good faith to a running server and its database, and what must come of it."""

from __future__ import annotations

import os
import pwd
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm_client import BEARER, ENVIRONMENT
from tests.support.ports import free_port
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import worker_pids

MIGRATIONS_LOCK = 0x6C656164


@pytest.mark.parametrize("workers", ["1", "2"])
def test_signals_that_tools_send_to_daemons_do_no_harm(start_server: StartServer, workers: str) -> None:
    server = start_server(environment={"WORKERS": workers})
    children = worker_pids(server) if workers == "2" else []
    for pid in (server.pid, *children):
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    for _ in range(10):
        assert server.client.post_lead({}).status == 201
    assert (worker_pids(server) if workers == "2" else []) == children
    assert server.terminate() == 0


@pytest.mark.parametrize(
    ("style", "pooled"),
    [("SQL, DMY", ""), ("German", ""), ("Postgres, MDY", ""), ("German", "?pgbouncer=true")],
)
def test_a_database_may_write_dates_in_its_own_style(
    start_server: StartServer, postgres: PostgresServer, whole_database: str, style: str, pooled: str
) -> None:
    name = whole_database.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET datestyle = '{style}'")
    url = whole_database + pooled
    server = start_server(url, environment=ENVIRONMENT)
    lead_id = server.client.post_lead({"email": "a@example.com"}).json()["lead_id"]
    # More than once: a session that was used is reset to the database's own settings.
    for _ in range(3):
        answer = server.client.get("/api/leads", headers=[BEARER])
        assert [lead["id"] for lead in answer.json()["leads"]] == [lead_id]
    done = leadcrm(server.data_dir.parent, "verify", DATABASE_URL=url, DATA_DIR=str(server.data_dir))
    assert done.returncode == 0, done.stderr


def test_a_migration_that_another_node_is_at_does_not_keep_a_current_database_away(
    start_server: StartServer, postgres: PostgresServer, whole_database: str
) -> None:
    assert start_server(whole_database).terminate() == 0
    with closing(postgres.connect(whole_database)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATIONS_LOCK,))
        server = start_server(whole_database)
        receipt = server.client.post_lead({}).receipt
        assert receipt is not None
        assert receipt.stored == "database"
        done = leadcrm(server.data_dir.parent, "migrate", "status", DATABASE_URL=whole_database)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that are given to others")
@pytest.mark.parametrize("command", ["check", "migrate", "spool drain"])
def test_what_root_makes_before_the_first_start_belongs_to_the_service(tmp_path: Path, command: str) -> None:
    nobody = pwd.getpwnam("nobody")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    leadcrm(tmp_path, *command.split(), DATA_DIR=str(data_dir))
    made = [*data_dir.iterdir()]
    assert {file.name: file.stat().st_uid for file in made} == {file.name: nobody.pw_uid for file in made}
    assert made or command != "check"


def test_a_spool_that_the_service_cannot_write_is_told_of_at_once(
    start_server: StartServer, whole_database: str, tmp_path: Path
) -> None:
    """A healthy database would hide it until it goes away."""
    spool = tmp_path / "data" / "spool.db"
    leadcrm(tmp_path, "check", DATA_DIR=str(spool.parent), DATABASE_URL=whole_database)
    spool.chmod(0o444)
    # Root may write to any file, unless it gives that right up.
    tracer = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    server = start_server(whole_database, environment={"DATA_DIR": str(spool.parent)}, tracer=tracer)
    text = "spool.db is not writable"
    (told,) = wait_until(lambda: [record for record in server.log_records() if text in record["msg"]])
    assert (told["level"], "writable" in told["hint"]) == ("warn", True)
    ready = server.client.get("/ready")
    assert (ready.status, text in ready.json()["fault"]) == (200, True)
    spool.chmod(0o644)
    wait_until(lambda: server.client.get("/ready").json()["fault"] is None)


def test_new_credentials_in_the_urls_file_are_used_without_a_restart(
    start_server: StartServer, postgres: PostgresServer, whole_database: str, tmp_path: Path
) -> None:
    """The role is renamed, because the tests' PostgreSQL asks for no password."""
    first, second = (f"{name}_{os.urandom(4).hex()}" for name in ("first", "second"))
    file = tmp_path / "url"

    def use(role: str) -> None:
        file.write_text(re.sub("//[^@]*@", f"//{role}:{PASSWORD}@", whole_database) + "\n")

    postgres.execute(f"CREATE ROLE {first} LOGIN SUPERUSER")
    use(first)
    server = start_server(environment={**ENVIRONMENT, "DATABASE_URL_FILE": str(file)})

    def is_stored() -> bool:
        receipt = server.client.post_lead({}).receipt
        return receipt is not None and receipt.stored == "database"

    assert is_stored()
    assert server.client.get("/api/leads", headers=[BEARER]).status == 200
    postgres.execute(f"ALTER ROLE {first} RENAME TO {second}")
    use(second)
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{second}'")
    wait_until(is_stored)
    wait_until(lambda: server.client.get("/api/leads", headers=[BEARER]).status == 200)
    # A file that is being written has nothing to say.
    file.write_text("")
    assert is_stored()
    assert server.terminate() == 0
    postgres.execute(f"DROP OWNED BY {second} CASCADE", url=whole_database)
    postgres.execute(f"DROP ROLE {second}")


def test_two_servers_with_two_databases_share_no_data_folder(start_server: StartServer, tmp_path: Path) -> None:
    """What waits in the folder for one database must not be drained into the other."""
    first = start_server()
    other = {"DATA_DIR": str(first.data_dir), "DATABASE_URL": f"sqlite:///{tmp_path / 'other.db'}"}
    refused = leadcrm(tmp_path, "serve", **other, PORT=str(free_port()))
    assert refused.returncode == 78
    assert f"used by a server with another database: sqlite:///{first.data_dir}" in refused.stderr
    assert "a folder of its own" in refused.stderr
    first.terminate()
    second = start_server(environment=other)
    (warning,) = [record for record in second.log_records() if "was last used with another database" in record["msg"]]
    assert warning["level"] == "warn"


def named_at_the_start(server: Server) -> str:
    """Return the database that the log of the start names."""
    (told,) = [record["msg"] for record in server.log_records() if record["msg"].startswith("leads go to ")]
    return str(told).removeprefix("leads go to ")


def test_the_start_names_the_database(start_server: StartServer, database: str) -> None:
    server = start_server(database)
    assert named_at_the_start(server) == re.sub("//[^/]*@", "//", database)


def test_a_server_that_goes_on_in_another_database_says_so_until_it_is_back(
    start_server: StartServer, whole_database: str
) -> None:
    """As where a line of the settings is lost. Leads are taken all the same."""
    first = start_server(whole_database)
    place = named_at_the_start(first)
    assert first.client.get("/ready").json()["fault"] is None
    first.terminate()

    lost = {"DATA_DIR": str(first.data_dir)}
    foreseen = leadcrm(first.directory, "check", **lost)
    assert foreseen.returncode == 1
    assert "FAILED  former leads" in foreseen.stdout
    second = start_server(environment={**lost, "WORKERS": "2"})
    assert second.client.post_lead({}).status == 201
    ready = second.client.get("/ready")
    assert ready.status == 200
    file = first.data_dir / "databases.json"
    for text in (f"lie in another database: {place}, made ", f"delete {file}"):
        assert text in ready.json()["fault"]
    check = leadcrm(first.directory, "check", **lost)
    assert (check.returncode, "FAILED  former leads" in check.stdout) == (1, True)
    assert f"delete {file}" in check.stdout
    assert PASSWORD not in file.read_text() + ready.json()["fault"] + check.stdout
    second.terminate()

    third = start_server(whole_database, environment=lost)
    assert third.client.get("/ready").json()["fault"] is None
    (warning,) = [record for record in third.log_records() if "the former database is used again" in record["msg"]]
    assert str(first.data_dir / "leadcrm.db") in warning["msg"]
    check = leadcrm(first.directory, "check", DATABASE_URL=whole_database, **lost)
    assert (check.returncode, "former leads" in check.stdout) == (0, False)


@pytest.mark.parametrize("deliberate", [False, True], ids=["lost", "reset"])
def test_a_database_that_was_made_anew_is_another_one(
    start_server: StartServer, database: str, deliberate: bool
) -> None:
    """As where its disk is not mounted. What a command has made anew, a person wanted."""
    server = start_server(database)
    assert server.client.post_lead({}).status == 201
    server.terminate()
    elsewhere = {} if deliberate else {"DATA_DIR": str(server.directory / "elsewhere")}
    environment = {**server.environment, **elsewhere}
    assert leadcrm(server.directory, "migrate", "reset", "--yes", **environment).returncode == 0
    server.start()
    fault = server.client.get("/ready").json()["fault"] or ""
    assert ("lie in another database" in fault) is not deliberate
    if not deliberate:
        (server.data_dir / "databases.json").unlink()
        wait_until(lambda: server.client.get("/ready").json()["fault"] is None)


def test_a_backup_that_was_put_in_the_place_of_a_database_is_no_other_one(
    start_server: StartServer, tmp_path: Path
) -> None:
    """As where leads are moved to another machine, whose service has been started before."""
    old, new = start_server(), start_server()
    old.client.post_lead({})
    for server, command in (
        (old, ["backup", str(tmp_path / "b.db")]),
        (new, ["restore", str(tmp_path / "b.db"), "--yes"]),
    ):
        server.terminate()
        done = leadcrm(server.directory, *command, DATA_DIR=str(server.data_dir))
        assert done.returncode == 0, done.stderr
    new.start()
    assert new.client.get("/ready").json()["fault"] is None


def test_the_spool_is_drained_into_no_other_database(start_server: StartServer, whole_database: str) -> None:
    """As by a command in a shell that lacks the service's settings."""
    server = start_server(whole_database)
    server.terminate()
    lost = {"DATA_DIR": str(server.data_dir)}
    assert leadcrm(server.directory, "migrate", **lost).returncode == 0
    refused = leadcrm(server.directory, "spool", "drain", **lost)
    assert refused.returncode == 78
    assert "DATABASE_URL: leads in" in refused.stderr
    drained = leadcrm(server.directory, "spool", "drain", DATABASE_URL=whole_database, **lost)
    assert drained.returncode == 0, drained.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_backup_that_is_restored_beside_a_running_server_hides_no_lead(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    """With SQLite's shell: for SQLite a commit like any other. Readers of the feed see all that comes then."""
    server = start_server(environment={**ENVIRONMENT, "WORKERS": workers})
    path, backup = server.data_dir / "leadcrm.db", tmp_path / "backup.db"

    def post() -> str:
        return str(server.client.post_lead({}).json()["lead_id"])

    def read(after: int) -> tuple[list[str], int]:
        page = server.client.get(f"/api/feed?after={after}", headers=[BEARER]).json()
        return [event["leadId"] for event in page["events"]], page["next"]

    def copy(origin: Path, target: Path) -> None:
        with closing(sqlite3.connect(origin)) as one, closing(sqlite3.connect(target, timeout=10)) as other:
            one.backup(other)

    kept = [post()]
    copy(path, backup)
    lost = [post() for _ in range(20)]
    events, passed = read(0)
    assert events == [*kept, *lost]
    copy(backup, path)
    later = [post() for _ in range(20)]
    wait_until(lambda: {*read(passed)[0]} == {*later})
    fault = wait_until(lambda: server.client.get("/ready").json()["fault"])
    assert "the database lacks what it had confirmed by 20" in fault
    (error,) = [one for one in server.log_records() if one["msg"].startswith("the database lacks")][:1]
    assert "let senders repeat" in error["hint"]


def test_a_spool_of_a_newer_version_keeps_no_lead_from_its_database(start_server: StartServer, database: str) -> None:
    first = start_server(database)
    with closing(sqlite3.connect(first.data_dir / "spool.db")) as spool, spool:
        spool.execute("INSERT INTO leadcrm_migrations (version, name, applied_at) VALUES (99, 'x', '2026-01-01')")
    first.terminate()
    server = start_server(database, environment={"DATA_DIR": str(first.data_dir)})
    receipts = [server.client.post_lead({}, key=str(number)).receipt for number in range(3)]
    assert [receipt and receipt.stored for receipt in receipts] == ["database"] * 3
    assert "a newer leadcrm has changed" in server.client.get("/ready").json()["fault"]
