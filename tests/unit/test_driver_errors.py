"""Every kind of driver's error: whether the database cannot now or refuses this row. No text quotes a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from leadcrm.database.driver_errors import store_error
from leadcrm.errors import StoreDamaged, StoreUnavailable, SubmissionRefused
from tests.support.postgres import PostgresServer

SECRET = "a-payload-no-log-may-hold"

OF_A_ROW = {
    "21000": "cardinality",
    "22001": "a text too long",
    "22003": "a number out of range",
    "22021": "a character that the encoding lacks",
    "22P05": "a character that cannot be translated",
    "23502": "a null",
    "23503": "a foreign key",
    "23505": "a unique key",
    "23514": "a check",
    "23P01": "an exclusion",
    "38000": "an external routine",
    "39000": "how an external routine is called",
    "44000": "a view's check option",
    "54000": "a limit of the program",
    "54001": "a statement too complex",
    "P0001": "what a trigger raises",
    "P0004": "an assertion",
}

OF_THE_DATABASE = {
    "08006": "the connection broke",
    "0A000": "a feature that is not there",
    "25006": "it is read-only: a standby, or one that was failed over",
    "25P02": "a transaction that has failed",
    "25P03": "a transaction that idled too long",
    "26000": "a prepared statement is gone",
    "28000": "the role may not connect",
    "28P01": "the password",
    "3D000": "no such database",
    "3F000": "no such schema",
    "40001": "a serialization failure",
    "40P01": "a deadlock",
    "42501": "a right that is missing",
    "42703": "a column that is missing",
    "42P01": "a table that is missing",
    "42P05": "a prepared statement is there already",
    "53000": "resources",
    "53100": "the disk is full",
    "53200": "out of memory",
    "53300": "too many connections",
    "53400": "a limit of the configuration",
    "55000": "an object is not ready",
    "55P03": "a lock was not to be had in time",
    "57014": "a statement was cancelled, or too slow",
    "57P01": "an administrator ended the session",
    "57P02": "another session crashed",
    "57P03": "it is starting up",
    "58030": "the disk fails",
    "72000": "a snapshot is too old",
    "F0000": "its configuration",
    "HV000": "a foreign table",
    "XX000": "an internal error",
    "XX001": "data are corrupted",
    "XX002": "an index is corrupted",
    "ZZ999": "a code that nobody knows",
}


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Any]:
    """A connection on which errors are raised."""
    with closing(postgres.connect()) as connection:
        yield connection


def raised(connection: Any, sqlstate: str) -> psycopg2.Error:
    """Return the driver's error of a condition that PostgreSQL raises, which quotes a row as real ones do."""
    detail = f"DETAIL = 'Failing row contains ({SECRET})', HINT = '{SECRET}'"
    names = "CONSTRAINT = 'a_constraint', TABLE = 'a_table', COLUMN = 'a_column'"
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'in words' USING ERRCODE = '{sqlstate}', {detail}, {names}; END $$"
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute(raising)
    assert caught.value.pgcode == sqlstate
    return caught.value


@pytest.mark.parametrize("sqlstate", [*OF_A_ROW, *OF_THE_DATABASE])
def test_a_row_is_refused_for_what_it_holds_and_for_nothing_else(connection: Any, sqlstate: str) -> None:
    failure = store_error(raised(connection, sqlstate))
    assert type(failure) is (SubmissionRefused if sqlstate in OF_A_ROW else StoreUnavailable)
    assert failure.sqlstate == sqlstate
    assert failure.detail == {
        "sqlstate": sqlstate, "constraint": "a_constraint", "table": "a_table", "column": "a_column"
    }  # fmt: skip
    assert sqlstate in str(failure)
    assert SECRET not in f"{failure} {failure.hint} {failure.detail}"


@pytest.mark.parametrize("sqlstate", ["23514", "P0001", "22001", "42501", "XX000"])
def test_what_a_message_says_is_told_only_where_it_cannot_quote_a_row(connection: Any, sqlstate: str) -> None:
    assert "in words" not in str(store_error(raised(connection, sqlstate)))


def test_why_a_connection_is_refused_is_told_in_the_servers_words(connection: Any) -> None:
    for sqlstate in ("08006", "28P01", "3D000", "53300", "57P03", "58030"):
        assert str(store_error(raised(connection, sqlstate))) == f"in words (SQLSTATE {sqlstate})"


@pytest.mark.parametrize(
    ("sqlstate", "step"),
    [
        ("25006", "all hosts of the cluster"), ("28P01", "password"), ("28000", "pg_hba.conf"),
        ("3D000", "createdb"), ("3F000", "?schema="), ("42501", "GRANT"), ("42P01", "leadcrm migrate"),
        ("53100", "room"), ("53300", "max_connections"), ("55P03", "pg_locks"), ("57014", "pg_stat_activity"),
        ("57P03", "by itself"), ("58030", "disk"), ("XX001", "backup"), ("XX002", "REINDEX"),
        ("42P05", "pgbouncer=true"),
    ],
)  # fmt: skip
def test_a_condition_of_the_server_has_its_next_step(connection: Any, sqlstate: str, step: str) -> None:
    assert step in store_error(raised(connection, sqlstate)).hint


