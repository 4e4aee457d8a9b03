"""Numbered schema changes, applied in order under a lock; each kind of database has its folder of SQL files.

Invariants:
- A migration and its row in `leadcrm_migrations` commit together.
- If two processes start at once, one applies the migrations and the other finds them applied.
- A database whose tables another program made, or that a newer program has migrated, is refused and never altered;
  except that a migration may say in its first lines whom else it serves, so that nodes can be upgraded one by one:
  `-- serves_from: VERSION` names the oldest program that may use the schema after it, and `-- required: no` means that
  this program runs without it too.

We considered yoyo-migrations. Its lock is a row, which a killed process leaves behind, and it reads its steps from a
folder of Python files, which a frozen executable does not have.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg2

from leadcrm import __version__
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.connections import Connection, open_connection
from leadcrm.database.driver_errors import store_error
from leadcrm.database.postgres import PostgresConnection, deadline, schema_prefix
from leadcrm.database.sqlite import open_sqlite
from leadcrm.errors import ForeignTables, SchemaTooNew, SchemaTooOld

_LOCK = 0x6C656164  # "lead": the key of PostgreSQL's advisory lock, held until the transaction ends

_LEAD_TABLES = ("leads_raw", "leads")

KEY_INDEX = "leads_raw_key"

_TABLES = (
    "leads_days",
    "leads_days_faults",
    "leads_days_until",
    "leads_delivered",
    "leads_audit",
    "leads_sessions",
    "leads_tokens",
    "leads_archived",
    "leads_deliveries",
    "leads_sinks",
    "leads_feed_start",
    "leads_feed",
    "source_versions",
    "sink_versions",
    "lead_events",
    "leads_ledger",
    *reversed(_LEAD_TABLES),
    "leadcrm_migrations",
)
"""All of our tables, each after those that refer to it."""

REWRITE_SQL = "UPDATE {schema}leadcrm_migrations SET version = version"
"""A real write that changes nothing. Its commit proves that the disk takes writes.

