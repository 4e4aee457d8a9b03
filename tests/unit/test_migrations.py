"""Migrations are applied once, under a lock and together with their record; another program's tables are refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from leadcrm import __version__
from leadcrm.database import migrations
from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import (
    Migration,
    migrate,
    migrate_spool,
    migrations_for,
    newest_version,
    require_current,
)
from leadcrm.errors import ForeignTables, SchemaTooNew, SchemaTooOld, SpoolUnavailable
from leadcrm.ingest.spool.spool import Spool
from tests.support.crm import keep as keep_rows
from tests.support.crm import submission, url_of
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import REPOSITORY, clean_environment


def versions(rows: Rows) -> list[int]:
    return [row["version"] for row in rows.select("SELECT version FROM leadcrm_migrations ORDER BY version")]


@pytest.mark.parametrize("kind", ["postgres", "sqlite", "spool"])
def test_migrations_are_numbered_without_a_gap(kind: str) -> None:
    numbers = [migration.version for migration in migrations_for(kind)]
    assert numbers == list(range(1, newest_version(kind) + 1))


def test_both_databases_have_the_same_migrations() -> None:
    names = [[(step.version, step.name) for step in migrations_for(kind)] for kind in ("postgres", "sqlite")]
    assert names[0] == names[1]


def test_every_migration_is_applied_once(database: str, rows: Rows) -> None:
    url = url_of(database)
    applied = migrate(url)
    assert [step.version for step in applied] == versions(rows) == list(range(1, newest_version(url.provider) + 1))
    assert migrate(url) == []


def test_a_later_migration_is_applied_to_a_database_with_leads(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_rows(database, [submission(b'{"email":"kept"}')])
    url = url_of(database)
    known = migrations_for(url.provider)
    later = Migration(newest_version(url.provider) + 1, "later", "ALTER TABLE {schema}leads ADD COLUMN later text;")
    monkeypatch.setattr(migrations, "migrations_for", lambda _: [*known, later])
    assert migrate(url) == [later]
    assert [(lead["email"], lead["later"]) for lead in rows.leads()] == [("kept", None)]


def test_a_migration_that_fails_half_way_leaves_no_trace(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(database)
    migrate(url)
    known = migrations_for(url.provider)
    number = newest_version(url.provider) + 1
    broken = Migration(number, "broken", "CREATE TABLE {schema}half (id text);\nCREATE TABLE {schema}leads (id text);")
    monkeypatch.setattr(migrations, "migrations_for", lambda _: [*known, broken])
    with pytest.raises(Exception, match=r"leads|duplicate_table"):
        migrate(url)
    assert versions(rows) == [step.version for step in known]
    monkeypatch.setattr(
        migrations,
        "migrations_for",
        lambda _: [*known, Migration(number, "mended", "CREATE TABLE {schema}half (id text);")],
    )
    assert [step.name for step in migrate(url)] == ["mended"]


def test_of_several_processes_that_migrate_at_once_one_applies_all_migrations(database: str, rows: Rows) -> None:
    code = (
        "import sys; from pathlib import Path; from leadcrm.configuration.database_url import parse_database_url; "
        "from leadcrm.database.migrations import migrate; sys.stdin.read(1); "
        "print(len(migrate(parse_database_url(sys.argv[1], base=Path('/')))))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(REPOSITORY),
        )
        for _ in range(4)
    ]
    printed: list[int] = []

    def run(process: subprocess.Popen[bytes]) -> None:
        output, _ = process.communicate(b"x", timeout=60)
        printed.append(int(output))

    threads = [threading.Thread(target=run, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = newest_version(url_of(database).provider)
    assert sorted(printed) == [0, 0, 0, count]
    assert versions(rows) == list(range(1, count + 1))


def test_a_newer_schema_is_refused(database: str, rows: Rows) -> None:
    url = url_of(database)
    migrate(url)
    rows.execute("INSERT INTO leadcrm_migrations (version, name, applied_at) VALUES (9000, 'later', '')")
    with pytest.raises(SchemaTooNew, match="9000"):
        migrate(url)
    connection = open_connection(url, timeout_s=5)
    with pytest.raises(SchemaTooNew):
        require_current(connection, url)
    connection.close()


@pytest.mark.parametrize(
    ("serves_from", "is_served"),
    [("0.0.9", True), (__version__, True), (f"{__version__}.1", True), ("0.1.1", False), ("0.10", False), ("9", False)],
)
def test_a_newer_schema_is_accepted_from_the_version_on_that_it_serves(
    database: str, rows: Rows, serves_from: str, is_served: bool
) -> None:
    url = url_of(database)
    migrate(url)
    for number, served in ((9000, serves_from), (9001, "0.0.1")):
        values = f"({number}, 'later', '', '{served}')"
        rows.execute(f"INSERT INTO leadcrm_migrations (version, name, applied_at, serves_from) VALUES {values}")
    connection = open_connection(url, timeout_s=5)
    with nullcontext() if is_served else pytest.raises(SchemaTooNew, match=f"serves leadcrm {serves_from} or newer"):
        assert require_current(connection, url) == 9001
        assert migrate(url) == []
    connection.close()


def test_an_older_schema_is_accepted_where_all_that_is_pending_is_not_required(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(database)
    migrate(url)
    number = newest_version(url.provider) + 1
    text = f"-- Why.\n-- serves_from: 0.1.0\n-- required: no\nALTER TABLE {{schema}}leads ADD COLUMN c{number} text;"
    later = Migration(number, "later", text)
    needed = Migration(number + 1, "needed", f"ALTER TABLE {{schema}}leads ADD COLUMN c{number + 1} text;")
    known = migrations_for(url.provider)
    connection = open_connection(url, timeout_s=5)
    monkeypatch.setattr(migrations, "migrations_for", lambda _: [*known, later])
    assert require_current(connection, url) == number - 1
    monkeypatch.setattr(migrations, "migrations_for", lambda _: [*known, later, needed])
    with pytest.raises(SchemaTooOld):
        require_current(connection, url)
    connection.close()
    # As an older program made the table.
    rows.execute("ALTER TABLE leadcrm_migrations DROP COLUMN serves_from")
    assert migrate(url) == [later, needed]
    told = rows.select(f"SELECT serves_from FROM leadcrm_migrations WHERE version >= {number} ORDER BY version")
    assert [row["serves_from"] for row in told] == ["0.1.0", None]


@pytest.mark.parametrize("kind", ["postgres", "sqlite", "spool"])
def test_what_a_migration_says_of_versions_can_be_read(kind: str) -> None:
    for migration in migrations_for(kind):
        assert migration.sql.count("-- serves_from:") == (migration.serves_from is not None)
        assert migration.sql.count("-- required:") == (not migration.is_required)


def test_an_older_schema_is_refused_with_a_hint(database: str, rows: Rows) -> None:
    url = url_of(database)
    migrate(url)
    rows.execute("DELETE FROM leadcrm_migrations WHERE version > 1")
    connection = open_connection(url, timeout_s=5)
    with pytest.raises(SchemaTooOld) as raised:
        require_current(connection, url)
    assert raised.value.hint == "leadcrm migrate"
    connection.close()


@pytest.mark.parametrize("table", ["leads", "leads_raw"])
def test_a_table_of_another_program_is_named_and_left_alone(database: str, rows: Rows, table: str) -> None:
    rows.execute(f"CREATE TABLE {table} (id text)")
    with pytest.raises(ForeignTables, match=rf"\b{table}\b"):
        migrate(url_of(database))
    with pytest.raises(ForeignTables, match=rf"\b{table}\b"):
        migrations.reset(url_of(database))
    assert rows.select(f"SELECT * FROM {table}") == []


def test_tables_in_another_schema_are_ignored(whole_database: str) -> None:
    Rows(whole_database).execute("CREATE TABLE public.leads (id text)")
    url = url_of(f"{whole_database}?schema=sales")
    assert migrate(url)
    assert migrate(url) == []


def test_a_role_without_the_right_to_create_schemas_uses_an_existing_one(own_postgres: PostgresCluster) -> None:
    database = own_postgres.create_database()
    own_postgres.execute("CREATE ROLE seller LOGIN")
    own_postgres.execute("CREATE SCHEMA sales AUTHORIZATION seller", url=database)
    assert migrate(url_of(f"{database.replace('//postgres:', '//seller:')}?schema=sales"))


def test_reset_leaves_an_empty_schema(database: str, rows: Rows) -> None:
    keep_rows(database, [submission(b"{}")])
    migrations.reset(url_of(database))
    assert (rows.raw(), rows.leads()) == ([], [])
    assert versions(rows) == list(range(1, newest_version(url_of(database).provider) + 1))


def test_the_spools_migrations_are_applied_once(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    assert [step.version for step in migrate_spool(path)] == list(range(1, newest_version("spool") + 1))
    assert migrate_spool(path) == []


def test_a_spool_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    migrate_spool(path)
    rows = Rows(f"sqlite:///{path}")
    rows.execute("INSERT INTO leadcrm_migrations (version, name, applied_at) VALUES (9000, 'later', '')")
    with pytest.raises(SchemaTooNew, match="9000"):
        migrate_spool(path)
    with (
        closing(Spool(tmp_path, max_bytes=1 << 30, min_free_bytes=0)) as spool,
        pytest.raises(SpoolUnavailable, match="a newer leadcrm"),
    ):
        spool.write([submission(b"{}")])
    assert rows.raw() == []
    assert [other.name for other in tmp_path.glob("spool*.db")] == ["spool.db"]