@pytest.mark.parametrize(
    ("sentence", "step"),
    [
        ("FATAL:  unsupported startup parameter: options", "pgbouncer=true"),
        ("FATAL:  unsupported startup parameter in options: lock_timeout", "pgbouncer=true"),
        ('FATAL:  password authentication failed for user "u"', "password"),
        ("fe_sendauth: no password supplied", "password"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption', "pg_hba.conf"),
        ("FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "max_connections"),
        ('FATAL:  too many connections for role "u"', "CONNECTION LIMIT"),
        ("FATAL:  no more connections allowed (max_client_conn)", "end idle connections"),
        ('FATAL:  database "d" does not exist', "createdb"),
        ('FATAL:  role "u" does not exist', "CREATE ROLE"),
        ('FATAL:  role "u" is not permitted to log in', "CREATE ROLE"),
        ('root certificate file "/x" does not exist', "sslrootcert"),
        ("SSL error: certificate verify failed", "sslrootcert"),
        ("server does not support SSL, but SSL was required", "sslmode"),
        ("FATAL:  the database system is starting up", "by itself"),
        ("session is read-only", "all hosts of the cluster"),
    ],
)
def test_a_refused_connection_has_its_next_step(sentence: str, step: str) -> None:
    prefix = 'connection to server at "127.0.0.1", port 5432 failed: '
    assert step in store_error(psycopg2.OperationalError(prefix + sentence)).hint


def test_what_a_role_lacks_is_named(postgres: PostgresServer) -> None:
    postgres.execute("CREATE ROLE lacking LOGIN")
    try:
        with closing(postgres.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA closed; SET ROLE lacking")
            with pytest.raises(psycopg2.Error) as caught:
                cursor.execute("CREATE TABLE closed.leads ()")
        assert str(store_error(caught.value)) == "permission denied for schema closed (SQLSTATE 42501)"
    finally:
        postgres.execute("DROP ROLE lacking")


def test_an_error_without_a_code_is_the_databases() -> None:
    for error in (psycopg2.OperationalError("server closed the connection\n\tunexpectedly"), psycopg2.InterfaceError()):
        assert type(store_error(error)) is StoreUnavailable


class WrappedError(Exception):
    """An error as Pony wraps it."""

    def __init__(self, original: Exception) -> None:
        self.original_exc = original


def test_wrapped_errors_are_what_they_wrap_and_unforeseen_ones_stay(connection: Any) -> None:
    assert isinstance(store_error(WrappedError(raised(connection, "23514"))), SubmissionRefused)
    assert isinstance(store_error(WrappedError(raised(connection, "53100"))), StoreUnavailable)
    ours = SubmissionRefused("ours")
    assert store_error(WrappedError(ours)) is ours
    with pytest.raises(KeyError):
        store_error(KeyError("a fault of ours"))


def sqlite_failure(path: Path, *statements: str, values: tuple[object, ...] = ()) -> sqlite3.Error:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        *before, last = statements
        for statement in before:
            connection.execute(statement)
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(last, values).fetchall()
    return caught.value


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE t (a NOT NULL)", "INSERT INTO t VALUES (NULL)"],
        ["CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)"],
        ["CREATE TABLE t (a CHECK (a > 1))", "INSERT INTO t VALUES (1)"],
        [
            "PRAGMA foreign_keys = ON",
            "CREATE TABLE t (a PRIMARY KEY, b REFERENCES t (a))",
            "INSERT INTO t VALUES (1, 2)",
        ],
        [
            "CREATE TABLE t (a)",
            "CREATE TRIGGER r BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'refused'); END",
            "INSERT INTO t VALUES (1)",
        ],
        ["CREATE TABLE t (a)", f"INSERT INTO t VALUES (zeroblob({1 << 31}))"],
    ],
    ids=["null", "unique", "check", "foreign key", "trigger", "too big"],
)
def test_sqlite_refuses_a_row_for_what_it_holds(tmp_path: Path, statements: list[str]) -> None:
    assert type(store_error(sqlite_failure(tmp_path / "t.db", *statements))) is SubmissionRefused


def test_sqlite_that_cannot_now_says_why_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as rival:
        rival.execute("CREATE TABLE t (a)")
        rival.execute("BEGIN EXCLUSIVE")
        locked = store_error(sqlite_failure(path, "BEGIN IMMEDIATE"), path)
    read_only = store_error(sqlite_failure(path, "PRAGMA query_only = ON", "INSERT INTO t VALUES (1)"), path)
    pages = "PRAGMA max_page_count = 3"
    full = store_error(sqlite_failure(path, pages, "INSERT INTO t VALUES (zeroblob(99999))"), path)
    missing = store_error(sqlite_failure(path, "SELECT * FROM no_such_table"), path)
    for failure, hint in ((locked, "fuser"), (read_only, "writable"), (full, "room"), (missing, "")):
        assert type(failure) is StoreUnavailable
        assert str(failure).startswith(f"{path}: ")
        assert hint in failure.hint


def test_a_damaged_sqlite_file_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    no_database, torn, text = tmp_path / "none.db", tmp_path / "torn.db", tmp_path / "text.db"
    no_database.write_bytes(b"x" * 8192)
    with closing(sqlite3.connect(torn)) as connection:
        connection.execute("CREATE TABLE t AS SELECT zeroblob(9000) AS a")
        connection.commit()
    torn.write_bytes(torn.read_bytes()[:4096] + b"\xff" * 4096 + torn.read_bytes()[8192:])
    broken = sqlite_failure(text, f"SELECT CAST(x'{SECRET.encode().hex()}ff' AS TEXT)")
    assert SECRET in str(broken)
    failures = [
        store_error(sqlite_failure(no_database, "SELECT 1 FROM sqlite_master"), no_database),
        store_error(sqlite_failure(torn, "SELECT a FROM t"), torn),
        store_error(broken, text),
    ]
    for failure in failures:
        assert type(failure) is StoreDamaged
        assert "restore" in failure.hint
        assert SECRET not in str(failure)