It sets the primary key, because SQLite writes no page for a row whose other columns stay as they are.
"""

STATUS_TIMEOUT_S = 5.0
"""The limit for reading which migrations are applied."""

MIGRATION_TIMEOUT_S = 600.0
"""The limit for a migration: building an index on a large table takes minutes."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One schema change: number, name and statements, in which `{schema}` stands for the schema's prefix."""

    version: int
    name: str
    sql: str

    @property
    def serves_from(self) -> str | None:
        """The oldest program that may use the schema after it; None if only programs that know it may."""
        found = re.search(r"^-- serves_from: (\d+(?:\.\d+)*)$", self.sql, re.MULTILINE)
        return found and found[1]

    @property
    def is_required(self) -> bool:
        """Whether this program needs it."""
        return re.search(r"^-- required: no$", self.sql, re.MULTILINE) is None


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of `leadcrm_migrations`."""

    version: int
    name: str
    applied_at: str
    serves_from: str | None = None


@cache
def migrations_for(kind: str) -> tuple[Migration, ...]:
    """Return the migrations of `postgres`, `sqlite` or `spool` in order.

    They are read once. The folder into which an executable of one file unpacks itself may be cleaned while it runs.
    """
    migrations = []
    for file in files(__package__).joinpath(kind).iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            migrations.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(migrations, key=lambda migration: migration.version))


def newest_version(kind: str) -> int:
    """Return the schema version that this program needs."""
    return migrations_for(kind)[-1].version


def migrate(url: DatabaseURL) -> list[Migration]:
    """Apply the pending migrations, create a missing schema, and return the migrations applied; durable on return.

    Raises:
        StoreUnavailable: The database cannot be used now.
        SchemaTooNew: A newer program has migrated the database.
        ForeignTables: Another program made the tables.
    """
    if not status(url)[1]:
        return []
    with schema_transaction(url, MIGRATION_TIMEOUT_S) as schema:
        return apply(schema, url.provider)


def migrate_spool(path: Path) -> list[Migration]:
    """Create or upgrade the spool's file; durable on return.

    Raises:
        StoreUnavailable: The file cannot be used.
        SchemaTooNew: A newer program has migrated the file.
    """
    connection = open_sqlite(path, busy_timeout_s=10, create=True)
    try:
        with _locked(SchemaConnection(connection, None)) as schema:
            return apply(schema, "spool")
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    finally:
        connection.close()


def status(url: DatabaseURL, *, timeout_s: float = STATUS_TIMEOUT_S) -> tuple[list[Applied], list[Migration]]:
    """Return the applied and the pending migrations.

    Raises:
        StoreUnavailable: The database cannot be used now.
        SchemaTooNew: A newer program has migrated the database.
        ForeignTables: Another program made the tables.
    """
    # Without the lock: another process may hold it for a migration of ten minutes, which is no reason to be away.
    connection = open_connection(url, timeout_s=timeout_s, create=True)
    try:
        with deadline(timeout_s):
            applied = SchemaConnection(connection, url.schema).applied()
    except (psycopg2.Error, sqlite3.Error) as error:
        raise store_error(error, url.path) from error
    finally:
        connection.close()
    versions = {row.version for row in applied}
    _require_served(applied, newest_version(url.provider))
    return applied, [migration for migration in migrations_for(url.provider) if migration.version not in versions]


def require_current(connection: Connection, url: DatabaseURL) -> int:
    """Require that the schema serves this program, and return its version.

    Raises:
        SchemaTooNew: A newer program has migrated the database, so that it does not serve this one.
        SchemaTooOld: Migrations that this program needs are pending.
        ForeignTables: Another program made the tables.
        StoreUnavailable: The database cannot be used now.
    """
    try:
        applied = SchemaConnection(connection, url.schema).applied()
    except (psycopg2.Error, sqlite3.Error) as error:
        raise store_error(error, url.path) from error
    _require_served(applied, newest_version(url.provider))
    version = max((row.version for row in applied), default=0)
    needed = max(step.version for step in migrations_for(url.provider) if step.is_required)
    if version < needed:
        raise SchemaTooOld(
            f"the database's schema is version {version}, this program needs {needed}", hint="leadcrm migrate"
        )
    return version


def made_at(connection: Connection, url: DatabaseURL) -> str:
    """Return the time of the first migration, by which a database is known wherever it is; empty without a schema.

    Raises:
        ForeignTables: Another program made the tables.
        StoreUnavailable: The database cannot be used now.
    """
    try:
        return next((row.applied_at for row in SchemaConnection(connection, url.schema).applied()), "")
    except (psycopg2.Error, sqlite3.Error) as error:
        raise store_error(error, url.path) from error


def _require_served(applied: Sequence[Applied], newest: int) -> None:
    """Require that every migration which this program does not know serves it."""
    for row in applied:
        if row.version > newest and not (row.serves_from and _numbers(row.serves_from) <= _numbers(__version__)):
            served = f", and serves leadcrm {row.serves_from} or newer" if row.serves_from else ""
            raise SchemaTooNew(
                f"the database's schema is version {row.version}, newer than this program knows ({newest}){served}",
                hint="install the newer leadcrm again",
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def reset(url: DatabaseURL) -> None:
    """Drop all of our tables with their rows and create them again.

    Raises:
        StoreUnavailable: The database cannot be used now.
        ForeignTables: Another program made the tables.
    """
    with schema_transaction(url, MIGRATION_TIMEOUT_S) as schema:
        schema.applied()
        for table in _TABLES:
            schema.execute(f"DROP TABLE IF EXISTS {schema.prefix}{table}")
        apply(schema, url.provider)


class SchemaConnection:
    """A connection for schema changes, which hides the differences between the two databases."""

    def __init__(self, connection: Connection, schema: str | None) -> None:
        self.connection = connection
        self.name = schema
        self.prefix = schema_prefix(schema)

    @property
    def is_postgres(self) -> bool:
        return isinstance(self.connection, PostgresConnection)

    @property
    def connection_is_closed(self) -> bool:
        return isinstance(self.connection, PostgresConnection) and bool(self.connection.closed)

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        try:
            if isinstance(cursor, sqlite3.Cursor):
                return cursor.execute(sql.replace("%s", "?"), tuple(values)).fetchall()
            cursor.execute(sql, tuple(values) or None)
            return cursor.fetchall() if cursor.description else []
        finally:
            cursor.close()

    def has_table(self, name: str) -> bool:
        if self.is_postgres:
            sql = "SELECT 1 FROM pg_tables WHERE schemaname = COALESCE(%s, current_schema()) AND tablename = %s"
            return bool(self.execute(sql, (self.name, name)))
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = %s", (name,)))

    def columns_of(self, table: str) -> list[str]:
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"SELECT * FROM {self.prefix}{table} LIMIT 0")  # noqa: S608
            return [column[0] for column in cursor.description or ()]
        finally:
            cursor.close()

    def has_key_index(self) -> bool:
        """Say whether the index is there that lets a key have one holder."""
        if self.is_postgres:
            sql = "SELECT 1 FROM pg_indexes WHERE schemaname = COALESCE(%s, current_schema()) AND indexname = %s"
            return bool(self.execute(sql, (self.name, KEY_INDEX)))
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = %s", (KEY_INDEX,)))

    def applied(self) -> list[Applied]:
        """Return the applied migrations.

        Raises:
            ForeignTables: Another program's tables have our tables' names.
        """
        if not self.has_table("leadcrm_migrations"):
            foreign = [table for table in _LEAD_TABLES if self.has_table(table)]
            if foreign:
                raise ForeignTables(
                    f"the database already has {' and '.join(foreign)}, made by another program; "
                    "they are left as they are",
                    hint="leadcrm migrate --from-original takes them over; or name another schema in DATABASE_URL",
                )
            return []
        # All columns: `serves_from` is missing where an older program made the table.
        sql = f"SELECT * FROM {self.prefix}leadcrm_migrations ORDER BY version"  # noqa: S608
        return [Applied(int(row[0]), row[1], str(row[2]), *row[3:4]) for row in self.execute(sql)]

    def rewrite(self) -> None:
        """Commit a real write that changes nothing.

        Raises:
            StoreUnavailable: The commit failed.
        """
        try:
            self.execute(REWRITE_SQL.format(schema=self.prefix))
        except (psycopg2.Error, sqlite3.Error) as error:
            raise store_error(error) from error

    def make_schema(self) -> None:
        # CREATE SCHEMA IF NOT EXISTS needs the privilege to create schemas even if the schema exists.
        if self.name and not self.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.name,)):
            self.execute(f"CREATE SCHEMA {self.prefix[:-1]}")

    def run(self, sql: str) -> None:
        """Execute a script in the open transaction, which sqlite3's `executescript` would commit first."""
        script = sql.replace("{schema}", self.prefix)
        if self.is_postgres:
            self.execute(script)
            return
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                self.execute(statement)
                statement = ""


def apply(schema: SchemaConnection, kind: str) -> list[Migration]:
    """Apply the pending migrations in an open transaction and return them; durable once it is committed."""
    schema.make_schema()
    known = migrations_for(kind)
    rows = schema.applied()
    _require_served(rows, known[-1].version)
    applied = {row.version for row in rows}
    pending = [migration for migration in known if migration.version not in applied]
    if pending:
        schema.execute(
            f"CREATE TABLE IF NOT EXISTS {schema.prefix}leadcrm_migrations "
            "(version integer PRIMARY KEY, name text NOT NULL, applied_at text NOT NULL)"
        )
        if "serves_from" not in schema.columns_of("leadcrm_migrations"):
            schema.execute(f"ALTER TABLE {schema.prefix}leadcrm_migrations ADD COLUMN serves_from text")
    for migration in pending:
        schema.run(migration.sql)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        schema.execute(
            f"INSERT INTO {schema.prefix}leadcrm_migrations (version, name, applied_at, serves_from) "  # noqa: S608
            "VALUES (%s, %s, %s, %s)",
            (migration.version, migration.name, now, migration.serves_from),
        )
    return pending


@contextmanager
def schema_transaction(url: DatabaseURL, timeout_s: float) -> Iterator[SchemaConnection]:
    """Yield a connection inside one transaction that holds the lock; commit it unless something is raised."""
    connection = open_connection(url, timeout_s=timeout_s, create=True)
    try:
        with deadline(timeout_s), _locked(SchemaConnection(connection, url.schema)) as schema:
            yield schema
    except (psycopg2.Error, sqlite3.Error) as error:
        raise store_error(error, url.path) from error
    finally:
        connection.close()


@contextmanager
def _locked(schema: SchemaConnection) -> Iterator[SchemaConnection]:
    schema.execute("BEGIN" if schema.is_postgres else "BEGIN IMMEDIATE")
    try:
        if schema.is_postgres:
            schema.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield schema
    except BaseException:
        if not schema.connection_is_closed:
            schema.execute("ROLLBACK")
        raise
    schema.execute("COMMIT")
